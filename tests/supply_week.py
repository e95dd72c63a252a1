"""A week of a supply made by hand: quiet noise from a seed, and defects of exactly the size asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from openami.metrology.power_quality.en50160_aggregates import (
    FREQUENCIES,
    SupplyAggregates,
    SupplyEvents,
    no_events,
)
from openami.metrology.power_quality.event_kernel import EventKind

WEEK = 1008
MONDAY_US = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * 1_000_000
ORDERS = np.arange(2, 41)
ALLOWED_PCT = {
    **dict.fromkeys(range(6, 41, 2), 0.5),
    **{
        2: 2,
        3: 5,
        4: 1,
        5: 6,
        7: 5,
        9: 1.5,
        11: 3.5,
        13: 3,
        15: 0.5,
        17: 2,
        19: 1.5,
        21: 0.5,
        23: 1.5,
        25: 1.5,
    },
}


def quiet_week(intervals: int = WEEK, *, phases: int = 3, seed: int = 50160) -> SupplyAggregates:
    """Every limit kept by every value: 226 to 234 V, 49.95 to 50.05 Hz, half of every other limit at most."""
    rng = np.random.default_rng(seed)
    hours = np.arange(intervals)[:, np.newaxis] / 6
    day = np.sin(2 * np.pi * (hours - 3 + np.arange(phases)) / 24)
    allowed = np.array([ALLOWED_PCT.get(int(order), 0.5) for order in ORDERS])
    harmonics = allowed * rng.uniform(0.1, 0.5, (intervals, phases, ORDERS.size))
    wave = 0.03 * np.sin(2 * np.pi * np.arange(FREQUENCIES * intervals) / 777)
    return SupplyAggregates(
        nominal_v=230.0,
        nominal_hz=50,
        start_us=MONDAY_US,
        u_v=230 + 3 * day + rng.uniform(-1, 1, (intervals, phases)),
        flagged=np.zeros(intervals, np.bool_),
        thd_pct=np.sqrt((harmonics**2).sum(axis=2)),
        harmonic_orders=ORDERS.astype(np.int64),
        harmonic_pct=harmonics,
        unbalance_pct=rng.uniform(0.2, 0.9, intervals) if phases == 3 else np.full(intervals, np.nan),
        pst=rng.uniform(0.1, 0.6, (intervals, phases)),
        f_hz=50 + wave + rng.uniform(-0.02, 0.02, FREQUENCIES * intervals),
        events=no_events(),
    )


def with_events(
    week: SupplyAggregates, *events: tuple[EventKind, float, float, float, int]
) -> SupplyAggregates:
    """Events (kind, second of the week, duration in s, level in % of nominal, phases); intervals flagged."""
    ordered = sorted(events, key=lambda event: event[1])
    starts = np.array([week.start_us + round(event[1] * 1e6) for event in ordered], np.int64)
    durations = np.array([event[2] for event in ordered], np.float64)
    flagged = week.flagged.copy()
    for kind, begin_s, duration_s, _, _ in ordered:
        if kind is not EventKind.RAPID_VOLTAGE_CHANGE:
            end_s = 1e9 if np.isnan(duration_s) else begin_s + duration_s
            flagged[int(begin_s // 600) : int(min(end_s // 600, week.intervals)) + 1] = True
    columns = SupplyEvents(
        np.array([event[0] for event in ordered], np.uint8),
        starts,
        durations,
        np.array([event[3] * week.nominal_v / 100 for event in ordered], np.float64),
        np.array([event[4] for event in ordered], np.uint8),
    )
    return replace(week, flagged=flagged, events=columns)


def spoilt_week() -> SupplyAggregates:
    """A week that breaks one limit of each kind; the numbers are those that `test_en50160_week` expects."""
    week = quiet_week()
    u_v, unbalance, pst, f_hz = week.u_v.copy(), week.unbalance_pct.copy(), week.pst.copy(), week.f_hz.copy()
    thd, harmonics = week.thd_pct.copy(), week.harmonic_pct.copy()
    evening = (np.arange(WEEK) % 144 >= 108) & (np.arange(WEEK) % 144 < 120)  # 84 intervals, 18 to 20 h
    u_v[evening, 0] = 204.0 - 5 * np.sin(np.arange(evening.sum()) * np.pi / 12) ** 2
    u_v[500, 1] = 190.0
    unbalance[:60] = 2.4
    pst[120:240, 2] = 1.3
    thd[evening, 1] = 9.0
    harmonics[evening, 1, 3] = 7.25  # order 5
    harmonics[:51, 0, 13] = 0.75  # order 15, just too often
    f_hz[1000:1400] = 50.7
    f_hz[30_000:30_006] = 46.9
    u_v[800:812] = np.nan
    spoilt = replace(
        week, u_v=u_v, unbalance_pct=unbalance, pst=pst, thd_pct=thd, harmonic_pct=harmonics, f_hz=f_hz
    )
    return with_events(
        spoilt,
        (EventKind.DIP, 90_000.0, 0.08, 72.0, 1),
        (EventKind.DIP, 91_000.0, 0.31, 55.0, 7),
        (EventKind.DIP, 200_000.0, 2.4, 85.5, 2),
        (EventKind.DIP, 330_000.0, 0.65, 12.0, 3),
        (EventKind.SWELL, 250_000.0, 0.12, 123.0, 4),
        (EventKind.SWELL, 251_000.0, 8.0, 112.0, 2),
        (EventKind.INTERRUPTION, 420_000.0, 42.0, 0.4, 7),
        (EventKind.INTERRUPTION, 480_600.0, 7200.0, 0.0, 7),
        (EventKind.RAPID_VOLTAGE_CHANGE, 150_000.0, 0.2, 5.6, 1),
    )
