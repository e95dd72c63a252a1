"""The quantities of an interval, as columns: what a 10/12-cycle window measures and every aggregate of it.

IEC 61000-4-30:2015, class A, and IEC 61000-4-7 (recalled, confirm against the standards): rms values, under-
and overdeviation, harmonic subgroups and interharmonic centred subgroups, distortion, unbalance, signalling
voltage, of voltages and currents, beside active and fundamental reactive power and frequency. Aggregation is
the root of the mean of squares; so the columns *hold* squares, aggregation of every column is one mean, and
roots are taken where a quantity is read. The rule never to be broken: what was not measured is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.windows.window_analysis import Phasors, WindowColumns
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

HARMONICS = 50
"""Highest harmonic order told."""

ORDERS = HARMONICS + 1

_LIMIT = 1e-6


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each quantity lies in a row: first the squares, then what is averaged as it is.

    Parameters
    ----------
    phases, currents:
        Number of voltages, and of currents (one more with a neutral conductor).
    """

    phases: int
    currents: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each quantity, in the order of `Quantities`' properties."""
        p, c = self.phases, self.currents
        return (p, c, p, p, p * ORDERS, p * ORDERS, c * ORDERS, c * ORDERS, p, c, 4, p, p, p, 1)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First column of each quantity, and the number of all columns, (16,)."""
        return _offsets(self)


@lru_cache(maxsize=8)
def _offsets(layout: Layout) -> tuple[int, ...]:
    return (0, *accumulate(layout.widths))


(_U, _I, _UNDER, _OVER, _U_HARMONICS, _U_INTER, _I_HARMONICS, _I_INTER, _U_THD, _I_THD, _UNBALANCE,
 _SIGNALLING, _P, _Q1, _FREQUENCY) = range(15)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Quantities:
    """Quantities of n intervals, p voltages, c currents.

    Parameters
    ----------
    layout:
        Where they lie.
    columns:
        float64 (n, columns) squares and means as `Layout` says.
    declared_v:
        Declared input voltage Udin, reference of the deviations.
    """

    layout: Layout
    columns: F64
    declared_v: float

    def __len__(self) -> int:
        return int(self.columns.shape[0])

    @property
    def u_v(self) -> F64:
        """Rms voltages, (n, p) in V."""
        return np.sqrt(self._of(_U))

    @property
    def i_a(self) -> F64:
        """Rms currents, (n, c) in A."""
        return np.sqrt(self._of(_I))

    @property
    def underdeviation_pct(self) -> F64:
        """By how much the rms of voltages not above Udin falls short of Udin, (n, p) in percent of it."""
        return 100.0 * (1.0 - np.sqrt(self._of(_UNDER)) / self.declared_v)

    @property
    def overdeviation_pct(self) -> F64:
        """By how much the rms of voltages not below Udin exceeds Udin, (n, p) in percent of it."""
        return 100.0 * (np.sqrt(self._of(_OVER)) / self.declared_v - 1.0)

    @property
    def u_harmonics_v(self) -> F64:
        """Harmonic subgroups of voltages, (n, p, 51) in V, order 0 the mean."""
        return self._orders(_U_HARMONICS)

    @property
    def u_interharmonics_v(self) -> F64:
        """Interharmonic centred subgroups above harmonics 0 to 50 of voltages, (n, p, 51) in V."""
        return self._orders(_U_INTER)

    @property
    def i_harmonics_a(self) -> F64:
        """Harmonic subgroups of currents, (n, c, 51) in A, order 0 the mean."""
        return self._orders(_I_HARMONICS)

    @property
    def i_interharmonics_a(self) -> F64:
        """Interharmonic centred subgroups above harmonics 0 to 50 of currents, (n, c, 51) in A."""
        return self._orders(_I_INTER)

    @property
    def u_thd_pct(self) -> F64:
        """Distortion of voltages by subgroups 2 to 50 (THDS), (n, p) in percent of the fundamental's."""
        return 100.0 * np.sqrt(self._of(_U_THD))

    @property
    def i_thd_pct(self) -> F64:
        """Distortion of currents by subgroups 2 to 50 (THDS), (n, c) in percent of the fundamental's."""
        return 100.0 * np.sqrt(self._of(_I_THD))

    @property
    def u2_pct(self) -> F64:
        """Negative-sequence unbalance of the voltages, (n,); NaN unless three phases."""
        return np.sqrt(self._of(_UNBALANCE)[:, 0])

    @property
    def u0_pct(self) -> F64:
        """Zero-sequence unbalance of the voltages, (n,); NaN unless three phases."""
        return np.sqrt(self._of(_UNBALANCE)[:, 1])

    @property
    def i2_pct(self) -> F64:
        """Negative-sequence unbalance of the currents, (n,); NaN unless three phases."""
        return np.sqrt(self._of(_UNBALANCE)[:, 2])

    @property
    def i0_pct(self) -> F64:
        """Zero-sequence unbalance of the currents, (n,); NaN unless three phases."""
        return np.sqrt(self._of(_UNBALANCE)[:, 3])

    @property
    def signalling_v(self) -> F64:
        """Mains signalling voltage at the frequency asked for, (n, p) in V; NaN when none was."""
        return np.sqrt(self._of(_SIGNALLING))

    @property
    def p_w(self) -> F64:
        """Active power, (n, p) in W: mean."""
        return self._of(_P)

    @property
    def q1_var(self) -> F64:
        """Reactive power of the fundamental, (n, p) in var: mean."""
        return self._of(_Q1)

    @property
    def f_hz(self) -> F64:
        """Mean of the windows' frequencies, (n,) in Hz (the frequency of class A is that of ten seconds)."""
        return self._of(_FREQUENCY)[:, 0]

    def _of(self, which: int) -> F64:
        offsets = self.layout.offsets
        return self.columns[:, offsets[which] : offsets[which + 1]]

    def _orders(self, which: int) -> F64:
        return np.sqrt(self._of(which)).reshape(len(self), -1, ORDERS)


