"""What goes wrong, as data: faults of a scenario, each with its meter and its time.

A fault is applied at the meter (its clock, its cores, its supply) or at its link (answers lost or
garbled). It is never told to the utility side. Doubled deliveries belong to the collecting side and have
no fault here. Rule never to be broken: with the same scenario and seed the same faults happen at the same
instants, however the fleet is read or advanced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from openami.quantities.errors import QuantityError


def _check_window(start: datetime, end: datetime | None, kind: str, meter_id: str) -> None:
    if start.tzinfo is None or (end is not None and end.tzinfo is None):
        raise QuantityError(f"naive time in a fault {kind} of {meter_id}", expected="timezone-aware")
    if end is not None and end <= start:
        raise QuantityError(f"fault {kind} of {meter_id} ends at {end}, not after its start {start}")


@dataclass(frozen=True, slots=True)
class LostReplies:
    """The meter hears, but every ``every``-th answer is lost on the way (1: all of them)."""

    meter_id: str
    start: datetime
    end: datetime
    every: int = 1

    def __post_init__(self) -> None:
        _check_window(self.start, self.end, "lost_replies", self.meter_id)
        if self.every < 1:
            raise QuantityError(f"every {self.every}-th answer lost", expected="1 or more")


@dataclass(frozen=True, slots=True)
class GarbageAnswers:
    """Every ``every``-th answer is replaced by random bytes."""

    meter_id: str
    start: datetime
    end: datetime
    every: int = 1

    def __post_init__(self) -> None:
        _check_window(self.start, self.end, "garbage_answers", self.meter_id)
        if self.every < 1:
            raise QuantityError(f"every {self.every}-th answer garbled", expected="1 or more")


@dataclass(frozen=True, slots=True)
class DeadMeter:
    """The management core is down: no captures, no answers; the metering core goes on counting."""

    meter_id: str
    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        _check_window(self.start, self.end, "dead_meter", self.meter_id)


@dataclass(frozen=True, slots=True)
class Spike:
    """The load profile row whose interval holds ``at`` shows ``value_wh``; the register stays right."""

    meter_id: str
    at: datetime
    value_wh: int

    def __post_init__(self) -> None:
        _check_window(self.at, None, "spike", self.meter_id)
        if not 0 <= self.value_wh < 2**31:
            raise QuantityError(f"a spike of {self.value_wh} Wh", expected="0 .. 2147483647")


@dataclass(frozen=True, slots=True)
class DriftingClock:
    """From ``start`` on the clock runs wrong by ``drift_ppm`` parts per million."""

    meter_id: str
    start: datetime
    drift_ppm: int

    def __post_init__(self) -> None:
        _check_window(self.start, None, "drifting_clock", self.meter_id)


@dataclass(frozen=True, slots=True)
class Bypass:
    """From ``start`` on, ``numerator / denominator`` of the customer's flow goes past the meter."""

    meter_id: str
    start: datetime
    end: datetime | None = None
    numerator: int = 1
    denominator: int = 2

    def __post_init__(self) -> None:
        _check_window(self.start, self.end, "bypass", self.meter_id)
        if not 0 < self.numerator <= self.denominator <= 1000:
            raise QuantityError(f"a bypass of {self.numerator}/{self.denominator}", expected="a part of 1")


@dataclass(frozen=True, slots=True)
class Outage:
    """No supply: in a whole area, its area meter included, or at one meter."""

    start: datetime
    end: datetime
    area: str | None = None
    meter_id: str | None = None

    def __post_init__(self) -> None:
        _check_window(self.start, self.end, "outage", self.area or str(self.meter_id))
        if (self.area is None) == (self.meter_id is None):
            raise QuantityError("an outage without its place", expected="either an area or a meter_id")


Fault = LostReplies | GarbageAnswers | DeadMeter | Spike | DriftingClock | Bypass | Outage

FAULT_KINDS: dict[str, type[Fault]] = {
    "lost_replies": LostReplies,
    "garbage_answers": GarbageAnswers,
    "dead_meter": DeadMeter,
    "spike": Spike,
    "drifting_clock": DriftingClock,
    "bypass": Bypass,
    "outage": Outage,
}
"""Fault types by the name they have in a fleet file."""
