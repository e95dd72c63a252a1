"""`ami dlms serve`: software meters that speak DLMS/COSEM, to try clients against."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from openami.cli.dlms_access import GakOption, GuekOption, keys_of
from openami.cli.output import JsonOption, print_json, stderr
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, household_fleet
from openami.meter.line_server import LineServer
from openami.meter.serve import Serving, run
from openami.quantities.civil_time import midnight, zone_of
from openami.quantities.clock import SystemClock
from openami.quantities.errors import FormatError
from openami.security.secret import Secret
from openami.workspace.settings import write_whole


def serve(
    meters: Annotated[int, typer.Option(help="How many meters, 1000 to a TCP port.", min=1, max=5000)] = 1,
    days: Annotated[int, typer.Option(help="Days that they have been counting.", min=0, max=400)] = 3,
    password: Annotated[
        str,
        typer.Option(help="Password of the management client.", envvar="OPENAMI_DLMS_PASSWORD"),
    ] = "00000000",
    guek: GuekOption = None,
    gak: GakOption = None,
    suite_number: Annotated[int, typer.Option("--suite", help="Security suite: 0, 1 or 2.")] = 0,
    zone: Annotated[str, typer.Option(help="IANA zone of the meters.")] = "Europe/Berlin",
    seed: Annotated[int, typer.Option(help="Seed of the load curves.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="First TCP port; 0 takes free ones.", min=0, max=65535)] = 4059,
    transport: Annotated[
        str, typer.Option(help="tcp (wrapper), udp (wrapper), or hdlc over TCP; the last two one port.")
    ] = "tcp",
    site: Annotated[
        Path | None,
        typer.Option("--write-site", help="Write a site file for `ami import`, secrets included."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Serve software meters until ctrl-c: logical devices 16, 17 and on.

    With --guek and --gak the management client needs high level security 5 and ciphering (every meter has
    the same keys: for trying out only), else the password. The public client reads what is public.

    Example: ami dlms serve --meters 3 --port 4059
    """
    if transport not in ("tcp", "udp", "hdlc"):
        raise FormatError(f"transport {transport!r}", where="--transport", expected="tcp, udp or hdlc")
    spec = _fleet(meters, days, zone, seed, password, guek, gak, suite_number)

    def ready(serving: Serving) -> None:
        if site is not None:
            from openami.cli.meter import site_text

            write_whole(site, site_text(spec, serving))
        document = {
            "host": serving.host,
            "ports": list(serving.ports),
            "transport": transport,
            "control_port": serving.control_port,
            "meters": [
                {"id": meter.meter_id, "logical_device": meter.wport, "port": serving.ports[meter.port_index],
                 "system_title": meter.system_title.hex() if meter.keys else None}
                for meter in spec.meters
            ],
        }  # fmt: skip
        if json:
            print_json(document)
            return
        ports = ", ".join(map(str, serving.ports))
        stderr.print(
            f"{len(spec.meters)} meters on {serving.host}, {transport} port {ports}, "
            "logical devices 16 and on  (ctrl-c ends it)",
            markup=False,
        )

    if transport == "tcp":
        run(spec, SystemClock(), host=host, port=port, ready=ready)
    else:
        asyncio.run(_serve_line(spec, transport, host, port, ready))


async def _serve_line(
    spec: FleetSpec, transport: str, host: str, port: int, ready: Callable[[Serving], None]
) -> None:
    """Serve HDLC or datagrams until a signal."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    server = LineServer(Fleet(spec, SystemClock()))
    try:
        start = server.start_udp if transport == "udp" else server.start_hdlc
        bound = await start(host, port)
        ready(Serving(host, (bound,) * spec.ports, None))
        await ended.wait()
    finally:
        await server.close()


def _fleet(
    meters: int,
    days: int,
    zone: str,
    seed: int,
    password: str,
    guek: str | None,
    gak: str | None,
    suite_number: int,
) -> FleetSpec:
    today = datetime.now(zone_of(zone)).date()
    start = midnight(today - timedelta(days=days), zone)
    spec = household_fleet(meters, seed=seed, start=start, zone=zone, secured=False)
    keys = None
    if (given := keys_of(guek, gak, suite_number)) is not None:
        master = Secret.random(len(given.master))
        keys = KeySpec(
            given.global_unicast.reveal().hex(),
            given.authentication.reveal().hex(),
            master.reveal().hex(),
            suite_number,
        )
    return replace(spec, meters=tuple(replace(meter, password=password, keys=keys) for meter in spec.meters))
