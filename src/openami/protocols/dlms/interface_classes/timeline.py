"""What objects do by themselves, in the order of time: schedules, calendars, charges, monitors.

Nothing ticks: a meter is brought to the present when somebody looks at it. Between the instant reached and
the present every `Timed` object is asked for what is due first, and it is done as if the clock stood there.

    supply failed, or clock set forward   nothing is done in between; afterwards each `Recovering` object
                                          makes up for what it missed, as its class has it
    clock set back                        what comes due again is done again
    clock moved by a minute at most       a synchronization: nothing is left out or done twice

These are the changes of time of IEC 62056-6-2 clause 4.5.3 (schedule), which leaves it to the maker what a
small step is. Rule of this file: what a meter did by itself does not depend on when, or in how many steps,
it was looked at (`Watcher` objects, which see only what they are shown, are the exception of the classes
that poll); and what one object refuses to do keeps no other from its work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeAlias, runtime_checkable

from openami.protocols.dlms.apdus.results import AccessError

LONGEST_CATCH_UP: Final = timedelta(days=400)
"""What was due longer ago is not done any more: the meter was out of use."""
MOST_STEPS: Final = 20_000
"""Steps of one catching up; what is left is done at the next look."""
LONGEST_SYNCHRONIZATION: Final = timedelta(seconds=60)
"""A clock that is moved by no more than this was synchronized, not set."""

Failures: TypeAlias = Callable[[datetime, datetime], Sequence[tuple[datetime, datetime]]]
"""When the supply failed and came back between two instants, ascending."""


class Timed(Protocol):
    """An object that does something at instants that it knows."""

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The first instant of ``(after, until]`` at which it has something to do; None for none."""
        ...

    def perform(self, at: datetime) -> None:
        """Do what is due at ``at``."""
        ...


@runtime_checkable
class Recovering(Protocol):
    """A timed object that makes up for what it missed."""

    def make_up(self, failed: datetime, restored: datetime) -> None:
        """Do what is to be done at ``restored`` because of what was due in ``(failed, restored]``."""
        ...


def no_failures(after: datetime, until: datetime) -> Sequence[tuple[datetime, datetime]]:
    """The supply never fails."""
    return ()


class Watcher(Protocol):
    """An object that holds values against limits."""

    def look(self, at: datetime) -> None:
        """See whether something is to be done at ``at``."""
        ...


class Timeline:
    """The present of a meter's objects.

    Invariant: everything due up to `reached` was done or made up for, in the order of time and, at one
    instant, in the order of ``timed``.

    Parameters
    ----------
    clock:
        The meter's clock, UTC.
    reached:
        Where it stands at first.
    timed, watchers:
        The objects; they may be added to while the timeline is made, not later.
    failures:
        Gives the failures of the supply.
    """

    __slots__ = ("_acting_at", "_clock", "_failures", "_timed", "_watchers", "reached")

    def __init__(
        self,
        clock: Callable[[], datetime],
        reached: datetime,
        timed: Sequence[Timed] = (),
        watchers: Sequence[Watcher] = (),
        failures: Failures = no_failures,
    ) -> None:
        self._clock = clock
        self._failures = failures
        self._timed = timed
        self._watchers = watchers
        self._acting_at: datetime | None = None
        self.reached = reached

    def now(self) -> datetime:
        """The present; while something due is done, the instant at which it was due."""
        return self._clock() if self._acting_at is None else self._acting_at

    def go_on_from(self, reached: datetime | None) -> None:
        """Go on where another timeline over the same objects stopped; None where there was none."""
        if reached is not None and self._acting_at is None:
            self.reached = reached

    def clock_set(self, present: datetime) -> None:
        """Go on from ``present``, to which the meter's clock was set; what was due before was done."""
        if self._acting_at is not None:
            return
        if present > self.reached + LONGEST_SYNCHRONIZATION:
            self._leap(present)
        elif present < self.reached - LONGEST_SYNCHRONIZATION:
            self.reached = present

    def next_due(self, until: datetime) -> datetime | None:
        """The first instant of ``(reached, until]`` at which something is due; None for none."""
        dues = (item.due(self.reached, until) for item in self._timed)
        return min((at for at in dues if at is not None), default=None)

    def settle(self) -> None:
        """Do everything that is due up to the present; nothing while something is being done."""
        if self._acting_at is not None:
            return
        present = self._clock()
        if present < self.reached - LONGEST_SYNCHRONIZATION:
            self.reached = present
        if present > self.reached:
            self._live_to(present)
        self._acting_at = present
        try:
            for watcher in self._watchers:
                with suppress(AccessError):
                    watcher.look(present)
        finally:
            self._acting_at = None

    def _live_to(self, present: datetime) -> None:
        """Catch up with the present, and make up for each failure of the supply on the way."""
        self.reached = max(self.reached, present - LONGEST_CATCH_UP)
        for failed, restored in self._failures(self.reached, present):
            if self.reached < failed:
                self._catch_up(failed)
            if self.reached < failed:
                return
            if self.reached < restored:
                self._leap(restored)
        if self.reached < present:
            self._catch_up(present)

    def _leap(self, restored: datetime) -> None:
        """Leave out what is due up to ``restored``, and let the objects make up for it."""
        failed = self.reached
        self._acting_at = restored
        try:
            for item in self._timed:
                if isinstance(item, Recovering):
                    with suppress(AccessError):
                        item.make_up(failed, restored)
        finally:
            self._acting_at = None
        self.reached = restored

    def _catch_up(self, present: datetime) -> None:
        """Step from one due instant to the next.

        Each object's next instant is kept until it has acted or anything else has acted, because what one
        does may change what another has to do.
        """
        for _ in range(MOST_STEPS):
            first: datetime | None = None
            acting: list[Timed] = []
            for item in self._timed:
                at = item.due(self.reached, present if first is None else first)
                if at is None:
                    continue
                if first is None or at < first:
                    first, acting = at, [item]
                else:
                    acting.append(item)
            if first is None:
                self.reached = present
                return
            self._acting_at = first
            try:
                for item in acting:
                    with suppress(AccessError):
                        item.perform(first)
            finally:
                self._acting_at = None
            self.reached = first
