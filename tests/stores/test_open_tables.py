"""The tables are open: DuckDB and any Delta reader see what the store answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest
from deltalake import DeltaTable

from openami.mdm.stores import ReadingStore, delta_log
from openami.readings.interval_block import IntervalBlock

FIRST, LAST = date(2026, 10, 1), date(2026, 12, 1)


def digest(blocks: list[IntervalBlock]) -> list[tuple[str, str, date, list[int], int]]:
    return sorted(
        (one.series_id, str(one.channel), one.day.day, one.values.tolist(), one.seq) for one in blocks
    )


@pytest.fixture
def store(tmp_path, batch_number) -> ReadingStore:
    store = ReadingStore(tmp_path / "store")
    for number in range(6):
        batch = batch_number(number)
        store.put(batch)
        store.put_final([replace(one, block_id="") for one in batch.intervals])
    for number in range(3):
        changed = [replace(one, values=one.values * 2, block_id="") for one in batch_number(number).intervals]
        store.put_final(changed)
    return store


def test_duckdb_sees_what_the_store_answers(store) -> None:
    columns = 'SELECT series_id, channel, day, "values", seq FROM'
    for _ in range(2):
        sql = store.sql()
        newest = sorted(sql.sql(f"{columns} final_newest").fetchall())
        assert newest == digest(store.final(None, None, FIRST, LAST))
        assert sorted(sql.sql(f"{columns} raw_intervals").fetchall()) == digest(
            store.raw(None, None, FIRST, LAST)
        )
        for query, answer in (
            ("SELECT count(*) FROM final_intervals", (18,)),
            ("SELECT count(*), max(seq) FROM commits", (15, 15)),
            ("SELECT sum(value) FROM register_reads", (63,)),
            ("SELECT list_sum(\"values\") FROM final_newest WHERE series_id = 'M2-a'", (54,)),
            ("SELECT DISTINCT month FROM events", ("2026-10",)),
        ):
            assert sql.sql(query).fetchall() == [answer]
        store.compact("2026-10")


def test_an_empty_store_has_its_views(tmp_path) -> None:
    sql = ReadingStore(tmp_path / "store").sql()
    for view in (
        "raw_intervals", "final_intervals", "register_reads", "events", "evidence", "commits", "final_newest",
    ):  # fmt: skip
        assert sql.sql(f"SELECT count(*) FROM {view}").fetchall() == [(0,)]


def test_rows_of_a_batch_that_died_are_not_in_the_views(store, tmp_path, batch_number, power_cut) -> None:
    log = store._state.commit_log
    append, log.append = log.append, lambda entries: (_ for _ in ()).throw(power_cut)
    with pytest.raises(power_cut):
        store.put(batch_number(9))
    log.append = append
    again = ReadingStore(store.root)
    assert again.seq == 15
    assert DeltaTable(store.root / "raw_intervals").to_pyarrow_table().num_rows == 14
    assert again.sql().sql("SELECT count(*) FROM raw_intervals").fetchall() == [(12,)]
    assert again.put(batch_number(9)).seq == 17
    again.compact("2026-10")
    assert DeltaTable(store.root / "raw_intervals").to_pyarrow_table().num_rows == 14
    assert len(again.raw(None, None, FIRST, LAST)) == 14


def test_any_delta_reader_opens_every_table_with_checkpoints_and_merged_files(
    tmp_path, batch_number, monkeypatch
) -> None:
    monkeypatch.setattr(delta_log, "CHECKPOINT_EVERY", 5)
    store = ReadingStore(tmp_path / "store")
    for number in range(40):
        store.put(batch_number(number))
    assert store.compact("2026-10") == 4 * 39
    store.put(batch_number(40))
    for name, rows in (("raw_intervals", 82), ("register_reads", 123), ("events", 41), ("commits", 41)):
        table = DeltaTable(store.root / name)
        assert table.to_pyarrow_table().num_rows == rows
        assert table.metadata().configuration["delta.appendOnly"] == "true"
    raw = DeltaTable(store.root / "raw_intervals")
    assert raw.to_pyarrow_table(filters=[("month", "=", "2026-10")], columns=["seq"]).num_rows == 82
    last = orjson.loads((store.root / "raw_intervals/_delta_log/_last_checkpoint").read_bytes())
    assert last["version"] >= 35
    # The commits fold by themselves: 41 commits, few files.
    assert len(DeltaTable(store.root / "commits").file_uris()) < 33
    reopened = ReadingStore(store.root)
    assert len(reopened.receipts()) == 41
    assert digest(reopened.raw(None, None, FIRST, LAST)) == digest(store.raw(None, None, FIRST, LAST))


def test_vacuum_deletes_only_what_nobody_refers_to(store, tmp_path) -> None:
    before = digest(store.raw(None, None, FIRST, LAST))
    store.compact("2026-10")
    assert store.vacuum() == 0
    deleted = store.vacuum(older_than=timedelta(0))
    assert deleted > 30
    left = {path for path in Path(store.root).rglob("*.parquet") if "_delta_log" not in path.parts}
    referred = {
        Path(uri.removeprefix("file://"))
        for table in store.root.iterdir()
        if table.is_dir()
        for uri in DeltaTable(table).file_uris()
    }
    assert left == referred
    assert digest(ReadingStore(store.root).raw(None, None, FIRST, LAST)) == before
