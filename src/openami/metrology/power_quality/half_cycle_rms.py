"""Urms(1/2) and Irms(1/2): rms over a cycle, begun at a fundamental zero crossing, renewed every half cycle.

IEC 61000-4-30:2015 (edition 3, class A; recalled, confirm against the standard): every voltage channel by
zero crossings of its own fundamental; a current over the windows of its voltage. The crossing is where the
correlation of one cycle of samples with a cosine vanishes: harmonics and a constant drop out, a window around
it sees the past and the future alike. A window is as long as the *tracked period*, not as the distance of its
two crossings: a dip bends the crossings next to its edges, and a window inside the dip must not notice. The
period is only learnt from cycles that are calm. Below `hold_fraction` of the declared voltage nothing is left
to track and crossings are set forth by the last period.

The rule never to be broken: what is computed depends on absolute sample positions and carried state only,
so any cut of the stream gives the same bits; sums of squares of int32 counts are exact int64 sums but for the
two fractions of a sample at the window's edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Samples = npt.NDArray[np.int32 | np.float64]
Sums = npt.NDArray[np.int64 | np.float64]

LOWEST_HZ, HIGHEST_HZ = 40.0, 70.0
"""Fundamental frequencies that are followed (class A asks for 42.5-57.5 Hz and 51-69 Hz, recalled)."""

# What a channel carries: the tracked period and the one its table was made for; the last two crossings
# (position, direction, held); the fundamental's amplitude; calm half cycles in a row; half cycles since the
# period was learnt; crossings found; whether ever locked. And what it was given: the amplitude below which it
# is held, the shortest and longest period.
(_PERIOD, _TABLE_PERIOD, _LAST, _LAST_SIGN, _LAST_HELD, _OLDER, _OLDER_SIGN, _OLDER_HELD, _AMPLITUDE,
 _CALM, _RESTLESS, _FOUND, _LOCKED, _HOLD, _SHORTEST, _LONGEST, _STATE) = range(17)  # fmt: skip
_CALM_SHIFT = 0.02
"""A crossing this share of a period away from where it was expected is no calm one (7 degrees)."""
_CALM_CHANGE = 0.02
"""Relative change of the fundamental from half cycle to half cycle that is no calm one."""
_CALM_IN_A_ROW = 3
"""Calm crossings after which a cycle is trusted: those at both of its ends, and the one before them."""
_PATIENCE = 10
"""Half cycles without calm after which the period is sought anew."""
_GAIN = 0.25
"""Share of a measured cycle's surplus that the tracked period takes over."""
_TABLE_STEP = 0.0625
"""Difference of the tracked period, in samples, beyond which the table of sine and cosine is made anew."""


@dataclass(frozen=True, slots=True)
class HalfCycleRms:
    """Urms(1/2) of one channel, in order; columns of equal length (n,).

    Parameters
    ----------
    start:
        Real-valued sample position of the fundamental zero crossing at which the window begins.
    period:
        Length of the window in samples: one tracked cycle.
    u_v, i_a:
        Rms over the window in V and A; `i_a` is empty without currents.
    rising:
        True where the fundamental rises through the crossing.
    held:
        True where there was no fundamental to track and the crossing was set forth.
    """

    start: F64
    period: F64
    u_v: F64
    i_a: F64
    rising: Mask
    held: Mask

    def __len__(self) -> int:
        return int(self.start.size)

    @property
    def end(self) -> F64:
        """Real-valued sample positions where the windows end, (n,)."""
        return self.start + self.period


