"""The bill run: from final readings, the registry and a tariff to a stored bill, and back again.

Everything is read as of one commit of the store and one revision of the registry, and both are pinned on the
bill, so that it can be recomputed to the last digit whatever was corrected since. Never to be broken: a bill
is stored whole or not at all, and never from readings with a hole in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import lru_cache

import sqlalchemy as sa

import openami
from openami.billing.explain import Node, explain
from openami.billing.final_usage import missing_days, usage_of_finals, values_digest
from openami.billing.ledger import Bill, BillState, Ledger, PinnedTariff, Pins, same_lines
from openami.billing.lines import NOTHING, Line
from openami.billing.rating import Part, needed_channels, rate_parts
from openami.billing.tariff import DemandCharge, EnergyCharge, Netting, Tariff, TierPeriod
from openami.billing.tariff_toml import load_tariff
from openami.billing.usage import Usage, add_months
from openami.mdm.stores.store import ReadingStore
from openami.quantities.clock import Clock
from openami.quantities.errors import BillingError
from openami.quantities.money import decimal_of
from openami.quantities.obis import IMPORT_INTERVAL, ObisCode
from openami.quantities.tariff_calendar import MonthDay
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Agreement, Document
from openami.registry.registry import Registry

_DAYS_NAMED = 40


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What a stored bill gives when it is computed again from its pins."""

    bill_id: str
    stored_total: Fraction
    computed_total: Fraction
    lines_agree: bool
    finals_agree: bool

    @property
    def holds(self) -> bool:
        """True when the stored bill follows from its pins to the last digit."""
        return self.stored_total == self.computed_total and self.lines_agree and self.finals_agree


