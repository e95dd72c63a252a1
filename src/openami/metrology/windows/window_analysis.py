"""Windows of a stream of samples: frequency, rms values, active power and complex spectra of each.

Samples go in in pieces of any size (`WindowStream.feed`); out come the windows that are complete, as
columns. The window quantities are those of IEC 61000-4-30 (basic windows of ten or twelve cycles, gapless,
resynchronised at the ten minutes) and of IEC 61000-4-7 (bins of the reciprocal window length). Rms values
and power come from the samples (`fractional_sums`), spectra from the resampled window (`resampling`).

The rule never to be broken here: what a window says depends on the samples of the stream and not on how the
stream was cut: every cut gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.windows.cycle_folding import FoldedSpectra
from openami.metrology.windows.fractional_sums import STENCIL, window_sums
from openami.metrology.windows.frequency import LOWEST_HZ, probes
from openami.metrology.windows.history import History
from openami.metrology.windows.lane_spectra import OVERREAD, LaneSpectra
from openami.metrology.windows.resampling import TAPS, inverse_response, resample, valid_bins
from openami.metrology.windows.window_edges import (
    NO_SPANS,
    NOMINAL_CYCLES,
    Sequence,
    Spans,
    WindowFlag,
    first_start,
    look_ahead,
    reach,
    spans,
)
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
C128 = npt.NDArray[np.complex128]
Phasors = npt.NDArray[np.complex64] | npt.NDArray[np.complex128]
Samples = npt.NDArray[np.float64 | np.int32]

EDGE_SAMPLES = TAPS + STENCIL + OVERREAD
"""Samples that must be there before the first and behind the last edge that is analysed."""


class Spectra(Protocol):
    """What makes spectra of windows: `LaneSpectra`, or the same in double precision."""

    def __call__(
        self, u: Samples, i: Samples, sample: I64, fraction: F64, length: F64, /
    ) -> tuple[Phasors, Phasors]:
        """Rms phasors of the bins of each window, (w, phases, bins) and (w, currents, bins)."""
        ...


class Detail(Enum):
    """What a spectrum holds."""

    BINS = "bins"
    """Every bin: harmonics and what lies between them."""
    HARMONICS = "harmonics"
    """Harmonics only, by folding cycles, in single precision."""


class Precision(Enum):
    """Arithmetic of the spectra; rms values, power and edges are in double precision always."""

    SINGLE = "single"
    """Bins to 0.2 ppm of the fundamental up to a sixth of the sampling rate, to 10 ppm at 0.45 of it."""
    DOUBLE = "double"
    """Bins to the interpolation kernel's images (0.1 ppm to a fifth of the rate); eight times slower."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowColumns:
    """Windows as columns; w windows, p phases, c currents (p, or p + 1 with the neutral conductor last).

    Parameters
    ----------
    rate_hz, cycles:
        Sampling rate; cycles of a window.
    bins_per_harmonic:
        Bins from one harmonic to the next: ``cycles``, or 1 when only harmonics were asked for.
    start, end:
        float64 (w,), absolute real-valued sample positions.
    f_hz:
        float64 (w,), cycles divided by the window's duration.
    reference:
        int64 (w,), phase whose voltage gave the edges; -1 where none did.
    flags:
        int64 (w,), `WindowFlag` bits.
    u_v, i_a:
        float64 (w, p) and (w, c), rms values of everything within the converter's band.
    p_w:
        float64 (w, p), mean of u * i.
    u_bins, i_bins:
        complex (w, p, bins) and (w, c, bins), rms phasors (cosine convention, phase at the window's start);
        bin k at ``k * f_hz / bins_per_harmonic``, bin 0 the mean. Zero from ``valid_bins`` on.
    valid_bins:
        int64 (w,), how many bins from 0 on lie below 0.45 of the sampling rate.
    """

    rate_hz: float
    cycles: int
    bins_per_harmonic: int
    start: F64
    end: F64
    f_hz: F64
    reference: I64
    flags: I64
    u_v: F64
    i_a: F64
    p_w: F64
    u_bins: Phasors
    i_bins: Phasors
    valid_bins: I64

    def __len__(self) -> int:
        return self.start.size


