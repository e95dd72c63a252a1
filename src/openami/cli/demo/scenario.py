"""The demo utility as data: areas, meters, customers, and what will go wrong, all drawn from one seed.

The same facts feed two sides that share nothing else: the fleet (meters and faults) and the registry
(master data). What is injected is written down here and compared with what is detected only when the
summary is made.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from openami.meter.faults import Bypass, DeadMeter, DriftingClock, Fault, LostReplies, Outage, Spike
from openami.meter.fleet_spec import AreaCurve, FleetSpec, KeySpec, MeterSpec, exchange
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.quantities.civil_time import CivilDay, civil_day_of, civil_days
from openami.quantities.errors import QuantityError
from openami.quantities.obis import EXPORT_INTERVAL, IMPORT_INTERVAL
from openami.registry.entities import (
    Account,
    Agreement,
    Customer,
    Entity,
    Installation,
    Meter,
    TransformerArea,
    UsagePoint,
)

ZONE = "Europe/Berlin"
FIRST_DAY = date(2026, 10, 1)
AREA_NAMES = ("Lindenhof", "Mühlental", "Bahnhof", "Seeblick")
LEAST_METERS, LEAST_DAYS = 48, 28

_HOUSEHOLD_TARIFFS = ("household_tou", "household_tiered")
_CLASSES = {CurveKind.SHOP: "commercial"}


@dataclass(frozen=True, slots=True, order=True)
class Incident:
    """Something that happens, or was found, at one meter on one civil day."""

    meter: str
    day: date


@dataclass(frozen=True, slots=True)
class Exchange:
    """A meter exchange: field work at an instant inside an interval."""

    usage_point_id: str
    old: MeterSpec
    new: MeterSpec
    at: datetime


@dataclass(frozen=True, slots=True)
class Scenario:
    """A demo utility and what will go wrong in it.

    Parameters
    ----------
    fleet:
        Meters and faults, for the fleet alone.
    days:
        Civil days that are lived through.
    exchange:
        The meter exchange.
    redelivered:
        Meter days that arrive a second time.
    injected:
        Everything injected, by kind; the day is the first on which the utility side can see it.
    """

    fleet: FleetSpec
    days: tuple[CivilDay, ...]
    exchange: Exchange
    redelivered: tuple[Incident, ...]
    injected: dict[str, list[Incident]]

    @property
    def first_day(self) -> date:
        """First civil day."""
        return self.days[0].day

    @property
    def after(self) -> date:
        """The day after the last one."""
        return self.days[-1].day + timedelta(days=1)


def make_scenario(seed: int, meters: int, days: int) -> Scenario:
    """The demo utility of a seed.

    Parameters
    ----------
    seed:
        Of every draw.
    meters:
        Customers' meters, spread over four areas; each area has a meter of its own besides.
    days:
        Civil days from 2026-10-01 on; 25 or more of them contain the end of summer time.

    Raises
    ------
    QuantityError
        Too few meters or days for everything that shall go wrong.
    """
    if meters < LEAST_METERS or days < LEAST_DAYS:
        raise QuantityError(
            f"{meters} meters over {days} days",
            expected=f"at least {LEAST_METERS} meters and {LEAST_DAYS} days",
        )
    draw = random.Random(f"demo {seed}")
    period = tuple(civil_days(FIRST_DAY, FIRST_DAY + timedelta(days=days), ZONE))
    customers = [_customer(draw, number, meters) for number in range(meters)]
    households = [spec for spec in customers if _kind(spec) is CurveKind.HOUSEHOLD]
    chosen = draw.sample(households, 12)
    faults, injected = _faults(draw, chosen[:11], period)
    swap = _exchange(draw, chosen[11], meters, period)
    untouched = [spec for spec in households if spec not in chosen]
    injected["meter_exchange"] = [Incident(swap.new.meter_id, _day_of(swap.at))]
    redelivered = tuple(
        Incident(spec.meter_id, draw.choice(period[3:-3]).day) for spec in draw.sample(untouched, 3)
    )
    injected["duplicate"] = sorted(redelivered)
    outage = _outage(draw, period, injected)
    areas = [
        MeterSpec(f"OA2600{9001 + index:06d}", 16 + index, AreaCurve(name), ZONE, digits=9, port_index=1)
        for index, name in enumerate(AREA_NAMES)
    ]
    fitted = [swap.old if spec.meter_id == swap.old.meter_id else spec for spec in customers]
    # The meters hung there before: the first midnight already has its freeze.
    everyone = (*fitted, swap.new, *areas)
    injected["power_outage"] = [
        Incident(spec.meter_id, _day_of(outage.start))
        for spec in everyone
        if _area_of(spec) == outage.area and _hangs_at(spec, outage.start)
    ]
    # The day is one of a usage point, whoever hangs there when it ends.
    injected["daylight_saving"] = [
        Incident(spec.meter_id, day.day)
        for day in period
        if day.seconds != 86_400
        for spec in everyone
        if _hangs_at(spec, day.end)
    ]
    secured = tuple(replace(spec, keys=KeySpec.of_seed(seed, spec.meter_id)) for spec in everyone)
    fleet = FleetSpec(seed, period[0].start - timedelta(days=1), secured, (*faults, outage))
    return Scenario(
        fleet, period, swap, redelivered, {kind: sorted(found) for kind, found in injected.items()}
    )


def master_data(scenario: Scenario, host: str, ports: Sequence[int]) -> list[Entity]:
    """What the registry knows at the start: everything but the exchange, which nobody foresees.

    Parameters
    ----------
    scenario:
        The demo utility.
    host, ports:
        Where the fleet answers, one TCP port per port index.
    """
    start = scenario.days[0].start
    entities: list[Entity] = []
    for index, name in enumerate(AREA_NAMES):
        entities.append(TransformerArea(name, f"{name}", 400_000, f"AREA-{index + 1}"))
        entities.append(UsagePoint(f"AREA-{index + 1}", ZONE, name, "area", None, "area"))
    area_points = iter(range(1, 1 + len(AREA_NAMES)))
    for spec in scenario.fleet.meters:
        if spec.meter_id == scenario.exchange.new.meter_id:
            continue
        entities.append(meter_entity(spec, host, ports))
        if isinstance(spec.curve, AreaCurve):
            entities.append(Installation(spec.meter_id, f"AREA-{next(area_points)}", start))
            continue
        number = int(spec.meter_id[-4:])
        kind = spec.curve.kind
        point = usage_point_of(spec)
        entities += [
            UsagePoint(
                point, ZONE, spec.area, "customer", _capacity_w(kind), _CLASSES.get(kind, "residential")
            ),
            Installation(spec.meter_id, point, start),
            Customer(f"C{number:04d}", f"{'Shop' if kind is CurveKind.SHOP else 'Household'} {number:04d}"),
            Account(f"A{number:04d}", f"C{number:04d}", "EUR"),
            Agreement(f"AG{number:04d}", f"A{number:04d}", point, _tariff_of(spec), scenario.first_day),
        ]
    return entities


def meter_entity(spec: MeterSpec, host: str, ports: Sequence[int]) -> Meter:
    """A meter of the fleet as the registry sees it."""
    return Meter(
        meter_id=spec.meter_id,
        model="area" if isinstance(spec.curve, AreaCurve) else "load-curve",
        host=host,
        port=ports[spec.port_index],
        logical_device=spec.wport,
        zone=spec.zone,
        interval_s=900,
        digits=spec.digits,
        exponent=0,
        channels=(IMPORT_INTERVAL, EXPORT_INTERVAL) if spec.exports else (IMPORT_INTERVAL,),
    )


def usage_point_of(spec: MeterSpec) -> str:
    """Usage point at which a customer's first meter hangs."""
    return f"UP{spec.meter_id[-4:]}"


