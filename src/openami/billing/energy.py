"""Energy charges: rates, tiers and how they act on each other, netting of export, transformer losses.

All quantities are exact columns in the kilo-unit (kWh). The one division, sharing a tier over the rates,
stays a fraction until the line is rounded. Never to be broken: the parts of the tiers and rates of a charge
sum to its use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil

import numpy as np

from openami.billing.determinants import (
    Counts,
    RateIndex,
    check_counts,
    crossing,
    net_by_rate,
    squares_by_rate,
    sums_by_rate,
)
from openami.billing.lines import Carried, DeterminantColumn, LineColumn
from openami.billing.tariff import (
    Cut,
    Direction,
    EnergyCharge,
    Interaction,
    Losses,
    Net,
    Netting,
    Tariff,
    TierPeriod,
    Tiers,
)
from openami.billing.usage import Channel, Span, Usage
from openami.quantities.errors import TariffError
from openami.quantities.money import Exact
from openami.quantities.obis import ObisCode
from openami.quantities.tariff_calendar import MonthDay

Parts = list[list[Exact]]
"""``parts[tier][rate]``."""


@dataclass(frozen=True, slots=True, eq=False)
class EnergyRated:
    """Lines of one energy charge, and its use and bank after the period, by rate name."""

    lines: list[LineColumn]
    tier_use: dict[str, Exact]
    bank: dict[str, Exact]


def rate_energy(
    charge: EnergyCharge, channel_code: ObisCode, tariff: Tariff, usage: Usage, span: Span, carried: Carried
) -> EnergyRated:
    """Lines of an energy charge over a span.

    Raises
    ------
    TariffError
        A rate switches inside an interval, sums do not fit 64 bits, or the charge cannot be shared by days.
    """
    channel = usage.channels[channel_code]
    calendar = tariff.calendars[charge.calendar]
    names = calendar.rates
    tiers = charge.tiers
    if span.use_share != 1 and tiers is not None and _needs_time(tiers):
        raise TariffError(
            "use averaged over the days has no order of time",
            where=f"tariff {tariff.tariff_id!r}, charge {charge.name!r}",
            expected="prorate = 'by_actual_use'",
        )
    yearly = tiers is not None and tiers.per is TierPeriod.YEAR
    reset = tiers.reset if tiers is not None and yearly else None
    cuts = _cut_at(usage.first_day, usage.last_day, reset)
    use = dict(carried.tier_use.get(charge.name, {})) if yearly else {}
    bank = dict(carried.bank.get(charge.name, {}))
    lines: list[LineColumn] = []
    for first, last in pairwise(cuts):
        part = usage.between(first, last)
        if reset is not None and (first.month, first.day) == reset:
            use = {}
        rate = calendar.rates_between(first, last, usage.interval_s)
        counted = _Counted(charge, channel_code, channel, tariff, part, rate, span)
        by_rate, determinants = counted.by_rate(bank)
        lines += _tier_lines(charge, names, by_rate, use, span, part, rate, channel_code, determinants)
        if charge.net is not None:
            lines += counted.surplus_lines(names, bank)
        if yearly:
            for rate_name, quantity in [*zip(names, by_rate, strict=True), ("", _total(by_rate))]:
                use[rate_name] = use[rate_name] + quantity if rate_name in use else quantity
    return EnergyRated(lines, use, bank)


@dataclass(slots=True, eq=False)
class _Counted:
    """The determinants of one charge over one part; ``surplus`` is set by `by_rate`."""

    charge: EnergyCharge
    code: ObisCode
    channel: Channel
    tariff: Tariff
    usage: Usage
    rate: RateIndex
    span: Span
    surplus: tuple[list[Exact], list[DeterminantColumn]] = field(default_factory=lambda: ([], []))

    @property
    def kilo(self) -> Fraction:
        """What a count is in the kilo-unit, times the share of the use that the span is charged for."""
        return self.channel.kilo * self.span.use_share

    def by_rate(self, bank: dict[str, Exact]) -> tuple[list[Exact], list[DeterminantColumn]]:
        """Use by rate in the kilo-unit, after netting and losses, and the determinants behind it."""
        counts = self.usage.channels[self.code].counts
        # Twice, for the difference of two channels.
        check_counts(counts, 2)
        rates = len(self.tariff.calendars[self.charge.calendar].rates)
        net = self.charge.net
        if net is None:
            cuts = np.array([0, counts.shape[1]], np.int64)
            sums = sums_by_rate(counts, self.rate, cuts, rates)[:, 0, :]
            columns = [Exact.of_counts(sums[:, code]) for code in range(rates)]
            determinants = self._determinants("sum", self.code, columns)
            use = [column.scaled(self.kilo) for column in columns]
        else:
            use, determinants = self._netted(net, counts, rates, bank)
        if self.charge.losses is not None:
            added = self._losses(self.charge.losses, counts, use)
            use = [own + lost for own, lost in zip(use, added, strict=True)]
        return use, determinants

    def _netted(
        self, net: Net, counts: Counts, rates: int, bank: dict[str, Exact]
    ) -> tuple[list[Exact], list[DeterminantColumn]]:
        exported = self.usage.channels[net.export]
        if exported.quantum != self.channel.quantum:
            raise TariffError(
                f"import counts {self.channel.quantum}, export {exported.quantum}",
                where=f"charge {self.charge.name!r}",
                expected="one quantum for channels that are netted",
            )
        check_counts(exported.counts, 2)
        slots = _slots(net.interval, self.usage)
        taken, given = net_by_rate(counts, exported.counts, self.rate, slots, rates)
        left = [Exact.of_counts(taken[:, code]) for code in range(rates)]
        over = [Exact.of_counts(given[:, code]) for code in range(rates)]
        determinants = self._determinants("net_import", self.code, left)
        self.surplus = (
            [column.scaled(self.kilo) for column in over],
            self._determinants("net_export", net.export, over),
        )
        use = [column.scaled(self.kilo) for column in left]
        if net.interval is not Netting.YEAR:
            return use, determinants
        for code, name in enumerate(self.tariff.calendars[self.charge.calendar].rates):
            stored = bank.get(name, Exact.constant(0, len(use[code])))
            drawn = stored.minimum(use[code])
            use[code] = use[code] - drawn
            bank[name] = stored - drawn + self.surplus[0][code]
        return use, determinants

    def _losses(self, losses: Losses, counts: Counts, use: Sequence[Exact]) -> list[Exact]:
        """Losses by rate in the kilo-unit, below zero where they are taken off."""
        hours, share = Fraction(self.usage.interval_s, 3600), self.span.use_share
        squares = None
        if losses.load_w:
            check_counts(counts, int(counts.max(initial=0)))
            squares = squares_by_rate(counts, self.rate, len(use))
        added = []
        for code, own in enumerate(use):
            fixed = Fraction(losses.fixed_w) * hours * int((self.rate == code).sum()) * share / 1000
            lost = own.scaled(Fraction(losses.percent) / 100) + Exact.constant(fixed, len(own))
            if squares is not None:
                # load_w * (E / h / rated_w)^2 * h, in kilo-units; E is counts of kilo * 1000 in Wh.
                factor = Fraction(losses.load_w) / hours / Fraction(losses.rated_w) ** 2
                factor *= (self.channel.kilo * 1000) ** 2 * share / 1000
                lost = lost + Exact.of_counts(squares[:, code]).scaled(factor)
            added.append(lost.scaled(losses.sign))
        return added

    def surplus_lines(self, names: Sequence[str], bank: dict[str, Exact]) -> list[LineColumn]:
        """Credits for export that found nothing to cancel; a yearly bank is paid out at its reset."""
        net = self.charge.net
        assert net is not None
        quantities, determinants = self.surplus
        formula = f"export left after netting by {net.interval.value} x price"
        if net.interval is Netting.YEAR:
            if not _contains_reset(self.usage.first_day, self.usage.last_day, net.reset):
                return []
            quantities = [bank[name] for name in names]
            for name in names:
                bank[name] = Exact.constant(0, self.usage.rows)
            formula = "export left in the bank at the end of its year x price"
        return [
            LineColumn(
                charge=self.charge.name,
                kind="surplus",
                text=f"{name}, export" if len(names) > 1 else "export",
                quantity=quantity,
                unit=self.channel.kilo_unit,
                price=price,
                amount=self.charge.rounding.apply(-quantity.scaled(price)),
                formula=formula,
                span=self.span,
                determinants=(determinant,),
            )
            for name, quantity, price, determinant in zip(
                names, quantities, net.surplus_prices, determinants, strict=True
            )
        ]

    def _determinants(
        self, definition: str, code: ObisCode, columns: Sequence[Exact]
    ) -> list[DeterminantColumn]:
        names = self.tariff.calendars[self.charge.calendar].rates
        return [
            DeterminantColumn(
                definition,
                code,
                self.charge.calendar,
                name,
                self.usage.first_day,
                self.usage.last_day,
                self.channel.quantum,
                column,
            )
            for name, column in zip(names, columns, strict=True)
        ]


def _tier_lines(
    charge: EnergyCharge,
    names: Sequence[str],
    by_rate: list[Exact],
    use: dict[str, Exact],
    span: Span,
    usage: Usage,
    rate: RateIndex,
    code: ObisCode,
    determinants: list[DeterminantColumn],
) -> list[LineColumn]:
    tiers = charge.tiers
    if tiers is None:
        return [
            _line(charge, name, usage, code, quantity, price, "energy x price", span, (own,))
            for name, quantity, price, own in zip(names, by_rate, charge.prices[0], determinants, strict=True)
        ]
    limits = _limits(tiers, span)
    labels = _labels(limits, usage.channels[code].kilo_unit)
    everything = tuple(determinants)
    if tiers.interaction is Interaction.ADDER:
        lines = [
            _line(charge, name, usage, code, quantity, price, "energy x price", span, (own,))
            for name, quantity, price, own in zip(names, by_rate, charge.prices[0], determinants, strict=True)
        ]
        total = [_total(by_rate)]
        shares = [
            row[0] for row in _parts(tiers, limits, ("",), total, use, usage, np.zeros_like(rate), code)
        ]
        return lines + [
            _line(
                charge,
                label,
                usage,
                code,
                share,
                price,
                "part of the total in the tier x adder",
                span,
                everything,
            )
            for label, share, price in zip(labels, shares, charge.adders, strict=True)
            if price
        ]
    parts = _parts(tiers, limits, names, by_rate, use, usage, rate, code)
    formula = _FORMULA[tiers.interaction]
    return [
        _line(
            charge,
            f"{name}, {label}" if len(names) > 1 else label,
            usage,
            code,
            part,
            price,
            formula,
            span,
            everything if tiers.interaction is Interaction.PRO_RATA else (own,),
        )
        for row, label, prices in zip(parts, labels, charge.prices, strict=True)
        for name, part, price, own in zip(names, row, prices, determinants, strict=True)
    ]


_FORMULA = {
    Interaction.PRO_RATA: "part of the total in the tier, shared by the rate's part of the use, x price",
    Interaction.PER_PERIOD: "part of the rate's use in the tier x price",
    Interaction.CHRONOLOGICAL: "use in order of time, the part in the tier, x price",
}


def _parts(
    tiers: Tiers,
    limits: Sequence[Fraction],
    names: Sequence[str],
    by_rate: list[Exact],
    use: dict[str, Exact],
    usage: Usage,
    rate: RateIndex,
    code: ObisCode,
) -> Parts:
    """Use in each tier and rate; sums to ``by_rate``."""
    if tiers.interaction is Interaction.CHRONOLOGICAL:
        return _chronological(limits, by_rate, use.get(""), usage, rate, code)
    if tiers.per is TierPeriod.DAY:
        return _daily(tiers, limits, names, usage, rate, code)
    return _shared(tiers.interaction, limits, names, by_rate, use)


def _shared(
    interaction: Interaction,
    limits: Sequence[Fraction],
    names: Sequence[str],
    by_rate: list[Exact],
    use: dict[str, Exact],
) -> Parts:
    if interaction is Interaction.PER_PERIOD:
        columns = [tier_parts(own, limits, use.get(name)) for name, own in zip(names, by_rate, strict=True)]
        return [list(row) for row in zip(*columns, strict=True)]
    total = _total(by_rate)
    filled = tier_parts(total, limits, use.get(""))
    if len(by_rate) == 1:
        return [[part] for part in filled]
    return [[(part * own).over(total) for own in by_rate] for part in filled]


def tier_parts(use: Exact, limits: Sequence[Fraction], before: Exact | None = None) -> list[Exact]:
    """Part of ``use`` in each of ``len(limits) + 1`` tiers, after ``before`` has filled them."""
    edges: list[tuple[Fraction, Fraction | None]] = []
    low = Fraction(0)
    for limit in limits:
        edges.append((low, limit))
        low = limit
    edges.append((low, None))
    if before is None:
        return [use.between(low, high) for low, high in edges]
    after = before + use
    return [after.between(low, high) - before.between(low, high) for low, high in edges]


def _daily(
    tiers: Tiers,
    limits: Sequence[Fraction],
    names: Sequence[str],
    usage: Usage,
    rate: RateIndex,
    code: ObisCode,
) -> Parts:
    channel = usage.channels[code]
    sums = sums_by_rate(channel.counts, rate, usage.day_cuts(), len(names))
    whole: Parts = []
    for day in range(sums.shape[1]):
        by_rate = [Exact.of_counts(sums[:, day, index]).scaled(channel.kilo) for index in range(len(names))]
        parts = _shared(tiers.interaction, limits, names, by_rate, {})
        whole = [_sums(*rows) for rows in zip(whole, parts, strict=True)] if whole else parts
    return whole


def _sums(left: Sequence[Exact], right: Sequence[Exact]) -> list[Exact]:
    return [one + other for one, other in zip(left, right, strict=True)]


def _chronological(
    limits: Sequence[Fraction],
    by_rate: list[Exact],
    before: Exact | None,
    usage: Usage,
    rate: RateIndex,
    code: ObisCode,
) -> Parts:
    channel = usage.channels[code]
    rows = len(by_rate[0])
    zero = Exact.constant(0, rows)
    below = [zero] * len(by_rate)
    parts: Parts = []
    for limit in limits:
        room = Exact.constant(limit, rows) - (before or zero)
        room = room.scaled(1 / channel.kilo)
        floor = np.array([value.numerator // value.denominator for value in room.fractions()], np.int64)
        where, sums = crossing(channel.counts, rate, floor, len(by_rate))
        columns = [Exact.of_counts(sums[:, index]) for index in range(len(by_rate))]
        rest = (room - _total(columns)).maximum(zero)
        crossed = np.append(rate, -1)[where]
        reached = [
            (column + rest.where(crossed == index)).scaled(channel.kilo)
            for index, column in enumerate(columns)
        ]
        parts.append([now - past for now, past in zip(reached, below, strict=True)])
        below = reached
    parts.append([own - past for own, past in zip(by_rate, below, strict=True)])
    return parts


def _needs_time(tiers: Tiers) -> bool:
    return tiers.per is TierPeriod.DAY or tiers.interaction is Interaction.CHRONOLOGICAL


def _limits(tiers: Tiers, span: Span) -> list[Fraction]:
    match tiers.per:
        case TierPeriod.MONTH:
            months = span.months if tiers.when_cut is Cut.SCALED else Fraction(ceil(span.months))
            return [limit * months for limit in tiers.up_to]
        case TierPeriod.DAYS:
            return [limit * span.days / tiers.days for limit in tiers.up_to]
        case TierPeriod.YEAR | TierPeriod.DAY:
            return list(tiers.up_to)


def _labels(limits: Sequence[Fraction], unit: str) -> list[str]:
    names = [f"tier {number} to {_plain(limit)} {unit}" for number, limit in enumerate(limits, 1)]
    return [*names, f"tier {len(limits) + 1} above" if limits else "tier 1"]


def _plain(limit: Fraction) -> str:
    return f"{float(limit):.3f}".rstrip("0").rstrip(".")


def _slots(interval: Netting, usage: Usage) -> Counts:
    count = usage.index_of(usage.last_day)
    index = np.arange(count, dtype=np.int64)
    match interval:
        case Netting.INSTANT:
            return index
        case Netting.HOUR:
            return index * usage.interval_s // 3600
        case Netting.DAY:
            return np.searchsorted(usage.day_cuts(), index, side="right").astype(np.int64)
        case Netting.MONTH | Netting.YEAR:
            return np.zeros(count, np.int64)


def _cut_at(first: date, last: date, reset: MonthDay | None) -> list[date]:
    if reset is None:
        return [first, last]
    inner = [date(year, *reset) for year in range(first.year, last.year + 1)]
    return [first, *(day for day in inner if first < day < last), last]


def _contains_reset(first: date, last: date, reset: MonthDay) -> bool:
    return any(first < date(year, *reset) <= last for year in range(first.year, last.year + 1))


def _total(columns: Sequence[Exact]) -> Exact:
    total = columns[0]
    for column in columns[1:]:
        total = total + column
    return total


def _line(
    charge: EnergyCharge,
    text: str,
    usage: Usage,
    code: ObisCode,
    quantity: Exact,
    price: Decimal,
    formula: str,
    span: Span,
    determinants: tuple[DeterminantColumn, ...],
) -> LineColumn:
    credit = charge.direction is Direction.CREDIT
    value = quantity.scaled(-Fraction(price) if credit else Fraction(price))
    if charge.losses is not None:
        formula += ", with the transformer's losses"
    return LineColumn(
        charge.name,
        "energy",
        text,
        quantity,
        usage.channels[code].kilo_unit,
        price,
        charge.rounding.apply(value),
        formula,
        span,
        determinants,
    )
