"""The tariff: an ordered list of charges over named calendars, as values.

Each charge says from which channel its determinant comes, how it is priced and how its lines are rounded.
Nothing here computes; `openami.billing.rating` does. Never to be broken: a `Tariff` that exists is complete
(every rate priced, tiers rising, every reference known): `tariff_faults` is asked before one is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction

from openami.quantities.errors import TariffError
from openami.quantities.money import UNROUNDED, Rounding
from openami.quantities.obis import ObisCode
from openami.quantities.tariff_calendar import MonthDay, TariffCalendar


class Direction(Enum):
    """Whether a line is paid by the customer or to the customer."""

    CHARGE = "charge"
    CREDIT = "credit"


class TierPeriod(Enum):
    """Over what the use is counted that decides the tier."""

    MONTH = "month"
    YEAR = "year"
    DAYS = "days"
    DAY = "day"


class Interaction(Enum):
    """How tiers and time-of-use rates act on each other.

    ``pro_rata``: tiers are filled with the period's total and shared over the rates by their use.
    ``adder``: rates are billed in full; each tier above adds its own price on the total.
    ``per_period``: each rate has tiers of its own.
    ``chronological``: the use fills the tiers in order of time.
    """

    PRO_RATA = "pro_rata"
    ADDER = "adder"
    PER_PERIOD = "per_period"
    CHRONOLOGICAL = "chronological"


class Cut(Enum):
    """What a tier's monthly size becomes in a part of a period: scaled by months, or whole."""

    SCALED = "scaled"
    WHOLE = "whole"


class Netting(Enum):
    """Interval within which export cancels import."""

    INSTANT = "instant"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class Window(Enum):
    """How demand windows follow each other: end to end, or from every interval."""

    BLOCK = "block"
    SLIDING = "sliding"


class Measure(Enum):
    """One maximum for each rate, or one for the period, priced by the rate in which it occurred."""

    PER_RATE = "per_rate"
    OVERALL = "overall"


class Per(Enum):
    """What a standing amount is paid for."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    BILL = "bill"


class Prorate(Enum):
    """How a period cut by a tariff change is shared: by the use in each part, or by days."""

    BY_ACTUAL_USE = "by_actual_use"
    BY_DAYS = "by_days"


class WhenSuspect(Enum):
    """What becomes of a bill whose finals hold suspect values: measured, contradicted, not estimated.

    Refused until somebody settles them, or billed as they were measured.
    """

    REFUSE = "refuse"
    AS_MEASURED = "as_measured"


class WhenMissing(Enum):
    """What a charge does when the usage point has none of its channels."""

    ERROR = "error"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Tiers:
    """Sizes of the tiers in the channel's kilo-unit (kWh), rising, without the last, open one."""

    per: TierPeriod
    up_to: tuple[Fraction, ...]
    interaction: Interaction = Interaction.PRO_RATA
    days: int = 0
    reset: MonthDay = (1, 1)
    when_cut: Cut = Cut.SCALED


@dataclass(frozen=True, slots=True)
class Net:
    """Export that cancels import, and what is left of it."""

    export: ObisCode
    interval: Netting
    surplus_prices: tuple[Decimal, ...]
    reset: MonthDay = (1, 1)


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of a transformer between the meter and the point of supply.

    Per interval of h hours with energy E: ``fixed_w * h + percent * E + load_w * (E / h / rated_w)**2 * h``.
    """

    fixed_w: Decimal = Decimal(0)
    percent: Decimal = Decimal(0)
    load_w: Decimal = Decimal(0)
    rated_w: Decimal = Decimal(0)
    sign: int = 1


@dataclass(frozen=True, slots=True)
class EnergyCharge:
    """Energy by rate and tier; ``prices[tier][rate]`` per kilo-unit, ``adders[tier]`` on top."""

    name: str
    channels: tuple[ObisCode, ...]
    calendar: str
    prices: tuple[tuple[Decimal, ...], ...]
    tiers: Tiers | None = None
    adders: tuple[Decimal, ...] = ()
    direction: Direction = Direction.CHARGE
    net: Net | None = None
    losses: Losses | None = None
    rounding: Rounding = UNROUNDED
    when_missing: WhenMissing = WhenMissing.ERROR


@dataclass(frozen=True, slots=True)
class Ratchet:
    """Billed demand is at least ``percent`` of the highest measured in the last ``months`` periods."""

    percent: Decimal
    months: int


@dataclass(frozen=True, slots=True)
class DemandCharge:
    """Maximum demand by rate and tier; ``prices[tier][rate]`` per kW (or kVA) and month.

    ``window_s`` 0 is the interval of the readings.
    """

    name: str
    channels: tuple[ObisCode, ...]
    calendar: str
    prices: tuple[tuple[Decimal, ...], ...]
    window_s: int
    window: Window = Window.BLOCK
    measure: Measure = Measure.PER_RATE
    up_to: tuple[Fraction, ...] = ()
    reactive: ObisCode | None = None
    minimum: Decimal = Decimal(0)
    ratchet: Ratchet | None = None
    demand_rounding: Rounding = UNROUNDED
    rounding: Rounding = UNROUNDED
    when_missing: WhenMissing = WhenMissing.ERROR


@dataclass(frozen=True, slots=True)
class SeriesCharge:
    """A price for each interval; ``interval_rounding`` applies to each interval's amount, before the sum."""

    name: str
    channels: tuple[ObisCode, ...]
    series: str
    interval_rounding: Rounding = UNROUNDED
    direction: Direction = Direction.CHARGE
    rounding: Rounding = UNROUNDED
    when_missing: WhenMissing = WhenMissing.ERROR


