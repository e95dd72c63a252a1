"""Clocks are handed in, never looked up: a year can be simulated in seconds and a failure replayed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from openami.quantities.errors import QuantityError


class Clock(Protocol):
    """Anything that tells the present instant."""

    def now(self) -> datetime:
        """The present instant, timezone-aware, in UTC."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The present instant in UTC."""
        return datetime.now(UTC)


class SimulatedClock:
    """A clock that stands still until it is moved, and only moves forward.

    Invariant: `now()` never decreases.
    """

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise QuantityError(f"naive instant {start}", expected="a timezone-aware datetime")
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The simulated instant in UTC."""
        return self._now

    def advance_to(self, instant: datetime) -> None:
        """Move forward to ``instant``."""
        if instant < self._now:
            raise QuantityError(f"clock cannot go back from {self._now} to {instant}")
        self._now = instant.astimezone(UTC)

    def advance(self, step: timedelta) -> None:
        """Move forward by ``step``."""
        self.advance_to(self._now + step)
