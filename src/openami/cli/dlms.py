"""`ami dlms`: read, set and explain any DLMS/COSEM meter; the metering engineer's pocket tool."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from openami.cli.dlms_access import MeterOptions, with_meter, zone
from openami.cli.dlms_clock import clock
from openami.cli.dlms_decode import decode
from openami.cli.dlms_image import image
from openami.cli.dlms_keys import commands as key_commands
from openami.cli.dlms_models import models
from openami.cli.dlms_profile import profile
from openami.cli.dlms_push import push_listen
from openami.cli.dlms_serve import serve
from openami.cli.dlms_talk import meter_document, name_of, talk, title_of_meter
from openami.cli.output import JsonOption, print_json, print_table, stdout
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.attribute_value import (
    AttributeValue,
    Value,
    plain_text,
)
from openami.protocols.dlms.encoding.axdr import BitString, Data
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.encoding.typed_value import data_of_text, tag_named
from openami.protocols.dlms.interface_classes.class_names import class_name
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode

if TYPE_CHECKING:
    from openami.headend.dlms_meter import Meter

commands = typer.Typer(
    help="Talk DLMS/COSEM to a meter, listen to its pushes, explain its bytes.\n\n"
    "Example: ami dlms read 127.0.0.1:4059 1-0:1.8.0 --server 16 --password 00000000"
)
commands.command("decode")(decode)
commands.command("push-listen")(push_listen)
commands.command("serve")(serve)
commands.command("profile")(profile)
commands.command("image")(image)
commands.command("clock")(clock)
commands.command("models")(models)
commands.add_typer(key_commands, name="keys")

AttributeOption = Annotated[
    int,
    typer.Option(
        "--attribute",
        "-a",
        help="Number of the attribute; negative ones are the manufacturer's.",
        min=-128,
        max=127,
    ),
]
ClassOption = Annotated[
    int | None,
    typer.Option(
        "--class", "-c", help="Interface class; found in the object list without.", min=0, max=65535
    ),
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

    Example: ami dlms read 127.0.0.1:4059 1-0:1.8.0 0-0:1.0.0 --server 16 --password 00000000
    """
    codes = [ObisCode.parse(name) for name in names]

    async def ask(meter: Meter) -> list[_Read]:
        found: list[_Read] = []
        for code in codes:
            try:
                await meter.attribute(code, attribute, class_id=class_id)
            except LocalProtocolError as unknown:
                if len(codes) == 1:
                    raise
                found.append(unknown)
            else:
                found.append(None)
        known = [code for code, error in zip(codes, found, strict=True) if error is None]
        values = iter(await meter.read_many(known, attribute, class_id=class_id))
        return [next(values) if error is None else error for error in found]

    values = talk(options, ask, json=json)
    refused = any(not isinstance(value, AttributeValue) for value in values)
    if json:
        shown = [_value_document(code, value) for code, value in zip(codes, values, strict=True)]
        print_json({"meter": meter_document(options), "values": shown})
    else:
        rows = [_value_row(code, value) for code, value in zip(codes, values, strict=True)]
        print_table(title_of_meter(options), ("obis", "name", "class", "value", "at", "status"), rows)
    if refused:
        raise typer.Exit(1)


