"""What objects do by themselves, in the order of time: schedules, calendars, charges, monitors.

Nothing ticks: a meter is brought to the present when somebody looks at it. Between the instant reached and
the present every `Timed` object is asked for what is due first, and it is done as if the clock stood there.
Rule of this file: what a meter did by itself does not depend on when, or in how many steps, it was looked at
(`Watcher` objects, which see only what they are shown, are the exception of the classes that poll); and what
one object refuses to do keeps no other from its work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol

from openami.protocols.dlms.apdus.results import AccessError

LONGEST_CATCH_UP: Final = timedelta(days=400)
"""What was due longer ago is not done any more: the meter was out of use."""
MOST_STEPS: Final = 20_000
"""Steps of one catching up; what is left is done at the next look."""


class Timed(Protocol):
    """An object that does something at instants that it knows."""

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The first instant of ``(after, until]`` at which it has something to do; None for none."""
        ...

    def perform(self, at: datetime) -> None:
        """Do what is due at ``at``."""
        ...


class Watcher(Protocol):
    """An object that holds values against limits."""

    def look(self, at: datetime) -> None:
        """See whether something is to be done at ``at``."""
        ...


class Timeline:
    """The present of a meter's objects.

    Invariant: everything due up to `reached` was done, in the order of time and, at one instant, in the
    order of ``timed``.

    Parameters
    ----------
    clock:
        The meter's clock, UTC.
    reached:
        Where it stands at first.
    timed, watchers:
        The objects; they may be added to while the timeline is made, not later.
    """

    __slots__ = ("_acting_at", "_clock", "_timed", "_watchers", "reached")

    def __init__(
        self,
        clock: Callable[[], datetime],
        reached: datetime,
        timed: Sequence[Timed] = (),
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._clock = clock
        self._timed = timed
        self._watchers = watchers
        self._acting_at: datetime | None = None
        self.reached = reached

    def now(self) -> datetime:
        """The present; while something due is done, the instant at which it was due."""
        return self._clock() if self._acting_at is None else self._acting_at

    def go_on_from(self, reached: datetime | None) -> None:
        """Leave out what another timeline over the same objects did; it came as far as ``reached``."""
        if reached is not None and reached > self.reached:
            self.reached = reached

    def settle(self) -> None:
        """Do everything that is due up to the present.

        While something is being done this does nothing. Where the clock was set back nothing is done twice:
        the timeline stands until the clock has come back to where it was.
        """
        if self._acting_at is not None:
            return
        present = self._clock()
        if present > self.reached:
            self.reached = max(self.reached, present - LONGEST_CATCH_UP)
            self._catch_up(present)
        self._acting_at = present
        try:
            for watcher in self._watchers:
                with suppress(AccessError):
                    watcher.look(present)
        finally:
            self._acting_at = None

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
