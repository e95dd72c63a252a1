"""Charge, class 113 version 0 (IEC 62056-6-2 clause 4.6.4): what is taken from the credits of an account.

    charge_type        0 by consumption, 1 by time, 2 by payment
    unit_charge        { { commodity_scale, price_scale }, commodity_reference,
                         array { index octet-string, charge_per_unit long } }
    configuration      bits: percentage based collection, continuous collection

    by consumption   advance of the commodity * charge_per_unit * 10^price_scale / 10^commodity_scale
    by time          charge_per_unit * 10^price_scale in every period, once also where the clock was set back
    by payment       of every token, ``proportion`` ten-thousandths of it, or charge_per_unit

The element of the charge table is the one whose index is the tariff in force, else the first. A charge whose
total_amount_remaining was set ends when that is paid; others go on. Layout recalled. Rule of this file:
amounts are integers of the currency scale, and the fraction that one collection leaves is in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from enum import IntEnum
from typing import ClassVar, TypeAlias

from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag
from openami.protocols.dlms.interface_classes.credit import bit, double_long
from openami.protocols.dlms.interface_classes.local_time import moment, stamp
from openami.protocols.dlms.interface_classes.object_reference import reference
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
from openami.protocols.dlms.interface_classes.timeline import LONGEST_CATCH_UP
from openami.protocols.dlms.interface_classes.value_types import (
    DOUBLE_LONG,
    DOUBLE_LONG_UNSIGNED,
    LONG,
    UNSIGNED,
    VALUE_DEFINITION,
    Bits,
    ListOf,
    Moment,
    Octets,
    Whole,
    enumeration,
    record,
)
from openami.quantities.obis import ObisCode

Commodity: TypeAlias = Callable[[CaptureObject, datetime], tuple[int, int] | None]
"""Count of a register at an instant and the power of ten of its scaler; None where there is no such value."""
Take: TypeAlias = Callable[[int], None]
"""Takes an amount from the credits."""

_NOTHING = Whole(Tag.INTEGER, 0, 0)
_SCALE = Whole(Tag.INTEGER, -12, 12)
_TABLE = ListOf(record(Octets(0, 32), LONG), 32)
_UNIT_CHARGE = record(record(_SCALE, _SCALE), VALUE_DEFINITION, _TABLE)
_REMAINDER, _SEEN, _DEBT, _CHARGED = 0, -1, -2, -3
_WHOLE_PROPORTION = 10_000


class ChargeType(IntEnum):
    """What a charge is taken for."""

    CONSUMPTION = 0
    TIME = 1
    PAYMENT = 2


class Charge(StoredObject):
    """One charge of an account.

    Invariant: what was collected, times ``10**12``, plus the remainder kept is the exact sum of what was
    charged.

    Parameters
    ----------
    commodity:
        Gives counts of registers.
    take:
        Takes what is collected from the account's credits.
    currency_scale:
        Power of ten of the account's amounts.
    collects:
        True while the account is active.
    tariff:
        Name of the tariff in force.
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_collects", "_commodity", "_currency_scale", "_now", "_take", "_tariff", "_zone")

    class_id: ClassVar[int] = 113
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "total_amount_paid", DOUBLE_LONG),
        StoredAttribute(3, "charge_type", enumeration(2)),
        StoredAttribute(4, "priority", UNSIGNED),
        StoredAttribute(5, "unit_charge_active", _UNIT_CHARGE),
        StoredAttribute(6, "unit_charge_passive", _UNIT_CHARGE),
        StoredAttribute(7, "unit_charge_activation_time", Moment()),
        StoredAttribute(8, "period", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(9, "charge_configuration", Bits(2, 2)),
        read_only(10, "last_collection_time", Moment(Tag.DATE_TIME)),
        read_only(11, "last_collection_amount", DOUBLE_LONG),
        read_only(12, "total_amount_remaining", DOUBLE_LONG),
        StoredAttribute(13, "proportion", Whole(Tag.LONG_UNSIGNED, 0, _WHOLE_PROPORTION)),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5)

    def __init__(
        self,
        logical_name: ObisCode,
        commodity: Commodity,
        take: Take,
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        currency_scale: Callable[[], int] = lambda: 0,
        collects: Callable[[], bool] = lambda: True,
        tariff: Callable[[], bytes] = lambda: b"",
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._commodity = commodity
        self._take = take
        self._now = now
        self._zone = zone
        self._currency_scale = currency_scale
        self._collects = collects
        self._tariff = tariff

    @property
    def kind(self) -> ChargeType:
        """What it is taken for."""
        return ChargeType(number(self.current(3)))

    @property
    def priority(self) -> int:
        """1 is collected first."""
        return number(self.current(4))

    @property
    def remaining(self) -> int:
        """What is left of a debt."""
        return number(self.current(12))

    # --- what is done by itself -----------------------------------------------------------------------

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next collection or activation; see `timeline.Timed`."""
        found = []
        activation = moment(octets(self.current(7)), self._zone)
        if activation is not None and after < activation <= until:
            found.append(activation)
        period = number(self.current(8))
        if period and self.kind is not ChargeType.PAYMENT and self._collects():
            ended = (int(after.timestamp()) // period + 1) * period
            if ended <= until.timestamp():
                found.append(datetime.fromtimestamp(ended, UTC))
        return min(found, default=None)

    def perform(self, at: datetime) -> None:
        """Collect a period that ended, and put the passive charge in force where it is time."""
        period = number(self.current(8))
        ended = period and self.kind is not ChargeType.PAYMENT and at.timestamp() % period == 0
        if ended and (self.kind is ChargeType.CONSUMPTION or self._once(at)):
            self.collect(at)
        if moment(octets(self.current(7)), self._zone) == at:
            self._activate(at)

    def make_up(self, failed: datetime, restored: datetime) -> None:
        """After a failure of the supply: collect what is due by time, and put a passive charge in force."""
        after = max(failed, restored - LONGEST_CATCH_UP)
        while self.kind is ChargeType.TIME and (at := self.due(after, restored)) is not None:
            self.perform(at)
            after = at
        activation = moment(octets(self.current(7)), self._zone)
        if self.kind is not ChargeType.TIME and activation is not None and failed < activation <= restored:
            self._activate(restored)

    def begin(self, at: datetime) -> None:
        """Charge from ``at`` on: what was consumed before is nobody's."""
        _, source, _ = items(self.current(5))
        seen = self._commodity(reference(source), at) if self.kind is ChargeType.CONSUMPTION else None
        if seen is not None:
            self._state[_SEEN] = Data(Tag.LONG64, seen[0])

    def collect(self, at: datetime) -> int:
        """Take what has come due at ``at`` from the credits; gives the amount."""
        if not self._collects():
            return 0
        if self.kind is ChargeType.CONSUMPTION:
            charged = self._consumed(at)
        elif self.kind is ChargeType.TIME:
            charged = self._scaled(1, self._per_unit(), 0)
        else:
            return 0
        return self._collected(charged, at)

    def _once(self, at: datetime) -> bool:
        """True where a period was not charged yet; where the clock was set back it comes again."""
        kept = self._state.get(_CHARGED)
        until = None if kept is None else datetime.fromtimestamp(number(kept), UTC)
        if until is not None and at <= until <= at + LONGEST_CATCH_UP:
            return False
        self._state[_CHARGED] = Data(Tag.LONG64, int(at.timestamp()))
        return True

    def collect_payment(self, token: int, at: datetime) -> int:
        """Take the part of a token that a charge by payment asks for; gives the amount, kept from it."""
        if self.kind is not ChargeType.PAYMENT or not self._collects():
            return 0
        if bit(self.current(9), 0):
            wanted = token * number(self.current(13)) // _WHOLE_PROPORTION
        else:
            wanted = self._scaled(1, self._per_unit(), 0)
        amount = self._limited(min(wanted, token))
        self._note(amount, at)
        return amount

    # --- methods --------------------------------------------------------------------------------------

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``update_unit_charge``, ``activate_passive_unit_charge``, ``collect``, and the two of the debt."""
        match index:
            case 1:
                changed = items(self.parameter(parameter, _TABLE, "update_unit_charge"))
                scaling, source, table = items(self.current(6))
                merged = {octets(items(entry)[0]): entry for entry in (*items(table), *changed)}
                updated = Data(Tag.ARRAY, tuple(merged.values()))
                if not _TABLE.admits(updated):
                    return super().invoke(index, parameter)
                self.keep(6, Data(Tag.STRUCTURE, (scaling, source, updated)))
            case 2:
                self.parameter(parameter, _NOTHING, "activate_passive_unit_charge")
                self._activate(self._now())
            case 3:
                self.parameter(parameter, _NOTHING, "collect")
                self.collect(self._now())
            case 4 | 5:
                amount = number(self.parameter(parameter, DOUBLE_LONG, "total_amount_remaining"))
                before = self.remaining if index == 4 else 0
                self.keep(12, double_long(self.logical_name, before + amount))
                self._state[_DEBT] = Data(Tag.BOOLEAN, True)
            case _:
                return super().invoke(index, parameter)
        return None

    def keep(self, index: int, value: Data) -> None:
        """Keep a value; before another price is in force, what came due under the old one is collected."""
        if index == 5 and self._state.get(_SEEN) is not None:
            self.collect(self._now())
        super().keep(index, value)

    # --- arithmetic -----------------------------------------------------------------------------------

    def _activate(self, at: datetime) -> None:
        if self.kind is ChargeType.CONSUMPTION:
            self.collect(at)
        super().keep(5, self.current(6))

    def _per_unit(self) -> int:
        _, _, table = items(self.current(5))
        entries = [items(entry) for entry in items(table)]
        if not entries:
            return 0
        tariff = self._tariff()
        return number(next((price for name, price in entries if octets(name) == tariff), entries[0][1]))

    def _consumed(self, at: datetime) -> int:
        scaling, source, _ = items(self.current(5))
        seen = self._commodity(reference(source), at)
        if seen is None:
            return 0
        count, exponent = seen
        before = self._state.get(_SEEN, NULL)
        self._state[_SEEN] = Data(Tag.LONG64, count)
        advance = count - number(before) if before is not NULL else 0
        if advance <= 0:  # the first look, or a register that was set back or exchanged
            return 0
        return self._scaled(advance, self._per_unit(), exponent - number(items(scaling)[0]))

    def _scaled(self, advance: int, per_unit: int, exponent: int) -> int:
        """Amount of ``advance * per_unit * 10**exponent`` at the price's scale; the rest is kept."""
        scaling, _, _ = items(self.current(5))
        exponent += number(items(scaling)[1]) - self._currency_scale()
        kept = self._state.get(_REMAINDER)
        fine: int = 0 if kept is None else number(kept)  # in 10**-12 of the currency scale
        fine += advance * per_unit * 10 ** max(0, 12 + exponent) // 10 ** max(0, -12 - exponent)
        self._state[_REMAINDER] = Data(Tag.LONG64, fine % 10**12)
        return fine // 10**12

    def _limited(self, amount: int) -> int:
        debt = self._state.get(_DEBT)
        return amount if debt is None else min(amount, max(0, self.remaining))

    def _collected(self, amount: int, at: datetime) -> int:
        amount = self._limited(amount)
        double_long(self.logical_name, number(self.current(2)) + amount)
        if amount:
            self._take(amount)
        self._note(amount, at)
        return amount

    def _note(self, amount: int, at: datetime) -> None:
        self.keep(2, double_long(self.logical_name, number(self.current(2)) + amount))
        self.keep(10, stamp(at, self._zone, Tag.DATE_TIME))
        self.keep(11, double_long(self.logical_name, amount))
        if self._state.get(_DEBT) is not None:
            self.keep(12, double_long(self.logical_name, self.remaining - amount))