def analyse(
    u: Samples,
    i: Samples,
    rate_hz: float,
    edges: F64,
    *,
    u_scale: npt.ArrayLike = 1.0,
    i_scale: npt.ArrayLike = 1.0,
    cycles: int = 10,
    points: int | None = None,
    precision: Precision = Precision.DOUBLE,
) -> WindowColumns:
    """Analyse windows whose edges are known.

    Parameters
    ----------
    u, i:
        float64 in V and A or int32 counts, (p, samples) and (c, samples) with c = p, or p + 1 with the
        neutral conductor's current as the last row. `EDGE_SAMPLES` samples must surround the edges.
    edges:
        float64 (w + 1,), ascending real-valued positions, counted from the first sample.
    u_scale, i_scale:
        V and A a unit of ``u`` and ``i``, one for all channels or one a channel.
    cycles:
        Cycles of the fundamental in a window.
    points:
        Points that a window is resampled to, a power of two; None takes the least that holds 50 harmonics.
        Content between half of ``points`` bins and half of the sampling rate is folded down, attenuated by
        the interpolation kernel.
    precision:
        Arithmetic of the spectra.

    Raises
    ------
    MeteringError
        Shapes, types, samples that are not finite, edges that do not ascend or leave the recording.
    """
    edges = np.asarray(edges, np.float64)
    if edges.ndim != 1 or edges.size < 1 or not np.isfinite(edges).all() or (np.diff(edges) < 16.0).any():
        raise MeteringError(
            "edges of windows", expected="ascending sample positions, 16 samples apart or more"
        )
    _check_samples(u, i, u.shape[0] if u.ndim == 2 else 0, i.shape[0] if i.ndim == 2 else 0, 0)
    if edges[0] < EDGE_SAMPLES or edges[-1] > u.shape[1] - EDGE_SAMPLES:
        raise MeteringError(
            f"edges from {edges[0]:.1f} to {edges[-1]:.1f} in {u.shape[1]} samples",
            expected=f"{EDGE_SAMPLES} samples before the first and behind the last edge",
        )
    sample = np.floor(edges[:-1]).astype(np.int64)
    count = sample.size
    windows = Spans(
        sample, edges[:-1] - sample, np.diff(edges), np.full(count, -1, np.int64), np.zeros(count, np.int64)
    )
    scales = _scales(u_scale, u.shape[0], "u_scale"), _scales(i_scale, i.shape[0], "i_scale")
    longest = int(np.ceil(windows.length.max(initial=0.0)))
    return _analyse(
        np.ascontiguousarray(u), np.ascontiguousarray(i), 0, windows, float(rate_hz), cycles, cycles,
        _spectra(precision, _points(points, cycles), longest, *scales), *scales,
    )  # fmt: skip


