"""`ami dlms`: read, set and explain any DLMS/COSEM meter; the metering engineer's pocket tool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from openami.cli.dlms_access import MeterOptions, meter_of, with_meter, zone
from openami.cli.dlms_decode import decode
from openami.cli.dlms_models import models
from openami.cli.dlms_push import push_listen
from openami.cli.dlms_serve import serve
from openami.cli.output import JsonOption, print_json, print_table, stdout
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.attribute_value import AttributeValue, Value, plain_text
from openami.protocols.dlms.encoding.axdr import BitString, Data
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.typed_value import data_of_text, tag_named
from openami.protocols.dlms.interface_classes.class_names import class_name
from openami.quantities.errors import FormatError, QuantityError
from openami.quantities.obis import ObisCode, lookup

if TYPE_CHECKING:
    import pyarrow as pa

    from openami.headend.dlms_meter import Meter

T = TypeVar("T")

commands = typer.Typer(
    help="Talk DLMS/COSEM to a meter, listen to its pushes, explain its bytes.\n\n"
    "Example: ami dlms read 10.0.0.7 1.0.1.8.0.255 --server 16 --ask-password"
)
commands.command("decode")(decode)
commands.command("push-listen")(push_listen)
commands.command("serve")(serve)
commands.command("models")(models)

AttributeOption = Annotated[int, typer.Option("--attribute", "-a", help="Number of the attribute.")]
ClassOption = Annotated[
    int | None, typer.Option("--class", "-c", help="Interface class; found in the object list without.")
]
TypeOption = Annotated[
    str | None, typer.Option("--type", "-t", help="Type of the value, as long-unsigned.")
]  # fmt: skip


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.add_typer(commands, name="dlms")


@commands.command("read")
@with_meter
def read(
    options: MeterOptions,
    names: Annotated[list[str], typer.Argument(metavar="OBIS...", help="Logical names, as 1.0.1.8.0.255.")],
    attribute: AttributeOption = 2,
    class_id: ClassOption = None,
    json: JsonOption = False,
) -> None:
    """Read attributes: value with unit, raw value, class, status and time.

    Exit code 1 when the meter refused one.

    Example: ami dlms read 127.0.0.1:4059 1-0:1.8.0 0-0:1.0.0 --server 16 --ask-password
    """
    codes = [ObisCode.parse(name) for name in names]
    values = _talk(options, lambda meter: meter.read_many(codes, attribute, class_id=class_id))
    refused = any(isinstance(value, AccessError) for value in values)
    if json:
        shown = [_value_document(code, value) for code, value in zip(codes, values, strict=True)]
        print_json({"meter": _where(options), "values": shown})
    else:
        rows = [_value_row(code, value) for code, value in zip(codes, values, strict=True)]
        print_table(_title(options), ("obis", "name", "class", "value", "at", "status"), rows)
    if refused:
        raise typer.Exit(1)


@commands.command("objects")
@with_meter
def objects(options: MeterOptions, json: JsonOption = False) -> None:
    """List the objects that this client sees, with what it may do.

    Example: ami dlms objects 127.0.0.1:4059 --server 16 --ask-password
    """
    listed = _talk(options, lambda meter: meter.objects())
    if json:
        print_json(
            {
                "meter": _where(options),
                "objects": [
                    {
                        "obis": str(item.logical_name),
                        "name": _name(item.logical_name),
                        "class": item.class_id,
                        "version": item.version,
                        "attributes": {right.index: right.right.text for right in item.attributes},
                        "selectors": {
                            right.index: right.selectors for right in item.attributes if right.selectors
                        },
                        "methods": [method.index for method in item.methods if method.allowed],
                    }
                    for item in listed
                ],
            }
        )
        return
    print_table(
        _title(options),
        ("obis", "name", "class", "version", "attributes", "methods"),
        [
            (
                str(item.logical_name),
                _name(item.logical_name),
                class_name(item.class_id),
                str(item.version),
                " ".join(f"{right.index}:{right.right.text}" for right in item.attributes),
                " ".join(str(method.index) for method in item.methods if method.allowed),
            )
            for item in listed
        ],
    )


@commands.command("profile")
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
        Path | None, typer.Option(help="Write a .parquet, .arrow or .csv file with raw counts.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Read a profile: rows with their times, values in their units.

    Times without an offset are civil times of --zone (UTC without it).

    Example: ami dlms profile 127.0.0.1:4059 1-0:99.1.0 --server 16 --from 2026-10-25 --to 2026-10-26
    """
    bounds = _bound(first, options, "--from"), _bound(last, options, "--to")
    numbered = None if entries is None else _entries(entries)
    code = ObisCode.parse(name)
    table = _talk(options, lambda meter: meter.profile(code, *bounds, entries=numbered))
    if out is not None:
        _write(table, out)
    columns = _columns(table)
    if json:
        facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        print_json(
            {
                "meter": _where(options),
                **facts,
                "capture_period_s": int(facts["capture_period_s"]),
                "columns": columns,
                "rows": [] if out else table.to_pylist(),
                "row_count": table.num_rows,
                "file": out,
            }
        )
        return
    if out is not None:
        stdout.print(f"{table.num_rows} rows in {out}", markup=False)
        return
    heads = [column["name"] + (f" {column['unit']}" if column.get("unit") else "") for column in columns]
    print_table(f"{_title(options)}: {code} {_name(code)}", heads, _scaled_rows(table, columns, options))


