"""A synthetic transformer area: households, shops and PV behind one area meter, with losses as wires have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import pytest

from openami.analytics.area_energy import AreaEnergy
from openami.quantities.civil_time import civil_days
from openami.quantities.units import WH


@dataclass(frozen=True)
class Bypass:
    customer: int
    first_day: int
    share: float = 0.5


@dataclass(frozen=True)
class AreaPlan:
    """What is in the area; everything random comes from the seed."""

    seed: int
    customers: int = 50
    days: int = 35
    zone: str = "Europe/Berlin"
    first_day: date = date(2024, 3, 10)
    pv_share: float = 0.2
    shops: int = 4
    loss_share: float = 0.025
    standing_w: float = 20.0
    bypasses: tuple[Bypass, ...] = ()
    estimated: tuple[tuple[int, int], ...] = field(default=())  # (customer, day)
    missing: tuple[tuple[int, int], ...] = field(default=())
    closed: bool = True


def integer_registers(energy_wh):
    """What a register in whole Wh shows per interval: no energy is lost to rounding."""
    return np.diff(np.floor(np.cumsum(np.vstack([np.zeros(energy_wh.shape[1]), energy_wh]), axis=0)), axis=0)


def build_area(plan: AreaPlan) -> AreaEnergy:
    rng = np.random.default_rng(plan.seed)
    days = tuple(civil_days(plan.first_day, plan.first_day + timedelta(days=plan.days), plan.zone))
    counts = [day.interval_count(900) for day in days]
    day_index = np.repeat(np.arange(plan.days), counts)
    hour = np.concatenate([(np.arange(count) / count) * 24 for count in counts])
    weekend = np.array([day.day.weekday() >= 5 for day in days])[day_index]
    n, k = hour.size, plan.customers
    phase = rng.normal(0, 1.2, k)
    shape = (
        0.3
        + 0.7 * np.exp(-(((hour[:, None] - 7.5 - phase) / 1.6) ** 2))
        + np.exp(-(((hour[:, None] - 19.5 - phase) / 2.4) ** 2))
    )
    level = rng.lognormal(np.log(90), 0.45, k)
    slow = np.zeros((n, k))
    shock = rng.normal(0, 0.45, (n, k))
    for row in range(1, n):
        slow[row] = 0.75 * slow[row - 1] + shock[row]
    pulses = (rng.random((n, k)) < 0.03) * rng.exponential(350, (n, k))
    load = level * shape * np.exp(slow - 0.4) + pulses
    opening = (hour > 8) & (hour < 19) & ~weekend
    for shop in range(plan.shops):
        load[:, shop] = 150 + 500 * opening * rng.normal(1, 0.08, n).clip(0.5, 1.5) + 40 * rng.random(n)
    sun = np.clip(np.sin((hour - 6) / 13 * np.pi), 0, None) * (hour > 6) * (hour < 19)
    cloud = np.clip(0.75 + np.cumsum(rng.normal(0, 0.08, n)) % 1.0 - 0.5, 0.1, 1.0)
    has_pv = np.zeros(k, bool)
    has_pv[plan.shops :] = rng.random(k - plan.shops) < plan.pv_share
    pv = has_pv * rng.uniform(600, 1500, k) * (sun * cloud)[:, None] * rng.normal(1, 0.05, (n, k))
    share = np.zeros((n, k))
    for bypass in plan.bypasses:
        share[day_index >= bypass.first_day, bypass.customer] = bypass.share
    metered = load * (1 - share) - pv
    imported = integer_registers(np.clip(metered, 0, None)).astype(np.int64)
    exported = integer_registers(np.clip(-metered, 0, None)).astype(np.int64)
    flow = load - pv
    trunk = flow.sum(axis=1)
    # Two thirds of the loss arise in the common trunk, one third in service lines of unequal length.
    resistance = rng.uniform(0.3, 1.7, k)
    service = flow**2 @ resistance
    energy = np.abs(trunk).sum() * plan.loss_share
    technical = (
        energy * (2 / 3 * trunk**2 / (trunk**2).sum() + 1 / 3 * service / service.sum())
        + plan.standing_w * k / 4
    )
    supplied = integer_registers((trunk + technical)[:, None])[:, 0].astype(np.int64)
    estimated = np.zeros((n, k), bool)
    missing = np.zeros((n, k), bool)
    for customer, day in plan.estimated:
        span = day_index == day
        before = day_index == (day - 7 if day >= 7 else day + 7)
        width = min(np.count_nonzero(span), np.count_nonzero(before))
        true = int(imported[span, customer].sum())
        like = np.resize(imported[before, customer][:width], np.count_nonzero(span))
        guess = np.floor(np.cumsum(like) * true / max(like.sum(), 1)).astype(np.int64)
        imported[span, customer] = np.diff(guess, prepend=0)
        estimated[span, customer] = True
    for customer, day in plan.missing:
        span = day_index == day
        imported[span, customer] = exported[span, customer] = 0
        missing[span, customer] = True
    return AreaEnergy(
        area_id="A1",
        customers=tuple(f"UP-{index:03d}" for index in range(k)),
        days=days,
        day_index=day_index,
        interval_s=900,
        quantum=WH,
        supplied=supplied,
        imported=imported,
        exported=exported,
        supplied_missing=np.zeros(n, bool),
        missing=missing,
        supplied_estimated=np.zeros(n, bool),
        estimated=estimated,
        closed=np.array([[(c, d) not in plan.missing for c in range(k)] for d in range(plan.days)])
        & plan.closed,
    )


@pytest.fixture
def area_of():
    """Build an area from keywords of `AreaPlan`."""

    def build(seed, **changes):
        return build_area(replace(AreaPlan(seed), **changes))

    return build


@pytest.fixture
def bypass():
    return Bypass