def measure_windows(
    windows: WindowColumns, layout: Layout, declared_v: float, signalling_hz: float | None, columns: F64
) -> None:
    """Quantities of 10/12-cycle windows, into ``columns`` (n, columns) as `Quantities` holds them.

    Parameters
    ----------
    windows:
        As `WindowStream` gives them, n of them.
    signalling_hz:
        Frequency of a mains signalling voltage; None for none. Its voltage is that of the bin it falls on, or
        the root of the sum of squares of the four bins nearest to it (IEC 61000-4-30, 5.10; recalled).

    Raises
    ------
    MeteringError
        A signalling frequency beyond the bins.
    """
    offsets = layout.offsets
    _measure(
        windows.u_v, windows.i_a, windows.p_w, windows.f_hz, _parts(windows.u_bins), _parts(windows.i_bins),
        windows.valid_bins, windows.cycles, declared_v, offsets, columns,
    )  # fmt: skip
    if signalling_hz is not None:
        columns[:, offsets[_SIGNALLING] : offsets[_P]] = _signalling_squares(windows, signalling_hz)


def _signalling_squares(windows: WindowColumns, signalling_hz: float) -> F64:
    """Squares of the signalling voltage, (n, p)."""
    place = signalling_hz * windows.cycles / windows.f_hz
    if place.size and (place.min() < 2 or (np.ceil(place) + 1 >= windows.valid_bins).any()):
        raise MeteringError(
            f"a signalling voltage of {signalling_hz} Hz lies beyond the bins that are measured",
            expected=f"{2 * windows.f_hz.max() / windows.cycles:.0f} Hz to 0.45 of the sampling rate",
        )
    nearest = np.rint(place)
    on_bin = np.abs(place - nearest) < _LIMIT * place
    first = np.where(on_bin, nearest, np.floor(place) - 1).astype(np.int64)
    power = np.zeros((len(windows), windows.u_bins.shape[1]))
    for step in range(4):
        bins = np.take_along_axis(windows.u_bins, (first + step * ~on_bin)[:, None, None], axis=2)[..., 0]
        power += np.where((on_bin & (step > 0))[:, None], 0.0, np.abs(bins) ** 2)
    return power


def _parts(bins: Phasors) -> npt.NDArray[np.float32] | F64:
    """Real and imaginary parts of bins as neighbours, (w, channels, 2 bins): such loops are vectorised."""
    return bins.view(bins.real.dtype)


@njit(cache=True, nogil=True)
def _measure(
    u_v: F64,
    i_a: F64,
    p_w: F64,
    f_hz: F64,
    u: npt.NDArray[np.float32] | F64,
    i: npt.NDArray[np.float32] | F64,
    valid: I64,
    cycles: int,
    declared_v: float,
    offsets: tuple[int, ...],
    columns: F64,
) -> None:  # pragma: no cover - compiled
    """All quantities but the signalling voltage, which is left NaN."""
    for window in range(u_v.shape[0]):
        for phase in range(u_v.shape[1]):
            rms = u_v[window, phase]
            columns[window, offsets[_U] + phase] = rms * rms
            columns[window, offsets[_UNDER] + phase] = min(rms, declared_v) ** 2
            columns[window, offsets[_OVER] + phase] = max(rms, declared_v) ** 2
            columns[window, offsets[_SIGNALLING] + phase] = np.nan
            columns[window, offsets[_P] + phase] = p_w[window, phase]
        for current in range(i_a.shape[1]):
            columns[window, offsets[_I] + current] = i_a[window, current] ** 2
        columns[window, offsets[_FREQUENCY]] = f_hz[window]
    _spectra(u, valid, cycles, columns, offsets[_U_HARMONICS], offsets[_U_INTER], offsets[_U_THD])
    _spectra(i, valid, cycles, columns, offsets[_I_HARMONICS], offsets[_I_INTER], offsets[_I_THD])
    _fundamentals(u, i, cycles, columns, offsets[_UNBALANCE], offsets[_Q1])