class WindowStream:
    """Gapless windows of a stream of samples, ten cycles at 50 Hz nominal or twelve at 60 Hz.

    Invariant: the samples kept reach back far enough to probe and to analyse the running window, which
    starts at ``_sequence.start`` (None while not begun).

    Parameters
    ----------
    rate_hz, nominal_hz:
        Sampling rate, 1 kHz or more; 50 or 60.
    phases:
        1 to 3.
    neutral:
        Number of neutral conductor currents, 0 or 1: the last row of ``i``.
    u_scale, i_scale:
        V and A a unit of the samples, one for all channels or one a channel.
    points:
        As in `analyse`; without effect on harmonics only.
    detail:
        What spectra hold.
    precision:
        Arithmetic of the spectra.
    least_u_v:
        Rms of the fundamental from which on a voltage is there and can be the reference.

    Notes
    -----
    A window is given out once its edge can be probed: `latency` samples, some five cycles, behind its end.
    The first window starts at the first rising zero crossing of the reference that can be probed, some four
    cycles after the first sample.
    """

    def __init__(
        self,
        rate_hz: float,
        nominal_hz: float,
        phases: int,
        *,
        neutral: int = 0,
        u_scale: npt.ArrayLike = 1.0,
        i_scale: npt.ArrayLike = 1.0,
        points: int | None = None,
        detail: Detail = Detail.BINS,
        precision: Precision = Precision.SINGLE,
        least_u_v: float = 3.0,
    ) -> None:
        self._probes = probes(float(rate_hz), float(nominal_hz))
        if phases not in (1, 2, 3):
            raise MeteringError(f"{phases} phases", expected="1, 2 or 3")
        if neutral not in (0, 1):
            raise MeteringError(f"{neutral} neutral conductors", expected="0 or 1")
        if not (np.isfinite(least_u_v) and least_u_v > 0.0):
            raise MeteringError(f"a least voltage of {least_u_v} V", expected="more than 0 V")
        self.cycles = NOMINAL_CYCLES[float(nominal_hz)]
        self.points = _points(points, self.cycles)
        self._phases = phases
        self._currents = phases + neutral
        self._u_scale = _scales(u_scale, phases, "u_scale")
        self._i_scale = _scales(i_scale, self._currents, "i_scale")
        self._threshold = least_u_v / self._u_scale
        self._ticks = np.empty(0)
        self._sequence: Sequence | None = None
        self._after_gap = WindowFlag.NONE
        self.position = 0
        self._fed = False
        self._u, self._i = self._histories(np.dtype(np.int32))
        self._reach = reach(self._probes) + EDGE_SAMPLES
        longest = int(self.cycles * self._probes.rate_hz / LOWEST_HZ * 1.1) + self._probes.hop
        self._bins_per_harmonic = self.cycles if detail is Detail.BINS else 1
        self._spectra: Spectra
        if detail is Detail.HARMONICS:
            self._spectra = FoldedSpectra(self.cycles, longest, self._u_scale, self._i_scale)
        else:
            self._spectra = _spectra(precision, self.points, longest, self._u_scale, self._i_scale)

    @property
    def latency(self) -> int:
        """Samples behind a window's end after whose arrival it is given out."""
        return look_ahead(self._probes)

    def feed(self, u: Samples, i: Samples) -> WindowColumns:
        """Take samples in, give the windows out that they complete (perhaps none).

        Parameters
        ----------
        u, i:
            (phases, n) and (phases or phases + 1, n); int32 or float64, one type for the whole stream.

        Raises
        ------
        MeteringError
            Shapes or types; a sample that is not finite. The stream is as before the call then.
        """
        _check_samples(u, i, self._phases, self._currents, self.position)
        if self._u.rows.dtype != u.dtype:
            if self._fed:
                raise MeteringError(f"samples of type {u.dtype}", expected=f"{self._u.rows.dtype}, as before")
            self._u, self._i = self._histories(u.dtype)
        self._fed = True
        self._u.append(u)
        self._i.append(i)
        self.position += u.shape[1]
        found = self._windows()
        columns = _analyse(
            self._u.rows, self._i.rows, self._u.first, found, self._probes.rate_hz, self.cycles,
            self._bins_per_harmonic,
            self._spectra, self._u_scale, self._i_scale,
        )  # fmt: skip
        if self._sequence is not None:
            needed = self._sequence.start.sample - self._reach
            self._u.forget(needed)
            self._i.forget(needed)
        return columns

    def resynchronise(self, at_sample: float) -> None:
        """Start a new sequence of windows at an absolute position; the window that runs there is completed.

        To be said before the samples at that place are fed; several places, ascending, may be said ahead.

        Raises
        ------
        MeteringError
            The place is not finite, not behind the last one said, or its samples were fed already.
        """
        last = self._ticks[-1] if self._ticks.size else -np.inf
        if not (np.isfinite(at_sample) and at_sample >= self.position and at_sample > last):
            raise MeteringError(
                f"resynchronisation at sample {at_sample}",
                expected=f"a place not before sample {self.position} and behind {last}",
            )
        self._ticks = np.append(self._ticks, float(at_sample))

    def gap(self, missing_samples: int) -> None:
        """Samples are missing here: drop the running window and start anew behind them.

        The first window after the gap carries `WindowFlag.AFTER_GAP`.

        Raises
        ------
        MeteringError
            Not a whole number above zero.
        """
        if not isinstance(missing_samples, int | np.integer) or missing_samples < 1:
            raise MeteringError(f"a gap of {missing_samples} samples", expected="a whole number, 1 or more")
        self.position += int(missing_samples)
        self._u, self._i = self._histories(self._u.rows.dtype)
        self._sequence = None
        self._after_gap = WindowFlag.AFTER_GAP
        self._ticks = self._ticks[self._ticks >= self.position]

    def _histories(self, kind: np.dtype[np.float64 | np.int32]) -> tuple[History, History]:
        return History(self._phases, kind, self.position), History(self._currents, kind, self.position)

    def _windows(self) -> Spans:
        u = self._u
        if self._sequence is None:
            start = first_start(u.rows, u.size, u.first, self._probes, self._threshold)
            if start is None:
                return NO_SPANS
            self._sequence = Sequence(start, self._probes.nominal_hz, int(self._after_gap))
            self._after_gap = WindowFlag.NONE
        found, self._sequence = spans(
            u.rows, u.size, u.first, self._probes, self._sequence, self.cycles, self._threshold, self._ticks
        )
        if self._ticks.size:
            start = self._sequence.start
            self._ticks = self._ticks[self._ticks > start.sample + start.fraction]
        return found


