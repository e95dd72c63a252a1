"""A fleet is its specification: same seed, same bytes; faults where the scenario says; areas that add up."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from openami.meter.faults import (
    Bypass,
    DeadMeter,
    DriftingClock,
    GarbageAnswers,
    LostReplies,
    Outage,
    Spike,
)
from openami.meter.fleet import Fate, Fleet
from openami.meter.fleet_spec import (
    AreaCurve,
    FleetSpec,
    MeterSpec,
    exchange,
    fleet_document,
    fleet_from_document,
    household_fleet,
    load_fleet,
    save_fleet,
)
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.meter_clock import milliseconds
from openami.meter.metering_core.load_flow import DAY_MS
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import FormatError, QuantityError
from openami.quantities.status import DeviceFlag

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
DAY = timedelta(days=1)


def small(*faults: object, seed: int = 7, loss_permille: int = 25) -> FleetSpec:
    kinds = [
        CurveKind.HOUSEHOLD,
        CurveKind.SHOP,
        CurveKind.PV_HOME,
        CurveKind.EV_HOME,
        CurveKind.STREET_LIGHTING,
    ]
    meters = [
        MeterSpec(f"M-{index}", 16 + index, CurveSpec(kind, f"UP-{index}"), area="A-1")
        for index, kind in enumerate(kinds)
    ]
    meters.append(MeterSpec("A-1-METER", 99, AreaCurve("A-1", loss_permille)))
    return FleetSpec(seed, START, tuple(meters), tuple(faults))  # type: ignore[arg-type]


def fleet_after(spec: FleetSpec, time: timedelta, step: timedelta | None = None) -> Fleet:
    clock = SimulatedClock(spec.start)
    fleet = Fleet(spec, clock)
    while clock.now() < spec.start + time:
        clock.advance_to(min(spec.start + time, clock.now() + (step or time)))
        fleet.settle()
    return fleet


def state(fleet: Fleet) -> list[object]:
    result: list[object] = []
    for meter_id in fleet.meter_ids:
        meter = fleet.meter(meter_id)
        for buffer in (meter.profile, meter.freezes):
            rows = buffer.rows()
            result.append((rows.stamp_s.tobytes(), rows.status.tobytes(), rows.values.tobytes()))
        result.append((meter.events, meter.core.dials_wh, meter.own_ms))
    return result


FAULTS = (
    Outage(START + timedelta(hours=30, minutes=7), START + timedelta(hours=31), area="A-1"),
    DeadMeter("M-0", START + DAY, START + 2 * DAY),
    Spike("M-1", START + timedelta(hours=60), 500_000),
    DriftingClock("M-2", START + timedelta(hours=5), 300),
    Bypass("M-3", START + timedelta(hours=26, minutes=3)),
)


def test_same_seed_same_bytes_in_any_steps_and_another_seed_others() -> None:
    at_once = state(fleet_after(small(*FAULTS), 3 * DAY))
    assert at_once == state(fleet_after(small(*FAULTS), 3 * DAY, timedelta(minutes=431)))
    assert at_once != state(fleet_after(small(*FAULTS, seed=8), 3 * DAY))


def test_one_meter_looked_at_alone_is_as_in_the_fleet() -> None:
    clock = SimulatedClock(START)
    fleet = Fleet(small(), clock)
    clock.advance(3 * DAY + timedelta(hours=7))
    alone = fleet.meter("M-1")
    crowd = fleet_after(small(), 3 * DAY + timedelta(hours=7)).meter("M-1")
    assert alone.core.dials_wh == crowd.core.dials_wh
    assert alone.profile.rows().values.tobytes() == crowd.profile.rows().values.tobytes()


def truth_mwh(fleet: Fleet, meter_id: str, until: datetime) -> np.ndarray:
    return np.array(fleet.supply.true_mwh(meter_id, milliseconds(START), milliseconds(until)))


def test_area_meter_counts_its_customers_and_only_that_without_losses() -> None:
    fleet = fleet_after(small(*FAULTS, loss_permille=0), 3 * DAY)
    net = sum(truth_mwh(fleet, f"M-{index}", START + 3 * DAY) for index in range(5))
    core = fleet.meter("A-1-METER").core
    counted = [dial * 1000 + rest for dial, rest in zip(core.dials_wh, core.residues_mwh, strict=True)]  # type: ignore[attr-defined]
    assert counted[0] - counted[1] == net[0] - net[1]


def test_technical_losses_are_two_to_three_percent_and_a_bypass_shows_in_the_area() -> None:
    honest = fleet_after(small(), 14 * DAY)
    stolen = fleet_after(small(Bypass("M-1", START)), 14 * DAY)
    sold = {
        fleet: sum(fleet.meter(f"M-{i}").core.dials_wh[0] for i in range(5))
        - fleet.meter("M-2").core.dials_wh[1]
        for fleet in (honest, stolen)
    }
    supplied = {
        fleet: fleet.meter("A-1-METER").core.dials_wh[0] - fleet.meter("A-1-METER").core.dials_wh[1]
        for fleet in (honest, stolen)
    }
    assert 0.02 < 1 - sold[honest] / supplied[honest] < 0.035
    assert supplied[honest] == supplied[stolen]
    half = honest.meter("M-1").core.dials_wh[0] / 2
    assert abs(stolen.meter("M-1").core.dials_wh[0] - half) < 2  # each segment's half is rounded down
    assert sold[honest] - sold[stolen] == pytest.approx(half, abs=2)


def test_open_contact_is_missed_by_meter_and_area_from_that_instant_on() -> None:
    clock = SimulatedClock(START)
    fleet = Fleet(small(loss_permille=0), clock)
    clock.advance(timedelta(hours=10, minutes=7, seconds=3))
    fleet.disconnect("M-1")
    opened = clock.now()
    clock.advance(timedelta(hours=30))
    fleet.reconnect("M-1")
    closed = clock.now()
    clock.advance(timedelta(hours=20))
    fleet.settle()
    missed = fleet.supply.true_mwh("M-1", milliseconds(opened), milliseconds(closed))[0]
    full = truth_mwh(fleet, "M-1", clock.now())[0]
    core = fleet.meter("M-1").core
    counted = core.dials_wh[0] * 1000 + core.residues_mwh[0]  # type: ignore[attr-defined]
    assert counted == full - missed
    net = sum(truth_mwh(fleet, f"M-{index}", clock.now()) for index in range(5))
    area = fleet.meter("A-1-METER").core
    imported, exported = (
        dial * 1000 + rest
        for dial, rest in zip(area.dials_wh, area.residues_mwh, strict=True)  # type: ignore[attr-defined]
    )
    assert imported - exported == net[0] - net[1] - missed


def test_outage_of_an_area_takes_all_its_meters_down() -> None:
    outage = Outage(START + timedelta(hours=5), START + timedelta(hours=7), area="A-1")
    clock = SimulatedClock(START)
    fleet = Fleet(small(outage), clock)
    clock.advance(timedelta(hours=6))
    assert not any(fleet.meter(meter_id).answers for meter_id in fleet.meter_ids)
    clock.advance(timedelta(hours=2))
    for meter_id in fleet.meter_ids:
        rows = fleet.meter(meter_id).profile.rows()
        assert len(rows) == 4 * 6
        assert rows.status[20] & DeviceFlag.POWER_FAIL


def test_exchanged_meters_count_the_same_customer_to_the_mwh() -> None:
    at = START + timedelta(hours=36, minutes=11, seconds=17)
    whole = MeterSpec("M", 16, CurveSpec(CurveKind.SHOP, "UP"))
    old, new = exchange(whole, replace(whole, meter_id="N", wport=17, start_wh=(123,)), at)
    fleet = fleet_after(FleetSpec(1, START, (old, new)), 3 * DAY)
    reference = fleet_after(FleetSpec(1, START, (whole,)), 3 * DAY)
    parts = [fleet.meter(name) for name in ("M", "N")]
    total = sum(m.core.dials_wh[0] * 1000 + m.core.residues_mwh[0] for m in parts) - 123_000  # type: ignore[attr-defined]
    one = reference.meter("M").core
    assert total == one.dials_wh[0] * 1000 + one.residues_mwh[0]  # type: ignore[attr-defined]
    assert parts[0].answers
    assert parts[0].freezes.rows().values[0, -1] == parts[0].core.dials_wh[0]
    assert parts[0].profile.rows().stamp_s[-1] == parts[1].profile.rows().stamp_s[0]


def test_link_faults_lose_and_garble_every_nth_answer_in_their_time() -> None:
    day = START + DAY
    clock = SimulatedClock(START)
    fleet = Fleet(small(LostReplies("M-0", day, day + DAY, 3), GarbageAnswers("M-1", day, day + DAY)), clock)
    assert {fleet.fate("M-0") for _ in range(9)} == {Fate.ARRIVES}
    clock.advance(DAY)
    assert [fleet.fate("M-0") for _ in range(6)].count(Fate.LOST) == 2
    assert {fleet.fate("M-1") for _ in range(6)} == {Fate.GARBLED}
    assert fleet.fate("M-2") is Fate.ARRIVES
    assert 1 <= len(fleet.garbage("M-1")) <= 63
    clock.advance(DAY)
    assert {fleet.fate("M-0") for _ in range(6)} == {Fate.ARRIVES}


def test_file_and_back(tmp_path: Path) -> None:
    spec = small(*FAULTS, LostReplies("M-0", START, START + DAY), GarbageAnswers("M-1", START, START + DAY))
    path = tmp_path / "fleet.json"
    save_fleet(spec, path)
    assert load_fleet(path) == spec
    assert fleet_from_document(fleet_document(spec)) == spec


TOML = """
seed = 7
start = 2026-03-10T00:00:00+01:00
[[meter]]
meter_id = "M-1"
wport = 16
area = "A"
curve = {kind = "pv_home", pv_wp = 5000}
[[meter]]
meter_id = "T-1"
wport = 17
curve = {kind = "area", area = "A"}
[[fault]]
kind = "spike"
meter_id = "M-1"
at = 2026-03-11T12:00:00+01:00
value_wh = 90000
"""


def test_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(TOML)
    spec = load_fleet(path)
    assert spec.meters[0].curve == CurveSpec(CurveKind.PV_HOME, "M-1", pv_wp=5000)
    assert spec.meters[1].curve == AreaCurve("A")
    assert isinstance(spec.faults[0], Spike)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("seed = 7", "", "seed"),
        ("seed = 7", "seed = 7\nsede = 8", "seed"),
        ("wport = 16", 'wport = "x"', "meter 1"),
        ("wport = 16", "wprot = 16", "meter 1"),
        ("pv_wp = 5000", "pv = 5000", "meter 1, curve"),
        ('kind = "spike"', 'kind = "spoke"', "fault 1"),
        ("value_wh = 90000", "", "fault 1"),
        ("[[fault]]", "[[fault", "not a fleet file"),
    ],
)
def test_files_that_are_no_fleet_are_refused_with_their_place(
    tmp_path: Path, old: str, new: str, where: str
) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(TOML.replace(old, new))
    with pytest.raises(FormatError, match=where):
        load_fleet(path)


def test_contradictory_fleets_are_refused() -> None:
    meter = MeterSpec("M-1", 16, CurveSpec(CurveKind.SHOP, "UP"))
    for meters, faults in (
        ((meter, replace(meter, wport=17)), ()),
        ((meter, replace(meter, meter_id="M-2")), ()),
        ((replace(meter, curve=AreaCurve("A")),), ()),
        ((meter,), (Spike("M-9", START, 1),)),
        ((meter,), (Outage(START, START + DAY, area="A"),)),
    ):
        with pytest.raises(QuantityError):
            FleetSpec(1, START, meters, faults)
    with pytest.raises(QuantityError, match="starts at"):
        Fleet(FleetSpec(1, START, (meter,)), SimulatedClock(START - DAY))
    with pytest.raises(QuantityError, match="no meter"):
        Fleet(FleetSpec(1, START, (meter,)), SimulatedClock(START)).meter("X")


def test_a_clock_stepped_back_makes_the_fleet_stand_still() -> None:
    class Stepped:
        instant = START + DAY

        def now(self) -> datetime:
            return self.instant

    clock = Stepped()
    fleet = Fleet(small(), clock)
    before = fleet.meter("M-0").core.dials_wh
    clock.instant -= timedelta(hours=1)
    assert fleet.meter("M-0").core.dials_wh == before


def test_an_idle_meter_takes_less_than_sixty_kib_and_so_does_one_with_a_month() -> None:
    spec = household_fleet(200, seed=1, start=START)
    tracemalloc.start()
    clock = SimulatedClock(START)
    fleet = Fleet(spec, clock)
    idle = tracemalloc.get_traced_memory()[0]
    clock.advance(timedelta(days=31))
    fleet.settle()
    month = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert idle / 200 < 12 * 1024
    assert month / 200 < 60 * 1024
    assert fleet.meter("H000001").profile.captured == 31 * DAY_MS // 900_000
