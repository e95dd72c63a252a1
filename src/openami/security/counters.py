"""Invocation counters: no key ever protects two messages with one counter, and none is believed twice.

A sender takes counters from ranges that were made durable before their first use, so a crash skips counters
and never repeats one. A receiver keeps the highest counter it believed, for each key and sender (NIST SP
800-38D clause 8; IEC 62056-5-3 clause 5.3.3). Rule never to be broken: a counter only goes forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from openami.quantities.errors import ProtectionError, SecurityError

MAX_COUNTER = (1 << 32) - 1


class CounterStore(Protocol):
    """Where counters outlive the process."""

    def load(self, name: str) -> int:
        """Last value saved under a name; 0 where there is none."""
        ...

    def save(self, values: Mapping[str, int]) -> None:
        """Keep values durably, all or none; a value below one that is kept is an error of the caller."""
        ...


class MemoryCounters:
    """Counters that live as long as the process: for meters that are made anew with their keys."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, int] | None = None) -> None:
        self._values = dict(values or {})

    def load(self, name: str) -> int:
        """Last value saved under a name."""
        return self._values.get(name, 0)

    def save(self, values: Mapping[str, int]) -> None:
        """Keep values."""
        self._values.update(values)


class SendCounter:
    """Counters for what we protect with one key.

    Invariant: every counter given out is below what the store holds, so a restart begins above it.

    Parameters
    ----------
    store, name:
        Where the counter is kept.
    reserve:
        Counters reserved at a time: what a crash skips at most.
    """

    __slots__ = ("_name", "_next", "_reserve", "_reserved", "_store")

    def __init__(self, store: CounterStore, name: str, reserve: int = 256) -> None:
        self._store = store
        self._name = name
        self._reserve = reserve
        self._next = self._reserved = store.load(name)

    @property
    def value(self) -> int:
        """The counter that the next message will carry."""
        return self._next

    def take(self) -> int:
        """A counter that was never used.

        Raises
        ------
        SecurityError
            All 2**32 are used up: the key has to be changed.
        """
        if self._next > MAX_COUNTER:
            raise SecurityError(
                f"the invocation counter {self._name} is used up", expected="a new key (key_transfer)"
            )
        if self._next >= self._reserved:
            self._reserved = min(self._next + self._reserve, MAX_COUNTER + 1)
            self._store.save({self._name: self._reserved})
        taken = self._next
        self._next += 1
        return taken

    def advance(self, to: int) -> None:
        """Go on at ``to``, as the other side asks for; never backwards.

        Raises
        ------
        SecurityError
            ``to`` lies behind, or beyond the last counter.
        """
        if not self._next <= to <= MAX_COUNTER:
            raise SecurityError(
                f"invocation counter {self._name} asked to go from {self._next} to {to}",
                expected="forward only: a meter that asks to go back was exchanged, or is not that meter",
            )
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
        known = self._highest.get(name)
        if known is None:
            known = self._highest[name] = self._store.load(name)
        return known

    def highest(self, key: str) -> int:
        """The highest expected counter of the names that hold ``key`` (a fingerprint); 0 without any."""
        return max((value for name, value in self._highest.items() if f"/{key}/" in name), default=0)

    def believe(self, name: str, counter: int) -> None:
        """Remember the counter of a message whose tag was right; raises `ProtectionError` at an old one."""
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
