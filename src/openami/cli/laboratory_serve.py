"""`ami laboratory serve`: a meter that measures a described waveform now, read over DLMS/COSEM."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

from openami.cli.output import print_json, stderr
from openami.laboratory.devices import device_source
from openami.laboratory.metered_waveform import waveform_core
from openami.laboratory.software_meter import SoftwareMeter
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FIRST_WPORT, FleetSpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.meter_clock import milliseconds
from openami.meter.model import meter_model
from openami.meter.tcp_server import FleetServer
from openami.metrology.waveform.scenario import read_scenario
from openami.quantities.clock import SystemClock
from openami.quantities.errors import FormatError

METER_ID = "WAVEFORM1"


def serve_waveform(
    scenario: Path, model_name: str, host: str, port: int, password: str, seed: int, *, as_json: bool
) -> None:
    """Serve until a signal; see `openami.cli.laboratory.serve_command`."""
    model = meter_model(model_name)
    device = device_source(model, seed)(0.0)
    if not isinstance(device, SoftwareMeter):
        raise FormatError(
            f"model {model.name} has no registers to serve", where="--model", expected="a digital meter"
        )
    described = read_scenario(scenario)
    # Two seconds lie behind us, so that the windows are locked when the first client asks.
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=2)
    core = waveform_core(device, described.signals(), milliseconds(start))
    spec = MeterSpec(METER_ID, FIRST_WPORT, CurveSpec(CurveKind.PV_HOME, METER_ID), "UTC", password=password)
    fleet = Fleet(FleetSpec(seed, start, (spec,)), SystemClock(), {METER_ID: core})
    asyncio.run(_serve(FleetServer(fleet), host, port, model.name, as_json=as_json))


async def _serve(server: FleetServer, host: str, port: int, model: str, *, as_json: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    (bound,) = await server.start(host, port)
    try:
        if as_json:
            print_json({"host": host, "port": bound, "logical_device": FIRST_WPORT, "meter": METER_ID})
        else:
            stderr.print(
                f"{model} measures on {host}, port {bound}, logical device {FIRST_WPORT}  (ctrl-c ends it)",
                markup=False,
            )
        await ended.wait()
    finally:
        await server.close()
