"""`ami meter serve`: software meters on the wire."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from openami.cli.output import JsonOption, print_json, stderr
from openami.meter.fleet_spec import AreaCurve, FleetSpec, KeySpec, MeterSpec, load_fleet
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.serve import Serving, run
from openami.quantities.civil_time import midnight, zone_of
from openami.quantities.clock import Clock, SimulatedClock, SystemClock
from openami.quantities.errors import FormatError
from openami.security.suites import suite
from openami.workspace.settings import write_whole

commands = typer.Typer(help="Software meters on the wire.\n\nExample: ami meter serve --meters 10")
DAYS_BEFORE = 3
_MODELS = ", ".join(kind.value for kind in CurveKind if kind is not CurveKind.CONSTANT)


def add_commands(app: typer.Typer) -> None:
    """Put the commands under ``ami``."""
    app.add_typer(commands, name="meter")


@commands.command("serve")
def serve(
    fleet: Annotated[
        Path | None, typer.Argument(help="Fleet as TOML or JSON; one household meter without.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(help=f"Load curve of meters made here: {_MODELS}."),
    ] = "household",
    meters: Annotated[
        int, typer.Option(help="How many meters to make, when no fleet file is given.", min=1, max=5000)
    ] = 1,
    zone: Annotated[str, typer.Option(help="IANA zone of meters made here.")] = "Europe/Berlin",
    seed: Annotated[int, typer.Option(help="Seed of meters made here.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="First TCP port; 0 takes free ones.", min=0, max=65535)] = 4059,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Time stands still until the control channel moves it.")
    ] = False,
    site: Annotated[
        Path | None,
        typer.Option("--write-site", help="Write a site file for `ami import` that knows these meters."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Serve software meters over DLMS/COSEM on TCP, in real time, until ctrl-c.

    Meters made here have been counting for three days, so that there is a load profile to read at once.

    Example: ami meter serve --meters 10 --port 4059 --write-site site.toml
    """
    spec = load_fleet(fleet) if fleet else _fleet(model, meters, zone, seed)
    clock: Clock = SimulatedClock(spec.start) if simulated else SystemClock()

    def ready(serving: Serving) -> None:
        if site is not None:
            write_whole(site, site_text(spec, serving), 0o600)  # keys and passwords are in it
        document = {"host": serving.host, "ports": list(serving.ports), "control_port": serving.control_port,
                    "meters": len(spec.meters), "site": str(site) if site else None}  # fmt: skip
        if json:
            print_json(document)
        else:
            ports = ", ".join(map(str, serving.ports))
            stderr.print(
                f"{len(spec.meters)} meters on {serving.host}, port {ports}  (ctrl-c ends it)", markup=False
            )

    run(spec, clock, host=host, port=port, ready=ready)


def _fleet(model: str, meters: int, zone: str, seed: int) -> FleetSpec:
    try:
        kind = CurveKind(model)
    except ValueError:
        raise FormatError(
            f"there is no load curve {model!r}",
            where="--model",
            expected=_MODELS,
        ) from None
    today = datetime.now(zone_of(zone)).date()
    start = midnight(today - timedelta(days=DAYS_BEFORE), zone)
    return FleetSpec(
        seed,
        start,
        tuple(
            MeterSpec(
                meter_id=f"OA{seed % 100:02d}{number + 1:08d}",
                wport=16 + number,
                curve=CurveSpec(kind, f"customer {number + 1}", zone),
                zone=zone,
            )
            for number in range(meters)
        ),
    )


def _published(keys: KeySpec) -> str:
    """Mechanism and public keys of a meter, as a site file has them; empty where it has none."""
    if keys.public_keys is None:
        return ""
    signature, agreement = keys.public_keys.published(suite(keys.suite))
    return (
        f', mechanism = {keys.public_keys.mechanism}, signature_certificate = "{signature.hex()}", '
        f'agreement_certificate = "{agreement.hex()}"'
    )


def site_text(spec: FleetSpec, serving: Serving) -> str:
    """Site file that knows the meters of a served fleet, each at a usage point of its own."""
    lines = ['format = "openami-site"']
    for meter in spec.meters:
        area = isinstance(meter.curve, AreaCurve)
        channels = ["1-0:1.29.0", "1-0:2.29.0"] if meter.exports else ["1-0:1.29.0"]
        begins = (meter.installed_at or spec.start).isoformat()
        ends = f"\nvalid_to = {meter.removed_at.isoformat()}" if meter.removed_at else ""
        credentials = f'password = "{meter.password}"'
        if (keys := meter.keys) is not None:
            credentials = (
                f'keys = {{ global_unicast = "{keys.global_unicast}", '
                f'authentication = "{keys.authentication}", master = "{keys.master}", '
                f"suite = {keys.suite}{_published(keys)} }}"
                f'\nsystem_title = "{meter.system_title.hex()}"'
            )
        lines.append(f"""
[[meter]]
id = "{meter.meter_id}"
model = "{"area" if area else "load-curve"}"
host = "{serving.host}"
port = {serving.ports[meter.port_index]}
logical_device = {meter.wport}
zone = "{meter.zone}"
interval_s = {spec.shape.period_s}
digits = {meter.digits}
channels = {channels}
{credentials}

[[usage_point]]
id = "UP-{meter.meter_id}"
zone = "{meter.zone}"
kind = "{"area" if area else "customer"}"

[[installation]]
meter = "{meter.meter_id}"
usage_point = "UP-{meter.meter_id}"
valid_from = {begins}{ends}
""")
    return "\n".join(lines)
