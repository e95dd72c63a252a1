"""A recorded waveform: voltages and currents of the phases as arrays, whatever file they came from.

The rule never to be broken: a sample that is not there is NaN or a jump of `Recording.first_sample`, never a
zero; positions are counted from the first sample of the file over every gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_PHASES = 3
HIGHEST_RATE_HZ = 1e7
"""No recorder of power-frequency waveforms samples faster; windows of a faster one would fill the memory."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A stretch of a recorded waveform, without a gap inside.

    Parameters
    ----------
    u:
        float64 (phases, n) in V, C-contiguous; NaN where the file has no value.
    i:
        float64 (phases, n) in A, or (0, n) where only voltages were recorded.
    rate_hz:
        Samples a second.
    neutral:
        float64 (n,), current of the neutral in A, or None.
    start_us:
        UTC of sample 0 of the file in microseconds since 1970, None where the file does not tell.
    names:
        What the file calls the channels: voltages, currents, neutral.
    first_sample:
        Position of the first sample, counted from sample 0 of the file.
    saturated:
        bool (n,), samples at which a channel stands at the limit of its converter; None: no limit known.
    gap:
        What the file says of the samples missing just before the first one; None without a gap.

    Raises
    ------
    MeteringError
        Shapes that do not belong together, more than three phases, or a rate that is none.
    """

    u: F64
    i: F64
    rate_hz: float
    neutral: F64 | None = None
    start_us: int | None = None
    names: tuple[str, ...] = ()
    first_sample: int = 0
    saturated: Mask | None = None
    gap: str | None = None

    def __post_init__(self) -> None:
        if self.u.ndim != 2 or self.i.ndim != 2 or self.i.shape[0] not in (0, self.u.shape[0]):
            raise MeteringError(
                f"voltages {self.u.shape} and currents {self.i.shape}", expected="(phases, samples) of both"
            )
        if not 1 <= self.u.shape[0] <= MAX_PHASES:
            raise MeteringError(f"{self.u.shape[0]} phases", expected=f"1 to {MAX_PHASES}")
        count = self.u.shape[1]
        others = [self.i.shape[1]]
        others += [] if self.neutral is None else [self.neutral.size]
        others += [] if self.saturated is None else [self.saturated.size]
        if any(other != count for other in others):
            raise MeteringError(f"channels of {count} and {others} samples", expected="equally many in each")
        if not 0.0 < self.rate_hz <= HIGHEST_RATE_HZ:
            raise MeteringError(
                f"a sampling rate of {self.rate_hz:g} Hz", expected=f"above 0, up to {HIGHEST_RATE_HZ:g} Hz"
            )

    @property
    def phases(self) -> int:
        """Number of phases."""
        return int(self.u.shape[0])

    @property
    def samples(self) -> int:
        """Number of samples of each channel."""
        return int(self.u.shape[1])

    def present(self) -> Mask:
        """bool (n,): every channel has a finite value at this sample."""
        there = np.vstack((self.u, self.i) if self.neutral is None else (self.u, self.i, self.neutral))
        finite: Mask = np.all(np.isfinite(there), axis=0)
        return finite