class HalfCycleStream:
    """Urms(1/2) and Irms(1/2) of a stream of samples, each phase by itself.

    Invariant: `position` samples were taken, of which the last `_carry.shape[1]` are kept; every half cycle
    whose correlation lies wholly before `position` was handed out, and none other.

    Parameters
    ----------
    rate_hz:
        Sampling rate, at least 20 samples per cycle of the nominal frequency.
    nominal_hz:
        50 or 60: where tracking begins.
    declared_v:
        Declared input voltage Udin, V rms.
    u_scale, i_scale:
        V and A per count, (phases,); ones for samples in V and A.
    hold_fraction:
        Share of `declared_v` below which the fundamental is not tracked.
    first_sample:
        Absolute position of the first sample.

    Raises
    ------
    MeteringError
        A parameter that cannot be measured with.
    """

    def __init__(
        self,
        rate_hz: float,
        nominal_hz: float,
        declared_v: float,
        u_scale: F64,
        i_scale: F64,
        *,
        hold_fraction: float = 0.01,
        first_sample: int = 0,
    ) -> None:
        if not (np.isfinite(rate_hz) and rate_hz >= 20 * nominal_hz):
            raise MeteringError(
                f"{rate_hz} samples/s do not resolve {nominal_hz} Hz",
                expected=f"at least {20 * nominal_hz} samples/s",
            )
        if not LOWEST_HZ <= nominal_hz <= HIGHEST_HZ:
            raise MeteringError(f"nominal frequency {nominal_hz} Hz", expected="40 to 70 Hz")
        if not declared_v > 0:
            raise MeteringError(f"declared voltage {declared_v} V", expected="a positive voltage")
        self._rate_hz = rate_hz
        self._u_scale = np.asarray(u_scale, np.float64)
        self._i_scale = np.asarray(i_scale, np.float64)
        phases = self._u_scale.size
        longest = rate_hz / LOWEST_HZ
        self._reach = int(np.ceil(4 * longest)) + 8
        width = 2 * (int(longest / 2) + 2) + 1
        self._tables = np.zeros((phases, 2, width), np.float32)
        self._state = np.zeros((phases, _STATE))
        self._state[:, _PERIOD] = rate_hz / nominal_hz
        self._state[:, _LAST] = first_sample + 0.75 * longest + 2.0 - 0.5 * rate_hz / nominal_hz
        self._state[:, _LAST_SIGN] = 1.0
        self._state[:, _HOLD] = hold_fraction * declared_v * np.sqrt(2.0) / self._u_scale
        self._state[:, _SHORTEST] = rate_hz / HIGHEST_HZ
        self._state[:, _LONGEST] = longest
        self._position = first_sample
        self._u_carry: Samples | None = None
        self._i_carry: Samples | None = None
        self._segments: Sums | None = None

    @property
    def position(self) -> int:
        """Absolute position of the next sample."""
        return self._position

    def feed(self, u: Samples, i: Samples | None = None) -> tuple[HalfCycleRms, ...]:
        """Take the next samples; the half cycles that became complete, per phase.

        Parameters
        ----------
        u, i:
            (phases, n) counts or V and A; the type may not change within a stream.

        Raises
        ------
        MeteringError
            Another shape or type of samples than before.
        """
        phases = self._u_scale.size
        if u.ndim != 2 or u.shape[0] != phases or (i is not None and i.shape != u.shape):
            shape = None if i is None else i.shape
            raise MeteringError(
                f"voltages of shape {u.shape}, currents of {shape}", expected=f"({phases}, samples) each"
            )
        if u.dtype not in (np.int32, np.float64) or (i is not None and i.dtype != u.dtype):
            raise MeteringError(
                f"samples of type {u.dtype}", expected="int32 or float64, voltages and currents"
            )
        currents = i if i is not None else u[:0]
        if self._u_carry is None or self._i_carry is None:
            self._segments = np.zeros((phases, 2), np.int64 if u.dtype == np.int32 else np.float64)
            self._u_carry, self._i_carry = u[:, :0], currents[:, :0]
        elif self._u_carry.dtype != u.dtype or self._i_carry.shape[0] != currents.shape[0]:
            raise MeteringError(
                "samples of another type, or currents that come or go",
                where=f"sample {self._position}",
                expected=f"{self._u_carry.dtype}, {self._i_carry.shape[0]} currents",
            )
        count = u.shape[1]
        head = min(count, self._reach)
        kept = self._u_carry.shape[1]
        joined_u = np.concatenate((self._u_carry, u[:, :head]), axis=1)
        joined_i = np.concatenate((self._i_carry, currents[:, :head]), axis=1)
        parts = [self._steps(joined_u, joined_i, self._position - kept)]
        if head < count:
            parts.append(self._steps(u, currents, self._position))
            self._u_carry = u[:, count - self._reach :].copy()
            self._i_carry = currents[:, count - self._reach :].copy()
        else:
            self._u_carry = joined_u[:, -self._reach :].copy()
            self._i_carry = joined_i[:, -self._reach :].copy()
        self._position += count
        return tuple(
            self._columns(np.concatenate([part[phase] for part in parts]), phase) for phase in range(phases)
        )

    def _steps(self, u: Samples, i: Samples, first: int) -> list[F64]:
        """Half cycles complete within ``u``, whose sample 0 is ``first``: rows of `_track` per phase."""
        assert self._segments is not None
        phases = u.shape[0]
        rows = np.zeros((phases, int(u.shape[1] / (0.25 * self._state[0, _SHORTEST])) + 4, 6))
        counts = np.zeros(phases, np.int64)
        zero = 0 if self._segments.dtype == np.int64 else 0.0
        _track_phases(u, i, first, zero, self._state, self._tables, self._segments, rows, counts)
        return [rows[phase, : counts[phase]] for phase in range(phases)]

    def _columns(self, rows: F64, phase: int) -> HalfCycleRms:
        u_v = np.sqrt(rows[:, 2]) * self._u_scale[phase]
        has_current = self._i_carry is not None and self._i_carry.shape[0] > 0
        i_a = np.sqrt(rows[:, 3]) * self._i_scale[phase] if has_current else np.empty(0)
        return HalfCycleRms(rows[:, 0].copy(), rows[:, 1].copy(), u_v, i_a, rows[:, 4] > 0, rows[:, 5] > 0)


