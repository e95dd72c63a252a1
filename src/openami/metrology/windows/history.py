"""The samples of a stream that are still needed, contiguous, in memory that is allocated once.

The rule never to be broken here: samples handed in are copied; whoever handed them in may overwrite them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64 | np.int32]


class History:
    """Rows of samples from absolute sample ``first`` on; ``size`` of them are there.

    Invariant: ``rows[:, k]`` is the absolute sample ``first + k`` for every k below ``size``; ``rows`` is
    C-contiguous, and what it holds from ``size`` on means nothing.

    Parameters
    ----------
    channels:
        Number of rows.
    kind:
        Type of the samples.
    first:
        Absolute number of the first sample to come.
    """

    def __init__(self, channels: int, kind: np.dtype[np.float64 | np.int32], first: int) -> None:
        self.rows: Samples = np.empty((channels, 0), kind)
        self.first = first
        self.size = 0

    def append(self, samples: Samples) -> None:
        """Take samples in, (channels, n)."""
        needed = self.size + samples.shape[1]
        if needed > self.rows.shape[1]:
            grown: Samples = np.empty((self.rows.shape[0], needed + needed // 8), self.rows.dtype)
            grown[:, : self.size] = self.rows[:, : self.size]
            self.rows = grown
        self.rows[:, self.size : needed] = samples
        self.size = needed

    def forget(self, before: int) -> None:
        """Drop what lies before an absolute sample."""
        drop = min(before - self.first, self.size)
        if drop > 0:
            self.rows[:, : self.size - drop] = self.rows[:, drop : self.size]
            self.size -= drop
            self.first += drop
