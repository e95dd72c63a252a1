"""A meter driven by waveforms: dials equal to the integral, whatever the steps, read over DLMS like any."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import openami.metrology
from openami.cli.bench.meter import DlmsLink
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.metering_core.energy_register import MeteringCore
from openami.meter.metering_core.identification import metering_identity
from openami.meter.metering_core.waveform_core import (
    FOUR_QUADRANTS,
    REGISTERS_OF_PATH,
    WaveformMeteringCore,
)
from openami.meter.tcp_server import FleetServer
from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.energy.registers import Register
from openami.metrology.energy.settings import EnergySettings
from openami.metrology.legal_identity import LegalIdentity, legal_identity
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.client.association import management_association
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import MeteringError, QuantityError
from openami.quantities.obis import EXPORT_ENERGY, IMPORT_ENERGY, ObisCode, lookup

U_V, I_A = 460 / 2**23, 100 / 2**23
SETTINGS = EnergySettings(3, 6400.0, (U_V,) * 3, (I_A,) * 3)
START_MS = 1_773_097_200_000


class Sine:
    """A source of 230 V at 50 Hz and a current; counts what it was asked for."""

    def __init__(self, i_a: float, angle_deg: float) -> None:
        self._i_a, self._angle = i_a, np.deg2rad(angle_deg)
        self.asked: list[tuple[int, int]] = []

    def samples(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((first, count))
        turn = 2 * np.pi * (np.arange(first, first + count) % 128 / 128)
        shifts = np.array([[0.0], [-2 * np.pi / 3], [2 * np.pi / 3]])
        u = np.sqrt(2) * 230 * np.cos(turn + shifts) / U_V
        i = np.sqrt(2) * self._i_a * np.cos(turn + shifts - self._angle) / I_A
        return np.rint(u).astype(np.int32), np.rint(i).astype(np.int32)


def core(
    source: Sine,
    start_wh: Sequence[int] = (0, 0),
    channels: Sequence[ObisCode] = (IMPORT_ENERGY, EXPORT_ENERGY),
) -> WaveformMeteringCore:
    return WaveformMeteringCore(EnergyPath(SETTINGS), source, START_MS, 8, start_wh, channels)


def at(*milliseconds: int) -> np.ndarray:
    return START_MS + np.array(milliseconds, np.int64)


def total_mwh(measured: WaveformMeteringCore, channel: int = 0) -> int:
    return measured.dials_wh[channel] * 1000 + measured.residues_mwh[channel]


def test_the_dial_is_the_integral(tmp_path: Path) -> None:
    """3 x 230 V x 40 A at 0.5: 13.8 kW; after 60 s what the closed windows measured, to the mWh."""
    measured = core(Sine(40.0, 60.0))
    measured.run_to(at(60_000))
    closed_s = (measured.path.position - measured.path.open_samples) / 6400
    assert 59.7 < closed_s <= 60.0
    assert total_mwh(measured) == int(13_800 * closed_s / 3.6)
    assert measured.power_w == (13_799, 0) or measured.power_w == (13_800, 0)
    as_protocol: MeteringCore = measured
    assert as_protocol.channels == (IMPORT_ENERGY, EXPORT_ENERGY)


def test_a_start_value_of_123_456_kwh_loses_nothing() -> None:
    """float32 resolves 7.8 Wh there; the dial goes on to the mWh, and rolls over."""
    fresh, old = core(Sine(40.0, 60.0)), core(Sine(40.0, 60.0), (99_999_990, 123_456_000 % 10**8))
    for measured in (fresh, old):
        measured.run_to(at(30_000))
    assert fresh.dials_wh[0] > 100
    assert old.dials_wh[0] == (99_999_990 + fresh.dials_wh[0]) % 10**8
    assert old.residues_mwh == fresh.residues_mwh
    kept = core(Sine(40.0, 60.0), (12_345_600, 0))
    kept.run_to(at(30_000))
    assert total_mwh(kept) - total_mwh(fresh) == 12_345_600_000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4_000), max_size=40))
def test_any_steps_of_time_give_the_same_dials(offsets: list[int]) -> None:
    instants = at(*sorted({*offsets, 4_000}))
    whole, steps = (core(Sine(60.0, -30.0), (5, 7)) for _ in range(2))
    at_once = whole.run_to(instants)
    one_by_one = np.concatenate([steps.run_to(instants[k : k + 1]) for k in range(instants.size)], axis=1)
    assert at_once.tolist() == one_by_one.tolist()
    assert whole.residues_mwh == steps.residues_mwh
    assert whole.path.snapshot() == steps.path.snapshot()
    assert (np.diff(at_once, axis=1) >= 0).all()


def test_every_sample_is_asked_for_once_in_order() -> None:
    source = Sine(1.0, 0.0)
    measured = core(source)
    measured.run_to(at(1, 1, 17, 30_000))
    ends = [first + count for first, count in source.asked]
    assert [first for first, _ in source.asked] == [0, *ends[:-1]]
    assert ends[-1] == 30 * 6400


def test_an_open_contact_lets_no_energy_flow() -> None:
    measured = core(Sine(40.0, 0.0))
    measured.run_to(at(10_000))
    measured.disconnect()
    measured.run_to(at(10_400))
    opened = total_mwh(measured)
    measured.run_to(at(60_000))
    assert total_mwh(measured) == opened
    assert measured.power_w == (0, 0)
    assert measured.path.windows.u_v[-1] == pytest.approx([230.0] * 3, rel=1e-6)
    measured.connect()
    measured.run_to(at(70_000))
    assert total_mwh(measured) - opened == pytest.approx(27_600 * 10 / 3.6, rel=0.03)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 5_000))
def test_a_power_failure_loses_nothing(failure_ms: int) -> None:
    whole = core(Sine(45.0, 20.0), (1, 2))
    whole.run_to(at(failure_ms, 6_000))
    before = core(Sine(45.0, 20.0), (1, 2))
    before.run_to(at(failure_ms))
    saved = before.snapshot()
    after = core(Sine(45.0, 20.0), (0, 0))
    after.restore(saved)
    assert after.position_ms == before.position_ms
    after.run_to(at(6_000))
    assert (after.dials_wh, after.residues_mwh) == (whole.dials_wh, whole.residues_mwh)
    assert after.snapshot() == whole.snapshot()


def test_a_damaged_or_foreign_snapshot_changes_nothing() -> None:
    measured = core(Sine(45.0, 20.0))
    measured.run_to(at(2_000))
    saved = measured.snapshot()
    for wrong in (b"", saved[:-1], saved[:50], bytes([saved[0] ^ 1]) + saved[1:]):
        with pytest.raises(MeteringError):
            measured.restore(wrong)
    with pytest.raises(MeteringError, match="registers"):
        core(Sine(1.0, 0.0), (0,) * 10, FOUR_QUADRANTS).restore(saved)
    reactive = core(Sine(1.0, 0.0), (0, 0), (IMPORT_ENERGY, FOUR_QUADRANTS[2]))
    before = reactive.snapshot()
    with pytest.raises(MeteringError, match="other registers"):  # as many of them, but not the same
        reactive.restore(saved)
    assert reactive.snapshot() == before
    other = replace(SETTINGS, rated_a=6.0)
    with pytest.raises(MeteringError, match="other settings"):
        WaveformMeteringCore(EnergyPath(other), Sine(1.0, 0.0), START_MS, 8).restore(saved)
    assert measured.snapshot() == saved


@pytest.mark.parametrize(
    ("angle", "active", "quadrant"), [(30.0, 1, 5), (150.0, 2, 6), (-150.0, 2, 7), (-30.0, 1, 8)]
)
def test_channels_of_a_four_quadrant_meter(angle: float, active: int, quadrant: int) -> None:
    """The current lags by the angle: +P+Q, -P+Q, -P-Q, +P-Q."""
    measured = core(Sine(40.0, angle), (0,) * 10, FOUR_QUADRANTS)
    measured.run_to(at(60_000))
    dials = dict(zip((code.c for code in measured.channels), measured.dials_wh, strict=True))
    powers = dict(zip((code.c for code in measured.channels), measured.power_w, strict=True))
    upper = quadrant in (5, 6)
    counting = {active, quadrant, 3 if upper else 4, 9 if active == 1 else 10}
    assert {c for c, dial in dials.items() if dial} == counting
    assert {c for c, power in powers.items() if power} == counting
    assert dials[quadrant] == dials[3 if upper else 4]
    assert dials[9 if active == 1 else 10] == pytest.approx(27_600 / 60, rel=5e-3)
    assert powers[quadrant] == pytest.approx(13_800, abs=1)


def test_what_is_no_channel_is_refused() -> None:
    with pytest.raises(QuantityError, match="channels"):
        core(Sine(1.0, 0.0), (0,), (EXPORT_ENERGY,))
    with pytest.raises(QuantityError, match="channels"):
        core(Sine(1.0, 0.0), (0, 0), (IMPORT_ENERGY, ObisCode(1, 0, 99, 8, 0)))
    with pytest.raises(QuantityError, match="start values"):
        core(Sine(1.0, 0.0), (0,))
    measured = core(Sine(1.0, 0.0))
    measured.run_to(at(10))
    with pytest.raises(QuantityError, match="back in time"):
        measured.run_to(at(9))


def test_a_source_that_gives_too_little_is_an_error() -> None:
    class Short(Sine):
        def samples(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            u, i = super().samples(first, count)
            return u[:, :-1], i[:, :-1]

    with pytest.raises(MeteringError, match="sample 0"):
        core(Short(1.0, 0.0)).run_to(at(1_000))


def test_every_channel_is_in_the_catalogue_with_its_interval_and_power() -> None:
    for code in REGISTERS_OF_PATH:
        for d in (8, 29, 7):
            assert lookup(replace(code, d=d)).unit is not None


async def test_a_meter_driven_by_waveforms_is_read_over_dlms() -> None:
    """The registers read over TCP are the integral of u·i; captures and powers are as on any meter."""
    start = datetime.fromtimestamp(START_MS / 1000, UTC)
    spec = MeterSpec("WAVE-0001", 16, CurveSpec(CurveKind.PV_HOME, "UP"))
    measured = core(Sine(40.0, 60.0), (1_000,) + (0,) * 9, FOUR_QUADRANTS)
    clock = SimulatedClock(start)
    fleet = Fleet(FleetSpec(3, start, (spec,)), clock, {"WAVE-0001": measured})
    server = FleetServer(fleet)
    ports = await server.start("127.0.0.1")
    clock.advance(timedelta(minutes=20))

    def register(c: int, d: int = 8, index: int = 2) -> Attribute:
        return Attribute(3, ObisCode(1, 0, c, d, 0), index)

    link = await DlmsLink.connect("127.0.0.1", ports[0])
    try:
        association = management_association(16, b"00000000")
        await asyncio.wait_for(link.run(association.associate()), 5)
        read = await link.run(association.get_with_list([register(c) for c in range(1, 11)]))
        assert read == list(measured.dials_wh)
        closed_s = (measured.path.position - measured.path.open_samples) / 6400
        assert read[0] == 1_000 + int(13_800 * closed_s / 3600)
        assert read[2] == int(3 * 9_200 * np.sin(np.pi / 3) * closed_s / 3600)
        assert measured.path.count(Register.ACTIVE_IMPORT) == int(13_800 * closed_s / 3.6)
        assert await link.run(association.get(register(1, index=3))) == (0, 30)
        assert await link.run(association.get(register(3, index=3))) == (0, 32)
        assert await link.run(association.get(register(9, index=3))) == (0, 31)
        assert await link.run(association.get(register(1, 7))) in (13_799, 13_800)
        assert await link.run(association.get(register(3, 7))) in (23_902, 23_903)
        signature = await link.run(association.get(Attribute(1, ObisCode(1, 0, 0, 2, 8), 2)))
        assert signature == metering_identity().sha256
        await link.run(association.release())
    finally:
        link.close()
        await server.close()
    rows = fleet.meter("WAVE-0001").profile.rows()
    # the first quarter-hour ends within the first 20 minutes, to the second of its stamp
    assert rows.values[0, 0] == pytest.approx(13_800 / 4, abs=2)
    assert rows.values.shape[0] == 10


def test_the_legal_identity_is_a_digest_of_what_runs(tmp_path: Path) -> None:
    identity = metering_identity()
    assert identity == legal_identity("openami.metrology", "openami.meter.metering_core")
    assert str(identity).startswith(f"{identity.version} ")
    folder = Path(openami.metrology.__path__[0])
    meter = folder.parent / "meter" / "metering_core"
    digest = hashlib.sha256()
    files = {
        f"openami/{path.relative_to(folder.parent).as_posix()}": path.read_bytes()
        for root in (folder, meter)
        for path in root.rglob("*")
        if path.suffix in (".py", ".toml")
    }
    for name, content in sorted(files.items()):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    assert LegalIdentity(identity.version, digest.digest()) == identity