@commands.command("set")
@with_meter
def set_value(
    options: MeterOptions,
    name: Annotated[str, typer.Argument(metavar="OBIS", help="Logical name.")],
    value: Annotated[
        str,
        typer.Argument(metavar="VALUE", help="Number, text, hex:..., time:2026-10-25T12:00+01:00, axdr:..."),
    ],
    attribute: AttributeOption = 2,
    class_id: ClassOption = None,
    type_name: TypeOption = None,
    json: JsonOption = False,
) -> None:
    """Set an attribute; without --type the value takes the type of what is there.

    Example: ami dlms set 127.0.0.1:4059 0-0:1.0.0 time:2026-10-25T12:00+01:00 --server 16 --ask-password
    """
    code = ObisCode.parse(name)

    async def change(meter: Meter) -> None:
        target = await meter.attribute(code, attribute, class_id=class_id)
        kind = (await meter.typed(target)).tag if type_name is None else tag_named(type_name)
        data = data_of_text(value, kind, zone(options) or UTC)
        await meter.set(code, data, attribute, class_id=target.class_id)

    _talk(options, change)
    if json:
        print_json({"meter": _where(options), "obis": str(code), "attribute": attribute, "result": "success"})
    else:
        stdout.print(f"{code} attribute {attribute} is set", markup=False)


@commands.command("action")
@with_meter
def action(
    options: MeterOptions,
    name: Annotated[str, typer.Argument(metavar="OBIS", help="Logical name.")],
    method: Annotated[int, typer.Argument(metavar="METHOD", help="Number of the method.")],
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="Its parameter.")] = None,
    class_id: ClassOption = None,
    type_name: TypeOption = None,
    json: JsonOption = False,
) -> None:
    """Run a method; a number is an integer without --type.

    Example: ami dlms action 127.0.0.1:4059 0-0:96.3.10 1 0 --server 16 --ask-password
    """
    code = ObisCode.parse(name)
    parameter: Data | None = None
    if value is not None:
        parameter = data_of_text(value, tag_named(type_name or "integer"), zone(options) or UTC)
    returned = _talk(options, lambda meter: meter.action(code, method, parameter, class_id=class_id))
    if json:
        document = {"meter": _where(options), "obis": str(code), "method": method, "result": "success"}
        print_json({**document, "returned": json_value(returned)})
    else:
        stdout.print(f"{code} method {method}: {plain_text(returned)}", markup=False)


