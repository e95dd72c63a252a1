"""Invocation counters: no key ever protects two messages with one counter, and none is believed twice.

A sender takes counters from ranges that were claimed durably before their first use, so a crash skips
counters and never repeats one, and no two processes are given the same range. A receiver keeps the highest
counter it believed, for each key and sender (NIST SP 800-38D clause 8; IEC 62056-5-3 clause 5.3.3). Rule
never to be broken: a counter only goes forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from openami.quantities.errors import ProtectionError, SecurityError

MAX_COUNTER = (1 << 32) - 1
_LAST = (1 << 63) - 2
"""The highest number that is remembered of others: transaction-ids have eight octets, a store has 63 bits."""

_BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
_LATEST_BEGIN = 1 << 31
"""In the year 2088: a clock that is wrong may use up half of a key's counters, not all."""


def earliest_counter(now: datetime) -> int:
    """Where the counters of a key begin whose last one is not known: at the seconds since 2020.

    Whoever lost its counters, or has old ones from a backup, goes on above what it sent before, as long as
    that was less than a message a second on average. 0 before 2020, and in a year that no clock shows
    rightly.
    """
    seconds = int((now - _BEGAN).total_seconds())
    return seconds if 0 <= seconds <= _LATEST_BEGIN else 0


class CounterStore(Protocol):
    """Where counters outlive the process.

    Invariant: what is kept under a name never goes down, whoever else writes to the same store.
    """

    def load(self, name: str) -> int:
        """What is kept under a name; 0 where there is nothing."""
        ...

    def reserve(self, name: str, count: int, at_least: int = 0) -> int:
        """Claim ``count`` counters in a row that nobody else is given: the first of them, durable.

        It is what was kept, or ``at_least`` where that is more; ``count`` 0 only goes on to there.
        """
        ...

    def save(self, values: Mapping[str, int]) -> None:
        """Keep values durably, all or none; a value below one that is kept changes nothing."""
        ...


class MemoryCounters:
    """Counters that live as long as the process: for meters that are made anew with their keys."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, int] | None = None) -> None:
        self._values = dict(values or {})

    def load(self, name: str) -> int:
        """What is kept under a name."""
        return self._values.get(name, 0)

    def reserve(self, name: str, count: int, at_least: int = 0) -> int:
        """Claim counters in a row."""
        first = max(self.load(name), at_least)
        self._values[name] = first + count
        return first

    def save(self, values: Mapping[str, int]) -> None:
        """Keep values."""
        for name, value in values.items():
            self._values[name] = max(value, self.load(name))


class SendCounter:
    """Counters for what we protect with one key.

    Invariant: every counter given out was claimed from the store before, so neither a restart nor another
    process with the same store gives it out again.

    Parameters
    ----------
    store, name:
        Where the counter is kept.
    reserve:
        Counters claimed at a time: what a crash skips at most.
    """

    __slots__ = ("_end", "_name", "_next", "_reserve", "_store")

    def __init__(self, store: CounterStore, name: str, reserve: int = 64) -> None:
        self._store = store
        self._name = name
        self._reserve = reserve
        self._next = self._end = 0

    @property
    def value(self) -> int:
        """The counter that the next message will carry, unless another process claims it first."""
        return self._next if self._next < self._end else self._store.load(self._name)

    def take(self) -> int:
        """A counter that was never used.

        Raises
        ------
        SecurityError
            All 2**32 are used up: the key has to be changed.
        """
        if self._next >= self._end:
            first = self._store.reserve(self._name, self._reserve)
            self._next, self._end = first, min(first + self._reserve, MAX_COUNTER + 1)
        if self._next > MAX_COUNTER:
            raise SecurityError(
                f"the invocation counter {self._name} is used up", expected="a new key (key_transfer)"
            )
        taken = self._next
        self._next += 1
        return taken

    def advance(self, to: int) -> None:
        """Go on at ``to`` or above, as the other side asks for; durable, and never backwards.

        Raises
        ------
        SecurityError
            ``to`` lies behind, or beyond the last counter.
        """
        if not (present := self.value) <= to <= MAX_COUNTER:
            raise SecurityError(
                f"invocation counter {self._name} asked to go from {present} to {to}",
                expected="forward only: a meter that asks to go back was exchanged, or is not that meter",
            )
        if to > self._end:
            self._store.reserve(self._name, 0, to)
            self._end = to
        self._next = to


class ReceiveCounters:
    """The highest counter believed of each key and sender.

    Invariant: no value goes down. What was believed is durable after `persist`; between two calls a crash
    forgets what was believed since, so call it before anything irrevocable is done on the strength of it.
    """

    __slots__ = ("_changed", "_highest", "_store")

    def __init__(self, store: CounterStore) -> None:
        self._store = store
        self._highest: dict[str, int] = {}
        self._changed: set[str] = set()

    def expected(self, name: str) -> int:
        """The lowest counter that would be believed."""
        known = self._highest.get(name, 0) or self._store.load(name)
        if known:  # where there is none, the name may be one that a stranger gave himself
            self._highest[name] = known
        return known

    def highest(self, key: str) -> int:
        """The highest expected counter of the names that hold ``key`` (a fingerprint); 0 without any."""
        return max((value for name, value in self._highest.items() if f"/{key}/" in name), default=0)

    def believe(self, name: str, counter: int) -> None:
        """Remember the counter of a message whose tag was right; raises `ProtectionError` at an old one."""
        if counter > _LAST:
            raise ProtectionError(f"invocation counter {counter}", expected=f"at most {_LAST}")
        if counter < (expected := self.expected(name)):
            raise ProtectionError(
                f"invocation counter {counter} was used before", expected=f"{expected} or more"
            )
        self._highest[name] = counter + 1
        self._changed.add(name)

    def persist(self) -> None:
        """Make what was believed durable."""
        if self._changed:
            self._store.save({name: self._highest[name] for name in self._changed})
            self._changed.clear()