@commands.command("objects")
@with_meter
def objects(options: MeterOptions, json: JsonOption = False) -> None:
    """List the objects that this client sees, with what it may do.

    Example: ami dlms objects 127.0.0.1:4059 --server 16 --password 00000000
    """
    listed = talk(options, lambda meter: meter.objects(), json=json)
    if json:
        print_json(
            {
                "meter": meter_document(options),
                "objects": [
                    {
                        "obis": str(item.logical_name),
                        "name": name_of(item.logical_name),
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
        title_of_meter(options),
        ("obis", "name", "class", "version", "attributes", "methods"),
        [
            (
                str(item.logical_name),
                name_of(item.logical_name),
                class_name(item.class_id),
                str(item.version),
                " ".join(f"{right.index}:{right.right.text}" for right in item.attributes),
                " ".join(str(method.index) for method in item.methods if method.allowed),
            )
            for item in listed
        ],
    )


@commands.command("set")
@with_meter
def set_value(
    options: MeterOptions,
    name: Annotated[str, typer.Argument(metavar="OBIS", help="Logical name.")],
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE", help="Number, text, hex:..., time:2026-10-25T12:00+01:00 or axdr:..."
        ),
    ],
    attribute: AttributeOption = 2,
    class_id: ClassOption = None,
    type_name: TypeOption = None,
    json: JsonOption = False,
) -> None:
    """Set an attribute; without --type the value takes the type of what is there.

    Octets are text, hex:0102 or time:2026-10-25T12:00+01:00 (without offset in --zone), anything else is
    axdr: and its encoding. Negative numbers stand behind two dashes: -- -5. Exit code 1 when the meter
    refused.

    Example: ami dlms set 127.0.0.1:4059 0-0:1.0.0 time:2026-10-25T12:00+01:00 --server 16 --password 00000000
    """
    code = ObisCode.parse(name)
    given: Data | None = None
    if type_name is not None or value.startswith("axdr:"):
        given = data_of_text(value, tag_named(type_name or "octet-string"), zone(options) or UTC)

    async def change(meter: Meter) -> None:
        target = await meter.attribute(code, attribute, class_id=class_id)
        data = given or data_of_text(value, (await meter.typed(target)).tag, zone(options) or UTC)
        await meter.set(code, data, attribute, class_id=target.class_id)

    talk(options, change, json=json)
    if json:
        print_json(
            {"meter": meter_document(options), "obis": str(code), "attribute": attribute, "result": "success"}
        )
    else:
        stdout.print(f"{code} attribute {attribute} is set", markup=False)


@commands.command("action")
@with_meter
def action(
    options: MeterOptions,
    name: Annotated[str, typer.Argument(metavar="OBIS", help="Logical name.")],
    method: Annotated[int, typer.Argument(metavar="METHOD", help="Number of the method.", min=-128, max=127)],
    value: Annotated[
        str | None,
        typer.Argument(metavar="[VALUE]", help="Its parameter, written as for set; integer 0 without."),
    ] = None,
    class_id: ClassOption = None,
    type_name: TypeOption = None,
    json: JsonOption = False,
) -> None:
    """Run a method; a number is an integer without --type. Exit code 1 when the meter refused.

    Negative numbers stand behind two dashes: -- -5.

    Example: ami dlms action 127.0.0.1:4059 0-0:96.3.10 1 0 --server 16 --password 00000000
    """
    code = ObisCode.parse(name)
    parameter: Data | None = None
    if value is not None:
        parameter = data_of_text(value, tag_named(type_name or "integer"), zone(options) or UTC)
    returned = talk(
        options, lambda meter: meter.action(code, method, parameter, class_id=class_id), json=json
    )
    if json:
        document = {
            "meter": meter_document(options),
            "obis": str(code),
            "method": method,
            "result": "success",
        }
        print_json({**document, "returned": json_value(returned)})
    else:
        stdout.print(f"{code} method {method}: {plain_text(returned)}", markup=False)


# --- pieces -------------------------------------------------------------------------------------------


_Read: TypeAlias = AttributeValue | AccessError | LocalProtocolError | None
"""What came of a name; None while it was not asked for yet."""


def json_value(value: Value) -> Any:
    """A plain value as JSON: octets in hexadecimal digits, decimals as text."""
    match value:
        case list() | tuple():
            return [json_value(item) for item in value]
        case BitString() | CosemDateTime():
            return plain_text(value)
    return value


def _value_document(code: ObisCode, value: _Read) -> dict[str, object]:
    if isinstance(value, AccessError):
        result = value.result.name.lower().replace("_", "-")
        return {"obis": str(code), "name": name_of(code), "result": result}
    if not isinstance(value, AttributeValue):
        return {"obis": str(code), "name": name_of(code), "result": "not-asked", "reason": _reason(value)}
    return {
        "obis": str(code),
        "name": name_of(code),
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


def _reason(error: LocalProtocolError | None) -> str:
    return "" if error is None else error.message


def _value_row(code: ObisCode, value: _Read) -> tuple[str, ...]:
    if isinstance(value, AccessError):
        return str(code), name_of(code), "", f"refused: {value.message}", "", ""
    if not isinstance(value, AttributeValue):
        return str(code), name_of(code), "", f"not asked: {_reason(value)}", "", ""
    return (
        str(code),
        name_of(code),
        class_name(value.attribute.class_id),
        value.text + (" (scaler unknown)" if value.quality.value == "unscaled" else ""),
        "" if value.captured_at is None else plain_text(value.captured_at),
        "" if value.status is None else plain_text(value.status),
    )