# --- pieces -------------------------------------------------------------------------------------------


def _talk(options: MeterOptions, ask: Callable[[Meter], Awaitable[T]]) -> T:
    """Open the meter, ask, release."""

    async def talk(meter: Meter) -> T:
        async with meter:
            return await ask(meter)

    with meter_of(options) as meter:
        return asyncio.run(talk(meter))


def _where(options: MeterOptions) -> dict[str, object]:
    return {"address": options.host, "logical_device": options.server, "transport": options.transport}


def _title(options: MeterOptions) -> str:
    return f"{options.host}, logical device {options.server}"


def _name(code: ObisCode) -> str:
    try:
        return lookup(code).name_en
    except QuantityError:
        return ""


def json_value(value: Value) -> Any:
    """A plain value as JSON: octets in hexadecimal digits, decimals as text."""
    match value:
        case list() | tuple():
            return [json_value(item) for item in value]
        case BitString() | CosemDateTime():
            return plain_text(value)
    return value


def _value_document(code: ObisCode, value: AttributeValue | AccessError) -> dict[str, object]:
    if isinstance(value, AccessError):
        return {
            "obis": str(code),
            "name": _name(code),
            "result": value.result.name.lower().replace("_", "-"),
        }
    return {
        "obis": str(code),
        "name": _name(code),
        "class": value.attribute.class_id,
        "attribute": value.attribute.index,
        "result": "success",
        "raw": json_value(value.raw),
        "value": json_value(value.value),
        "text": value.text,
        "unit": value.unit,
        "scaler": value.scaler,
        "quality": value.quality,
        "status": json_value(value.status),
        "captured_at": json_value(value.captured_at),
    }


def _value_row(code: ObisCode, value: AttributeValue | AccessError) -> tuple[str, ...]:
    if isinstance(value, AccessError):
        return str(code), _name(code), "", f"refused: {value.message}", "", ""
    return (
        str(code),
        _name(code),
        class_name(value.attribute.class_id),
        value.text + (" (scaler unknown)" if value.quality.value == "unscaled" else ""),
        "" if value.captured_at is None else plain_text(value.captured_at),
        "" if value.status is None else plain_text(value.status),
    )


def _bound(text: str | None, options: MeterOptions, where: str) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise FormatError(f"{text!r} is no time", where=where, expected="2026-10-25T00:15+02:00") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=zone(options) or UTC)


def _entries(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    if not first.isdecimal() or not (last or "0").isdecimal():
        raise FormatError(f"{text!r} names no rows", where="--entries", expected="1:96")
    return int(first), int(last or 0)


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


def _scaled_rows(table: pa.Table, columns: list[dict[str, Any]], options: MeterOptions) -> list[list[str]]:
    """Rows for people: local times where the zone is known, counts in their unit."""
    from openami.protocols.dlms.encoding.scaler_unit import ScalerUnit

    shown_zone = zone(options)

    def text(value: Any, column: dict[str, Any]) -> str:
        if isinstance(value, datetime):
            local = value.astimezone(shown_zone) if shown_zone else value
            return local.isoformat(" ", "seconds")
        if isinstance(value, int) and "scaler" in column:
            return f"{ScalerUnit(int(column['scaler']), 255).scaled(value):f}"
        return plain_text(value)

    return [[text(row[column["name"]], column) for column in columns] for row in table.to_pylist()]


def _write(table: pa.Table, out: Path) -> None:
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    match out.suffix.lower():
        case ".parquet":
            pyarrow.parquet.write_table(table, out)
        case ".arrow":
            pyarrow.feather.write_feather(table, out, compression="uncompressed")
        case ".csv":
            pyarrow.csv.write_csv(table, out)
        case suffix:
            raise FormatError(f"files {suffix!r}", where=str(out), expected=".parquet, .arrow or .csv")
