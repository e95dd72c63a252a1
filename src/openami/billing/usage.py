"""What is billed: interval counts of n usage points on one grid of civil days, and the span of a bill.

Never to be broken: the grid has no hole. Every channel has a value for each interval of every civil day in
``[first_day, last_day)``; what is missing is refused before a `Usage` is made.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.quantities.civil_time import midnight
from openami.quantities.errors import TariffError
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """Counts of one channel, int64, shape ``(n, intervals)``."""

    quantum: Quantum
    counts: npt.NDArray[np.int64]

    @property
    def kilo(self) -> Fraction:
        """What one count is in the kilo-unit (kWh, kvarh): prices are per kilo-unit."""
        return Fraction(10) ** self.quantum.exponent / 1000

    @property
    def kilo_unit(self) -> str:
        """``kWh`` for Wh."""
        return f"k{self.quantum.unit.value}"


@dataclass(frozen=True, slots=True, eq=False)
class Usage:
    """Interval data of n usage points over the civil days ``[first_day, last_day)``.

    Raises
    ------
    TariffError
        A channel does not have the grid's number of intervals, or channels differ in n.
    """

    zone: str
    first_day: date
    last_day: date
    interval_s: int
    channels: Mapping[ObisCode, Channel]
    capacity_va: int | None = None

    def __post_init__(self) -> None:
        expected = self.index_of(self.last_day)
        for code, channel in self.channels.items():
            counts = channel.counts
            if counts.ndim != 2 or counts.dtype != np.int64 or counts.shape != (self.rows, expected):
                raise TariffError(
                    f"channel {code} has {counts.dtype} {counts.shape}",
                    where=f"usage {self.first_day} to {self.last_day}",
                    expected=f"int64 ({self.rows}, {expected})",
                )

    @property
    def rows(self) -> int:
        """Number of usage points."""
        return next((channel.counts.shape[0] for channel in self.channels.values()), 1)

    @property
    def days(self) -> int:
        """Number of civil days."""
        return (self.last_day - self.first_day).days

    def index_of(self, day: date) -> int:
        """Index of the first interval of a civil day."""
        seconds = int((midnight(day, self.zone) - midnight(self.first_day, self.zone)).total_seconds())
        index, rest = divmod(seconds, self.interval_s)
        if rest:
            raise TariffError(f"intervals of {self.interval_s} s do not divide the days before {day}")
        return index

    def instant_of(self, index: int) -> datetime:
        """UTC instant at which an interval begins."""
        return midnight(self.first_day, self.zone) + timedelta(seconds=index * self.interval_s)

    def day_cuts(self) -> npt.NDArray[np.int64]:
        """Index at which each civil day begins, and the end, shape ``(days + 1,)``."""
        days = [self.first_day + timedelta(days=n) for n in range(self.days + 1)]
        return np.array([self.index_of(day) for day in days], np.int64)

    def between(self, first_day: date, last_day: date) -> Usage:
        """The days ``[first_day, last_day)`` of it, as views."""
        if (first_day, last_day) == (self.first_day, self.last_day):
            return self
        begin, end = self.index_of(first_day), self.index_of(last_day)
        parts = {
            code: Channel(channel.quantum, channel.counts[:, begin:end])
            for code, channel in self.channels.items()
        }
        return Usage(self.zone, first_day, last_day, self.interval_s, parts, self.capacity_va)


@dataclass(frozen=True, slots=True)
class Span:
    """The days a set of lines is for: a billing period, or the part of one under one tariff version.

    Parameters
    ----------
    first_day, last_day:
        Civil days ``[first_day, last_day)`` of the span.
    months:
        How many months are charged for it.
    share:
        Its part of the billing period; 1 when it is the whole.
    use_share:
        Part of the usage that counts: ``share`` where use is averaged over the days, else 1.
    period_start:
        First day of the billing period it is a part of.
    """

    first_day: date
    last_day: date
    months: Fraction
    share: Fraction
    use_share: Fraction
    period_start: date

    @classmethod
    def whole(cls, first_day: date, last_day: date) -> Span:
        """A billing period that no tariff change cuts.

        Raises
        ------
        TariffError
            The period is empty.
        """
        if last_day <= first_day:
            raise TariffError(
                f"billing period from {first_day} to {last_day}",
                expected="a last day (not included) after the first",
            )
        return cls(
            first_day, last_day, months_between(first_day, last_day), Fraction(1), Fraction(1), first_day
        )

    @property
    def days(self) -> int:
        """Number of civil days."""
        return (self.last_day - self.first_day).days


def months_between(first_day: date, last_day: date) -> Fraction:
    """Months from ``first_day`` to ``last_day``: whole ones, and days over the length of the month begun.

    From 15 January to 15 February is 1; from 1 to 11 April is 10/30.
    """
    whole = 0
    while (reached := add_months(first_day, whole + 1)) <= last_day:
        whole += 1
    begun = add_months(first_day, whole)
    return whole + Fraction((last_day - begun).days, (reached - begun).days)


def add_months(day: date, months: int) -> date:
    """The same day of another month, or that month's last day where it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
