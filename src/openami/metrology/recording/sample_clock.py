"""Time stamps of samples: the rate they tell, and where samples are missing between them.

A time stamp is rounded (to the microsecond, to a digit of a text), so a single step says little and the whole
column says much. The rule never to be broken: a gap is reported with its place and moves the positions of the
samples behind it; time that stands still or runs backwards is an error.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_GAP_PERIODS = 1.5
"""A step of so many sampling periods leaves a sample out."""
_JITTER_PERIODS = 0.3
"""So far a stamp may lie off the grid of the rate, rounding apart, before the times are called irregular."""


class IrregularTimeError(FormatError):
    """Times that are no sampling: ``sample`` is the index at which it shows."""

    def __init__(self, message: str, sample: int, expected: str) -> None:
        super().__init__(message, where=f"sample {sample}", expected=expected)
        self.sample = sample


@dataclass(frozen=True, slots=True)
class SampleClock:
    """What time stamps tell."""

    rate_hz: float
    positions: I64
    """Position of each sample from the first on the grid of the rate, (n,): n - 1 without a gap."""
    gaps: I64
    """Indices of the samples with missing ones just before them."""


def clock_of_times(times_s: F64, *, rate_hz: float | None, resolution_s: float) -> SampleClock:
    """Rate and positions of samples from their times.

    Parameters
    ----------
    times_s:
        float64 (n,), n >= 2, times in seconds as written.
    rate_hz:
        The rate where it is known; None: the times tell it. A whole number of hertz that fits the times as
        well as the fitted rate does is taken for the true one.
    resolution_s:
        Step the times are rounded to.

    Raises
    ------
    IrregularTimeError
        Time stands still, runs backwards, or samples are off the grid of the rate.
    """
    steps = np.diff(times_s)
    bad = np.flatnonzero(~(steps > 0))
    if bad.size:
        at = int(bad[0]) + 1
        raise IrregularTimeError(
            f"time goes from {times_s[at - 1]:.9g} s to {times_s[at]:.9g} s",
            at,
            "times that rise from sample to sample",
        )
    period = float(np.median(steps)) if rate_hz is None else 1.0 / rate_hz
    slack = _GAP_PERIODS * period + resolution_s
    gaps = np.flatnonzero(steps > slack) + 1
    rate = _fitted_rate(times_s, gaps, resolution_s) if rate_hz is None else rate_hz
    positions: I64 = np.arange(times_s.size, dtype=np.int64)
    bounds = [0, *gaps.tolist(), times_s.size]
    for first, end in itertools.pairwise(bounds):
        if first:
            step = float(times_s[first] - times_s[first - 1])
            positions[first:] += max(round(step * rate) - 1, 1)
        # A free-running clock may drift against the stated rate; the grid is laid anew in every stretch.
        stretch = times_s[first:end]
        slope = 1.0 / rate if end - first < 3 else (stretch[-1] - stretch[0]) / (end - first - 1)
        off = np.abs(stretch - stretch[0] - slope * np.arange(end - first))
        allowed = _JITTER_PERIODS * period + 2.0 * resolution_s
        if rate_hz is not None and abs(slope * rate - 1.0) > 0.01 and end - first > 10:
            raise IrregularTimeError(
                f"the times say {1.0 / slope:.6g} Hz, the rate is {rate:.6g} Hz",
                first,
                "times and rate that agree",
            )
        if off.max() > allowed:
            at = first + int(off.argmax())
            raise IrregularTimeError(
                f"the time {times_s[at]:.9g} s is off the grid of {rate:.6g} Hz", at, "evenly spaced samples"
            )
    return SampleClock(rate, positions, gaps)


def _fitted_rate(times_s: F64, gaps: I64, resolution_s: float) -> float:
    """Rate of the longest stretch without a gap, by least squares."""
    bounds = np.array([0, *gaps.tolist(), times_s.size])
    longest = int(np.diff(bounds).argmax())
    stretch = times_s[bounds[longest] : bounds[longest + 1]]
    count = stretch.size
    if count < 2:
        raise IrregularTimeError("no two samples follow one another", 0, "evenly spaced samples")
    index = np.arange(count) - (count - 1) / 2.0
    slope = float((index * (stretch - stretch.mean())).sum() / (index**2).sum())
    fitted, whole = 1.0 / slope, float(round(1.0 / slope))
    if whole >= 1.0:
        drift = abs(1.0 / whole - slope) * count
        if drift <= max(resolution_s, 1e-12 * float(np.abs(stretch).max())):
            return whole
    return fitted