@njit(cache=True, nogil=True)
def _fill_table(table: npt.NDArray[np.float32], period: float) -> None:  # pragma: no cover - compiled
    """Sine and cosine of one cycle about sample 0, weighted so that their sum is an integral over the period.

    Inside, the weight is 1; at the ends it is that of the integral of the straight line between samples.
    """
    half = period / 2.0
    last = int(np.floor(half))
    share = half - last
    middle = table.shape[1] // 2
    table[:] = 0.0
    for offset in range(-last - 1, last + 2):
        distance = abs(offset)
        weight = 1.0
        if distance == last:
            weight = 0.5 + share - 0.5 * share * share
        elif distance == last + 1:
            weight = 0.5 * share * share
        angle = 2.0 * np.pi * offset / period
        table[0, middle + offset] = weight * np.sin(angle)
        table[1, middle + offset] = weight * np.cos(angle)


# Sums in another order than written: the correlation is needed to 1e-6 only.
@njit(cache=True, nogil=True, fastmath=True)
def _correlate(
    x: Samples, middle: int, reach: int, table: npt.NDArray[np.float32]
) -> tuple[np.float32, np.float32]:  # pragma: no cover - compiled
    """Correlation of ``x`` about sample ``middle`` with sine and cosine, ``reach`` samples to both sides."""
    width = 2 * reach + 1
    begin = middle - reach
    piece = x[begin : begin + width]
    shift = table.shape[1] // 2 - reach
    sine = table[0, shift : shift + width]
    cosine = table[1, shift : shift + width]
    in_phase = np.float32(0.0)
    quadrature = np.float32(0.0)
    for k in range(width):
        value = np.float32(piece[k])
        in_phase += value * sine[k]
        quadrature += value * cosine[k]
    return in_phase, quadrature


@njit(cache=True, nogil=True)
def _crossing(
    u: Samples,
    first: int,
    expected: float,
    period: float,
    table_period: float,
    sign: float,
    table: npt.NDArray[np.float32],
    hold: float,
) -> tuple[float, float, float]:  # pragma: no cover - compiled
    """Crossing of the fundamental nearest to ``expected``, of either direction: (position, amplitude, sign).

    A crossing of the other direction than ``sign`` is taken when it is nearer (the phase has jumped); with an
    amplitude below ``hold`` the expected position is returned.
    """
    reach = int(np.floor(0.5 * table_period)) + 1
    low, high = expected - 0.25 * period, expected + 0.25 * period
    middle = int(np.rint(expected))
    crossing = expected
    amplitude = 0.0
    found = sign
    for _ in range(3):
        in_phase, quadrature = _correlate(u, middle - first, reach, table)
        amplitude = 2.0 / table_period * np.sqrt(in_phase * in_phase + quadrature * quadrature)
        if amplitude < hold:
            return expected, amplitude, sign
        found = sign if sign * in_phase >= 0.0 else -sign
        shift = np.arctan2(found * quadrature, found * in_phase) * table_period / (2.0 * np.pi)
        crossing = min(max(middle - shift, low), high)
        if abs(crossing - middle) <= 0.0625 * table_period:
            break
        middle = int(np.rint(crossing))
    return crossing, amplitude, found


@njit(cache=True, nogil=True)
def _learn_period(
    state: F64, crossing: float, expected: float, amplitude: float, held: bool
) -> None:  # pragma: no cover - compiled
    """Take the period from calm cycles; seek it anew where there was none yet or none for long."""
    if held:
        state[_LOCKED] = 1.0
        state[_CALM] = 0.0
        return
    period = state[_PERIOD]
    calm = (
        abs(crossing - expected) < _CALM_SHIFT * period
        and abs(amplitude - state[_AMPLITUDE]) < _CALM_CHANGE * amplitude
    )
    state[_CALM] = state[_CALM] + 1.0 if calm else 0.0
    trusted = state[_CALM] >= _CALM_IN_A_ROW
    state[_RESTLESS] = 0.0 if trusted else state[_RESTLESS] + 1.0
    if state[_FOUND] < 2:
        return
    gain = 0.0
    if state[_LOCKED] == 0.0:
        gain = 1.0
        if calm:
            state[_LOCKED] = 1.0
    elif trusted or state[_RESTLESS] > _PATIENCE:
        gain = _GAIN
    measured = crossing - state[_OLDER]
    state[_PERIOD] = min(max(period + gain * (measured - period), state[_SHORTEST]), state[_LONGEST])


