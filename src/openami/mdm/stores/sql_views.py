"""The store in SQL: DuckDB views over the Parquet files, committed rows only.

DuckDB reads the files itself (its ``delta`` extension is not bundled); the list of files is the store's.
Rule: a view shows what was committed when the connection was made, nothing later and nothing half.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from openami.mdm.stores.commits import commits_to_table
from openami.mdm.stores.state import StoreState
from openami.mdm.stores.tables import DATA_TABLES, TableDefinition

NEWEST = """
CREATE VIEW final_newest AS SELECT * FROM final_intervals
QUALIFY row_number() OVER (PARTITION BY series_id, channel, day ORDER BY version DESC) = 1
"""


def connect(state: StoreState) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with a view a table, and ``final_newest``; times are shown in UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    snapshot = state.refresh()
    for definition in DATA_TABLES:
        paths = [str(state.logs[definition.name].path(entry)) for entry in snapshot.entries(definition)]
        _view(connection, definition, paths)
    commits = [commit for seq, commit in sorted(state.commits.items()) if seq <= snapshot.as_of]
    connection.register("commits", commits_to_table(commits))
    connection.execute(NEWEST)
    return connection


def _view(connection: duckdb.DuckDBPyConnection, definition: TableDefinition, paths: list[str]) -> None:
    if not paths:
        connection.register(definition.name, pa.table(definition.delta_schema.empty_table()))
        return
    files = connection.read_parquet(paths, hive_partitioning=True)
    files.create_view(definition.name)
