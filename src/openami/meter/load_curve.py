"""Load curves: how much energy a customer draws and feeds in each quarter-hour of UTC, in integer mWh.

A curve is a pure function of (seed, customer, day): every random number is a hash of them and of the slot,
so any day can be produced without the days before, for one meter or for thousands in one matrix, with the
same bits. On the random field only multiplications and additions are done, no transcendental function, so
that the result does not depend on how an array is laid out. Shapes are openami's own: they are meant to be
plausible, not measured. Rule never to be broken: no state, no global random generator.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import zone_of
from openami.quantities.errors import QuantityError

from .metering_core.load_flow import SLOT_LIMIT_MWH, SLOTS

MWH_PER_WH = 1000
MWH_PER_SLOT_AND_WATT = 250
"""1 W for a quarter of an hour is 0.25 Wh."""
PV_SLOT_MWH_PER_WP = 250

Day = int
"""Days since 1970, UTC."""


class CurveKind(Enum):
    """What kind of customer draws the load."""

    HOUSEHOLD = "household"
    SHOP = "shop"
    PV_HOME = "pv_home"
    EV_HOME = "ev_home"
    STREET_LIGHTING = "street_lighting"
    CONSTANT = "constant"

    @property
    def exports(self) -> bool:
        """True when energy is fed in at times."""
        return self is CurveKind.PV_HOME


@dataclass(frozen=True, slots=True)
class CurveSpec:
    """A load curve.

    Parameters
    ----------
    kind:
        Kind of customer.
    key:
        The customer: curves of one seed with the same key are the same (old and new meter of an exchange).
    zone:
        IANA zone in whose civil time the customer lives.
    daily_wh:
        Mean energy a day; None draws it from the kind's range by seed and key. For `CurveKind.CONSTANT` it
        is the energy of every day, a multiple of 24 Wh (whole watts).
    pv_wp:
        Peak power of the PV plant in W; None draws 3 to 8 kW for a PV home.
    """

    kind: CurveKind
    key: str
    zone: str = "Europe/Berlin"
    daily_wh: int | None = None
    pv_wp: int | None = None

    def __post_init__(self) -> None:
        zone_of(self.zone)
        if self.daily_wh is not None and not 0 <= self.daily_wh <= SLOT_LIMIT_MWH // MWH_PER_WH:
            raise QuantityError(f"{self.daily_wh} Wh a day for {self.key}", expected="0 .. 9000000 Wh")
        if self.kind is CurveKind.CONSTANT and (self.daily_wh is None or self.daily_wh % 24):
            raise QuantityError(f"constant curve of {self.key}", expected="daily_wh, a multiple of 24 Wh")
        if self.pv_wp is not None and (not self.kind.exports or not 0 < self.pv_wp <= 1_000_000):
            raise QuantityError(
                f"PV of {self.pv_wp} W for a {self.kind.value}", expected="a pv_home, <= 1 MW"
            )


DAILY_WH_RANGE: dict[CurveKind, tuple[int, int]] = {
    CurveKind.HOUSEHOLD: (7_500, 12_500),
    CurveKind.SHOP: (30_000, 80_000),
    CurveKind.PV_HOME: (8_000, 13_000),
    CurveKind.EV_HOME: (8_000, 12_500),
    CurveKind.STREET_LIGHTING: (20_000, 60_000),
}
"""Range of the mean daily energy by kind, in Wh; the car of an EV home comes on top."""

PV_WP_RANGE = (3_000, 8_000)
EV_CHARGER_W = 7_400
LATITUDE_DEG = 48.0
"""Latitude of the sun over all zones; solar noon is 12:00 of the zone's standard time."""

# Streams of random numbers: one for each purpose.
_DAILY, _PLANT, _SLOT, _DAY, _APPLIANCE, _HOUR, _CLOUD, _CAR = range(8)