def _customer(draw: random.Random, number: int, meters: int) -> MeterSpec:
    # Of every sixteen customers two are shops and two have a PV plant.
    kind = {3: CurveKind.SHOP, 7: CurveKind.PV_HOME, 11: CurveKind.SHOP, 15: CurveKind.PV_HOME}.get(
        number // 4 % 16, CurveKind.HOUSEHOLD
    )
    feeds = kind is CurveKind.PV_HOME
    start = draw.randrange(1_000_000, 40_000_000)
    return MeterSpec(
        meter_id=f"OA2600{number + 1:06d}",
        wport=16 + number,
        curve=CurveSpec(kind, f"customer {number + 1}", ZONE),
        zone=ZONE,
        area=AREA_NAMES[number % len(AREA_NAMES)],
        start_wh=(start, draw.randrange(1_000_000)) if feeds else (start,),
    )


def _faults(
    draw: random.Random, chosen: Sequence[MeterSpec], period: Sequence[CivilDay]
) -> tuple[list[Fault], dict[str, list[Incident]]]:
    faults: list[Fault] = []
    injected: dict[str, list[Incident]] = {}

    def inject(kind: str, fault: Fault, meter: MeterSpec, day: CivilDay) -> None:
        faults.append(fault)
        injected.setdefault(kind, []).append(Incident(meter.meter_id, day.day))

    lost, dead, spiked, drifting, bypassed = chosen[0:4], chosen[4], chosen[5:8], chosen[8], chosen[9]
    for pair in (lost[:2], lost[2:]):
        # Answers of one night's reading are lost for an hour; the next night reads the day again.
        night = CivilDay(draw.choice(period[2:-3]).day + timedelta(days=1), ZONE)
        for meter in pair:
            fault = LostReplies(meter.meter_id, night.start, night.start + timedelta(hours=1))
            inject("lost_replies", fault, meter, night)
    day = draw.choice(period[10:-6])
    start = day.start + timedelta(hours=6, minutes=20)
    inject("dead_meter", DeadMeter(dead.meter_id, start, start + timedelta(days=2)), dead, day)
    for meter in spiked:
        day = draw.choice(period[8:-3])
        at = day.start + timedelta(minutes=15 * draw.randrange(8, 80))
        inject("spike", Spike(meter.meter_id, at, draw.randrange(30_000, 90_000)), meter, day)
    day = draw.choice(period[5:12])
    # 104 s a day: the reading after the first midnight finds it.
    night = CivilDay(day.day + timedelta(days=1), ZONE)
    inject("clock_drift", DriftingClock(drifting.meter_id, day.start, 1_200), drifting, night)
    day = draw.choice(period[8:16])
    inject("theft", Bypass(bypassed.meter_id, day.start), bypassed, day)
    return faults, injected


