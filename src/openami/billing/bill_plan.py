"""What a bill is computed from, and the computation: tariff versions, earlier periods, readings, pins.

Pure: registry rows and final blocks come in, lines and pins go out. Never to be broken: the same plan and the
same blocks give the same lines, whoever asks and whenever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import lru_cache

import openami
from openami.billing.final_usage import missing_days, suspect_days, usage_of_finals, values_digest
from openami.billing.ledger import PinnedTariff, Pins
from openami.billing.lines import NOTHING, Line
from openami.billing.rating import Part, needed_channels, rate_parts
from openami.billing.tariff import DemandCharge, EnergyCharge, Netting, Tariff, TierPeriod, WhenSuspect
from openami.billing.tariff_toml import load_tariff
from openami.billing.usage import Usage, add_months
from openami.quantities.errors import BillingError
from openami.quantities.money import decimal_of
from openami.quantities.obis import IMPORT_INTERVAL, ObisCode
from openami.quantities.tariff_calendar import MonthDay
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Account, Agreement, Document, UsagePoint

_DAYS_NAMED = 40


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a bill is to be computed from, before any reading is read.

    Parameters
    ----------
    parts, tariffs:
        The versions of the tariff in force, each with its days, and what is pinned of them.
    history:
        Earlier periods that are rated only for what they carry into this one, oldest first.
    begin:
        First day whose readings are needed.
    asked:
        Channels any charge may count on.
    seq, revision:
        What readings and registry are read as of.
    """

    agreement: Agreement
    point: UsagePoint
    parts: tuple[Part, ...]
    tariffs: tuple[PinnedTariff, ...]
    history: tuple[tuple[Part, ...], ...]
    begin: date
    asked: tuple[ObisCode, ...]
    seq: int
    revision: int

    @property
    def first_day(self) -> date:
        """First day of the bill."""
        return self.parts[0].first_day

    @property
    def last_day(self) -> date:
        """The day after its last."""
        return self.parts[-1].last_day

    @property
    def place(self) -> str:
        """What errors name."""
        return f"agreement {self.agreement.agreement_id}, {self.first_day} to {self.last_day}"


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """Lines and total of a plan, and the pins that go with them."""

    lines: tuple[Line, ...]
    total: Fraction
    energy_wh: int
    pins: Pins


@lru_cache(maxsize=256)
def _parsed(text: str) -> Tariff:
    return load_tariff(text)


def tariff_of(document: Document) -> Tariff:
    """The tariff a registry document holds; the same object for the same text."""
    return _parsed(document.text)


def plan_bill(
    agreement: Agreement,
    point: UsagePoint,
    account: Account,
    documents: Sequence[Document],
    first_day: date,
    last_day: date,
    seq: int,
    revision: int,
) -> Plan:
    """Plan of an agreement's bill for the civil days ``[first_day, last_day)``.

    Parameters
    ----------
    documents:
        The versions of the agreement's tariff.
    seq, revision:
        What the readings and the registry are read as of.

    Raises
    ------
    BillingError
        The agreement does not cover the days, no tariff is in force, or zones or currencies differ.
    TariffError
        A version of the tariff cannot be loaded.
    """
    place = f"agreement {agreement.agreement_id}, {first_day} to {last_day}"
    ends = agreement.valid_to
    if last_day <= first_day:
        raise BillingError("the billing period is empty", where=place)
    if first_day < agreement.valid_from or (ends is not None and last_day > ends):
        raise BillingError(
            f"the agreement holds from {agreement.valid_from} to {ends or 'today'}",
            where=place,
            expected="a period inside it",
        )
    versions = sorted(documents, key=lambda document: (document.valid_from, document.version))
    cut = _cut(versions, first_day, last_day, place)
    parts = tuple(part for _, part in cut)
    for part in parts:
        if (part.tariff.zone, part.tariff.currency) != (point.zone, account.currency):
            raise BillingError(
                f"tariff {part.tariff.tariff_id} is in {part.tariff.zone} and {part.tariff.currency}",
                where=place,
                expected=f"{point.zone} and {account.currency}, as usage point and account are",
            )
    begin = max(_history_from(parts, first_day), agreement.valid_from, versions[0].valid_from)
    history = tuple(
        tuple(part for _, part in _cut(versions, first, last, place))
        for first, last in _earlier_periods(begin, first_day)
    )
    tariffs = tuple(
        PinnedTariff(
            document.document_id,
            document.version,
            document.valid_from,
            document.sha256,
            part.first_day,
            part.last_day,
        )
        for document, part in cut
    )
    asked = tuple(dict.fromkeys(code for part in parts for code in part.tariff.channels))
    return Plan(agreement, point, parts, tariffs, history, begin, asked, seq, revision)