@dataclass(frozen=True, slots=True)
class StandingCharge:
    """A fixed amount per day, month, year or bill."""

    name: str
    price: Decimal
    per: Per
    rounding: Rounding = UNROUNDED


@dataclass(frozen=True, slots=True)
class CapacityCharge:
    """A price per kVA and month of contracted capacity: the tariff's own, or the usage point's (None)."""

    name: str
    price: Decimal
    kva: Decimal | None = None
    rounding: Rounding = UNROUNDED


@dataclass(frozen=True, slots=True)
class PowerFactorTable:
    """Percent added to the base at a power factor, rounded to two digits; 101 entries, for 0.00 to 1.00."""

    table_id: str
    source: str
    percent: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class PowerFactorCharge:
    """Adjustment of the lines of ``of`` by a table of the mean power factor of the period."""

    name: str
    active: ObisCode
    reactive: ObisCode
    table: PowerFactorTable
    of: tuple[str, ...]
    rounding: Rounding = UNROUNDED
    when_missing: WhenMissing = WhenMissing.ERROR


@dataclass(frozen=True, slots=True)
class ReactiveCharge:
    """A price per kvarh above ``free_percent`` of the active energy."""

    name: str
    active: ObisCode
    reactive: ObisCode
    free_percent: Decimal
    price: Decimal
    rounding: Rounding = UNROUNDED
    when_missing: WhenMissing = WhenMissing.ERROR


@dataclass(frozen=True, slots=True)
class PercentCharge:
    """Percent of the lines of ``of``: tax, duty, fuel adjustment, or a rebate when negative."""

    name: str
    percent: Decimal
    of: tuple[str, ...]
    rounding: Rounding = UNROUNDED


@dataclass(frozen=True, slots=True)
class RebateCharge:
    """An amount off the lines of ``of``, never more than they come to."""

    name: str
    amount: Decimal
    per: Per
    of: tuple[str, ...]
    rounding: Rounding = UNROUNDED


@dataclass(frozen=True, slots=True)
class MinimumCharge:
    """What the lines of ``of`` lack to a minimum."""

    name: str
    amount: Decimal
    per: Per
    of: tuple[str, ...]
    rounding: Rounding = UNROUNDED


Charge = (
    EnergyCharge
    | DemandCharge
    | SeriesCharge
    | StandingCharge
    | CapacityCharge
    | PowerFactorCharge
    | ReactiveCharge
    | PercentCharge
    | RebateCharge
    | MinimumCharge
)


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """Dated prices per kilo-unit; price ``i`` holds from ``start + i*interval_s`` (UTC)."""

    name: str
    start: datetime
    interval_s: int
    prices: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tariff:
    """One version of a tariff, in force from the civil day ``valid_from``.

    ``notes`` say what its source has that is not in it.
    """

    tariff_id: str
    name: str
    currency: str
    zone: str
    valid_from: date
    calendars: Mapping[str, TariffCalendar]
    charges: tuple[Charge, ...]
    total_rounding: Rounding
    series: Mapping[str, PriceSeries] = field(default_factory=dict)
    prorate: Prorate = Prorate.BY_ACTUAL_USE
    source: str = ""
    notes: tuple[str, ...] = ()
    text: str = ""
    suspect: WhenSuspect = WhenSuspect.REFUSE

    def __post_init__(self) -> None:
        if faults := tariff_faults(self):
            raise TariffError("\n".join(faults), where=f"tariff {self.tariff_id!r}")

    @property
    def sha256(self) -> str:
        """Hash of the text it was loaded from."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def channels(self) -> tuple[ObisCode, ...]:
        """Every channel a charge may ask for, once, in order."""
        return tuple(dict.fromkeys(code for charge in self.charges for code in channels_of(charge)))

    @classmethod
    def from_toml(cls, text: str) -> Tariff:
        """Tariff from TOML; see `openami.billing.tariff_toml.load_tariff`."""
        from openami.billing.tariff_toml import load_tariff  # it builds Tariff, so it imports this file

        return load_tariff(text)


def channels_of(charge: Charge) -> tuple[ObisCode, ...]:
    """Channels a charge may ask for."""
    match charge:
        case EnergyCharge(net=Net(export=export)):
            return (*charge.channels, export)
        case EnergyCharge() | SeriesCharge():
            return charge.channels
        case DemandCharge():
            return charge.channels if charge.reactive is None else (*charge.channels, charge.reactive)
        case PowerFactorCharge() | ReactiveCharge():
            return (charge.active, charge.reactive)
        case _:
            return ()


def base_of(charge: Charge) -> tuple[str, ...]:
    """Names of the charges whose lines this one is computed from; empty when it stands alone."""
    match charge:
        case PowerFactorCharge() | PercentCharge() | RebateCharge() | MinimumCharge():
            return charge.of
        case _:
            return ()


def tariff_faults(tariff: Tariff) -> list[str]:
    """Everything that contradicts itself in a tariff, each with the charge's name."""
    faults: list[str] = []
    before: set[str] = set()
    if not tariff.charges:
        faults.append("no charge")
    for charge in tariff.charges:
        place = f"charge {charge.name!r}"
        if charge.name in before:
            faults.append(f"{place}: the name is used twice")
        faults += [
            f"{place}: its base {name!r} is not a charge before it"
            for name in base_of(charge)
            if name not in before
        ]
        before.add(charge.name)
        match charge:
            case EnergyCharge():
                faults += [f"{place}: {fault}" for fault in _energy_faults(charge, tariff)]
            case DemandCharge():
                faults += [f"{place}: {fault}" for fault in _demand_faults(charge, tariff)]
            case SeriesCharge() if charge.series not in tariff.series:
                faults.append(f"{place}: unknown price series {charge.series!r}")
            case _:
                pass
    return faults


