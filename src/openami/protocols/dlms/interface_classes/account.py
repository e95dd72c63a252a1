"""Account, class 111 version 0 (IEC 62056-6-2 clause 4.6.2): credits, charges and whether there is supply.

    account_mode_and_status  { payment_mode 1 credit 2 prepayment, status 1 new 2 active 3 closed }
    current_credit_status    bits: in credit, low credit, next credit enabled, next credit selectable, next
                             credit selected, selectable credit in use, out of credit
    available_credit         sum of what is positive of the credits selected or in use
    amount_to_clear          minus what has to be paid in before the supply returns; 0 while there is credit
    low_credit_threshold     warning threshold of the credit in use, 0 without one
    next_credit_available_threshold   that of the next credit, -2**31 without one
    credit_charge_configuration       which charge is taken from which credit, and whether also while there
                             is no supply; empty: every charge from every credit

    charge   taken from the credits that can be used for it, by priority, each down to its limit; what none of
             them covers is taken from the first and makes it a debt
    token    first the charges by payment; then each credit of the token gateway configuration its proportion;
             of the rest credits in use or exhausted, then the others, those of the lowest priority first. A
             credit that has to be paid back takes what was used of it, others that take tokens take it all

Rule of this file: amounts only move. The sum of all credits changes by exactly what was paid in minus what
was charged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from enum import IntEnum
from typing import ClassVar, Final

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, structure
from openami.protocols.dlms.interface_classes.charge import Charge, ChargeType
from openami.protocols.dlms.interface_classes.credit import (
    Credit,
    CreditStatus,
    CreditType,
    bit,
    double_long,
)
from openami.protocols.dlms.interface_classes.local_time import moment, stamp
from openami.protocols.dlms.interface_classes.object_reference import Find
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DOUBLE_LONG,
    INTEGER,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    UNSIGNED,
    Bits,
    ListOf,
    Moment,
    Utf8,
    Whole,
    enumeration,
    record,
)
from openami.quantities.obis import ObisCode

_NOTHING = Whole(Tag.INTEGER, 0, 0)
_NAMES = ListOf(LOGICAL_NAME, 16)
_PREPAYMENT = 2
_REFRESHING = 0
_IN_CREDIT, _LOW, _SELECTABLE_IN_USE, _OUT = 0x80, 0x40, 0x04, 0x02
_WAITING: Final = {CreditStatus.ENABLED: 0x20, CreditStatus.SELECTABLE: 0x10, CreditStatus.SELECTED: 0x08}
"""Bits of ``current_credit_status``: those of the next credit by its state."""
_NO_NEXT: Final = -(1 << 31)


class AccountStatus(IntEnum):
    """Life of an account."""

    NEW = 1
    ACTIVE = 2
    CLOSED = 3


class Account(StoredObject):
    """The account of a customer in a meter.

    Parameters
    ----------
    find:
        The credits and charges that it names.
    supply:
        Told whether there is credit (True) or the supply has to end; asked for at every change, so it must
        take the same word twice.
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_find", "_now", "_supply", "_zone")

    class_id: ClassVar[int] = 111
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "account_mode_and_status", record(enumeration(2, 1), enumeration(3, 1))),
        read_only(3, "current_credit_in_use", UNSIGNED),
        read_only(4, "current_credit_status", Bits(8, 8)),
        read_only(5, "available_credit", DOUBLE_LONG),
        read_only(6, "amount_to_clear", DOUBLE_LONG),
        StoredAttribute(7, "clearance_threshold", DOUBLE_LONG),
        read_only(8, "aggregated_debt", DOUBLE_LONG),
        StoredAttribute(9, "credit_reference_list", _NAMES),
        StoredAttribute(10, "charge_reference_list", _NAMES),
        StoredAttribute(
            11, "credit_charge_configuration", ListOf(record(LOGICAL_NAME, LOGICAL_NAME, Bits(3, 3)), 64)
        ),
        StoredAttribute(
            12, "token_gateway_configuration", ListOf(record(LOGICAL_NAME, Whole(Tag.UNSIGNED, 0, 100)), 16)
        ),
        StoredAttribute(13, "account_activation_time", Moment()),
        StoredAttribute(14, "account_closure_time", Moment()),
        StoredAttribute(15, "currency", record(Utf8(8), INTEGER, enumeration(2))),
        read_only(16, "low_credit_threshold", DOUBLE_LONG),
        read_only(17, "next_credit_available_threshold", DOUBLE_LONG),
        StoredAttribute(18, "max_provision", LONG_UNSIGNED),
        StoredAttribute(19, "max_provision_period", DOUBLE_LONG),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        supply: Callable[[bool], None],
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._supply = supply
        self._now = now
        self._zone = zone

    # --- what it shows --------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """True while charges are collected."""
        return self._status is AccountStatus.ACTIVE

    @property
    def currency_scale(self) -> int:
        """Power of ten of the amounts."""
        return number(items(self.current(15))[1])

    def credits(self) -> list[Credit]:
        """Credits of the account that have a priority, the first to be used first."""
        found = (self._find(ObisCode.from_bytes(octets(name))) for name in items(super().current(9)))
        listed = [item for item in found if isinstance(item, Credit) and item.priority]
        return sorted(listed, key=_priority)

    def charges(self) -> list[Charge]:
        """Charges of the account, the first to be collected first."""
        found = (self._find(ObisCode.from_bytes(octets(name))) for name in items(super().current(10)))
        return sorted((item for item in found if isinstance(item, Charge)), key=_priority)

    def current(self, index: int) -> Data:
        """Attribute."""
        match index:
            case 3:
                return Data(Tag.UNSIGNED, self._position_in_use())
            case 4:
                return Data(Tag.BIT_STRING, BitString(8, bytes((self._credit_status(),))))
            case 5:
                return double_long(self.logical_name, self.available_credit)
            case 6:
                return double_long(self.logical_name, self.amount_to_clear)
            case 8:
                return double_long(self.logical_name, sum(charge.remaining for charge in self.charges()))
            case 16:
                in_use = [credit for credit in self.credits() if credit.status is CreditStatus.IN_USE]
                return in_use[0].current(5) if in_use else Data(Tag.DOUBLE_LONG, 0)
            case 17:
                following = self._next_credit()
                return Data(Tag.DOUBLE_LONG, _NO_NEXT) if following is None else following.current(10)
        return super().current(index)

    @property
    def available_credit(self) -> int:
        """What is positive of the credits selected or in use."""
        return sum(
            max(0, credit.amount)
            for credit in self.credits()
            if credit.status in (CreditStatus.SELECTED, CreditStatus.IN_USE)
        )

    @property
    def supplies(self) -> bool:
        """True while charges can be taken from some credit without going below its limit."""
        return any(credit.left for credit in self.credits() if _usable(credit))

    @property
    def amount_to_clear(self) -> int:
        """Minus what has to be paid in before the supply returns; 0 while there is credit."""
        if self.supplies:
            return 0
        owed = sum(max(0, -credit.amount) for credit in self.credits())
        back = sum(credit.to_pay_back for credit in self.credits())
        return -(owed + back + max(0, number(super().current(7))))

    # --- what happens ---------------------------------------------------------------------------------

    def collects(self, charge: ObisCode) -> bool:
        """True where a charge may be taken from the credits at present."""
        configured = self._configuration(charge)
        if not self.active or configured == []:
            return False
        return configured is None or self.supplies or any(bit(how, 0) for _, how in configured)

    def take(self, amount: int, charge: ObisCode) -> None:
        """Take a charge from its credits; raises `AccessError` where the debt would not fit its register."""
        configured = self._configuration(charge)
        listed = self.credits()
        if configured is not None:
            names = {name for name, _ in configured}
            listed = [credit for credit in listed if credit.logical_name in names]
        for credit in listed[:1]:
            double_long(credit.logical_name, credit.amount - amount)
        for credit in listed:
            part = min(amount, credit.left) if _usable(credit) else 0
            if part:
                credit.add(-part)
                amount -= part
        if amount and listed:
            listed[0].add(-amount)
        self.refresh()

    def _configuration(self, charge: ObisCode) -> list[tuple[ObisCode, Data]] | None:
        """Credits of a charge, each with its collection configuration; None where nothing is configured."""
        entries = [items(entry) for entry in items(super().current(11))]
        if not entries:
            return None
        wanted = charge.to_bytes()
        return [(ObisCode.from_bytes(octets(name)), how) for name, of, how in entries if octets(of) == wanted]

    def pay_in(self, amount: int) -> None:
        """Take a token's amount into the credits; raises `AccessError` where there is no account for it.

        Whole or not at all: an amount that a register cannot hold leaves everything as it was.
        """
        listed = self.credits()
        if not self.active or not listed or amount <= 0:
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} takes no tokens")
        taking = [credit for credit in listed if credit.takes_tokens] or listed[:1]
        for credit in listed:
            double_long(credit.logical_name, credit.amount + amount)
        for charge in self.charges():
            amount -= charge.collect_payment(amount, self._now())
        proportions = {
            ObisCode.from_bytes(octets(name)): number(part)
            for name, part in (items(entry) for entry in items(super().current(12)))
        }
        rest = amount
        for credit in listed:
            share = min(rest, amount * proportions.get(credit.logical_name, 0) // 100)
            rest -= _paid_into(credit, share, credit in taking)
        used = [credit for credit in listed if credit.status in (CreditStatus.IN_USE, CreditStatus.EXHAUSTED)]
        others = [credit for credit in listed if credit not in used]
        for credit in (*reversed(used), *reversed(others)):
            rest -= _paid_into(credit, rest, credit in taking)
        self.refresh()

    def refresh(self) -> None:
        """See which credit is in use and whether there is supply, after anything has changed."""
        if _REFRESHING in self._state:
            return
        self._state[_REFRESHING] = Data(Tag.BOOLEAN, True)
        try:
            self._stand_credits()
        finally:
            del self._state[_REFRESHING]
        if self.active and number(items(super().current(2))[0]) == _PREPAYMENT:
            self._supply(self.supplies)

    def keep(self, index: int, value: Data) -> None:
        """Keep a value, and see what follows from it."""
        super().keep(index, value)
        self.refresh()

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``activate_account``, ``close_account``, ``reset_account``; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "account")
        needed = (AccountStatus.NEW, AccountStatus.ACTIVE, AccountStatus.CLOSED)[index - 1]
        if self._status is not needed:
            raise AccessError(
                AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} is {self._status.name}"
            )
        match index:
            case 1:
                self._open()
            case 2:
                self._close()
            case _:
                for credit in self.credits():
                    credit.add(-credit.amount)
                    credit.stand(CreditStatus.ENABLED)
                self._stand(AccountStatus.NEW)
        return None

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next activation or closure; see `timeline.Timed`."""
        wanted = {AccountStatus.NEW: 13, AccountStatus.ACTIVE: 14}.get(self._status)
        at = moment(octets(self.current(wanted)), self._zone) if wanted else None
        return at if at is not None and after < at <= until else None

    def perform(self, at: datetime) -> None:
        """Activate or close the account."""
        if self._status is AccountStatus.NEW:
            self._open()
        elif self._status is AccountStatus.ACTIVE:
            self._close()

    def make_up(self, failed: datetime, restored: datetime) -> None:
        """After a failure of the supply: activate or close the account, where it was time."""
        if self.due(failed, restored) is not None:
            self.perform(restored)

    # --- privates -------------------------------------------------------------------------------------

    @property
    def _status(self) -> AccountStatus:
        return AccountStatus(number(items(self.current(2))[1]))

    def _close(self) -> None:
        for charge in self.charges():
            if charge.kind is ChargeType.CONSUMPTION:
                charge.collect(self._now())
        self._enter(AccountStatus.CLOSED, 14)

    def _open(self) -> None:
        for charge in self.charges():
            charge.begin(self._now())
        self._enter(AccountStatus.ACTIVE, 13)

    def _enter(self, status: AccountStatus, time: int) -> None:
        self._stand(status)
        self.keep(time, stamp(self._now(), self._zone))

    def _stand(self, status: AccountStatus) -> None:
        mode, _ = items(self.current(2))
        self.keep(2, structure(mode, Data(Tag.ENUM, int(status))))

    def _stand_credits(self) -> None:
        """The first usable credit with something left is in use; later ones wait in their states."""
        in_use = False
        before_left = 0
        for credit in self.credits():
            if credit.kind is CreditType.EMERGENCY or credit.needs_confirmation:
                in_use = _stand_selectable(credit, in_use, before_left <= number(credit.current(10)))
            elif credit.left and not in_use:
                credit.stand(CreditStatus.IN_USE)
                in_use = True
            else:
                credit.stand(CreditStatus.ENABLED if credit.left else CreditStatus.EXHAUSTED)
            before_left += credit.left if _usable(credit) else 0

    def _position_in_use(self) -> int:
        names = [octets(name) for name in items(super().current(9))]
        for credit in self.credits():
            if credit.status is CreditStatus.IN_USE:
                return names.index(credit.logical_name.to_bytes()) + 1
        return 0

    def _credit_status(self) -> int:
        in_use = [credit for credit in self.credits() if credit.status is CreditStatus.IN_USE]
        available = self.available_credit
        bits = _IN_CREDIT if available > 0 else 0
        bits |= _LOW if available < number(self.current(16)) else 0
        following = self._next_credit()
        bits |= 0 if following is None else _WAITING[following.status]
        bits |= _SELECTABLE_IN_USE if any(map(_selectable, in_use)) else 0
        return bits if in_use else bits | _OUT

    def _next_credit(self) -> Credit | None:
        """The credit of the highest priority that waits to be used; None for none."""
        return next((credit for credit in self.credits() if credit.status in _WAITING), None)


def _priority(item: Credit | Charge) -> int:
    return item.priority


def _paid_into(credit: Credit, offered: int, takes: bool) -> int:
    """Pay as much of an amount into a credit as it takes; gives how much that was."""
    taken = offered if takes else min(offered, credit.to_pay_back)
    if taken:
        credit.add(taken)
    return taken


def _selectable(credit: Credit) -> bool:
    return credit.kind is CreditType.EMERGENCY or credit.needs_confirmation


def _usable(credit: Credit) -> bool:
    """True where charges may be taken from a credit: it needs nobody's word, or somebody said it."""
    return not _selectable(credit) or credit.status in (CreditStatus.SELECTED, CreditStatus.IN_USE)


def _stand_selectable(credit: Credit, in_use: bool, offered: bool) -> bool:
    """State of a credit that is selected by somebody; gives whether any credit is in use then."""
    if credit.status in (CreditStatus.SELECTED, CreditStatus.IN_USE):
        if not credit.left:
            credit.stand(CreditStatus.EXHAUSTED)
        elif not in_use:
            credit.stand(CreditStatus.IN_USE)
            return True
        else:
            credit.stand(CreditStatus.SELECTED if credit.to_pay_back else CreditStatus.ENABLED)
    elif credit.status is CreditStatus.EXHAUSTED:
        if not credit.to_pay_back:
            credit.stand(CreditStatus.ENABLED)
    else:
        credit.stand(CreditStatus.SELECTABLE if offered else CreditStatus.ENABLED)
    return in_use