@dataclass(frozen=True, slots=True)
class Proposal:
    """An issued bill whose final readings changed since: ``days`` now read otherwise than it counted."""

    bill_id: str
    agreement_id: str
    first_day: date
    last_day: date
    days: tuple[date, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Inputs:
    """All a bill is computed from."""

    agreement: Agreement
    parts: tuple[Part, ...]
    tariffs: tuple[PinnedTariff, ...]
    history: tuple[tuple[Part, ...], ...]
    usage: Usage
    pins: Pins
    finals: tuple[IntervalBlock, ...]


class BillRun:
    """Makes bills for agreements.

    Parameters
    ----------
    store, registry:
        Where final readings, agreements and tariffs come from.
    engine:
        Database of the ledger.
    clock:
        Where ``issued_at`` comes from.

    Invariant: it keeps nothing between calls but parsed tariffs, so any number of processes may run one.
    """

    def __init__(self, store: ReadingStore, registry: Registry, engine: sa.Engine, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._ledger = Ledger(engine)

    def bill(
        self,
        agreement_id: str,
        first_day: date,
        last_day: date,
        *,
        actor: str = "bill run",
        why: str = "billing period",
        as_of: int | None = None,
        revision: int | None = None,
    ) -> Bill:
        """Compute and store the bill of an agreement for the civil days ``[first_day, last_day)``.

        Parameters
        ----------
        as_of, revision:
            Commit of the store and revision of the registry to compute from; None for the newest.

        Raises
        ------
        BillingError
            Final readings are missing (the days are listed), the agreement does not cover the days, or they
            are billed already. Nothing is stored.
        TariffError
            The tariff cannot price the readings. Nothing is stored.
        RegistryError
            Agreement or tariff are not known.
        """
        bill = self._compute(agreement_id, first_day, last_day, as_of, revision, actor, why)
        return self._ledger.issue(bill)

    def rebill(
        self,
        bill_id: str,
        *,
        actor: str,
        why: str,
        as_of: int | None = None,
        revision: int | None = None,
    ) -> Bill:
        """Compute an issued bill anew from what is known now (or as of the given commit) and replace it.

        With unchanged inputs the total is the same to the last digit.

        Raises
        ------
        BillingError
            As `bill`; or the bill is not issued any more.
        """
        old = self._ledger.get(bill_id)
        new = self._compute(
            old.agreement_id, old.first_day, old.last_day, as_of, revision, actor, why, replaces=bill_id
        )
        return self._ledger.issue(new)

    def cancel(self, bill_id: str, why: str, actor: str) -> Bill:
        """Cancel an issued bill; its days may then be billed again.

        Raises
        ------
        BillingError
            There is no such bill, or it is not issued any more.
        """
        return self._ledger.cancel(bill_id, at=self._clock.now(), actor=actor, why=why)

    def get(self, bill_id: str) -> Bill:
        """One bill; `BillingError` when there is none."""
        return self._ledger.get(bill_id)

    def bills(
        self,
        *,
        account_id: str | None = None,
        agreement_id: str | None = None,
        usage_point_id: str | None = None,
        state: BillState | None = None,
    ) -> list[Bill]:
        """Bills by first day; see `Ledger.bills`."""
        return self._ledger.bills(
            account_id=account_id, agreement_id=agreement_id, usage_point_id=usage_point_id, state=state
        )

    def recompute(self, bill_id: str) -> Recomputation:
        """Prove that a stored bill follows from its pins.

        Raises
        ------
        BillingError
            There is no such bill, or what it pins is not there any more.
        """
        bill = self._ledger.get(bill_id)
        pins = bill.pins
        inputs = self._inputs(
            bill.agreement_id, bill.first_day, bill.last_day, pins.readings_seq, pins.registry_revision
        )
        lines, total = _rate(inputs)
        return Recomputation(
            bill_id,
            bill.total,
            total,
            same_lines(lines, bill.lines) and inputs.tariffs == pins.tariffs,
            inputs.pins.finals_sha256 == pins.finals_sha256,
        )

    def proposals(self) -> list[Proposal]:
        """Issued bills whose final readings changed since they were computed, with the days that did."""
        seq = self._store.seq
        found = []
        for bill in self._ledger.bills(state=BillState.ISSUED):
            pins = bill.pins
            if pins.readings_seq == seq:
                continue
            window = ([bill.usage_point_id], list(pins.channels), pins.history_from, bill.last_day)
            now = self._store.final(*window, as_of=seq)
            if values_digest(now) == pins.finals_sha256:
                continue
            then = self._store.final(*window, as_of=pins.readings_seq)
            days = _changed_days(then, now)
            found.append(Proposal(bill.bill_id, bill.agreement_id, bill.first_day, bill.last_day, days))
        return found

    def explain(self, bill_id: str, line_no: int | None = None) -> Node:
        """The chain behind a bill, or behind one of its lines (1, 2, ...); see `openami.billing.explain`.

        Raises
        ------
        BillingError
            There is no such bill or line.
        """
        bill = self._ledger.get(bill_id)
        tariffs = [
            tariff_of(self._document(item.tariff_id, item.version, bill.pins.registry_revision))
            for item in bill.pins.tariffs
        ]
        return explain(bill, tariffs, self._store, line_no)

    def _compute(
        self,
        agreement_id: str,
        first_day: date,
        last_day: date,
        as_of: int | None,
        revision: int | None,
        actor: str,
        why: str,
        replaces: str | None = None,
    ) -> Bill:
        seq = self._store.seq if as_of is None else as_of
        known = self._registry.revision if revision is None else revision
        inputs = self._inputs(agreement_id, first_day, last_day, seq, known)
        lines, total = _rate(inputs)
        agreement = inputs.agreement
        return Bill(
            bill_id="",
            agreement_id=agreement_id,
            account_id=agreement.account_id,
            usage_point_id=agreement.usage_point_id,
            first_day=first_day,
            last_day=last_day,
            currency=inputs.parts[-1].tariff.currency,
            total=total,
            energy_wh=_import_wh(inputs.usage, first_day, last_day),
            lines=lines,
            pins=inputs.pins,
            issued_at=self._clock.now(),
            issued_by=actor,
            why=why,
            replaces=replaces,
        )

    def _inputs(self, agreement_id: str, first_day: date, last_day: date, seq: int, revision: int) -> _Inputs:
        place = f"agreement {agreement_id}, {first_day} to {last_day}"
        agreement = self._registry.agreement(agreement_id, revision=revision)
        ends = agreement.valid_to
        if last_day <= first_day:
            raise BillingError("the billing period is empty", where=place)
        if first_day < agreement.valid_from or (ends is not None and last_day > ends):
            raise BillingError(
                f"the agreement holds from {agreement.valid_from} to {ends or 'today'}",
                where=place,
                expected="a period inside it",
            )
        point = self._registry.usage_point(agreement.usage_point_id, revision=revision)
        versions = self._versions(agreement.tariff_id, revision)
        parts = _parts(versions, first_day, last_day, place)
        account = self._registry.account(agreement.account_id, revision=revision)
        for part in parts:
            if (part.tariff.zone, part.tariff.currency) != (point.zone, account.currency):
                raise BillingError(
                    f"tariff {part.tariff.tariff_id} is in {part.tariff.zone} and {part.tariff.currency}",
                    where=place,
                    expected=f"{point.zone} and {account.currency}, as usage point and account are",
                )
        begin = max(_history_from(parts, first_day), agreement.valid_from)
        history = tuple(
            _parts(versions, first, last, place) for first, last in _earlier_periods(begin, first_day)
        )
        asked = list(dict.fromkeys(code for part in parts for code in part.tariff.channels))
        finals = self._store.final([point.usage_point_id], asked, begin, last_day, as_of=seq)
        present = [code for code in asked if any(block.channel == code for block in finals)]
        used = _used_channels(parts, present, place)
        if absent := missing_days(finals, used, begin, last_day):
            named = ", ".join(day.isoformat() for day in absent[:_DAYS_NAMED])
            more = f" and {len(absent) - _DAYS_NAMED} more" if len(absent) > _DAYS_NAMED else ""
            raise BillingError(
                f"final readings are missing on {len(absent)} days: {named}{more}",
                where=f"{place}, usage point {point.usage_point_id}",
                expected="validation and estimation of these days first",
            )
        counted = tuple(block for block in finals if block.channel in used)
        usage = usage_of_finals(counted, point.zone, begin, last_day, point.capacity_w)
        tariffs = tuple(
            PinnedTariff(
                document.document_id,
                document.version,
                document.valid_from,
                document.sha256,
                part.first_day,
                part.last_day,
            )
            for part in parts
            for document in versions
            if tariff_of(document) is part.tariff
        )
        pins = Pins(
            seq,
            revision,
            values_digest(counted),
            begin,
            usage.interval_s,
            tuple(used),
            tariffs,
            tuple(sorted({block.rule for block in counted if block.rule is not None})),
            openami.__version__,
        )
        return _Inputs(agreement, parts, tariffs, history, usage, pins, counted)

    def _versions(self, tariff_id: str, revision: int) -> list[Document]:
        """Versions of a tariff in order of their first day."""
        found = self._registry.documents("tariff", tariff_id, revision=revision)
        return sorted(found, key=lambda document: (document.valid_from, document.version))

    def _document(self, tariff_id: str, version: int, revision: int) -> Document:
        for document in self._versions(tariff_id, revision):
            if document.version == version:
                return document
        raise BillingError(f"version {version} of tariff {tariff_id} is not in revision {revision}")


@lru_cache(maxsize=256)
def _parsed(text: str, valid_from: date) -> Tariff:
    return load_tariff(text)


def tariff_of(document: Document) -> Tariff:
    """The tariff a registry document holds; the same object for the same text."""
    return _parsed(document.text, document.valid_from)


def _rate(inputs: _Inputs) -> tuple[tuple[Line, ...], Fraction]:
    """Lines and total of the period, after the earlier periods have filled what is carried."""
    carried = NOTHING
    for parts in inputs.history:
        part_usage = inputs.usage.between(parts[0].first_day, parts[-1].last_day)
        carried = rate_parts(parts, part_usage, carried).carried
    first, last = inputs.parts[0].first_day, inputs.parts[-1].last_day
    rated = rate_parts(inputs.parts, inputs.usage.between(first, last), carried)
    return rated.bill(0), rated.total.fraction(0)


def _parts(versions: Sequence[Document], first_day: date, last_day: date, place: str) -> tuple[Part, ...]:
    """The versions in force in ``[first_day, last_day)``, each with its days."""
    begun = [document for document in versions if document.valid_from <= first_day]
    if not begun:
        raise BillingError(f"no tariff is in force on {first_day}", where=place)
    later = [document for document in versions if first_day < document.valid_from < last_day]
    chosen = [begun[-1], *later]
    starts = [first_day, *(document.valid_from for document in later)]
    ends = [*starts[1:], last_day]
    return tuple(
        Part(tariff_of(document), start, end)
        for document, start, end in zip(chosen, starts, ends, strict=True)
    )


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


def _changed_days(then: Sequence[IntervalBlock], now: Sequence[IntervalBlock]) -> tuple[date, ...]:
    days: set[date] = set()
    before = {(block.channel, block.day.day): values_digest([block]) for block in then}
    after = {(block.channel, block.day.day): values_digest([block]) for block in now}
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            days.add(key[1])
    return tuple(sorted(days))


def _import_wh(usage: Usage, first_day: date, last_day: date) -> int:
    """Import of the days in Wh, half up; 0 when the tariff does not count it."""
    channel = usage.between(first_day, last_day).channels.get(IMPORT_INTERVAL)
    if channel is None:
        return 0
    return int(decimal_of(int(channel.counts.sum()) * channel.kilo * 1000, 0))
