"""Credit, class 112 version 0 (IEC 62056-6-2 clause 4.6.3): an amount that charges are paid from.

    credit_type    0 token, 1 reserved, 2 emergency, 3 time based, 4 consumption based
    configuration  bits, first to last: visual confirmation, needs confirmation, has to be paid back,
                   resettable, takes tokens
    status         0 enabled, 1 selectable, 2 selected, 3 in use, 4 exhausted

Amounts are integer counts of the account's currency scale. The account says which credit is in use. A credit
by time or by consumption is set to its preset amount whenever its period, a date-time with open parts, comes.
Rule of this file: an amount changes only by a payment, a charge, a method or its period, and none of these is
lost or cut to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from enum import IntEnum
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag
from openami.protocols.dlms.interface_classes.local_time import (
    DatePattern,
    instant_of_local,
    local_days,
    time_of_day,
)
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    number,
    octets,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DOUBLE_LONG,
    UNSIGNED,
    Bits,
    Moment,
    Whole,
    enumeration,
)
from openami.quantities.obis import ObisCode

_NOTHING = Whole(Tag.INTEGER, 0, 0)
_SMALLEST, _LARGEST = -(1 << 31), (1 << 31) - 1


class CreditType(IntEnum):
    """Kind of a credit."""

    TOKEN = 0
    RESERVED = 1
    EMERGENCY = 2
    TIME_BASED = 3
    CONSUMPTION_BASED = 4


class CreditStatus(IntEnum):
    """Where a credit stands."""

    ENABLED = 0
    SELECTABLE = 1
    SELECTED = 2
    IN_USE = 3
    EXHAUSTED = 4


_PERIODIC = (CreditType.TIME_BASED, CreditType.CONSUMPTION_BASED)


def double_long(where: ObisCode, amount: int) -> Data:
    """An amount as double-long; raises `AccessError` where it does not fit."""
    if not _SMALLEST <= amount <= _LARGEST:
        raise AccessError(AccessResult.OTHER_REASON, where=f"{where}: {amount} is beyond the register")
    return Data(Tag.DOUBLE_LONG, amount)


def bit(bits: Data, at: int) -> bool:
    """Bit ``at`` of a bit-string, the first being 0."""
    held = bits.value
    return isinstance(held, BitString) and at < held.length and bool(held.octets[at // 8] & 0x80 >> at % 8)


class Credit(StoredObject):
    """One credit of an account.

    Parameters
    ----------
    changed:
        Told that a client changed it: the account, which then looks at all its credits.
    state, preset:
        As of `StoredObject`.
    zone:
        Of the meter's local time.
    """

    __slots__ = ("_changed", "_zone")

    class_id: ClassVar[int] = 112
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "current_credit_amount", DOUBLE_LONG),
        StoredAttribute(3, "credit_type", enumeration(4)),
        StoredAttribute(4, "priority", UNSIGNED),
        StoredAttribute(5, "warning_threshold", DOUBLE_LONG),
        StoredAttribute(6, "limit", DOUBLE_LONG),
        StoredAttribute(7, "credit_configuration", Bits(5, 5)),
        read_only(8, "credit_status", enumeration(4)),
        StoredAttribute(9, "preset_credit_amount", DOUBLE_LONG),
        StoredAttribute(10, "credit_available_threshold", DOUBLE_LONG),
        StoredAttribute(11, "period", Moment()),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(
        self,
        logical_name: ObisCode,
        changed: Callable[[], None] = lambda: None,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
        zone: tzinfo = UTC,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._changed = changed
        self._zone = zone

    @property
    def amount(self) -> int:
        """The current amount."""
        return number(self.current(2))

    @property
    def left(self) -> int:
        """What can still be taken before the limit is reached; none where it lies below."""
        return max(0, self.amount - number(self.current(6)))

    @property
    def kind(self) -> CreditType:
        """Kind of the credit."""
        return CreditType(number(self.current(3)))

    @property
    def priority(self) -> int:
        """1 is used first; 0 is not used."""
        return number(self.current(4))

    @property
    def status(self) -> CreditStatus:
        """Where it stands."""
        return CreditStatus(number(self.current(8)))

    @property
    def needs_confirmation(self) -> bool:
        """True where somebody has to select it before it is used."""
        return bit(self.current(7), 1)

    @property
    def to_pay_back(self) -> int:
        """What was used of it and has to be paid back by the next token."""
        if not bit(self.current(7), 2) or self.status not in (
            CreditStatus.SELECTED,
            CreditStatus.IN_USE,
            CreditStatus.EXHAUSTED,
        ):
            return 0
        return max(0, number(self.current(9)) - self.amount)

    @property
    def takes_tokens(self) -> bool:
        """True where tokens may be paid into it."""
        return bit(self.current(7), 4)

    def add(self, amount: int) -> None:
        """Pay in, or take out where negative."""
        self.keep(2, double_long(self.logical_name, self.amount + amount))

    def stand(self, status: CreditStatus) -> None:
        """Take a state."""
        if self.status is not status:
            self.keep(8, Data(Tag.ENUM, int(status)))

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; the account is told of what a client sets."""
        super().keep(index, value)
        if index not in (2, 8):
            self._changed()

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next beginning of its period; see `timeline.Timed`."""
        period = octets(self.current(11))
        at = time_of_day(period[5:9])
        if self.kind not in _PERIODIC or at is None:
            return None
        pattern = DatePattern.from_bytes(period[:5])
        for day in local_days(after, until, self._zone):
            instant = instant_of_local(day, at, self._zone)
            if after < instant <= until and pattern.matches(day):
                return instant
        return None

    def perform(self, at: datetime) -> None:
        """Set the amount to its preset."""
        self.keep(2, self.current(9))
        self._changed()

    def make_up(self, failed: datetime, restored: datetime) -> None:
        """After a failure of the supply: begin the period that should have begun."""
        if self.due(failed, restored) is not None:
            self.perform(restored)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``update_amount``, ``set_amount_to_value`` (gives the old amount), ``invoke_credit``."""
        match index:
            case 1:
                self.add(number(self.parameter(parameter, DOUBLE_LONG, "update_amount")))
            case 2:
                wanted = self.parameter(parameter, DOUBLE_LONG, "set_amount_to_value")
                before = self.current(2)
                self.keep(2, wanted)
                self._changed()
                return before
            case 3:
                self.parameter(parameter, _NOTHING, "invoke_credit")
                if self.status is not CreditStatus.SELECTABLE:
                    raise AccessError(
                        AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} cannot be selected now"
                    )
                self.keep(2, self.current(9))
                self.stand(CreditStatus.SELECTED)
            case _:
                return super().invoke(index, parameter)
        self._changed()
        return None
