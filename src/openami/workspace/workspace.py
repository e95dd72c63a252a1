"""A workspace: one utility in one folder, or one folder and a PostgreSQL database.

    workspace.toml   settings          registry.db   master data, exceptions, bills (SQLite)
    readings/        the stores        keyring.*     keys, passwords and counters of meters, mode 0600

The rule here: a workspace that was opened once opens again, whatever ended the last process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from openami.billing.bill import BillRun
from openami.billing.ledger import BillState
from openami.mdm.exceptions import ExceptionList
from openami.mdm.ingest import IngestDoor
from openami.mdm.stores.store import ReadingStore
from openami.mdm.vee.rule_pack import RegistryPacks
from openami.mdm.vee.run import Vee
from openami.quantities.clock import Clock, SystemClock
from openami.registry.database import open_database
from openami.registry.registry import Registry
from openami.workspace.creation import create_workspace, database_url
from openami.workspace.settings import Settings, read_settings

RULE_PACK = "default"


class Workspace:
    """One utility, opened. Invariant: every part looks at the same folder and the same database."""

    def __init__(self, folder: Path, settings: Settings, clock: Clock, engine: sa.Engine) -> None:
        self.folder = folder
        self.settings = settings
        self.clock = clock
        self.engine = engine
        self.registry = Registry(engine, clock)
        self.store = ReadingStore(folder / "readings")
        self.exceptions = ExceptionList(engine, clock)
        self.door = IngestDoor(
            self.store,
            self.exceptions,
            registry=self.registry,
            pack=RegistryPacks(self.registry, RULE_PACK),
        )
        self.bills = BillRun(self.store, self.registry, engine, clock)

    @classmethod
    def create(cls, folder: Path, settings: Settings, clock: Clock | None = None) -> Workspace:
        """Make a new workspace (see `create_workspace`) and open it."""
        create_workspace(folder, settings)
        return cls.open(folder, clock)

    @classmethod
    def open(cls, folder: Path, clock: Clock | None = None) -> Workspace:
        """Open the workspace in ``folder``.

        Raises
        ------
        FormatError
            There is none, or its settings are not valid.
        RegistryError, StoreError
            Its database or stores cannot be opened.
        """
        settings = read_settings(folder)
        engine = open_database(database_url(folder, settings))
        return cls(folder, settings, clock or SystemClock(), engine)

    def close(self) -> None:
        """Give back the database connections."""
        self.engine.dispose()

    def vee(self) -> Vee:
        """Validation with the rule packs of the registry, each in force on its days."""
        periods: dict[str, list[tuple[date, date]]] = defaultdict(list)
        for bill in self.bills.bills(state=BillState.ISSUED):
            periods[bill.usage_point_id].append((bill.first_day, bill.last_day))

        def billed(usage_point_id: str, day: date) -> bool:
            return any(first <= day < last for first, last in periods.get(usage_point_id, ()))

        packs = RegistryPacks(self.registry, RULE_PACK)
        return Vee(self.store, self.registry, self.exceptions, packs, self.clock, billed=billed)


@contextmanager
def opened(folder: Path, clock: Clock | None = None) -> Iterator[Workspace]:
    """The workspace in ``folder``, closed at the end."""
    workspace = Workspace.open(folder, clock)
    try:
        yield workspace
    finally:
        workspace.close()