@njit(cache=True, nogil=True, fastmath=True)
def _squares(x: Samples, begin: int, end: int, zero: float) -> float:  # pragma: no cover - compiled
    """Sum of squares of samples ``begin`` to ``end`` (not included); exact int64 when ``zero`` is one."""
    total = zero
    piece = x[begin:end]
    for k in range(piece.size):
        value = piece[k] + zero
        total += value * value
    return total


@njit(cache=True, nogil=True)
def _mean_square(
    x: Samples, begin: float, period: float, inside: float, counted: int, zero: float
) -> float:  # pragma: no cover - compiled
    """Mean square over [begin, begin + period).

    ``inside`` is the sum from its first whole sample to ``counted``. The square runs straight between
    samples at the two edges; they lie by design where it is near zero.
    """
    end = begin + period
    low = int(np.ceil(begin))
    high = int(np.floor(end))
    if high + 1 > counted:
        inside += _squares(x, counted, high + 1, zero)
    elif high + 1 < counted:
        inside -= _squares(x, high + 1, counted, zero)
    before, at_low = float(x[low - 1]) ** 2, float(x[low]) ** 2
    at_high, after = float(x[high]) ** 2, float(x[high + 1]) ** 2
    head = low - begin
    tail = end - high
    total = inside - 0.5 * (at_low + at_high)
    total += head * (at_low + 0.5 * head * (before - at_low))
    total += tail * (at_high + 0.5 * tail * (after - at_high))
    return max(total / period, 0.0)


@njit(cache=True, nogil=True)
def _track_phases(
    u: Samples,
    i: Samples,
    first: int,
    zero: float,
    state: F64,
    tables: npt.NDArray[np.float32],
    segments: Sums,
    rows: F64,
    counts: npt.NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """`_track` for every phase."""
    for phase in range(u.shape[0]):
        current = i[phase] if i.shape[0] else u[phase, :0]
        counts[phase] = _track(
            u[phase], current, first, zero, state[phase], tables[phase], segments[phase], rows[phase]
        )


@njit(cache=True, nogil=True)
def _track(
    u: Samples,
    i: Samples,
    first: int,
    zero: float,
    state: F64,
    table: npt.NDArray[np.float32],
    segments: Sums,
    rows: F64,
) -> int:  # pragma: no cover - compiled
    """Advance one channel as far as its samples reach; writes (start, period, u², i², rising, held) rows.

    Step k finds crossing k, closes segment k - 1 (the whole samples from crossing k - 1 up to crossing k) and
    finishes the window that began at crossing k - 2: two segments, more or less the few whole samples between
    crossing k and the window's end, and the fractions of a sample at its edges.
    """
    written = 0
    while True:
        period = state[_PERIOD]
        if abs(period - state[_TABLE_PERIOD]) > _TABLE_STEP:
            _fill_table(table, period)
            state[_TABLE_PERIOD] = period
        reach = int(np.floor(0.5 * state[_TABLE_PERIOD])) + 1
        last, older = state[_LAST], state[_OLDER]
        expected = last + 0.5 * period
        if int(np.floor(expected + 0.25 * period)) + reach + 3 >= first + u.size:
            return written
        crossing, amplitude, sign = _crossing(
            u, first, expected, period, state[_TABLE_PERIOD], -state[_LAST_SIGN], table, state[_HOLD]
        )
        held = amplitude < state[_HOLD]
        begin = int(np.ceil(last)) - first
        end = int(np.ceil(crossing)) - first
        u_closed = zero
        i_closed = zero
        if state[_FOUND] >= 1:
            u_closed = _squares(u, begin, end, zero)
            if i.size:
                i_closed = _squares(i, begin, end, zero)
        if state[_FOUND] >= 2 and state[_LOCKED] > 0:
            rows[written, 0] = older
            rows[written, 1] = period
            rows[written, 2] = _mean_square(u, older - first, period, segments[0] + u_closed, end, zero)
            if i.size:
                rows[written, 3] = _mean_square(i, older - first, period, segments[1] + i_closed, end, zero)
            rows[written, 4] = state[_OLDER_SIGN]
            rows[written, 5] = state[_OLDER_HELD]
            written += 1
        _learn_period(state, crossing, expected, amplitude, held)
        segments[0] = u_closed
        segments[1] = i_closed
        state[_OLDER], state[_OLDER_SIGN], state[_OLDER_HELD] = last, state[_LAST_SIGN], state[_LAST_HELD]
        state[_LAST], state[_LAST_SIGN], state[_LAST_HELD] = crossing, sign, 1.0 if held else 0.0
        state[_AMPLITUDE] = amplitude
        state[_FOUND] += 1
