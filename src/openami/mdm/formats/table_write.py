"""Blocks to a CSV table (a row a reading) and to Parquet (a row a block, the columns of the store).

The CSV names UTC instants, so days of 23 and 25 hours need no rule. The rule never to be broken: a missing
value is an empty field, never a zero.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from openami.mdm.formats.nem12_write import decimal_texts
from openami.quantities.status import Status
from openami.readings.interval_block import IntervalBlock, blocks_to_table

CSV_HEADER = "series,channel,start,interval_s,value,unit,status,zone"
"""Columns of `csv_write`: ``start`` is UTC, ``value`` in the unit, ``status`` as ``A``, ``S14`` or ``N``.

``zone`` is the one whose civil days the readings are kept in."""


def csv_write(blocks: Iterable[IntervalBlock]) -> bytes:
    """CSV table of interval blocks, UTF-8, a row a reading; see `CSV_HEADER`."""
    out = io.StringIO(newline="")
    out.write(CSV_HEADER + "\n")
    names: dict[int, str] = {}
    for block in blocks:
        ids = block.status_ids.tolist()
        for status_id in set(ids) - names.keys():
            names[status_id] = str(Status.from_id(status_id))
        head = f"{_quoted(block.series_id)},{block.channel},"
        tail = f",{block.quantum.unit.value},"
        start, step = (
            block.day.start.astimezone(UTC).replace(tzinfo=None),
            timedelta(seconds=block.interval_s),
        )
        texts = decimal_texts(block.values, block.quantum.exponent)
        missing = block.missing.tolist()
        for index, text in enumerate(texts):
            value = "" if missing[index] else text
            at = (start + index * step).isoformat(sep="T", timespec="seconds")
            out.write(f"{head}{at}Z,{block.interval_s},{value}{tail}{names[ids[index]]},{block.day.zone}\n")
    return out.getvalue().encode("utf-8")


def csv_mapping(zone: str, interval_s: int, channel: str, unit: str) -> str:
    """Mapping (TOML) that reads one channel of a file of `csv_write` back."""
    return (
        f'name = "openami"\nlayout = "long"\nzone = "{zone}"\ninterval_s = {interval_s}\n'
        '[time]\ncolumn = "start"\nformat = "%Y-%m-%dT%H:%M:%S%z"\nclock = "UTC"\nnames = "start"\n'
        '[series]\ncolumn = "series"\n[values]\nnull = [""]\nfiner = "refine"\n'
        f'[[channel]]\nobis = "{channel}"\ncolumn = "value"\nunit = "{unit}"\nquantum = "{unit}"\n'
    )


def parquet_write(blocks: Iterable[IntervalBlock], path: Path) -> int:
    """Write interval blocks to a Parquet file with the columns of the store; returns their number."""
    table = blocks_to_table(blocks)
    pq.write_table(table, path, compression="zstd")
    return int(table.num_rows)


def _quoted(text: str) -> str:
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
