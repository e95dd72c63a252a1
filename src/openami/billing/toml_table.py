"""A table of a TOML document, read field by field, with every fault written down.

Never to be broken: every getter gives a value of its type, so that reading goes on after a fault and the
writer of a tariff hears of all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

from openami.quantities.civil_time import zone_of
from openami.quantities.errors import QuantityError
from openami.quantities.money import UNROUNDED, Rounding, RoundingRule, parse_decimal
from openami.quantities.obis import ObisCode
from openami.quantities.tariff_calendar import MonthDay

_Choice = TypeVar("_Choice", bound=Enum)
_NOWHERE = ObisCode(0, 0, 0, 0, 0)
UNSAID = Rounding(RoundingRule.NONE, 12)
"""Stands for "nothing was said of the rounding"."""


class TomlTable:
    """One table of the document; remembers what was read and writes faults to a shared list.

    Invariant: every getter returns a value of its type, a stand-in after it has written a fault.
    """

    def __init__(self, table: object, place: str, faults: list[str]) -> None:
        self.place = place
        self.faults = faults
        self._seen: set[str] = set()
        self._table: dict[str, Any] = {}
        if isinstance(table, dict):
            self._table = table
        else:
            self.fault(f"{table!r} is not a table")

    def fault(self, what: str) -> None:
        """Write a fault with the place of this table."""
        self.faults.append(f"{self.place}: {what}")

    def has(self, key: str) -> bool:
        """True when the field is there."""
        return key in self._table

    def peek(self, key: str) -> object:
        """A field for a message; it does not count as read."""
        return self._table.get(key, "without a name")

    def names(self) -> list[str]:
        """All field names; they count as read."""
        self._seen.update(self._table)
        return list(self._table)

    def raw(self, key: str) -> object:
        """The value, None when it is not there."""
        self._seen.add(key)
        return self._table.get(key)

    def close(self) -> None:
        """Report the fields nobody asked for."""
        for key in self._table:
            if key not in self._seen:
                self.fault(f"unknown field {key!r}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self.fault(f"field {key!r} is missing")
            return default or ""
        if not isinstance(value, str):
            self.fault(f"{key} = {value!r} is not text")
            return ""
        return value

    def decimal(self, key: str, default: str | None = None) -> Decimal:
        """A decimal number, exact."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self.fault(f"field {key!r} is missing")
            return Decimal(default or 0)
        return self.number(value, key)

    def number(self, value: object, key: str) -> Decimal:
        """A value of the document as a decimal number."""
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            self.fault(f"{key} = {value!r} is not a number")
            return Decimal(0)
        try:
            return parse_decimal(value, f"{self.place}, {key}")
        except QuantityError as error:
            self.faults.append(str(error))
            return Decimal(0)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(
                f"field {key!r} is missing" if value is None else f"{key} = {value!r} is not a whole number"
            )
            return 0
        return value

    def day(self, key: str) -> date:
        """A date."""
        value = self.raw(key)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        self.fault(f"field {key!r} is missing" if value is None else f"{key} = {value!r} is not a date")
        return date(1970, 1, 1)

    def instant(self, key: str, zone: str) -> datetime:
        """A date-time; without offset it is local time of the tariff's zone."""
        value = self.raw(key)
        if not isinstance(value, datetime):
            self.fault(f"{key} = {value!r} is not a date and time")
            return datetime(1970, 1, 1, tzinfo=UTC)
        return (value if value.tzinfo else value.replace(tzinfo=zone_of(zone))).astimezone(UTC)

    def choice(self, key: str, kind: type[_Choice], default: _Choice | None = None) -> _Choice:
        """A member of an enumeration, by its value."""
        value = self.raw(key)
        known = {member.value: member for member in kind}
        if value is None and default is not None:
            return default
        if isinstance(value, str) and value in known:
            return known[value]
        what = f"field {key!r} is missing" if value is None else f"{key} = {value!r} is not known"
        self.fault(f"{what} (expected: {', '.join(known)})")
        return next(iter(known.values()))

    def strings(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of texts; one text is a list of one."""
        value = self.raw(key)
        if value is None and default is not None:
            return tuple(default)
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.fault(f"{key} = {value!r} is not a list of texts")
        return ()

    def codes(self, key: str, default: ObisCode) -> tuple[ObisCode, ...]:
        """A list of OBIS codes, never empty."""
        found = []
        for text in self.strings(key, [str(default)]):
            try:
                found.append(ObisCode.parse(text))
            except QuantityError as error:
                self.fault(str(error))
        return tuple(found) or (_NOWHERE,)

    def rounding(self, key: str, default: Rounding | None) -> Rounding:
        """``"half_up 2"``, or ``"none"``; `UNSAID` when it is not there and there is no default."""
        if not self.has(key):
            return default if default is not None else UNSAID
        words = self.text(key).split()
        known = {rule.value: rule for rule in RoundingRule}
        if words == ["none"]:
            return UNROUNDED
        if len(words) == 2 and words[0] in known and re.fullmatch(r"-?\d{1,2}", words[1]):
            try:
                return Rounding(known[words[0]], int(words[1]))
            except QuantityError as error:
                self.fault(str(error))
                return UNROUNDED
        self.fault(f"{key} = {self.raw(key)!r} is no rounding (expected: 'half_up 2', or 'none')")
        return UNROUNDED

    def month_day(self, key: str) -> MonthDay:
        """A day that every year has, ``"01-01"`` when it is not there."""
        found = day_of_year(self.text(key, "01-01"))
        if found is None or found == (2, 29):
            self.fault(f"{key} = {self.raw(key)!r} is not a day of every year (expected: '01-01')")
            return (1, 1)
        return found

    def tables(self, key: str) -> Iterator[TomlTable]:
        """A list of tables."""
        value = self.raw(key)
        if value is None:
            return
        if not isinstance(value, list):
            self.fault(f"{key} is not a list of tables")
            return
        for number, item in enumerate(value, 1):
            yield TomlTable(item, f"{self.place}, {key} {number}", self.faults)

    def table(self, key: str) -> TomlTable:
        """One table."""
        return TomlTable(self.raw(key), f"{self.place}, {key}", self.faults)

    def tables_by_name(self, key: str) -> Iterator[tuple[str, TomlTable]]:
        """The tables of a table, by name."""
        if not self.has(key):
            return
        group = self.table(key)
        for name in group.names():
            table = group.table(name)
            table.place = f"{key.removesuffix('s')} {name!r}"
            yield name, table


def day_of_year(text: str) -> MonthDay | None:
    """``"12-25"`` as (12, 25); None when it is no day of the year."""
    if match := re.fullmatch(r"(\d\d)-(\d\d)", text):
        try:
            day = date(2024, int(match[1]), int(match[2]))
        except ValueError:
            return None
        return (day.month, day.day)
    return None
