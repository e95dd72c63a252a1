"""The bill run: from final readings, the registry and a tariff to a stored bill, and back again.

Everything is read as of one commit of the store and one revision of the registry, and both are pinned on the
bill, so that it can be recomputed to the last digit whatever was corrected since. Never to be broken: a bill
is stored whole or not at all, and never from readings with a hole in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction

import sqlalchemy as sa

from openami.billing.bill_plan import Plan, compute, plan_bill, tariff_of
from openami.billing.explain import Node, explain
from openami.billing.final_usage import values_digest
from openami.billing.ledger import Bill, BillState, Ledger, same_lines
from openami.mdm.stores.store import ReadingStore
from openami.quantities.civil_time import midnight
from openami.quantities.clock import Clock
from openami.quantities.errors import BillingError, QuantityError, RegistryError, TariffError
from openami.quantities.obis import ObisCode
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Document
from openami.registry.registry import Registry

_DAYS_NAMED = 40
_AT_ONCE = 200


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


@dataclass(frozen=True, slots=True)
class Refused:
    """An agreement that could not be billed, and why."""

    agreement_id: str
    error: BillingError | TariffError | RegistryError | QuantityError


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run over many agreements did: ``bills`` and ``refused`` in the order they were asked for."""

    bills: tuple[Bill, ...]
    refused: tuple[Refused, ...]


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

    Invariant: it keeps nothing between calls, so any number of processes may run one.
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
            Agreement or tariff are not known, or usage point or account not in force when the period ends.
        QuantityError
            Intervals or days cannot be counted in the usage point's zone.
        """
        plan = self._plan(agreement_id, first_day, last_day, as_of, revision)
        return self._ledger.issue(self._bill(plan, self._finals(plan), actor, why))

    def bill_many(
        self,
        agreement_ids: Sequence[str],
        first_day: date,
        last_day: date,
        *,
        actor: str = "bill run",
        why: str = "billing period",
        progress: Callable[[int], None] = lambda count: None,
    ) -> RunReport:
        """Bill many agreements for the same days, all as of one commit and one revision.

        Readings are fetched for many usage points at once. An agreement that cannot be billed is reported and
        keeps no other from being billed.

        Parameters
        ----------
        progress:
            Told how many agreements are done, after each.
        """
        seq, revision = self._store.seq, self._registry.revision
        bills: dict[str, Bill] = {}
        refused: dict[str, Refused] = {}
        done = 0
        for begin in range(0, len(agreement_ids), _AT_ONCE):
            plans: dict[str, Plan] = {}
            chunk = agreement_ids[begin : begin + _AT_ONCE]
            for agreement_id in chunk:
                try:
                    plans[agreement_id] = self._plan(agreement_id, first_day, last_day, seq, revision)
                except (BillingError, TariffError, RegistryError, QuantityError) as error:
                    refused[agreement_id] = Refused(agreement_id, error)
            finals = self._finals_of_many(list(plans.values()))
            for agreement_id in chunk:
                if plan := plans.get(agreement_id):
                    own = finals[plan.point.usage_point_id, plan.begin, plan.asked]
                    try:
                        bills[agreement_id] = self._ledger.issue(self._bill(plan, own, actor, why))
                    except (BillingError, TariffError, QuantityError) as error:
                        refused[agreement_id] = Refused(agreement_id, error)
                done += 1
                progress(done)
        return RunReport(
            tuple(bills[key] for key in agreement_ids if key in bills),
            tuple(refused[key] for key in agreement_ids if key in refused),
        )

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
        plan = self._plan(old.agreement_id, old.first_day, old.last_day, as_of, revision)
        new = self._bill(plan, self._finals(plan), actor, why)
        return self._ledger.issue(replace(new, replaces=bill_id))

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
        plan = self._plan(
            bill.agreement_id, bill.first_day, bill.last_day, pins.readings_seq, pins.registry_revision
        )
        computed = compute(plan, self._finals(plan))
        return Recomputation(
            bill_id,
            bill.total,
            computed.total,
            same_lines(computed.lines, bill.lines) and computed.pins.tariffs == pins.tariffs,
            computed.pins.finals_sha256 == pins.finals_sha256,
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

    def _plan(
        self, agreement_id: str, first_day: date, last_day: date, as_of: int | None, revision: int | None
    ) -> Plan:
        seq = self._store.seq if as_of is None else as_of
        known = self._registry.revision if revision is None else revision
        agreement = self._registry.agreement(agreement_id, revision=known)
        point = self._registry.usage_point(agreement.usage_point_id, revision=known)
        # Usage point and account as they are when the period ends: what was agreed later is for later bills.
        end = midnight(last_day, point.zone) - timedelta(microseconds=1)
        return plan_bill(
            agreement,
            self._registry.usage_point(agreement.usage_point_id, at=end, revision=known),
            self._registry.account(agreement.account_id, at=end, revision=known),
            self._registry.documents("tariff", agreement.tariff_id, revision=known),
            first_day,
            last_day,
            seq,
            known,
        )

    def _finals(self, plan: Plan) -> list[IntervalBlock]:
        return self._store.final(
            [plan.point.usage_point_id], plan.asked, plan.begin, plan.last_day, as_of=plan.seq
        )

    def _finals_of_many(
        self, plans: Sequence[Plan]
    ) -> dict[tuple[str, date, tuple[ObisCode, ...]], list[IntervalBlock]]:
        """Finals by usage point, first day and channels; plans that agree in the last two share a read."""
        alike: dict[tuple[date, tuple[ObisCode, ...]], list[Plan]] = {}
        for plan in plans:
            alike.setdefault((plan.begin, plan.asked), []).append(plan)
        finals: dict[tuple[str, date, tuple[ObisCode, ...]], list[IntervalBlock]] = {}
        for (begin, asked), members in alike.items():
            points = sorted({plan.point.usage_point_id for plan in members})
            finals |= {(point, begin, asked): [] for point in points}
            blocks = self._store.final(points, asked, begin, members[0].last_day, as_of=members[0].seq)
            for block in blocks:
                finals[block.series_id, begin, asked].append(block)
        return finals

    def _bill(self, plan: Plan, finals: Sequence[IntervalBlock], actor: str, why: str) -> Bill:
        computed = compute(plan, finals)
        return Bill(
            bill_id="",
            agreement_id=plan.agreement.agreement_id,
            account_id=plan.agreement.account_id,
            usage_point_id=plan.point.usage_point_id,
            first_day=plan.first_day,
            last_day=plan.last_day,
            currency=plan.parts[-1].tariff.currency,
            total=computed.total,
            energy_wh=computed.energy_wh,
            lines=computed.lines,
            pins=computed.pins,
            issued_at=self._clock.now(),
            issued_by=actor,
            why=why,
        )

    def _document(self, tariff_id: str, version: int, revision: int) -> Document:
        for document in self._registry.documents("tariff", tariff_id, revision=revision):
            if document.version == version:
                return document
        raise BillingError(f"version {version} of tariff {tariff_id} is not in revision {revision}")


def _changed_days(then: Sequence[IntervalBlock], now: Sequence[IntervalBlock]) -> tuple[date, ...]:
    days: set[date] = set()
    before = {(block.channel, block.day.day): values_digest([block]) for block in then}
    after = {(block.channel, block.day.day): values_digest([block]) for block in now}
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            days.add(key[1])
    return tuple(sorted(days))
