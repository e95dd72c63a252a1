"""Harmonics without what lies between them: the cycles of a window laid upon each other, one short transform.

For billing with 50 harmonics. A window is resampled to 128 points a cycle (with the kernel of
`resampling.py`, so it works off nominal), its cycles are added up point by point, and a transform of 128
points gives the harmonics: what adds up over ten cycles are multiples of the fundamental, everything else
is averaged out as by the bins of the whole window. A quarter of the transform's work of a full spectrum is
left.

The rule never to be broken here: a folded harmonic equals the bin of the whole window at the same frequency.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.windows.fourier import Transform, transform, transform_lanes
from openami.metrology.windows.lane_spectra import (
    aligned,
    bins_of_lanes,
    interleave,
    lane_scale,
    lane_table,
    places,
    resample_lanes,
    rows_needed,
)
from openami.metrology.windows.lanes import CHANNELS, LANES, load, store
from openami.metrology.windows.resampling import BEFORE, inverse_response
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
C64 = npt.NDArray[np.complex64]
Samples = npt.NDArray[np.float64 | np.int32]

POINTS_A_CYCLE = 128
"""Points of a cycle: harmonics 0 to 63."""


class FoldedSpectra:
    """Harmonics 0 to 63 of windows of a given number of cycles, in single precision.

    Invariant: the buffers are as long as the longest window needs. They are work space, not state. One object
    serves one thread at a time.

    Parameters
    ----------
    cycles:
        Cycles of a window.
    longest:
        Samples of the longest window.
    u_scale, i_scale:
        (phases,) and (currents,), V and A a unit of the samples; at most three and four.
    """

    def __init__(self, cycles: int, longest: int, u_scale: F64, i_scale: F64) -> None:
        self._cycles = cycles
        self._longest = longest
        self._phases, self._currents = u_scale.size, i_scale.size
        self._scale = lane_scale(u_scale, i_scale, POINTS_A_CYCLE * cycles)
        self._rows = aligned(rows_needed(longest) * CHANNELS)
        self._x = aligned(POINTS_A_CYCLE * cycles * LANES)
        self._y = aligned(POINTS_A_CYCLE * LANES)

    def __call__(self, u: Samples, i: Samples, sample: I64, fraction: F64, length: F64) -> tuple[C64, C64]:
        """Rms phasors of harmonics, complex64 (w, phases, 64) and (w, currents, 64).

        Parameters
        ----------
        u, i:
            (phases, samples) and (currents, samples), C-contiguous, of one type.
        sample, fraction, length:
            (w,) whole sample (index into ``u``) and fraction of the start, length in samples.

        Raises
        ------
        MeteringError
            A window is longer than the longest one said.
        """
        if length.max(initial=0.0) > self._longest:
            raise MeteringError(f"a window of {length.max():.1f} samples", expected=f"up to {self._longest}")
        bins = POINTS_A_CYCLE // 2
        inverse = inverse_response(self._cycles / length, bins)
        inverse[:, 0] /= np.sqrt(2.0)
        u_bins = np.empty((sample.size, self._phases, bins), np.complex64)
        i_bins = np.empty((sample.size, self._currents, bins), np.complex64)
        _folded_spectra(
            u, i, sample, fraction, length, lane_table(), transform(POINTS_A_CYCLE),
            inverse.astype(np.float32), self._scale, self._rows, self._x, self._y,
            u_bins.reshape(-1).view(np.float32), i_bins.reshape(-1).view(np.float32),
        )  # fmt: skip
        return u_bins, i_bins


@njit(cache=True, nogil=True)
def _fold(x: F32, folded: int) -> None:  # pragma: no cover - compiled
    """Add every further block of ``folded`` numbers of ``x`` to the first one."""
    for place in range(0, folded, LANES):
        total = load(x, place)
        for further in range(place + folded, x.size, folded):
            total = total + load(x, further)
        store(x, place, total)


@njit(cache=True, nogil=True)
def _folded_spectra(
    u: Samples, i: Samples, sample: I64, fraction: F64, length: F64, table: F32, plan: Transform,
    inverse: F32, scale: F32, rows: F32, x: F32, y: F32, u_bins: F32, i_bins: F32,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    points = x.size // LANES
    block = np.empty(LANES * LANES, np.float32)
    row, at, part = np.empty(points, np.int64), np.empty(points, np.int64), np.empty(points, np.float32)
    for window in range(0, sample.size, 2):
        both = min(2, sample.size - window)
        for half in range(2):
            one = window + min(half, both - 1)
            interleave(u, i, sample[one] - BEFORE, fraction[one] + length[one], rows)
            places(fraction[one], length[one] / points, row, at, part)
            resample_lanes(rows, row, at, part, table, half, x)
        _fold(x, y.size)
        z = transform_lanes(x[: y.size], y, plan)
        bins_of_lanes(
            z, plan, inverse[window], inverse[window + both - 1], scale, block, window, both, u.shape[0],
            i.shape[0], u_bins, i_bins,
        )  # fmt: skip