def compute(plan: Plan, finals: Sequence[IntervalBlock]) -> Computed:
    """Lines and total of the period, after the earlier periods have filled what is carried.

    Parameters
    ----------
    finals:
        Final blocks of the usage point on the channels asked for, from ``plan.begin`` on.

    Raises
    ------
    BillingError
        A channel or a day of it is missing.
    TariffError
        The tariff cannot price the readings.
    """
    present = [code for code in plan.asked if any(block.channel == code for block in finals)]
    used = _used_channels(plan.parts, present, plan.place)
    place = f"{plan.place}, usage point {plan.point.usage_point_id}"
    if absent := missing_days(finals, used, plan.begin, plan.last_day):
        raise BillingError(
            f"final readings are missing on {_named(absent)}",
            where=place,
            expected="validation and estimation of these days first",
        )
    counted = [block for block in finals if block.channel in used]
    refusing = any(part.tariff.suspect is WhenSuspect.REFUSE for part in plan.parts)
    if refusing and (doubtful := suspect_days(counted)):
        raise BillingError(
            f"final readings are suspect on {_named(doubtful)}: checks failed and estimation was refused",
            where=place,
            expected='a settled reading, or a tariff with suspect = "as_measured"',
        )
    usage = usage_of_finals(counted, plan.point.zone, plan.begin, plan.last_day, plan.point.capacity_w)
    carried = NOTHING
    for parts in plan.history:
        carried = rate_parts(parts, usage.between(parts[0].first_day, parts[-1].last_day), carried).carried
    period = usage.between(plan.first_day, plan.last_day)
    rated = rate_parts(plan.parts, period, carried)
    pins = Pins(
        plan.seq,
        plan.revision,
        values_digest(counted),
        plan.begin,
        usage.interval_s,
        tuple(used),
        plan.tariffs,
        tuple(sorted({block.rule for block in counted if block.rule is not None})),
        openami.__version__,
    )
    return Computed(rated.bill(0), rated.total.fraction(0), _import_wh(period), pins)


def _named(days: Sequence[date]) -> str:
    more = f" and {len(days) - _DAYS_NAMED} more" if len(days) > _DAYS_NAMED else ""
    return f"{len(days)} days: {', '.join(day.isoformat() for day in days[:_DAYS_NAMED])}{more}"


def _cut(
    versions: Sequence[Document], first_day: date, last_day: date, place: str
) -> list[tuple[Document, Part]]:
    """The versions in force in ``[first_day, last_day)``, each with its days."""
    begun = [document for document in versions if document.valid_from <= first_day]
    if not begun:
        raise BillingError(f"no tariff is in force on {first_day}", where=place)
    later = [document for document in versions if first_day < document.valid_from < last_day]
    starts = [first_day, *(document.valid_from for document in later)]
    ends = [*starts[1:], last_day]
    return [
        (document, Part(tariff_of(document), start, end))
        for document, start, end in zip([begun[-1], *later], starts, ends, strict=True)
    ]


def _used_channels(parts: Sequence[Part], present: Sequence[ObisCode], place: str) -> list[ObisCode]:
    """Channels the charges count on, of those that have readings."""
    used: dict[ObisCode, None] = {}
    for part in parts:
        for charge in part.tariff.charges:
            needed = needed_channels(charge, present)
            if needed.missing and not needed.skipped:
                raise BillingError(
                    f"no final readings on {', '.join(map(str, needed.missing))} for charge {charge.name!r}",
                    where=place,
                )
            if not needed.skipped:
                used |= dict.fromkeys(needed.channels)
    return sorted(used)


def _history_from(parts: Sequence[Part], first_day: date) -> date:
    """First day that has to be known for what the tariffs look back on."""
    begin = first_day
    for part in parts:
        for charge in part.tariff.charges:
            match charge:
                case EnergyCharge():
                    if charge.tiers is not None and charge.tiers.per is TierPeriod.YEAR:
                        begin = min(begin, _last_reset(first_day, charge.tiers.reset))
                    if charge.net is not None and charge.net.interval is Netting.YEAR:
                        begin = min(begin, _last_reset(first_day, charge.net.reset))
                case DemandCharge() if charge.ratchet is not None:
                    begin = min(begin, add_months(first_day, -charge.ratchet.months))
                case _:
                    pass
    return begin


def _last_reset(day: date, reset: MonthDay) -> date:
    this_year = date(day.year, *reset)
    return this_year if this_year <= day else date(day.year - 1, *reset)


def _earlier_periods(begin: date, first_day: date) -> Iterator[tuple[date, date]]:
    """Months before a period, counted back from its first day, oldest first; the oldest may be short."""
    starts = []
    months = 0
    end = first_day
    while end > begin:
        months += 1
        start = max(begin, add_months(first_day, -months))
        starts.append((start, end))
        end = start
    return reversed(starts)


def _import_wh(usage: Usage) -> int:
    """Import in Wh, half up; 0 when the tariff does not count it."""
    channel = usage.channels.get(IMPORT_INTERVAL)
    if channel is None:
        return 0
    return int(decimal_of(int(channel.counts.sum()) * channel.kilo * 1000, 0))
