"""A damaged file is an error that names it, never a shorter answer."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from openami.mdm.stores import ReadingStore, delta_log
from openami.quantities.errors import StoreError


def ask(root: Path) -> object:
    return ReadingStore(root).raw(None, None, date(2026, 1, 1), date(2027, 1, 1))


@pytest.fixture
def root(tmp_path, batch_number) -> Path:
    store = ReadingStore(tmp_path / "store")
    for number in range(3):
        store.put(batch_number(number))
    return tmp_path / "store"


def parquet(root: Path, table: str) -> Path:
    return sorted((root / table).rglob("*.parquet"))[0]


@pytest.mark.parametrize("table", ["raw_intervals", "commits"])
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.99])
def test_a_truncated_parquet_file_is_named(root, table, part) -> None:
    path = parquet(root, table)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(StoreError) as caught:
        ask(root)
    assert caught.value.where == str(path)


def test_any_flipped_byte_of_the_values_is_noticed(root) -> None:
    path = parquet(root, "raw_intervals")
    content = path.read_bytes()
    whole = [block.values.tolist() for block in ask(root)]
    noticed = 0
    for place in range(4, len(content) - 8, 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            answer, error = ask(root), None
        except StoreError as caught:
            answer, error = [], caught
        # Page headers carry no checksum; what they say besides sizes is not looked at.
        assert (error is not None and error.where == str(path)) or [
            block.values.tolist() for block in answer
        ] == whole
        noticed += error is not None
    assert noticed > 20


def test_a_missing_parquet_file_is_named(root) -> None:
    path = parquet(root, "raw_intervals")
    path.unlink()
    with pytest.raises(StoreError, match="gone") as caught:
        ask(root)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 40, b'{"add": {}}\n'])
def test_a_damaged_log_entry_is_named(root, damage) -> None:
    path = root / "raw_intervals" / "_delta_log" / f"{2:020d}.json"
    path.write_bytes(damage)
    with pytest.raises(StoreError) as caught:
        ask(root)
    assert "raw_intervals/_delta_log" in str(caught.value)


def test_a_log_entry_damaged_while_the_store_is_open_is_named(root, batch_number) -> None:
    reader = ReadingStore(root)
    ReadingStore(root).put(batch_number(7))
    path = root / "commits" / "_delta_log" / f"{4:020d}.json"
    path.write_bytes(b"{")
    with pytest.raises(StoreError) as caught:
        _ = reader.seq
    assert caught.value.where == str(path)


@pytest.mark.parametrize("table", ["commits", "raw_intervals"])
def test_damage_under_an_open_store_is_told_every_time_and_not_only_once(root, batch_number, table) -> None:
    reader = ReadingStore(root)
    ReadingStore(root).put(batch_number(7))
    path = sorted((root / table).rglob("*.parquet"))[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    for _ in range(3):
        with pytest.raises(StoreError):
            reader.raw(None, None, date(2026, 1, 1), date(2027, 1, 1))
    path.write_bytes(whole)
    assert len(reader.raw(None, None, date(2026, 1, 1), date(2027, 1, 1))) == 8


def test_an_acknowledged_commit_that_was_lost_from_the_log_is_noticed(root) -> None:
    log = root / "commits" / "_delta_log"
    (log / f"{2:020d}.json").write_bytes((log / f"{1:020d}.json").read_bytes())
    with pytest.raises(StoreError, match="commit 3 follows commit 2"):
        ReadingStore(root)


def test_rows_that_were_lost_from_the_log_are_noticed(root) -> None:
    log = root / "raw_intervals" / "_delta_log"
    (log / f"{2:020d}.json").write_bytes((log / f"{1:020d}.json").read_bytes())
    with pytest.raises(StoreError, match="raw_intervals has 4 rows, its commits 6"):
        ReadingStore(root)


def test_a_lost_table_is_named(root) -> None:
    for path in (root / "events" / "_delta_log").iterdir():
        path.unlink()
    with pytest.raises(StoreError, match="events"):
        ReadingStore(root)


def test_a_damaged_checkpoint_is_named(root, batch_number, monkeypatch) -> None:
    monkeypatch.setattr(delta_log, "CHECKPOINT_EVERY", 2)
    store = ReadingStore(root)
    for number in range(5, 8):
        store.put(batch_number(number))
    (path, *_) = sorted((root / "commits" / "_delta_log").glob("*.checkpoint.parquet"), reverse=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError) as caught:
        ReadingStore(root)
    assert caught.value.where == str(path)


def test_a_file_in_the_place_of_the_store_is_an_error(tmp_path) -> None:
    (tmp_path / "store").write_text("no folder")
    with pytest.raises(StoreError):
        ReadingStore(tmp_path / "store")
