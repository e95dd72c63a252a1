"""`ami dlms profile`: rows of a profile, for people, as JSON, or in a file.

Rule of this file: what is read by people or without metadata (the table, JSON, CSV) holds exact decimals in
the unit of the column; raw counts go only where scaler and unit go with them (Parquet, Arrow).
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from openami.cli.dlms_access import MeterOptions, with_meter, zone
from openami.cli.dlms_talk import meter_document, name_of, talk, title_of_meter
from openami.cli.output import JsonOption, print_json, print_table, stdout
from openami.cli.whole_file import check_place, whole_file
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.attribute_value import plain_text
from openami.protocols.dlms.encoding.scaler_unit import NO_UNIT, ScalerUnit
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode

if TYPE_CHECKING:
    import pyarrow as pa

    from openami.headend.dlms_meter import Meter

_KINDS: Final = (".parquet", ".arrow", ".csv")
_NO_PROFILE: Final = (AccessResult.OBJECT_UNDEFINED, AccessResult.OBJECT_CLASS_INCONSISTENT)
_MAX_ENTRY: Final = 0xFFFF_FFFF


@with_meter
def profile(
    options: MeterOptions,
    name: Annotated[str, typer.Argument(metavar="OBIS", help="Logical name of the profile.")] = "1-0:99.1.0",
    first: Annotated[
        str | None, typer.Option("--from", help="Rows captured from here on, as 2026-10-25 or with a time.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="Rows captured until here, included.")] = None,
    entries: Annotated[
        str | None, typer.Option(help="Rows by number instead, as 1:96; 0 as the last is the highest.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .parquet or .arrow (counts, scaler and unit), .csv (in units)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Read a profile: rows with their times, values in their units, exact.

    Times without an offset are civil times of --zone (UTC without it). Exit code 1 when the meter refused.

    Example: ami dlms profile 127.0.0.1:4059 1-0:99.1.0 --server 16 --password 00000000 --entries 1:8
    """
    bounds = _bound(first, options, "--from"), _bound(last, options, "--to")
    if bounds[0] is not None and bounds[1] is not None and bounds[1] < bounds[0]:
        raise FormatError(f"{last} lies before {first}", where="--to", expected="a time after --from")
    if entries is not None and bounds != (None, None):
        raise FormatError("rows by time and by number", where="--entries", expected="one of the two")
    numbered = None if entries is None else _entries(entries)
    code = ObisCode.parse(name)
    if out is not None:
        _check_file(out)

    async def read(meter: Meter) -> pa.Table:
        try:
            return await meter.profile(code, *bounds, entries=numbered)
        except AccessError as refused:
            if refused.result in _NO_PROFILE:
                refused.expected = "a profile (class 7) that this client sees, see `ami dlms objects`"
            raise

    table = talk(options, read, json=json)
    if out is not None:
        with whole_file(out) as fresh:
            _write(table, fresh, out.suffix.lower())
    columns = _columns(table)
    if json:
        facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        document = {
            "meter": meter_document(options),
            **facts,
            "capture_period_s": int(facts["capture_period_s"]),
            "columns": columns,
            "rows": [] if out else _rows_in_units(table, columns),
            "row_count": table.num_rows,
            "file": out,
        }
        print_json(document)
    elif out is not None:
        stdout.print(f"{table.num_rows} rows in {out}", markup=False)
    else:
        heads = [column["name"] + (f" {column['unit']}" if column.get("unit") else "") for column in columns]
        rows = _rows_of_text(table, columns, zone(options))
        print_table(f"{title_of_meter(options)}: {code} {name_of(code)}", heads, rows)


# --- what is asked for --------------------------------------------------------------------------------


def _bound(text: str | None, options: MeterOptions, where: str) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
        aware = instant if instant.tzinfo else instant.replace(tzinfo=zone(options) or UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        raise FormatError(f"{text!r} is no time", where=where, expected="2026-10-25T00:15+02:00") from None


def _entries(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    if first.isdecimal() and (last or "0").isdecimal():
        numbers = int(first), int(last or 0)
        if 0 < numbers[0] <= _MAX_ENTRY and (numbers[1] == 0 or numbers[0] <= numbers[1] <= _MAX_ENTRY):
            return numbers
    raise FormatError(
        f"{text!r} names no rows", where="--entries", expected="1:96, counted from 1, or 1:0 for all"
    )


def _check_file(out: Path) -> None:
    """Fail before the meter is asked, not after it."""
    if out.suffix.lower() not in _KINDS:
        kind = f"a file of the kind {out.suffix!r}" if out.suffix else "a file of no kind"
        raise FormatError(kind, where=f"--out {out}", expected=", ".join(_KINDS))
    check_place(out)


# --- what is shown ------------------------------------------------------------------------------------


def _columns(table: pa.Table) -> list[dict[str, Any]]:
    """Names, types and metadata of the columns."""
    return [
        {
            "name": column.name,
            "type": str(column.type),
            **{key.decode(): value.decode() for key, value in (column.metadata or {}).items()},
        }
        for column in table.schema
    ]


def _in_unit(value: Any, column: dict[str, Any]) -> Any:
    """A count of a scaled column as exact decimal text; everything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or column.get("scaler", "0") == "0":
        return value
    return f"{ScalerUnit(int(column['scaler']), NO_UNIT).scaled(value):f}"


def _rows_in_units(table: pa.Table, columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {column["name"]: _in_unit(row[column["name"]], column) for column in columns}
        for row in table.to_pylist()
    ]


def _rows_of_text(
    table: pa.Table, columns: list[dict[str, Any]], shown_zone: tzinfo | None
) -> list[list[str]]:
    """Rows for people: local times where the zone is known."""

    def text(value: Any, column: dict[str, Any]) -> str:
        if isinstance(value, datetime):
            local = value.astimezone(shown_zone) if shown_zone else value
            return local.isoformat(" ", "seconds")
        return plain_text(_in_unit(value, column))

    return [[text(row[column["name"]], column) for column in columns] for row in table.to_pylist()]


# --- files --------------------------------------------------------------------------------------------


def _write(table: pa.Table, out: Path, kind: str) -> None:
    import pyarrow.feather
    import pyarrow.parquet

    if kind == ".parquet":
        pyarrow.parquet.write_table(table, out)
    elif kind == ".arrow":
        pyarrow.feather.write_feather(table, out, compression="uncompressed")
    else:
        _write_csv(table, out)


def _write_csv(table: pa.Table, out: Path) -> None:
    """A head with units, then the rows: times in UTC, octets as hex digits, nothing where there is none."""
    import csv

    columns = _columns(table)

    def cell(value: Any) -> str:
        if isinstance(value, datetime):
            return value.replace(tzinfo=None).isoformat() + "Z"
        return "" if value is None else value.hex() if isinstance(value, bytes) else str(value)

    with out.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(
            column["name"] + (f" [{column['unit']}]" if column.get("unit") else "") for column in columns
        )
        for row in _rows_in_units(table, columns):
            lines.writerow(cell(value) for value in row.values())
