"""What changes at a usage point (meter, multiplier, register) never changes the energy that was taken."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest

from openami.mdm.vee.finals import decimal_places
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import ValidationError
from openami.quantities.obis import IMPORT_INTERVAL
from openami.quantities.status import Quality, Status, is_estimated, qualities
from openami.quantities.units import Quantum, Unit
from openami.readings.event import Event, EventCode
from openami.registry.entities import Multiplier
from vee_world import CAPTURED, ZONE, Counts, Utility, freezes, loads

FIRST = date(2024, 2, 5)
LAST = FIRST + timedelta(days=14)
EXCHANGE = CivilDay(FIRST + timedelta(days=8), ZONE)
BOUNDARY = 41  # the interval 10:15 .. 10:30
AT = EXCHANGE.start + timedelta(hours=10, minutes=22)


def civil(offset: int) -> CivilDay:
    return CivilDay(FIRST + timedelta(days=offset), ZONE)


def exchange(
    utility: Utility,
    *,
    old_part: int = 30,
    new_missing: tuple[int, ...] = (),
    old_missing: tuple[int, ...] = (),
) -> dict[CivilDay, Counts]:
    """Two meters, exchanged inside an interval; the old one never writes its last, partial interval."""
    days = loads(FIRST, 14)
    utility.meter("OLD", "UP-1", removed=AT)
    utility.meter("NEW", "UP-1", installed=AT, new_point=False)
    day = days[EXCHANGE]
    old = {key: values for key, values in days.items() if key.day <= EXCHANGE.day}
    reads = {at: count for at, count in freezes(days, 7000).items() if at <= EXCHANGE.start}
    reads[AT] = reads[EXCHANGE.start] + int(day[:BOUNDARY].sum()) + old_part
    utility.deliver(
        old, meter_id="OLD", reads=reads, kinds={AT: "remove"},
        missing={EXCHANGE: [*old_missing, *range(BOUNDARY, 96)]},
    )  # fmt: skip
    first_new = day.copy()
    first_new[BOUNDARY] -= old_part
    new = {EXCHANGE: first_new} | {key: values for key, values in days.items() if key.day > EXCHANGE.day}
    count = 3
    reads = {AT: count}
    for key, values in new.items():
        count += int(values[BOUNDARY:].sum() if key == EXCHANGE else values.sum())
        reads[key.end] = count
    utility.deliver(
        new, meter_id="NEW", reads=reads, kinds={AT: "install"},
        missing={EXCHANGE: [*range(BOUNDARY), *new_missing]},
    )  # fmt: skip
    return days


def test_an_exchange_inside_an_interval_loses_nothing(utility: Utility) -> None:
    days = exchange(utility)
    report = utility.run(FIRST, LAST)
    for day, values in days.items():
        assert np.array_equal(utility.final(day.day).values, values)
    final = utility.final(EXCHANGE.day)
    assert report.intervals_estimated == 0
    assert report.intervals_measured == report.intervals_expected == 14 * 96
    assert str(Status.from_id(int(final.status_ids[BOUNDARY]))) == "A12", "calculated from two reads"
    assert len(final.sources) == 2
    (case,) = utility.cases()
    assert (case.kind, case.day, case.meter_id, case.state) == (
        "meter_exchange", EXCHANGE.day, "NEW", "closed",
    )  # fmt: skip
    assert case.detail == "OLD replaced by NEW at 2024-02-13 09:22:00Z"
    assert case.block_ids == final.sources


def test_taking_a_meter_down_is_no_power_outage(utility: Utility) -> None:
    days = exchange(utility)
    utility.deliver(
        {}, meter_id="OLD", events=[Event("OLD", AT, EventCode.POWER_DOWN, CAPTURED)], source="log"
    )
    utility.deliver({}, meter_id="NEW", events=[Event("NEW", AT, EventCode.POWER_UP, CAPTURED)], source="log")
    report = utility.run(FIRST, LAST)
    assert report.intervals_estimated == 0
    assert np.array_equal(utility.final(EXCHANGE.day).values, days[EXCHANGE])
    assert [kind for kind, _ in utility.kinds()] == ["meter_exchange"]


def test_an_outage_that_a_meter_did_not_outlive_ends_with_its_installation(utility: Utility) -> None:
    exchange(utility)
    down = AT - timedelta(minutes=7)
    events = [Event("OLD", down, EventCode.POWER_DOWN, CAPTURED)]
    utility.deliver({}, meter_id="OLD", events=events, source="log")
    utility.run(FIRST, LAST)
    (case,) = utility.exceptions.find(kind="power_outage")
    assert case.detail == "no power from 09:15:00Z to 09:22:00Z, 420 s"


def test_gaps_on_both_sides_of_an_exchange_close_with_both_meters(utility: Utility) -> None:
    days = exchange(utility, old_missing=(10, 11), new_missing=(60, 61, 62))
    utility.run(FIRST, LAST)
    final = utility.final(EXCHANGE.day)
    assert final.total == days[EXCHANGE].sum()
    assert final.values[:BOUNDARY].sum() + 30 == pytest.approx(days[EXCHANGE][:BOUNDARY].sum() + 30, abs=80)
    assert is_estimated(final.status_ids)[[10, 11, BOUNDARY, 60, 61, 62]].all()
    assert is_estimated(final.status_ids).sum() == 6


def test_the_first_interval_of_the_new_meter_may_be_missing(utility: Utility) -> None:
    days = exchange(utility, new_missing=(BOUNDARY,))
    utility.run(FIRST, LAST)
    assert np.array_equal(utility.final(EXCHANGE.day).values, days[EXCHANGE])


def test_an_exchange_at_an_interval_boundary_needs_no_sum(utility: Utility) -> None:
    at = EXCHANGE.start + timedelta(hours=10)
    days = loads(FIRST, 14)
    utility.meter("OLD", "UP-1", removed=at)
    utility.meter("NEW", "UP-1", installed=at, new_point=False)
    utility.deliver(days, meter_id="OLD", missing={EXCHANGE: range(40, 96)})
    utility.deliver(days, meter_id="NEW", missing={EXCHANGE: range(40)})
    utility.run(FIRST, LAST)
    final = utility.final(EXCHANGE.day)
    assert np.array_equal(final.values, days[EXCHANGE])
    assert final.status is None
    assert [kind for kind, _ in utility.kinds()] == ["meter_exchange"]


def test_time_without_a_meter_is_not_expected(utility: Utility) -> None:
    days = loads(FIRST, 14)
    gone, back = EXCHANGE.start + timedelta(hours=10), EXCHANGE.start + timedelta(hours=12)
    utility.meter("OLD", "UP-1", removed=gone)
    utility.meter("NEW", "UP-1", installed=back, new_point=False)
    utility.deliver(days, meter_id="OLD")
    utility.deliver(days, meter_id="NEW")
    report = utility.run(FIRST, LAST)
    final = utility.final(EXCHANGE.day)
    assert np.flatnonzero(final.missing).tolist() == list(range(40, 48))
    assert report.intervals_expected == report.intervals_measured == 14 * 96 - 8
    assert [kind for kind, _ in utility.kinds()] == ["meter_exchange"]


@pytest.mark.parametrize(
    ("ratio", "exponent", "scale"),
    [
        ((1000, 5, 1, 1), 0, 200),
        ((1000, 5, 10_000, 100), 0, 20_000),
        ((5, 8, 1, 1), -3, 625),
        ((15, 2, 1, 1), -1, 75),
    ],
)
def test_multipliers_are_applied_exactly(
    utility: Utility, ratio: tuple[int, int, int, int], exponent: int, scale: int
) -> None:
    utility.meter(capacity_w=50_000_000)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    utility.registry.record([Multiplier("M-1", *ratio, since)], actor="test", why="transformers")
    days = loads(FIRST, 14)
    reads = freezes(days)
    utility.deliver(days, reads=reads, missing={civil(7): range(20, 40)})
    utility.run(FIRST, LAST)
    for day, values in days.items():
        final = utility.final(day.day)
        assert final.quantum == Quantum(Unit.WATT_HOUR, exponent)
        assert final.total == int(values.sum()) * scale
        assert (final.anchor_start, final.anchor_end) == (reads[day.start] * scale, reads[day.end] * scale)


def test_a_multiplier_that_changes_holds_from_its_instant(utility: Utility) -> None:
    utility.meter()
    change = civil(3).start + timedelta(hours=6)
    utility.registry.record(
        [
            Multiplier("M-1", 100, 5, 1, 1, datetime(2020, 1, 1, tzinfo=UTC), change),
            Multiplier("M-1", 200, 5, 1, 1, change),
        ],
        actor="test",
        why="larger transformers",
    )
    days = loads(FIRST, 7)
    utility.deliver(days, reads=freezes(days))
    utility.run(FIRST, FIRST + timedelta(days=7))
    final = utility.final(civil(3).day)
    expected = days[civil(3)] * np.where(np.arange(96) < 24, 20, 40)
    assert np.array_equal(final.values, expected)
    assert utility.final(civil(2).day).total == days[civil(2)].sum() * 20
    assert utility.final(civil(4).day).total == days[civil(4)].sum() * 40


def test_a_ratio_without_decimal_form_is_refused_before_anything_is_stored(utility: Utility) -> None:
    utility.meter("M-1", "UP-1")
    utility.meter("M-2", "UP-2")
    since = datetime(2020, 1, 1, tzinfo=UTC)
    thirds = [Multiplier(meter, 100, 3, 1, 1, since) for meter in ("M-1", "M-2")]
    utility.registry.record(thirds, actor="test", why="odd plates")
    with pytest.raises(ValidationError, match="2 faults in master data") as error:
        utility.run(FIRST, LAST)
    assert "M-1" in str(error.value)
    assert "M-2" in str(error.value)
    assert utility.store.series_ids("final") == []


@pytest.mark.parametrize(
    ("factor", "places"), [(Fraction(200), 0), (Fraction(1, 8), 3), (Fraction(3, 20), 2), (Fraction(7, 5), 1)]
)
def test_decimal_places_of_a_factor(factor: Fraction, places: int) -> None:
    assert decimal_places(factor) == places
    assert (factor * 10**places).denominator == 1
    assert places == 0 or (factor * 10 ** (places - 1)).denominator != 1


def test_a_register_that_passes_zero_rolls_over(utility: Utility) -> None:
    utility.meter(digits=6)
    days = loads(FIRST, 7)
    reads = {at: count % 10**6 for at, count in freezes(days, 10**6 - 40_000).items()}
    assert reads[civil(0).start] > reads[civil(6).end]
    utility.deliver(days, reads=reads, missing={civil(offset): [12, 13] for offset in range(7)})
    utility.run(FIRST, FIRST + timedelta(days=7))
    for day, values in days.items():
        assert utility.final(day.day).total == values.sum()
    (case,) = utility.exceptions.find("register_rollover")
    assert case.state == "closed"
    assert utility.exceptions.find("register_reverse") == []


def test_a_register_that_goes_back_bounds_nothing(utility: Utility) -> None:
    utility.meter()
    days = loads(FIRST, 7)
    reads = freezes(days, 500_000)
    for at in reads:
        if at >= civil(4).start:
            reads[at] -= 400_000
    utility.deliver(days, reads=reads, missing={civil(3): [12, 13], civil(4): [12, 13]})
    utility.run(FIRST, FIRST + timedelta(days=7))
    (case,) = utility.exceptions.find("register_reverse")
    assert (case.day, case.state) == (civil(3).day, "open")
    unscaled, scaled = utility.final(civil(3).day), utility.final(civil(4).day)
    assert qualities(unscaled.status_ids)[12] == Quality.ESTIMATED
    assert qualities(scaled.status_ids)[12] == Quality.SUBSTITUTED
    assert scaled.total == days[civil(4)].sum()


def test_a_coarse_register_is_a_bound_with_its_own_step(utility: Utility) -> None:
    """A register in kWh: two steps are 2 kWh, and a gap is closed with the kilowatt-hour."""
    utility.meter(exponent=3)
    days = loads(FIRST, 14)
    exact = freezes(days)
    reads = {at: count // 1000 for at, count in exact.items()}
    utility.deliver(
        days, reads=reads, register_quantum=Quantum(Unit.WATT_HOUR, 3), missing={civil(7): range(20, 40)}
    )
    utility.run(FIRST, LAST)
    assert [kind for kind, _ in utility.kinds()] == ["gap"]
    advance = 1000 * (reads[civil(7).end] - reads[civil(7).start])
    assert utility.final(civil(7).day).total == advance
    assert utility.final(civil(7).day).anchor_end == 1000 * reads[civil(7).end]


def test_a_fine_register_makes_a_fine_final(utility: Utility) -> None:
    """Register in 0.1 Wh, intervals in Wh: the final counts in 0.1 Wh and closes to it."""
    utility.meter(exponent=-1)
    days = loads(FIRST, 7)
    reads = {at: count * 10 + 3 for at, count in freezes(days).items()}
    reads[civil(4).start] += 4
    utility.deliver(
        days, reads=reads, register_quantum=Quantum(Unit.WATT_HOUR, -1),
        missing={civil(3): [50], civil(4): [50]},
    )  # fmt: skip
    utility.run(FIRST, FIRST + timedelta(days=7))
    final = utility.final(civil(3).day, channel=IMPORT_INTERVAL)
    assert final.quantum == Quantum(Unit.WATT_HOUR, -1)
    assert final.total == 10 * days[civil(3)].sum() + 4
    assert utility.final(civil(4).day).total == 10 * days[civil(4)].sum() - 4
