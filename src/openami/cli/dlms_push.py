"""`ami dlms push-listen`: what meters send unasked, as JSON lines."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import orjson
import typer

from openami.cli.dlms_access import (
    PROTECTIONS,
    GakOption,
    GuekOption,
    KeyringOption,
    QuirkOption,
    keys_of,
    opened_keyring,
)
from openami.cli.output import JsonOption, plain, stderr
from openami.headend.push_keys import PushKeys
from openami.headend.push_listener import KeysOf, Push, PushFault, PushListener
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.client.attribute_value import plain_text
from openami.protocols.dlms.client.vendor_quirks import quirks_named
from openami.protocols.dlms.encoding.axdr import BitString, Plain
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.quantities.clock import SystemClock
from openami.quantities.errors import FormatError, ProtectionError
from openami.security.counters import CounterStore
from openami.security.meter_keys import MeterKeys


def push_listen(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 4059,
    transport: Annotated[str, typer.Option(help="tcp, udp or both (one port).")] = "tcp",
    guek: GuekOption = None,
    gak: GakOption = None,
    suite_number: Annotated[int, typer.Option("--suite", help="Security suite: 0, 1 or 2.")] = 0,
    keyring: KeyringOption = None,
    protection: Annotated[
        str, typer.Option(help="What a push must have: none, authentication, encryption or both.")
    ] = "none",
    quirk: QuirkOption = "standard",
    count: Annotated[int, typer.Option(help="End after so many; 0 goes on until ctrl-c.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Print each notification as one JSON line: meter, time, value, frames; what is wrong goes to stderr.

    One whose keys are not known, or whose counter was used before, is printed undeciphered with the reason.
    Keys are those that the meters of a keyring have now, by system title, or one pair for every meter. With
    --json the first line says where it listens.

    Example: ami dlms push-listen --port 4059 --transport both --keyring ami-data
    """
    if transport not in ("tcp", "udp", "both"):
        raise FormatError(f"transport {transport!r}", where="--transport", expected="tcp, udp or both")
    if protection not in PROTECTIONS:
        raise FormatError(f"protection {protection!r}", where="--protection", expected=", ".join(PROTECTIONS))
    one = keys_of(guek, gak, suite_number)
    if keyring is None:
        _listen(
            host, port, transport, lambda title: one, lambda title: (), None, protection, quirk, count, json
        )
        return
    with opened_keyring(keyring) as ring:
        keys = PushKeys(ring, one)
        _listen(host, port, transport, keys.in_use, keys.on_their_way, ring, protection, quirk, count, json)


def _listen(
    host: str,
    port: int,
    transport: str,
    keys: KeysOf,
    on_their_way: Callable[[bytes], Sequence[MeterKeys]],
    counters: CounterStore | None,
    protection: str,
    quirk: str,
    count: int,
    json: bool,
) -> None:
    async def listen() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        heard = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)

        def told(push: Push) -> None:
            nonlocal heard
            if not count or heard < count:
                typer.echo(orjson.dumps(_document(push), default=plain).decode())
                heard += 1
            if count and heard >= count:
                ended.set()

        listener = PushListener(
            told,
            SystemClock(),
            keys=keys,
            on_their_way=on_their_way,
            on_fault=_complain,
            minimum=PROTECTIONS[protection],
            counters=counters,
            quirks=quirks_named(quirk),
        )
        try:
            bound = port
            if transport != "udp":
                bound = await listener.start_tcp(host, port)
            if transport != "tcp":
                bound = await listener.start_udp(host, bound)
            if json:
                typer.echo(orjson.dumps({"host": host, "port": bound, "transport": transport}).decode())
            else:
                stderr.print(f"listening on {host}:{bound}, {transport}  (ctrl-c ends it)", markup=False)
            await ended.wait()
        finally:
            await listener.close()

    asyncio.run(listen())


def _document(push: Push) -> dict[str, Any]:
    notification = push.notification
    document: dict[str, Any] = {
        "received_at": push.received_at,
        "peer": f"{push.peer[0]}:{push.peer[1]}",
        "system_title": push.title.hex() or None,
        "manufacturer": push.title[:3].decode("latin-1") if push.title else None,
        "source": push.source,
        "framing": push.framing,
        "protection": next(name for name, value in PROTECTIONS.items() if value == push.protection),
    }
    if isinstance(notification, DataNotification):
        document["kind"] = "data-notification"
        document["invoke"] = notification.long_invoke
    else:
        document["kind"] = "event-notification"
        document["attribute"] = str(notification.attribute)
    stamp = notification.date_time
    document["time"] = plain_text(CosemDateTime.from_bytes(stamp)) if stamp and len(stamp) == 12 else None
    document["value"] = _json(push.value)
    document["frames"] = list(push.frames)
    return document


def _json(value: Plain) -> Any:
    match value:
        case list() | tuple():
            return [_json(item) for item in value]
        case BitString():
            return plain_text(value)
    return value


def _complain(fault: PushFault) -> None:
    """What is wrong goes to stderr; a message that came whole but is not believed is shown as it came."""
    if isinstance(fault.error, ProtectionError) and fault.frames:
        document = {
            "received_at": fault.received_at,
            "peer": f"{fault.peer[0]}:{fault.peer[1]}",
            "kind": "undeciphered",
            "reason": fault.error.message,
            "frames": list(fault.frames),
        }
        typer.echo(orjson.dumps(document, default=plain).decode())
    stderr.print(f"{fault.peer[0]}:{fault.peer[1]}: {fault.error}", markup=False, soft_wrap=True)
