"""A model of the bench measures a described waveform and is read over DLMS: the closed form's integral."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from openami.cli.bench.meter import DlmsLink
from openami.laboratory.devices import device_source
from openami.laboratory.metered_waveform import MeteredWaveform, waveform_core
from openami.laboratory.software_meter import SoftwareMeter
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.meter_clock import milliseconds
from openami.meter.model import meter_model
from openami.meter.tcp_server import FleetServer
from openami.metrology.waveform.closed_form import reference
from openami.metrology.waveform.polyphase import balanced
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.client.association import management_association
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import MeteringError
from openami.quantities.obis import ObisCode

START = datetime(2026, 3, 1, tzinfo=UTC)
WAVEFORM = balanced(57.7, 1.0, 60.0, 49.9)


def gateway() -> SoftwareMeter:
    device = device_source(meter_model("gateway_01s"), 1)(0.0)
    assert isinstance(device, SoftwareMeter)
    return device


async def test_the_registers_read_over_the_wire_are_the_integral_of_the_waveform() -> None:
    clock = SimulatedClock(START)
    core = waveform_core(gateway(), WAVEFORM, milliseconds(START))
    spec = MeterSpec("WAVEFORM1", 16, CurveSpec(CurveKind.PV_HOME, "W"), "UTC")
    server = FleetServer(Fleet(FleetSpec(1, START, (spec,)), clock, {"WAVEFORM1": core}))
    (port,) = await server.start("127.0.0.1")
    link = await DlmsLink.connect("127.0.0.1", port)
    try:
        clock.advance(timedelta(seconds=120))
        association = management_association(16, b"00000000")
        await link.run(association.associate())
        names = [Attribute(3, ObisCode(1, 0, c, 8, 0), 2) for c in (1, 2, 5, 9)]
        read = await link.run(association.get_with_list(names))
    finally:
        link.close()
        await server.close()
    truth = reference(WAVEFORM, 0.0, 120.0, 49.9)
    counted = [1000 * wh + mwh for wh, mwh in zip(core.dials_wh, core.residues_mwh, strict=True)]
    by_code = dict(zip(core.channels, counted, strict=True))
    assert read == [by_code[name.logical_name] // 1000 for name in names]
    active_mwh = truth.total_active_ws / 3.6
    # The last window is still open: at most 0.2 s and the group delay of 120 s are not yet registered.
    assert by_code[ObisCode(1, 0, 1, 8, 0)] == pytest.approx(active_mwh, rel=0.003)
    assert by_code[ObisCode(1, 0, 1, 8, 0)] <= active_mwh
    assert by_code[ObisCode(1, 0, 5, 8, 0)] == pytest.approx(active_mwh * np.tan(np.radians(60)), rel=0.012)
    assert by_code[ObisCode(1, 0, 2, 8, 0)] == 0
    assert core.power_w[0] == pytest.approx(3 * 57.7 * 0.5, abs=1)


def test_samples_do_not_depend_on_the_pieces_in_which_they_are_asked_for() -> None:
    meter = gateway()
    whole = MeteredWaveform(meter, WAVEFORM).samples(0, 5000)
    parts = MeteredWaveform(meter, WAVEFORM)
    pieces = [parts.samples(at, 1000) for at in range(0, 5000, 1000)]
    assert (np.concatenate([piece[0] for piece in pieces], axis=1) == whole[0]).all()
    assert (np.concatenate([piece[1] for piece in pieces], axis=1) == whole[1]).all()
    with pytest.raises(MeteringError, match="sample 9000"):
        parts.samples(9000, 1)


def test_a_waveform_of_other_phases_is_refused() -> None:
    with pytest.raises(MeteringError, match="expected: 3 of each"):
        MeteredWaveform(gateway(), balanced(57.7, 1.0, 0.0, 50.0, phases=1))
