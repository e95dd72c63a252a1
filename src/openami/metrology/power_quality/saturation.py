"""Samples that stand at the converter's limit.

What was beyond it is not known: the rule is that windows with such samples are flagged, never corrected.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Samples = npt.NDArray[np.float64] | npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


def saturated_samples(x: Samples, full_scale_counts: int) -> I64:
    """Positions (n,), ascending, at which any channel of ``x`` (channels, samples) is at its limit."""
    if not _any_at_limit(x, full_scale_counts):
        return np.empty(0, np.int64)
    at_limit = (x >= full_scale_counts) | (x <= -full_scale_counts)
    return np.flatnonzero(at_limit.any(axis=0)).astype(np.int64)


@njit(cache=True, nogil=True)
def _any_at_limit(x: Samples, limit: int) -> bool:  # pragma: no cover - compiled
    for channel in range(x.shape[0]):
        row = x[channel]
        highest = 0
        lowest = 0
        for k in range(row.size):
            highest = max(highest, row[k])
            lowest = min(lowest, row[k])
        if highest >= limit or lowest <= -limit:
            return True
    return False