def _exchange(draw: random.Random, spec: MeterSpec, meters: int, period: Sequence[CivilDay]) -> Exchange:
    day = draw.choice(period[12:-8])
    at = day.start + timedelta(hours=10, minutes=draw.choice((7, 11, 23, 38)))
    successor = MeterSpec(
        meter_id=f"OA2610{meters + 1:06d}",
        wport=16 + meters,
        curve=spec.curve,
        zone=ZONE,
        start_wh=(0,),
    )
    old, new = exchange(spec, successor, at)
    return Exchange(usage_point_of(spec), old, new, at)


def _outage(
    draw: random.Random, period: Sequence[CivilDay], injected: Mapping[str, Sequence[Incident]]
) -> Outage:
    """An area without supply for 40 minutes, on a day on which nothing else happens."""
    busy = {incident.day for found in injected.values() for incident in found}
    busy |= {one.day + timedelta(days=later) for one in injected["dead_meter"] for later in (1, 2)}
    quiet = [day for day in period[3:-3] if day.day not in busy and day.seconds == 86_400]
    day = draw.choice(quiet)
    start = day.start + timedelta(hours=draw.randrange(8, 20), minutes=draw.choice((4, 13, 21, 38)))
    return Outage(start, start + timedelta(minutes=40), area=draw.choice(AREA_NAMES))


def _kind(spec: MeterSpec) -> CurveKind | None:
    return None if isinstance(spec.curve, AreaCurve) else spec.curve.kind


def _tariff_of(spec: MeterSpec) -> str:
    kind = _kind(spec)
    if kind is CurveKind.SHOP:
        return "shop_demand"
    if kind is CurveKind.PV_HOME:
        return "pv_net"
    return _HOUSEHOLD_TARIFFS[int(spec.meter_id[-4:]) % len(_HOUSEHOLD_TARIFFS)]


def _capacity_w(kind: CurveKind) -> int:
    return 60_000 if kind is CurveKind.SHOP else 24_000


def _day_of(instant: datetime) -> date:
    return civil_day_of(instant, ZONE).day


def _area_of(spec: MeterSpec) -> str | None:
    return spec.curve.area if isinstance(spec.curve, AreaCurve) else spec.area


def _hangs_at(spec: MeterSpec, instant: datetime) -> bool:
    begun = spec.installed_at is None or spec.installed_at < instant
    return begun and (spec.removed_at is None or spec.removed_at >= instant)
