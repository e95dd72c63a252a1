"""Rating: a tariff and the usage of n usage points give the lines of n bills, exact to the last digit.

Charges are rated in the tariff's order; a later one may take earlier ones as its base. Each line is rounded
by its own rule, then summed, then the total is rounded, and what that changes is a line too. Never to be
broken: the lines of a bill sum to its total, and one bill alone comes out as it does among thousands,
because it is the same computation on one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import numpy as np

from openami.billing.demand import rate_demand, with_peaks
from openami.billing.determinants import check_counts, products
from openami.billing.energy import rate_energy
from openami.billing.lines import NOTHING, Carried, DeterminantColumn, LineColumn, Rated
from openami.billing.power_factor import hundredths
from openami.billing.tariff import (
    CapacityCharge,
    Charge,
    DemandCharge,
    Direction,
    EnergyCharge,
    MinimumCharge,
    Per,
    PercentCharge,
    PowerFactorCharge,
    Prorate,
    ReactiveCharge,
    RebateCharge,
    SeriesCharge,
    StandingCharge,
    Tariff,
    WhenMissing,
    base_of,
    channels_of,
)
from openami.billing.usage import Span, Usage
from openami.quantities.errors import TariffError
from openami.quantities.money import Exact, RoundingRule
from openami.quantities.obis import ObisCode

_PEAKS_KEPT = 40


@dataclass(frozen=True, slots=True)
class Part:
    """A tariff version and the days ``[first_day, last_day)`` of a billing period it is in force."""

    tariff: Tariff
    first_day: date
    last_day: date


def rate(tariff: Tariff, usage: Usage, carried: Carried = NOTHING) -> Rated:
    """Lines and totals of n bills over the whole of ``usage``, under one version of a tariff.

    Parameters
    ----------
    tariff:
        The version in force on every day.
    usage:
        Interval data of n usage points over the billing period.
    carried:
        What `Rated.carried` of the period before gave; nothing for the first.

    Raises
    ------
    TariffError
        The usage does not have a channel the tariff needs, or cannot be priced by it.
    """
    return rate_parts([Part(tariff, usage.first_day, usage.last_day)], usage, carried)


def rate_parts(parts: Sequence[Part], usage: Usage, carried: Carried = NOTHING) -> Rated:
    """As `rate`, of a billing period that tariff changes cut into ``parts``.

    The last version's ``prorate`` says how: ``by_actual_use`` rates each part on the use in it; ``by_days``
    rates in each part the whole period's use times the part's share of the days.

    Raises
    ------
    TariffError
        The parts do not follow each other over the whole period, or a part cannot be rated.
    """
    ends = [parts[0].first_day, *(part.last_day for part in parts)] if parts else []
    if not parts or ends[0] != usage.first_day or ends[-1] != usage.last_day:
        raise TariffError("the tariff's versions do not cover the billing period")
    if any(part.first_day != end for part, end in zip(parts, ends, strict=False)):
        raise TariffError("the tariff's versions leave a gap in the billing period")
    period = Span.whole(usage.first_day, usage.last_day)
    by_days = parts[-1].tariff.prorate is Prorate.BY_DAYS
    lines: list[LineColumn] = []
    for part in parts:
        share = Fraction((part.last_day - part.first_day).days, usage.days)
        span = Span(
            part.first_day,
            part.last_day,
            period.months * share,
            share,
            share if by_days else Fraction(1),
            usage.first_day,
        )
        own = usage if by_days else usage.between(part.first_day, part.last_day)
        found, carried = _rate_span(part.tariff, own, span, carried)
        lines += found
    total = _sum([line.amount for line in lines], usage.rows)
    rounding = parts[-1].tariff.total_rounding
    if rounding.rule is not RoundingRule.NONE:
        rounded = rounding.apply(total)
        difference = rounded - total
        if np.any(difference.numerator != 0):
            lines.append(
                LineColumn(
                    "rounding",
                    "rounding",
                    f"rounding of the total, {rounding}",
                    Exact.constant(0, usage.rows),
                    "",
                    None,
                    difference,
                    "rounded total - total",
                    period,
                )
            )
        total = rounded
    return Rated(tuple(lines), total, carried)


def rate_many(tariff: Tariff, usage: Usage, period_starts: Sequence[date]) -> list[Rated]:
    """Consecutive bills of n usage points: one `Rated` for each period, each carrying into the next.

    Parameters
    ----------
    usage:
        Interval data of n usage points over all periods.
    period_starts:
        First day of each period, rising; a period ends where the next begins, the last with ``usage``.

    Raises
    ------
    TariffError
        As `rate`; or the periods do not rise.
    """
    ends = [*period_starts[1:], usage.last_day]
    rated: list[Rated] = []
    carried = NOTHING
    for first, last in zip(period_starts, ends, strict=True):
        rated.append(rate(tariff, usage.between(first, last), carried))
        carried = rated[-1].carried
    return rated


def charge_channel(charge: Charge, present: Sequence[ObisCode]) -> ObisCode | None:
    """The channel a charge counts on: the first of its list that is there; None when it has none."""
    match charge:
        case EnergyCharge() | DemandCharge() | SeriesCharge():
            return next((code for code in charge.channels if code in present), None)
        case PowerFactorCharge() | ReactiveCharge():
            return charge.active
        case _:
            return None


@dataclass(frozen=True, slots=True)
class NeededChannels:
    """Channels a charge counts on; those of them that are not there; whether it is left out for that."""

    channels: tuple[ObisCode, ...]
    missing: tuple[ObisCode, ...]
    skipped: bool


def needed_channels(charge: Charge, present: Sequence[ObisCode]) -> NeededChannels:
    """What a charge counts on where ``present`` channels have readings."""
    needed = set(channels_of(charge))
    skip = WhenMissing.ERROR
    match charge:
        case EnergyCharge() | DemandCharge() | SeriesCharge():
            chosen = charge_channel(charge, present)
            needed -= set(charge.channels)
            needed.add(charge.channels[0] if chosen is None else chosen)
            skip = charge.when_missing
        case PowerFactorCharge() | ReactiveCharge():
            skip = charge.when_missing
        case _:
            pass
    missing = tuple(sorted(needed - set(present)))
    return NeededChannels(tuple(sorted(needed)), missing, bool(missing) and skip is WhenMissing.SKIP)


def _rate_span(
    tariff: Tariff, usage: Usage, span: Span, carried: Carried
) -> tuple[list[LineColumn], Carried]:
    lines: list[LineColumn] = []
    tier_use, peaks, bank = dict(carried.tier_use), dict(carried.peaks), dict(carried.bank)
    for charge in tariff.charges:
        if _skips(charge, usage, tariff):
            continue
        code = charge_channel(charge, list(usage.channels))
        base = _sum([line.amount for line in lines if line.charge in base_of(charge)], usage.rows)
        match charge:
            case EnergyCharge() if code is not None:
                energy = rate_energy(charge, code, tariff, usage, span, carried)
                lines += energy.lines
                tier_use[charge.name], bank[charge.name] = energy.tier_use, energy.bank
            case DemandCharge() if code is not None:
                found, measured = rate_demand(charge, code, tariff, usage, span, carried)
                lines += found
                peaks[charge.name] = with_peaks(peaks, charge.name, span.period_start, measured, _PEAKS_KEPT)
            case SeriesCharge() if code is not None:
                lines.append(_series(charge, code, tariff, usage, span))
            case ReactiveCharge():
                lines.append(_reactive(charge, usage, span))
            case PowerFactorCharge():
                lines.append(_power_factor(charge, usage, span, base))
            case _:
                lines.append(_plain(charge, usage, span, base))
    return lines, Carried(tier_use, peaks, bank)


def _skips(charge: Charge, usage: Usage, tariff: Tariff) -> bool:
    needed = needed_channels(charge, list(usage.channels))
    if needed.missing and not needed.skipped:
        raise TariffError(
            f"no readings on {', '.join(map(str, needed.missing))}",
            where=f"tariff {tariff.tariff_id!r}, charge {charge.name!r}",
            expected="the channel, or when_missing = 'skip'",
        )
    return needed.skipped


def _plain(charge: Charge, usage: Usage, span: Span, base: Exact) -> LineColumn:
    """Charges that need no interval: standing, capacity, percent, rebate, minimum."""
    rows = usage.rows
    price: Decimal | None
    match charge:
        case StandingCharge():
            times = _times(charge.per, span)
            quantity, price, unit = Exact.constant(times, rows), charge.price, charge.per.value
            amount, kind, formula = quantity.scaled(charge.price), "standing", f"{charge.per.value}s x price"
        case CapacityCharge():
            kva = _capacity(charge, usage)
            quantity, price, unit = Exact.constant(kva, rows), charge.price, "kVA"
            amount = quantity.scaled(Fraction(charge.price) * span.months)
            kind, formula = "capacity", f"contracted capacity x price x {span.months} months"
        case PercentCharge():
            quantity, price, unit = base, charge.percent / 100, "base"
            amount, kind = base.scaled(Fraction(charge.percent) / 100), "percent"
            formula = f"{charge.percent} % of {', '.join(charge.of)}"
        case RebateCharge():
            zero = Exact.constant(0, rows)
            most = Exact.constant(Fraction(charge.amount) * _times(charge.per, span), rows)
            quantity, price, unit = base, None, "base"
            amount, kind = -most.minimum(base.maximum(zero)), "rebate"
            formula = f"{charge.amount} per {charge.per.value}, at most {', '.join(charge.of)}"
        case MinimumCharge():
            least = Exact.constant(Fraction(charge.amount) * _times(charge.per, span), rows)
            quantity, price, unit = base, None, "base"
            amount, kind = (least - base).maximum(Exact.constant(0, rows)), "minimum"
            formula = f"{charge.amount} per {charge.per.value} less {', '.join(charge.of)}, if more"
        case _:
            raise TariffError(f"charge {charge.name!r} has no channel")
    return LineColumn(
        charge.name, kind, charge.name, quantity, unit, price, charge.rounding.apply(amount), formula, span
    )


def _capacity(charge: CapacityCharge, usage: Usage) -> Fraction:
    if charge.kva is not None:
        return Fraction(charge.kva)
    if usage.capacity_va is None:
        raise TariffError(
            "the contracted capacity is not known",
            where=f"charge {charge.name!r}",
            expected="kva in the tariff, or a capacity of the usage point",
        )
    return Fraction(usage.capacity_va, 1000)


def _times(per: Per, span: Span) -> Fraction:
    match per:
        case Per.DAY:
            return Fraction(span.days)
        case Per.MONTH:
            return span.months
        case Per.YEAR:
            return span.months / 12
        case Per.BILL:
            return span.share


def _sum_determinant(code: ObisCode, usage: Usage) -> DeterminantColumn:
    channel = usage.channels[code]
    check_counts(channel.counts)
    return DeterminantColumn(
        "sum",
        code,
        "",
        None,
        usage.first_day,
        usage.last_day,
        channel.quantum,
        Exact.of_counts(channel.counts.sum(axis=1)),
    )


def _power_factor(charge: PowerFactorCharge, usage: Usage, span: Span, base: Exact) -> LineColumn:
    active, reactive = _sum_determinant(charge.active, usage), _sum_determinant(charge.reactive, usage)
    _same_exponent(charge.name, active, reactive)
    factors = [
        hundredths(int(p), int(q))
        for p, q in zip(active.counts.numerator, reactive.counts.numerator, strict=True)
    ]
    percent = Exact.of(charge.table.percent[factor] / 100 for factor in factors)
    return LineColumn(
        charge.name,
        "power_factor",
        f"power factor {factors[0] / 100:.2f}" if len(factors) == 1 else "power factor",
        Exact.of(Fraction(factor, 100) for factor in factors),
        "1",
        None,
        charge.rounding.apply(base * percent),
        f"percent of table {charge.table.table_id} on {', '.join(charge.of)}",
        span,
        (active, reactive),
    )


def _reactive(charge: ReactiveCharge, usage: Usage, span: Span) -> LineColumn:
    active, reactive = _sum_determinant(charge.active, usage), _sum_determinant(charge.reactive, usage)
    _same_exponent(charge.name, active, reactive)
    free = active.counts.scaled(Fraction(charge.free_percent) / 100)
    excess = (reactive.counts - free).maximum(Exact.constant(0, usage.rows))
    channel = usage.channels[charge.reactive]
    quantity = excess.scaled(channel.kilo * span.use_share)
    return LineColumn(
        charge.name,
        "reactive",
        f"reactive energy above {charge.free_percent} %",
        quantity,
        channel.kilo_unit,
        charge.price,
        charge.rounding.apply(quantity.scaled(charge.price)),
        f"(reactive energy - {charge.free_percent} % of the active) x price",
        span,
        (active, reactive),
    )


def _same_exponent(charge: str, active: DeterminantColumn, reactive: DeterminantColumn) -> None:
    if active.quantum.exponent != reactive.quantum.exponent:
        raise TariffError(
            f"active energy counts {active.quantum}, reactive {reactive.quantum}",
            where=f"charge {charge!r}",
            expected="the same exponent",
        )


def _series(charge: SeriesCharge, code: ObisCode, tariff: Tariff, usage: Usage, span: Span) -> LineColumn:
    series = tariff.series[charge.series]
    place = f"tariff {tariff.tariff_id!r}, series {series.name!r}"
    channel = usage.channels[code]
    count = channel.counts.shape[1]
    repeat, rest = divmod(series.interval_s, usage.interval_s)
    begin = (usage.instant_of(0) - series.start).total_seconds() / usage.interval_s
    if rest or begin % 1:
        raise TariffError(
            f"prices every {series.interval_s} s for intervals of {usage.interval_s} s",
            where=place,
            expected="intervals that lie in one price each",
        )
    position = (int(begin) + np.arange(count)) // repeat
    if count and (position[0] < 0 or position[-1] >= len(series.prices)):
        bad = int(np.argmax((position < 0) | (position >= len(series.prices))))
        raise TariffError(f"no price for {usage.instant_of(bad):%Y-%m-%d %H:%M} UTC", where=place)
    exponent = min(int(price.as_tuple().exponent) for price in series.prices)
    whole = [int(Fraction(price) / Fraction(10) ** exponent) for price in series.prices]
    if max(map(abs, whole)) >= 2**63:
        raise TariffError(
            f"prices do not fit 64 bits in steps of 1e{exponent}", where=place, expected="coarser prices"
        )
    prices = np.array(whole, np.int64)[position]
    unit = channel.kilo * Fraction(10) ** exponent
    if charge.interval_rounding.rule is RoundingRule.NONE:
        check_counts(channel.counts, int(np.abs(prices).max(initial=0)))
        value = Exact.of_counts(products(channel.counts, prices)).scaled(unit)
    else:
        each = Exact((channel.counts.astype(object) * prices.astype(object)).ravel()).scaled(unit)
        rounded = charge.interval_rounding.apply(each)
        value = replace(rounded, numerator=rounded.numerator.reshape(usage.rows, count).sum(axis=1))
    determinant = _sum_determinant(code, usage)
    value = value.scaled(span.use_share if charge.direction is Direction.CHARGE else -span.use_share)
    return LineColumn(
        charge.name,
        "series",
        f"{series.name}: a price for each {series.interval_s} s",
        determinant.counts.scaled(channel.kilo * span.use_share),
        channel.kilo_unit,
        None,
        charge.rounding.apply(value),
        f"sum of energy x price of its interval (each: rounding {charge.interval_rounding})",
        span,
        (determinant,),
    )


def _sum(columns: Sequence[Exact], rows: int) -> Exact:
    total = columns[0] if columns else Exact.constant(0, rows)
    for column in columns[1:]:
        total = total + column
    return total
