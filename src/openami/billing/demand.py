"""Demand charges: the largest mean power over a window, by rate or for the whole period.

Ratchet (a share of earlier maxima), minimum demand, tiers, kW or kVA. A window belongs to a rate when it
lies wholly in it. Never to be broken: the line names the interval at which the window of the maximum began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from math import isqrt

import numpy as np
import numpy.typing as npt

from openami.billing.determinants import Counts, RateIndex, check_counts, largest_square, largest_window
from openami.billing.energy import tier_parts
from openami.billing.lines import Carried, DeterminantColumn, LineColumn
from openami.billing.tariff import DemandCharge, Measure, Tariff, Window
from openami.billing.usage import Span, Usage
from openami.quantities.errors import TariffError
from openami.quantities.money import Exact
from openami.quantities.obis import ObisCode

_APPARENT_STEP = 1000
"""Apparent demand is kept in thousandths of a count, rounded down."""


def rate_demand(
    charge: DemandCharge, code: ObisCode, tariff: Tariff, usage: Usage, span: Span, carried: Carried
) -> tuple[list[LineColumn], Mapping[str, Exact]]:
    """Lines of a demand charge over a span, and the measured demand by rate for later ratchets.

    Raises
    ------
    TariffError
        The window is not a multiple of the interval, or a rate has no room for a window.
    """
    place = f"tariff {tariff.tariff_id!r}, charge {charge.name!r}"
    channel = usage.channels[code]
    names = tariff.calendars[charge.calendar].rates
    window_s = charge.window_s or usage.interval_s
    width, rest = divmod(window_s, usage.interval_s)
    if rest or width < 1:
        raise TariffError(
            f"a demand window of {charge.window_s} s over intervals of {usage.interval_s} s",
            where=place,
            expected="a window of whole intervals",
        )
    rate = tariff.calendars[charge.calendar].rates_between(usage.first_day, usage.last_day, usage.interval_s)
    per_rate = charge.measure is Measure.PER_RATE
    grid = rate if per_rate else np.zeros_like(rate)
    windows = len(names) if per_rate else 1
    largest, index = _largest(charge, code, usage, grid, width, windows)
    _refuse_rates_without_window(index, grid, names if per_rate else ("all",), place)
    kilowatts = channel.kilo * Fraction(3600, window_s)
    unit = channel.kilo_unit.removesuffix("h") if charge.reactive is None else "kVA"
    definition = "apparent_maximum" if charge.reactive is not None else f"{charge.window.value}_maximum"
    lines: list[LineColumn] = []
    peaks: dict[str, Exact] = {}
    for slot in range(windows):
        name = names[slot] if per_rate else "all"
        if not (index[:, slot] >= 0).any():
            continue
        measured = charge.demand_rounding.apply(largest[slot].scaled(kilowatts))
        peaks[name] = measured
        billed, formula = _billed(charge, measured, name, span, carried)
        determinant = DeterminantColumn(
            definition,
            code,
            charge.calendar,
            name if per_rate else None,
            usage.first_day,
            usage.last_day,
            channel.quantum,
            largest[slot],
            charge.reactive,
            window_s,
            index[:, slot],
        )
        parts = tier_parts(billed, charge.up_to)
        # The rate that prices the maximum: the slot's own, or the one in which it occurred.
        priced = [slot] if per_rate else sorted({int(rate[at]) for at in index[:, 0]})
        for code_of_rate in priced:
            holds = np.ones(len(billed), np.bool_) if per_rate else rate[index[:, 0]] == code_of_rate
            for tier, part in enumerate(parts):
                price = charge.prices[tier][code_of_rate]
                quantity = part if per_rate else part.where(holds)
                label = names[code_of_rate] if len(names) > 1 else "maximum"
                lines.append(
                    LineColumn(
                        charge.name,
                        "demand",
                        f"{label}, tier {tier + 1}" if charge.up_to else label,
                        quantity,
                        unit,
                        price,
                        charge.rounding.apply(quantity.scaled(Fraction(price) * span.months)),
                        formula + (f" x {span.months} months" if span.months != 1 else ""),
                        span,
                        (determinant,),
                    )
                )
    return lines, peaks


def _largest(
    charge: DemandCharge, code: ObisCode, usage: Usage, rate: RateIndex, width: int, rates: int
) -> tuple[list[Exact], Counts]:
    step = width if charge.window is Window.BLOCK else 1
    counts = usage.channels[code].counts
    if charge.reactive is None:
        check_counts(counts, terms=width)
        largest, index = largest_window(counts, rate, width, step, rates)
        return [Exact.of_counts(largest[:, slot]) for slot in range(rates)], index
    reactive = usage.channels[charge.reactive]
    if reactive.quantum.exponent != usage.channels[code].quantum.exponent:
        raise TariffError(
            f"active energy counts {usage.channels[code].quantum}, reactive {reactive.quantum}",
            where=f"charge {charge.name!r}",
            expected="the same exponent",
        )
    bound = max(int(np.abs(counts).max(initial=0)), int(np.abs(reactive.counts).max(initial=0)))
    if 2 * (bound * width) ** 2 >= 2**63:
        raise TariffError("apparent demand does not fit 64 bits", where=f"charge {charge.name!r}")
    squares, index = largest_square(counts, reactive.counts, rate, width, step, rates)
    columns = []
    for slot in range(rates):
        roots = [isqrt(int(square) * _APPARENT_STEP**2) for square in squares[:, slot]]
        columns.append(Exact.of(Fraction(root, _APPARENT_STEP) for root in roots))
    return columns, index


def _billed(
    charge: DemandCharge, measured: Exact, rate: str, span: Span, carried: Carried
) -> tuple[Exact, str]:
    """Demand after ratchet and minimum, and how it came about."""
    billed, formula = measured, "maximum demand x price"
    if charge.ratchet is not None:
        earlier = [
            peaks[rate]
            for begun, peaks in carried.peaks.get(charge.name, ())
            if rate in peaks and _months_back(begun, span.period_start) <= charge.ratchet.months
        ]
        for peak in earlier:
            billed = billed.maximum(peak.scaled(Fraction(charge.ratchet.percent) / 100))
        formula = (
            f"the larger of the maximum demand and {charge.ratchet.percent} % of the largest of the last "
            f"{charge.ratchet.months} months ({len(earlier)} known), x price"
        )
    if charge.minimum:
        billed = billed.maximum(Exact.constant(charge.minimum, len(billed)))
        formula += f", at least {charge.minimum}"
    return billed, formula


def _months_back(begun: date, now: date) -> int:
    """Months from one period's start to another's; 1000 for the period itself, which is no history."""
    months = (now.year - begun.year) * 12 + now.month - begun.month
    return months if begun < now else 1000


def with_peaks(
    carried: Mapping[str, tuple[tuple[date, Mapping[str, Exact]], ...]],
    charge: str,
    begun: date,
    peaks: Mapping[str, Exact],
    keep: int,
) -> tuple[tuple[date, Mapping[str, Exact]], ...]:
    """History of a charge with this period's peaks; parts of one period are merged by the larger."""
    history = list(carried.get(charge, ()))
    if history and history[-1][0] == begun:
        _, own = history.pop()
        merged = {**own, **peaks}
        peaks = {
            name: own[name].maximum(peaks[name]) if name in own and name in peaks else merged[name]
            for name in merged
        }
    history.append((begun, peaks))
    return tuple(history[-keep:])


def _refuse_rates_without_window(
    index: Counts, rate: npt.NDArray[np.int16], names: Sequence[str], place: str
) -> None:
    for slot, name in enumerate(names):
        if (rate == slot).any() and (index[:, slot] < 0).any():
            raise TariffError(
                f"no demand window lies wholly in the rate {name!r}",
                where=place,
                expected="rates that last at least one window",
            )