class CurveBank:
    """Load curves of many customers, produced by the day.

    Invariant: row i of every day depends on ``seed``, ``specs[i]`` and the day only.
    """

    def __init__(self, specs: Sequence[CurveSpec], seed: int) -> None:
        self._specs = tuple(specs)
        self._seed_key = _text_key(f"seed {seed}")
        self._keys = np.array([_text_key(f"{seed} {spec.key}") for spec in self._specs], np.uint64)
        self._daily_wh = np.array(
            [_daily_wh(spec, key) for spec, key in zip(self._specs, self._keys, strict=True)], np.float64
        )
        self._pv_wp = np.array(
            [_pv_wp(spec, key) for spec, key in zip(self._specs, self._keys, strict=True)], np.float64
        )
        groups: dict[tuple[CurveKind, str], list[int]] = {}
        for index, spec in enumerate(self._specs):
            groups.setdefault((spec.kind, spec.zone), []).append(index)
        self._groups = {group: np.array(members) for group, members in groups.items()}

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def daily_wh(self) -> npt.NDArray[np.int64]:
        """Mean energy drawn a day, without PV and cars, shape (n,)."""
        return self._daily_wh.astype(np.int64)

    def energies(self, day: Day) -> npt.NDArray[np.int64]:
        """Energies of a UTC day.

        Returns
        -------
        mWh by customer, channel (0 import, 1 export) and quarter-hour, int64, shape (n, 2, 96).
        """
        result = np.zeros((len(self._specs), 2, SLOTS), np.int64)
        for (kind, zone), members in self._groups.items():
            result[members, 0], result[members, 1] = self._group(kind, zone, members, day)
        return result

    def _group(
        self, kind: CurveKind, zone: str, members: npt.NDArray[np.int64], day: Day
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        calendar = slot_calendar(day, zone)
        keys, daily = self._keys[members], self._daily_wh[members][:, np.newaxis] * MWH_PER_WH
        nothing = np.zeros((members.size, SLOTS), np.int64)
        match kind:
            case CurveKind.CONSTANT:
                return np.broadcast_to((daily / SLOTS).astype(np.int64), nothing.shape), nothing
            case CurveKind.STREET_LIGHTING:
                return (daily * _darkness(calendar)).astype(np.int64), nothing
            case CurveKind.SHOP:
                return _shop(keys, daily, calendar, day), nothing
            case CurveKind.HOUSEHOLD:
                return _household(keys, daily, calendar, day), nothing
            case CurveKind.EV_HOME:
                return _household(keys, daily, calendar, day) + _car(keys, calendar), nothing
            case CurveKind.PV_HOME:
                load = _household(keys, daily, calendar, day)
                net = load - self._sunshine(keys, members, calendar, day)
                return np.maximum(net, 0), np.maximum(-net, 0)

    def _sunshine(
        self, keys: npt.NDArray[np.uint64], members: npt.NDArray[np.int64], calendar: SlotCalendar, day: Day
    ) -> npt.NDArray[np.int64]:
        """PV generation in mWh: the sun's height, the day's weather shared by all, passing clouds of each."""
        sky = np.array([self._seed_key], np.uint64)
        clear = 0.25 + 0.75 * by_local_day(sky, calendar, _CLOUD)
        hour = np.repeat(uniform(sky, day * 24 + np.arange(24, dtype=np.int64), _HOUR), SLOTS // 24, axis=1)
        cloud = uniform(keys, day * SLOTS + np.arange(SLOTS, dtype=np.int64), _CLOUD)
        share = calendar.sun * (clear * (0.7 + 0.3 * hour)) * (0.9 + 0.1 * cloud)
        plant = self._pv_wp[members][:, np.newaxis] * (0.85 * PV_SLOT_MWH_PER_WP)
        generation: npt.NDArray[np.int64] = (plant * share).astype(np.int64)
        return generation


# Civil time and the sun over the slots of a UTC day ------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class SlotCalendar:
    """What the 96 slots of a UTC day are in a zone; every array has shape (96,).

    Parameters
    ----------
    quarter:
        Quarter-hour of the civil day, 0 .. 95.
    local_day:
        Civil day, days since 1970.
    weekday:
        0 Monday .. 6 Sunday.
    sun:
        Sine of the sun's elevation, 0 at night.
    winter:
        Seasonal weight: 1 in January, -1 in July.
    """

    quarter: npt.NDArray[np.int64]
    local_day: npt.NDArray[np.int64]
    weekday: npt.NDArray[np.int64]
    sun: npt.NDArray[np.float64]
    winter: npt.NDArray[np.float64]


@lru_cache(maxsize=256)
def slot_calendar(day: Day, zone: str) -> SlotCalendar:
    """Calendar of a UTC day in a zone."""
    info = zone_of(zone)
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    epoch = date(1970, 1, 1).toordinal()
    quarter, local_day, weekday, sun, winter = [], [], [], [], []
    for slot in range(SLOTS):
        instant = start + timedelta(minutes=15 * slot)
        local = instant.astimezone(info)
        standard = local - (local.dst() or timedelta())
        quarter.append(local.hour * 4 + local.minute // 15)
        local_day.append(local.toordinal() - epoch)
        weekday.append(local.weekday())
        year_angle = 2 * math.pi * (local.timetuple().tm_yday - 15) / 365.25
        winter.append(math.cos(year_angle))
        declination = math.radians(-23.44) * math.cos(2 * math.pi * (local.timetuple().tm_yday + 10) / 365.25)
        hour_angle = math.radians(15.0 * (standard.hour + standard.minute / 60 + 0.125 - 12.0))
        latitude = math.radians(LATITUDE_DEG)
        sine = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(
            declination
        ) * math.cos(hour_angle)
        sun.append(max(0.0, sine))
    return SlotCalendar(
        np.array(quarter, np.int64),
        np.array(local_day, np.int64),
        np.array(weekday, np.int64),
        np.array(sun, np.float64),
        np.array(winter, np.float64),
    )


# Kinds of customers ---------------------------------------------------------------------------------------

_WEEKDAY = (
    (0, 0.35), (5, 0.33), (6, 0.65), (7, 1.15), (8, 0.95), (9, 0.70), (11.5, 0.85), (12.5, 1.05), (14, 0.75),
    (16, 0.90), (17.5, 1.45), (18.5, 2.05), (20, 2.10), (21.5, 1.60), (23, 0.75), (24, 0.35),
)  # fmt: skip
_WEEKEND = (
    (0, 0.42), (5, 0.33), (7, 0.45), (8.5, 1.00), (10, 1.25), (12, 1.65), (13, 1.55), (15, 1.15), (17, 1.30),
    (18.5, 1.90), (20, 1.95), (21.5, 1.55), (23, 0.85), (24, 0.42),
)  # fmt: skip
"""Mean load of a household over the civil day: hour, load relative to the day's mean (before scaling)."""


@lru_cache(maxsize=2)
def _household_shapes() -> npt.NDArray[np.float64]:
    """Share of the day's energy by (weekday 0/weekend 1, quarter-hour), each row summing to 1."""
    hours = (np.arange(SLOTS) + 0.5) / 4
    rows = []
    for points in (_WEEKDAY, _WEEKEND):
        row = np.interp(hours, [hour for hour, _ in points], [load for _, load in points])
        rows.append(row / row.sum())
    return np.array(rows)


def _household(
    keys: npt.NDArray[np.uint64], daily: npt.NDArray[np.float64], calendar: SlotCalendar, day: Day
) -> npt.NDArray[np.int64]:
    """Base load, breakfast, evening peak; seven tenths follow the shape, three are single appliances."""
    weekend = (calendar.weekday >= 5).astype(np.int64)
    shape = _household_shapes()[weekend, calendar.quarter]
    slots = day * SLOTS + np.arange(SLOTS, dtype=np.int64)
    habit = 0.80 + 0.40 * by_local_day(keys, calendar, _DAY)
    season = 1.0 + 0.12 * calendar.winter
    jitter = 0.55 + 0.45 * (uniform(keys, slots, _SLOT) + uniform(keys, slots + 1, _SLOT))
    runs = uniform(keys, slots, _APPLIANCE)
    appliance = np.where(runs < 0.12, 4.0 + 70.0 * runs, 0.0) * (0.3 / 0.984)
    energy: npt.NDArray[np.int64] = (daily * shape * habit * season * (0.7 * jitter + appliance)).astype(
        np.int64
    )
    return energy


def _shop(
    keys: npt.NDArray[np.uint64], daily: npt.NDArray[np.float64], calendar: SlotCalendar, day: Day
) -> npt.NDArray[np.int64]:
    """Refrigeration round the clock; lights and machines from about nine to seven, not on Sundays."""
    opens = 33 + (keys & np.uint64(7)).astype(np.int64)[:, np.newaxis]
    closes = 73 + (keys >> np.uint64(8) & np.uint64(7)).astype(np.int64)[:, np.newaxis]
    early = np.where(calendar.weekday == 5, 16, 0)
    is_open = (calendar.quarter >= opens) & (calendar.quarter < closes - early) & (calendar.weekday != 6)
    slots = day * SLOTS + np.arange(SLOTS, dtype=np.int64)
    trade = 0.90 + 0.20 * by_local_day(keys, calendar, _DAY)
    jitter = 0.94 + 0.12 * uniform(keys, slots, _SLOT)
    share = (0.30 + np.where(is_open, 1.95, 0.0) * trade) / SLOTS
    energy: npt.NDArray[np.int64] = (daily * share * jitter).astype(np.int64)
    return energy


def _darkness(calendar: SlotCalendar) -> npt.NDArray[np.float64]:
    """Share of the mean daily energy: lamps burn while the sun is down, half of them after eleven."""
    late = (calendar.quarter >= 92) | (calendar.quarter < 20)
    burning = np.where(calendar.sun <= 0.0, np.where(late, 0.5, 1.0), 0.0)
    share: npt.NDArray[np.float64] = burning / 34.0
    return share


def _car(keys: npt.NDArray[np.uint64], calendar: SlotCalendar) -> npt.NDArray[np.int64]:
    """A car charged on about two evenings of five, for one to three hours from 18:00 to 21:00 on."""
    chance = by_local_day(keys, calendar, _CAR)
    begins = 72 + (12.0 * by_local_day(keys, calendar, _PLANT)).astype(np.int64)
    lasts = 4 + (20.0 * chance).astype(np.int64)
    charging = (chance < 0.4) & (calendar.quarter >= begins) & (calendar.quarter < begins + lasts)
    return np.where(charging, EV_CHARGER_W * MWH_PER_SLOT_AND_WATT, 0)


def _daily_wh(spec: CurveSpec, key: np.uint64) -> int:
    if spec.daily_wh is not None:
        return spec.daily_wh
    low, high = DAILY_WH_RANGE[spec.kind]
    return low + int(_single(key, _DAILY) * (high - low))


def _pv_wp(spec: CurveSpec, key: np.uint64) -> int:
    if not spec.kind.exports:
        return 0
    if spec.pv_wp is not None:
        return spec.pv_wp
    low, high = PV_WP_RANGE
    return low + int(_single(key, _PLANT) * (high - low))


# Random numbers by counter --------------------------------------------------------------------------------


def uniform(
    keys: npt.NDArray[np.uint64], counters: npt.NDArray[np.int64], stream: int
) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) from a hash of key, counter and stream.

    The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
    number generators, OOPSLA 2014).

    Parameters
    ----------
    keys:
        Shape (n,).
    counters:
        Shape (m,).

    Returns
    -------
    Shape (n, m).
    """
    salt = np.uint64((stream + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    rows = _mix(keys ^ salt)
    columns = counters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = _mix(rows[:, np.newaxis] + columns[np.newaxis, :])
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def by_local_day(
    keys: npt.NDArray[np.uint64], calendar: SlotCalendar, stream: int
) -> npt.NDArray[np.float64]:
    """Uniform numbers that hold for a civil day, spread over the slots: shape (n, 96)."""
    first = int(calendar.local_day[0])
    days = np.arange(first, int(calendar.local_day[-1]) + 1, dtype=np.int64)
    return uniform(keys, days, stream)[:, calendar.local_day - first]


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _single(key: np.uint64, stream: int) -> float:
    return float(uniform(np.array([key], np.uint64), np.zeros(1, np.int64), stream)[0, 0])


def _text_key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