def _analyse(
    u: Samples,
    i: Samples,
    first: int,
    windows: Spans,
    rate_hz: float,
    cycles: int,
    bins_per_harmonic: int,
    spectra: Spectra,
    u_scale: F64,
    i_scale: F64,
) -> WindowColumns:
    count, phases, currents = windows.sample.size, u.shape[0], i.shape[0]
    sample = windows.sample - first
    u_square, i_square, product = (
        np.empty((count, phases)),
        np.empty((count, currents)),
        np.empty((count, phases)),
    )
    window_sums(u, i, sample, windows.fraction, windows.length, u_square, i_square, product)
    _take_to_units(u_square, i_square, product, u_scale, i_scale)
    u_bins, i_bins = spectra(u, i, sample, windows.fraction, windows.length)
    start = windows.sample + windows.fraction
    return WindowColumns(
        rate_hz=rate_hz,
        cycles=cycles,
        bins_per_harmonic=bins_per_harmonic,
        start=start,
        end=start + windows.length,
        f_hz=cycles * rate_hz / windows.length,
        reference=windows.reference,
        flags=windows.flags,
        u_v=u_square,
        i_a=i_square,
        p_w=product,
        u_bins=u_bins,
        i_bins=i_bins,
        valid_bins=valid_bins(cycles / bins_per_harmonic / windows.length, u_bins.shape[2]),
    )


@njit(cache=True, nogil=True)
def _take_to_units(
    u: F64, i: F64, product: F64, u_scale: F64, i_scale: F64
) -> None:  # pragma: no cover - compiled
    """Mean squares and products of counts become rms values and power, where they stand."""
    for window in range(u.shape[0]):
        for phase in range(u.shape[1]):
            u[window, phase] = np.sqrt(max(u[window, phase], 0.0)) * u_scale[phase]
            product[window, phase] *= u_scale[phase] * i_scale[phase]
        for current in range(i.shape[1]):
            i[window, current] = np.sqrt(max(i[window, current], 0.0)) * i_scale[current]


class _DoubleSpectra:
    """Spectra in double precision; called as `LaneSpectra` is."""

    def __init__(self, points: int, u_scale: F64, i_scale: F64) -> None:
        self._points, self._u_scale, self._i_scale = points, u_scale, i_scale

    def __call__(self, u: Samples, i: Samples, sample: I64, fraction: F64, length: F64) -> tuple[C128, C128]:
        factor = inverse_response(1.0 / length, self._points // 2) * (np.sqrt(2.0) / self._points)
        factor[:, 0] /= np.sqrt(2.0)

        def bins(x: Samples, scale: F64) -> C128:
            spectrum = np.fft.rfft(resample(x, sample, fraction, length, self._points))
            return np.asarray(spectrum[..., : self._points // 2] * factor[:, None, :] * scale[:, None])

        return bins(u, self._u_scale), bins(i, self._i_scale)


def _spectra(precision: Precision, points: int, longest: int, u_scale: F64, i_scale: F64) -> Spectra:
    if precision is Precision.SINGLE:
        return LaneSpectra(points, longest, u_scale, i_scale)
    return _DoubleSpectra(points, u_scale, i_scale)


def _points(points: int | None, cycles: int) -> int:
    if cycles < 1:
        raise MeteringError(f"windows of {cycles} cycles", expected="1 or more")
    if points is None:
        return 1 << (2 * 50 * cycles + 2 * cycles - 1).bit_length()
    if not 64 <= points <= 65536 or points & (points - 1):
        raise MeteringError(f"{points} points a window", expected="a power of two from 64 to 65536")
    return points


def _scales(scale: npt.ArrayLike, channels: int, name: str) -> F64:
    values = np.asarray(scale, np.float64)
    if values.shape not in ((), (channels,)) or not np.isfinite(values).all() or (values <= 0.0).any():
        raise MeteringError(f"{name} {scale!r}", expected=f"one number above 0, or {channels}")
    return np.broadcast_to(values, (channels,)).copy()


def _check_samples(u: Samples, i: Samples, phases: int, currents: int, position: int) -> None:
    for name, x, channels in (("u", u, phases), ("i", i, currents)):
        if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[0] != channels:
            shape = x.shape if isinstance(x, np.ndarray) else type(x).__name__
            raise MeteringError(f"{name} has the shape {shape}", expected=f"({channels}, samples)")
        if x.dtype not in (np.dtype(np.int32), np.dtype(np.float64)):
            raise MeteringError(f"{name} holds {x.dtype}", expected="int32 counts or float64 in V and A")
        if x.dtype == np.float64 and not np.isfinite(x).all():
            channel, sample = (int(index[0]) for index in np.nonzero(~np.isfinite(x)))
            raise MeteringError(
                f"{x[channel, sample]} is no sample",
                where=f"channel {name}{channel + 1}, sample {position + sample}",
                expected="finite numbers",
            )
    if u.shape[1] != i.shape[1]:
        raise MeteringError(f"{u.shape[1]} samples of u and {i.shape[1]} of i", expected="as many of both")
    if u.dtype != i.dtype:
        raise MeteringError(f"u holds {u.dtype}, i {i.dtype}", expected="one type for both")