@njit(cache=True, nogil=True)
def _spectra(
    parts: npt.NDArray[np.float32] | F64,
    valid: I64,
    cycles: int,
    columns: F64,
    harmonics: int,
    interharmonics: int,
    distortion: int,
) -> None:  # pragma: no cover - compiled
    """Squares of subgroups, centred interharmonic subgroups and distortion, into ``columns`` there."""
    bins = parts.shape[2] // 2
    squares = np.empty(bins, parts.dtype)
    one = np.uint64(1)
    for window in range(parts.shape[0]):
        count = min(valid[window], bins)
        for channel in range(parts.shape[1]):
            for k in range(bins):
                real, imaginary = parts[window, channel, 2 * k], parts[window, channel, 2 * k + 1]
                squares[k] = real * real + imaginary * imaginary
            group = harmonics + channel * ORDERS
            between = interharmonics + channel * ORDERS
            columns[window, group] = squares[0]
            harmonics_there = min((count - 2) // cycles, HARMONICS)
            betweens_there = min((count - cycles + 1) // cycles, HARMONICS)
            total = 0.0
            for order in range(1, harmonics_there + 1):
                middle = np.uint64(order * cycles)
                power = float(squares[middle - one] + squares[middle] + squares[middle + one])
                columns[window, group + order] = power
                if order > 1:
                    total += power
            for order in range(betweens_there + 1):
                middle = np.uint64(order * cycles)
                inside = squares[middle + one + one]
                for k in range(middle + one + one + one, middle + np.uint64(cycles - 1)):
                    inside += squares[k]
                columns[window, between + order] = inside
            for order in range(harmonics_there + 1, ORDERS):
                columns[window, group + order] = np.nan
            for order in range(betweens_there + 1, ORDERS):
                columns[window, between + order] = np.nan
            fundamental = columns[window, group + 1]
            columns[window, distortion + channel] = total / fundamental if fundamental > 0.0 else np.nan


@njit(cache=True, nogil=True)
def _fundamentals(
    u: npt.NDArray[np.float32] | F64,
    i: npt.NDArray[np.float32] | F64,
    cycles: int,
    columns: F64,
    sequences: int,
    reactive: int,
) -> None:  # pragma: no cover - compiled
    """Squares of unbalance in percent (`unbalance` without its roots) and reactive power, into ``columns``.

    Plain real arithmetic: complex array operations round by where a number lies in its array, and the result
    would depend on how the stream was cut.
    """
    real, imaginary = 2 * cycles, 2 * cycles + 1
    height = np.sqrt(0.75)
    for window in range(u.shape[0]):
        for phase in range(u.shape[1]):
            columns[window, reactive + phase] = (
                float(u[window, phase, imaginary]) * float(i[window, phase, real])
                - float(u[window, phase, real]) * float(i[window, phase, imaginary])
            )  # fmt: skip
        for pair in range(2):
            x = u if pair == 0 else i
            negative, zero = np.nan, np.nan
            if u.shape[1] == 3:
                a_re, a_im = float(x[window, 0, real]), float(x[window, 0, imaginary])
                b_re, b_im = float(x[window, 1, real]), float(x[window, 1, imaginary])
                c_re, c_im = float(x[window, 2, real]), float(x[window, 2, imaginary])
                mean_re, mean_im = a_re - 0.5 * (b_re + c_re), a_im - 0.5 * (b_im + c_im)
                cross_re, cross_im = height * (c_im - b_im), height * (b_re - c_re)
                positive = (mean_re + cross_re) ** 2 + (mean_im + cross_im) ** 2
                if positive > 0.0:
                    negative = ((mean_re - cross_re) ** 2 + (mean_im - cross_im) ** 2) / positive * 1e4
                    zero = ((a_re + b_re + c_re) ** 2 + (a_im + b_im + c_im) ** 2) / positive * 1e4
            columns[window, sequences + 2 * pair] = negative
            columns[window, sequences + 2 * pair + 1] = zero