def _rising(sizes: tuple[Fraction, ...]) -> list[str]:
    pairs = zip((Fraction(0), *sizes), sizes, strict=False)
    return [
        f"tier up to {float(size):g} does not lie above {float(low):g}" for low, size in pairs if size <= low
    ]


def _energy_faults(charge: EnergyCharge, tariff: Tariff) -> list[str]:
    faults = _price_faults(charge.prices, charge.calendar, tariff)
    tiers = charge.tiers
    count = 1 if tiers is None else len(tiers.up_to) + 1
    if tiers is not None:
        faults += _rising(tiers.up_to)
        if tiers.per is TierPeriod.DAYS and tiers.days < 1:
            faults.append("tiers per days without the number of days")
        if tiers.interaction is Interaction.ADDER and len(charge.adders) != count:
            faults.append(f"{len(charge.adders)} adders for {count} tiers")
        if tiers.interaction is Interaction.CHRONOLOGICAL and tiers.per is TierPeriod.DAY:
            faults.append("tiers per day have no order of time between days; use per = 'days' with days = 1")
        if tiers.interaction is Interaction.CHRONOLOGICAL and (charge.net or charge.losses):
            faults.append("tiers in order of time cannot be combined with netting or losses")
        if tiers.per is TierPeriod.DAY and (charge.net or charge.losses):
            faults.append("tiers per day cannot be combined with netting or losses")
    adder = tiers is not None and tiers.interaction is Interaction.ADDER
    if len(charge.prices) != (1 if adder else count):
        faults.append(f"prices for {len(charge.prices)} tiers, but {count} tiers")
    if charge.net is not None and charge.calendar in tariff.calendars:
        rates = len(tariff.calendars[charge.calendar].rates)
        if len(charge.net.surplus_prices) != rates:
            faults.append(f"{len(charge.net.surplus_prices)} surplus prices for {rates} rates")
    if charge.losses is not None and charge.losses.load_w and charge.losses.rated_w <= 0:
        faults.append("load losses without the rated power")
    return faults


def _demand_faults(charge: DemandCharge, tariff: Tariff) -> list[str]:
    faults = _price_faults(charge.prices, charge.calendar, tariff) + _rising(charge.up_to)
    if len(charge.prices) != len(charge.up_to) + 1:
        faults.append(f"prices for {len(charge.prices)} tiers, but {len(charge.up_to) + 1} tiers")
    if charge.window_s < 0:
        faults.append(f"demand window of {charge.window_s} s")
    if charge.ratchet is not None and (charge.ratchet.percent <= 0 or charge.ratchet.months < 1):
        faults.append("a ratchet needs a percent above 0 and at least one month")
    return faults


def _price_faults(prices: tuple[tuple[Decimal, ...], ...], calendar: str, tariff: Tariff) -> list[str]:
    if calendar not in tariff.calendars:
        return [f"unknown calendar {calendar!r}"]
    rates = tariff.calendars[calendar].rates
    return [
        f"tier {tier}: {len(row)} prices for the rates {', '.join(rates)}"
        for tier, row in enumerate(prices, 1)
        if len(row) != len(rates)
    ]
