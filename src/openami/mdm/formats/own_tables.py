"""Tables that openami itself wrote (`table_write`), read back without a mapping: same values, same status.

They are known by their columns. A block of the CSV is a run of rows that follow each other; every row says
its channel, unit, status and zone. The rule never to be broken: a run that is not one whole civil day is
refused with its line, never filled up.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from openami.mdm.formats.diagnostics import DiagnosticLog, ImportResult, Policy
from openami.mdm.formats.exact_numbers import parse_number
from openami.mdm.formats.table_write import CSV_HEADER
from openami.quantities.civil_time import CivilDay, zone_of
from openami.quantities.errors import OpenAmiError, QuantityError
from openami.quantities.obis import ObisCode
from openami.quantities.status import Quality, Status
from openami.quantities.units import Quantum, Unit
from openami.readings.evidence import Evidence
from openami.readings.interval_block import INTERVAL_SCHEMA, IntervalBlock, blocks_from_table

_COLUMNS = CSV_HEADER.split(",")
Instants = npt.NDArray[np.datetime64]
_Found = tuple[IntervalBlock, Evidence]


def is_own_table(data: bytes) -> bool:
    """True for a CSV of `csv_write` and a Parquet file of `parquet_write`, by their columns."""
    if data.startswith(CSV_HEADER.encode()):
        return True
    if not data.startswith(b"PAR1"):
        return False
    try:
        names = pq.read_schema(io.BytesIO(data)).names
    except (pa.ArrowException, OSError):
        return False
    return set(INTERVAL_SCHEMA.names) <= set(names)


def read_own_table(
    data: bytes, source: str, *, policy: Policy, captured_at: datetime, sha256: str
) -> ImportResult:
    """Read a table that `csv_write` or `parquet_write` wrote.

    Parameters
    ----------
    captured_at:
        When the CSV was obtained; a Parquet file says it for every block.

    Returns
    -------
    ImportResult
        Blocks as delivered, whatever they were when they were exported: who validated them, and from what,
        is not taken over.
    """
    log = DiagnosticLog(policy)
    parquet = data.startswith(b"PAR1")
    found: list[_Found] = []
    try:
        blocks = _parquet(data, source, sha256) if parquet else _csv(data, source, sha256, captured_at, log)
        found += blocks
    except (pa.ArrowException, OSError, OpenAmiError, ValueError) as fault:
        log.error(None, "unreadable_table", f"cannot be read: {fault}", "a table as `ami export` writes it")
    return ImportResult(
        "parquet" if parquet else "csv",
        source,
        sha256,
        intervals=tuple(block for block, _ in found),
        evidence=tuple(item for _, item in found),
        diagnostics=log.listed(),
        readings=sum(len(block.values) for block, _ in found),
    )


def _parquet(data: bytes, source: str, sha256: str) -> Iterator[_Found]:
    table = pq.read_table(io.BytesIO(data)).select(INTERVAL_SCHEMA.names).cast(INTERVAL_SCHEMA)
    for row, block in enumerate(blocks_from_table(table), 1):
        content = orjson.dumps({"block_id": block.block_id, "rule": block.rule, "sources": block.sources})
        evidence = Evidence("file", source, f"row {row}", content, sha256, block.captured_at)
        yield _delivered(block, evidence), evidence


def _delivered(block: IntervalBlock, evidence: Evidence) -> IntervalBlock:
    """A block as if a meter had delivered it: nobody's judgement of it is taken over."""
    return replace(
        block, evidence_id=evidence.evidence_id, sources=(), failed_checks=0, rule=None, actor=None, why=None,
        version=0, seq=0, block_id="",
    )  # fmt: skip


