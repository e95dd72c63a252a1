"""From recorded voltages to aggregates: whole intervals, gaps, events, files in a row; then to a verdict."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.power_quality.en50160 import Verdict, evaluate
from openami.metrology.power_quality.en50160_aggregates import SupplyAggregates
from openami.metrology.power_quality.en50160_measurement import SupplyMeasurement, supply_events
from openami.metrology.power_quality.event_kernel import EventKind
from openami.metrology.power_quality.events import VoltageEvent
from openami.metrology.recording.recording import Recording
from openami.quantities.errors import MeteringError
from supply_week import MONDAY_US

F64 = npt.NDArray[np.float64]
RATE = 4000.0
MINUTES = 22
SAMPLES = int(RATE * 60 * MINUTES)
BLOCK = 65_536


@cache
def voltage() -> F64:
    """230 V with 3 % of order 5, phase 3 lower; a dip of 0.3 s at 760 s, an interruption of 4 s at 1250 s."""
    t = np.arange(SAMPLES) / RATE
    fifth = 0.03 * np.sin(2 * np.pi * 250.1 * t + 0.4)
    rows = []
    for phase in range(3):
        level = 225.0 if phase == 2 else 230.0
        rows.append(level * np.sqrt(2) * (np.sin(2 * np.pi * (50.02 * t - phase / 3)) + fifth))
    u = np.stack(rows)
    u[:2, int(760 * RATE) : int(760.3 * RATE)] *= 0.6
    u[:, int(1250 * RATE) : int(1254 * RATE)] = 0.0
    return u


def pieces(u: F64, size: int = BLOCK) -> list[tuple[Recording, int]]:
    return [
        (Recording(u[:, first : first + size], np.empty((0, min(size, u.shape[1] - first))), RATE), first)
        for first in range(0, u.shape[1], size)
    ]


def measured(u: F64, start_us: int, size: int = BLOCK) -> SupplyAggregates:
    measurement = SupplyMeasurement(RATE, u.shape[0], start_us)
    for piece, first in pieces(u, size):
        measurement.add(piece, first)
    return measurement.close()


@cache
def from_the_tick() -> SupplyAggregates:
    return measured(voltage(), MONDAY_US)


def test_intervals_and_their_values() -> None:
    aggregates = from_the_tick()

    assert aggregates.start_us == MONDAY_US
    assert aggregates.intervals == 3
    assert aggregates.measured.tolist() == [True, True, False]  # the third has two minutes
    rms = np.sqrt(1 + 0.03**2)
    np.testing.assert_allclose(aggregates.u_v[0], [230 * rms, 230 * rms, 225 * rms], rtol=2e-6)
    np.testing.assert_allclose(aggregates.harmonic_pct[0, :, 3], 3.0, rtol=2e-3)
    np.testing.assert_allclose(aggregates.thd_pct[0], 3.0, rtol=2e-3)
    # 230, 230, 225 V at 120 degrees: negative over positive sequence is 5 / 685
    assert aggregates.unbalance_pct[0] == pytest.approx(100 * 5 / 685, rel=1e-4)
    assert np.all(aggregates.pst[0] < 0.1)
    assert np.nanmax(np.abs(aggregates.f_hz[:75] - 50.02)) < 1e-6


def test_dips_and_interruptions_flag_their_intervals_and_are_listed() -> None:
    aggregates = from_the_tick()

    assert aggregates.flagged[:2].tolist() == [False, True]
    events = aggregates.events
    assert events.kind.tolist() == [EventKind.DIP, EventKind.INTERRUPTION]
    np.testing.assert_allclose((events.start_us - MONDAY_US) / 1e6, [760.0, 1250.0], atol=0.01)
    np.testing.assert_allclose(events.duration_s, [0.3, 4.0], atol=0.01)
    assert events.level_v[0] == pytest.approx(0.6 * 230 * np.sqrt(1 + 0.03**2), rel=2e-3)
    assert events.level_v[1] < 0.5
    assert events.phases[1] == 7
    assert aggregates.frequency_flagged()[76]  # 760 to 770 s


def test_a_recording_that_begins_between_ticks_has_its_first_interval_missing() -> None:
    u = voltage()[:, : int(RATE * 700)]

    aggregates = measured(u, MONDAY_US + 90_000_000)

    assert aggregates.intervals == 2
    assert aggregates.measured.tolist() == [False, False]
    assert np.isfinite(aggregates.f_hz).sum() >= 68
    assert np.isnan(aggregates.f_hz[:9]).all()


def test_pieces_of_any_size_give_the_same() -> None:
    u = voltage()[:1, : int(RATE * 650)]

    one, other = measured(u, MONDAY_US), measured(u, MONDAY_US, 12_345)

    np.testing.assert_array_equal(one.u_v, other.u_v)
    np.testing.assert_array_equal(one.pst, other.pst)
    np.testing.assert_array_equal(one.f_hz, other.f_hz)
    np.testing.assert_array_equal(one.harmonic_pct, other.harmonic_pct)


def test_missing_samples_make_their_interval_missing_and_no_other() -> None:
    u = voltage().copy()
    u[1, int(100 * RATE) : int(100.5 * RATE)] = np.nan

    aggregates = measured(u, MONDAY_US)

    assert aggregates.measured.tolist() == [False, True, False]
    np.testing.assert_allclose(aggregates.u_v[1], from_the_tick().u_v[1], rtol=1e-6)
    assert np.isnan(aggregates.f_hz[10])
    assert np.isfinite(aggregates.f_hz[12])


def test_two_files_with_a_pause_are_one_measurement() -> None:
    u = voltage()[:1]
    measurement = SupplyMeasurement(RATE, 1, MONDAY_US)
    half = int(RATE * 610)
    measurement.add(Recording(u[:, :half], np.empty((0, half)), RATE), 0)
    later = measurement.position_of(MONDAY_US + 1_790_000_000)
    measurement.add(Recording(u[:, :half], np.empty((0, half)), RATE), later)

    aggregates = measurement.close()

    assert aggregates.intervals == 4
    assert aggregates.measured.tolist() == [True, False, False, True]
    assert aggregates.u_v[3, 0] == pytest.approx(aggregates.u_v[0, 0], rel=1e-6)


def test_samples_at_the_converters_limit_flag_their_interval() -> None:
    u = voltage()[:1, : int(RATE * 601)]
    measurement = SupplyMeasurement(RATE, 1, MONDAY_US)
    for piece, first in pieces(u):
        saturated = np.zeros(piece.samples, np.bool_)
        saturated[0] = first == 10 * BLOCK
        measurement.add(replace(piece, saturated=saturated), first)

    assert measurement.close().flagged[0]


def test_what_does_not_belong_is_refused() -> None:
    u = voltage()[:, :8000]
    measurement = SupplyMeasurement(RATE, 3, MONDAY_US)
    measurement.add(Recording(u, np.empty((0, 8000)), RATE), 0)

    with pytest.raises(MeteringError, match="8000 were taken"):
        measurement.add(Recording(u, np.empty((0, 8000)), RATE), 7999)
    with pytest.raises(MeteringError, match="1 phases at 4000 Hz"):
        measurement.add(Recording(u[:1], np.empty((0, 8000)), RATE), 8000)
    with pytest.raises(MeteringError, match="3 phases at 8000 Hz"):
        measurement.add(Recording(u, np.empty((0, 8000)), 2 * RATE), 8000)
    with pytest.raises(MeteringError, match="begins 5000 days after"):
        measurement.add(Recording(u, np.empty((0, 8000)), RATE), int(5000 * 86_400 * RATE))
    with pytest.raises(MeteringError, match="no samples"):
        SupplyMeasurement(RATE, 3, MONDAY_US).close()


def event(kind: EventKind, start: float, end: float, *, cut: bool = False) -> VoltageEvent:
    return VoltageEvent(
        kind=kind,
        channel=0,
        end_channel=2,
        start=start,
        end=end,
        extreme_v=100.0,
        extreme_channel=0,
        reference_v=230.0,
        cut=cut,
        first_window=start,
        last_window=end,
        delta_ss_v=0.0,
    )


def test_the_dip_around_an_interruption_is_the_interruption() -> None:
    events = supply_events(
        [
            event(EventKind.DIP, 1000, 9000),
            event(EventKind.INTERRUPTION, 1100, 8900),
            event(EventKind.DIP, 9500, 9900),
            event(EventKind.SWELL, 200, 300, cut=True),
        ],
        MONDAY_US,
        RATE,
        3,
    )

    assert events.kind.tolist() == [EventKind.SWELL, EventKind.INTERRUPTION, EventKind.DIP]
    assert events.phases.tolist() == [0b101, 0b111, 0b101]
    assert (events.start_us - MONDAY_US).tolist() == [50_000, 275_000, 2_375_000]
    assert np.isnan(events.duration_s[0])
    assert events.duration_s[1] == 7800 / RATE


def test_measured_aggregates_have_a_verdict() -> None:
    week = evaluate(from_the_tick())

    assert week.verdict is Verdict.KEPT
    assert week.verdict_of("voltage_usual") is Verdict.KEPT
    assert week.verdict_of("flicker") is Verdict.NOT_MEASURED  # no two hours
    assert week.dips.counts[2, 2] == 1  # 70 > u >= 40 %, 200 to 500 ms
    assert week.short_interruptions == 1
    assert not week.whole
