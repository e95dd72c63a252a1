"""UTC of sample positions: anchors (sample, UTC) given from outside, straight lines between and behind them.

IEC 61000-4-30 asks class A for 20 ms to UTC (recalled, confirm against the standard). There is no clock in
here: sample 0 may have a UTC, and the caller says later ones as a time signal brings them; two anchors give
the true sampling rate. The rule never to be broken: a position before an anchor keeps the time it had.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

CLOCK_TOLERANCE_US = 20_000
"""Class A: time is within this of UTC (recalled, confirm against the standard)."""

LARGEST_DRIFT = 1e-3
"""Relative difference of the sampling rate between two anchors from which on it is a clock that was set."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """From ``sample`` on, sample s is taken at ``utc_us + (s - sample) * us_per_sample``."""

    sample: float
    utc_us: int
    us_per_sample: float


class SampleTime:
    """UTC in microseconds of real-valued sample positions, and back.

    Invariant: anchors ascend in sample and in UTC; the first one is valid for all positions before it too.

    Parameters
    ----------
    rate_hz:
        Nominal sampling rate.
    utc_us:
        UTC of sample 0 in microseconds since 1970; None while it is not known.
    drift_ppm:
        How far the sampling rate may be off where no second anchor has measured it.
    """

    def __init__(self, rate_hz: float, utc_us: int | None, drift_ppm: float = 0.0) -> None:
        self._nominal = 1e6 / rate_hz
        self._drift_ppm = drift_ppm
        self._anchors: list[Anchor] = []
        if utc_us is not None:
            self._anchors.append(Anchor(0.0, int(utc_us), self._nominal))

    @property
    def known(self) -> bool:
        """True once there is an anchor."""
        return bool(self._anchors)

    def anchor(self, at_sample: float, utc_us: int) -> int:
        """Say the UTC of a sample; returns by how many microseconds time was corrected there (0 at first).

        Raises
        ------
        MeteringError
            A sample or a UTC that is not behind the last anchor.
        """
        if not self._anchors:
            self._anchors.append(Anchor(float(at_sample), int(utc_us), self._nominal))
            return 0
        last = self._anchors[-1]
        if not at_sample > last.sample:
            raise MeteringError(
                f"an anchor at sample {at_sample}",
                expected=f"behind the last one, at sample {last.sample:.0f}",
            )
        if utc_us <= last.utc_us:
            raise MeteringError(
                f"UTC {utc_us} us at sample {at_sample}",
                expected=f"later than {last.utc_us} us, of the last anchor",
            )
        correction = int(utc_us) - int(self.utc_us(np.array([at_sample]))[0])
        measured = (utc_us - last.utc_us) / (at_sample - last.sample)
        drifted = abs(measured / self._nominal - 1.0) <= LARGEST_DRIFT
        self._anchors.append(Anchor(float(at_sample), int(utc_us), measured if drifted else self._nominal))
        return correction

    def utc_us(self, positions: F64) -> I64:
        """UTC of sample positions in whole microseconds, int64 (n,).

        Raises
        ------
        MeteringError
            No anchor yet.
        """
        self._must_be_known()
        if len(self._anchors) == 1:
            only = self._anchors[0]
            at_once: I64 = np.rint((positions - only.sample) * only.us_per_sample).astype(np.int64)
            return at_once + only.utc_us
        which = self._at(positions)
        sample = np.array([anchor.sample for anchor in self._anchors])[which]
        utc = np.array([anchor.utc_us for anchor in self._anchors])[which]
        step = np.array([anchor.us_per_sample for anchor in self._anchors])[which]
        found: I64 = utc + np.rint((positions - sample) * step).astype(np.int64)
        return found

    def seconds_between(self, begin: float, end: float) -> float:
        """Seconds between two positions by the sampling rates that held between them."""
        if not self._anchors:
            return (end - begin) * self._nominal * 1e-6
        total = 0.0
        at = begin
        for number in range(bisect_right([a.sample for a in self._anchors], begin) - 1, len(self._anchors)):
            anchor = self._anchors[max(number, 0)]
            following = self._anchors[number + 1].sample if number + 1 < len(self._anchors) else np.inf
            until = min(end, following)
            if until > at:
                total += (until - at) * anchor.us_per_sample * 1e-6
                at = until
        return total

    def position(self, utc_us: int) -> float:
        """Real-valued sample position at a UTC.

        Raises
        ------
        MeteringError
            No anchor yet.
        """
        self._must_be_known()
        if len(self._anchors) == 1:
            only = self._anchors[0]
            return only.sample + (utc_us - only.utc_us) / only.us_per_sample
        number = max(bisect_right([anchor.utc_us for anchor in self._anchors], utc_us) - 1, 0)
        anchor = self._anchors[number]
        found = anchor.sample + (utc_us - anchor.utc_us) / anchor.us_per_sample
        if number + 1 < len(self._anchors):  # a clock set forward: the time between was never there
            found = min(found, self._anchors[number + 1].sample)
        return found

    def uncertain(self, positions: F64) -> npt.NDArray[np.bool_]:
        """True where time may be further from UTC than class A allows, (n,)."""
        if not self._anchors:
            return np.ones(positions.size, np.bool_)
        if self._drift_ppm == 0.0:
            return np.zeros(positions.size, np.bool_)
        sample = np.array([anchor.sample for anchor in self._anchors])[self._at(positions)]
        drift = np.maximum(positions - sample, 0.0) * self._nominal * self._drift_ppm * 1e-6
        uncertain: npt.NDArray[np.bool_] = drift > CLOCK_TOLERANCE_US
        return uncertain

    def forget_before(self, position: float) -> None:
        """No position before this one will be asked for again: only the anchor that holds there is kept."""
        number = bisect_right([anchor.sample for anchor in self._anchors], position) - 1
        if number > 0:
            del self._anchors[:number]

    def _at(self, positions: F64) -> I64:
        samples = [anchor.sample for anchor in self._anchors]
        found: I64 = np.maximum(np.searchsorted(samples, positions, side="right") - 1, 0)
        return found

    def _must_be_known(self) -> None:
        if not self._anchors:
            raise MeteringError("the UTC of no sample is known", expected="an anchor (sample, UTC)")