def _csv(
    data: bytes, source: str, sha256: str, captured_at: datetime, log: DiagnosticLog
) -> Iterator[_Found]:
    types = dict.fromkeys(_COLUMNS, pa.string()) | {"interval_s": pa.int32()}
    options = pacsv.ConvertOptions(
        column_types=types, include_columns=_COLUMNS, strings_can_be_null=False, null_values=[]
    )
    table = pacsv.read_csv(io.BytesIO(data), convert_options=options).combine_chunks()
    if table.num_rows == 0:
        log.error(2, "no_rows", "the table has no rows", "a row a reading")
        return
    starts = np.array(pc.replace_substring(table["start"], "Z", "").to_pylist(), "datetime64[s]")
    days = _civil_days(starts, table["zone"].to_pylist())
    places = _decimals(table)
    lines = data.split(b"\n")
    for first, last in pairwise(_bounds(table, days)):
        rows = table.slice(first, last - first)
        try:
            here = (rows["series"][0].as_py(), rows["channel"][0].as_py())
            block = _block(rows, starts[first:last], days[first], places[here], captured_at)
        except (OpenAmiError, ValueError) as fault:
            log.error(first + 2, "bad_block", f"{fault}", "a whole civil day of one channel, in order")
            continue
        content = b"\n".join(lines[first + 1 : last + 1])
        evidence = Evidence("file", source, f"lines {first + 2}-{last + 1}", content, sha256, captured_at)
        yield _delivered(block, evidence), evidence


def _bounds(table: pa.Table, days: list[date]) -> list[int]:
    """Rows at which another series, channel, interval, unit, zone or day begins, and the end."""
    changes = np.zeros(table.num_rows, np.bool_)
    changes[0] = True
    for name in ("series", "channel", "interval_s", "unit", "zone"):
        codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        changes[1:] |= codes[1:] != codes[:-1]
    numbers = np.array(days, "datetime64[D]")
    changes[1:] |= numbers[1:] != numbers[:-1]
    return [*np.flatnonzero(changes).tolist(), table.num_rows]


def _civil_days(starts: Instants, zones: list[str]) -> list[date]:
    return [
        start.replace(tzinfo=UTC).astimezone(zone_of(zone)).date()
        for start, zone in zip(starts.tolist(), zones, strict=True)
    ]


def _decimals(table: pa.Table) -> dict[tuple[str, str], int]:
    """Most decimals that any value of a series and channel has: its quantum holds all of them."""
    texts = table["value"]
    point = pc.find_substring(texts, ".")
    places = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(pc.utf8_length(texts), point), 1))
    grouped = pa.table({"series": table["series"], "channel": table["channel"], "places": places})
    most = grouped.group_by(["series", "channel"]).aggregate([("places", "max")])
    return {(row["series"], row["channel"]): row["places_max"] for row in most.to_pylist()}


def _block(rows: pa.Table, starts: Instants, day: date, places: int, captured_at: datetime) -> IntervalBlock:
    """One civil day of one channel.

    Raises
    ------
    OpenAmiError
        The rows are not the day's intervals in order, or a field says nothing known.
    """
    head = {name: rows[name][0].as_py() for name in _COLUMNS}
    civil = CivilDay(day, head["zone"])
    interval_s = head["interval_s"]
    count = civil.interval_count(interval_s)
    begin = np.datetime64(civil.start.replace(tzinfo=None), "s")
    expected = begin + np.arange(count) * np.timedelta64(interval_s, "s")
    if len(starts) != count or (starts != expected).any():
        raise QuantityError(f"{len(starts)} rows of {head['series']} on {day} are not its {count} intervals")
    status = np.array([_status_id(text) for text in rows["status"].to_pylist()], np.int32)
    texts = rows["value"].to_pylist()
    if any(
        (text == "") != (quality == Quality.NULL) for text, quality in zip(texts, status & 7, strict=True)
    ):
        raise QuantityError(f"status and value of {head['series']} on {day} disagree on what is missing")
    return IntervalBlock(
        series_id=head["series"],
        channel=ObisCode.parse(head["channel"]),
        day=civil,
        interval_s=interval_s,
        quantum=Quantum(Unit(head["unit"]), -places),
        values=np.array([_count(text, places) for text in texts], np.int64),
        captured_at=captured_at,
        status=status,
    )


def _count(text: str, places: int) -> int:
    """A decimal as an integer count of ``10**-places``; nothing is 0."""
    if not text:
        return 0
    mantissa, decimals = parse_number(text.encode())
    shift: int = 10 ** (places - decimals)
    return mantissa * shift


@lru_cache(maxsize=1024)
def _status_id(text: str) -> int:
    """Status id of ``A``, ``S14`` or ``N``."""
    if not text:
        raise QuantityError("a reading without a status", expected="A, S14, N, ...")
    return Status(Quality.from_letter(text[0]), int(text[1:] or 0)).id
