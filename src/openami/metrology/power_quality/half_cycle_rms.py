"""Urms(1/2) and Irms(1/2): rms over a cycle, begun at a fundamental zero crossing, renewed every half cycle.

IEC 61000-4-30:2015 (edition 3, class A; recalled, confirm against the standard): every voltage channel by
zero crossings of its own fundamental; a current over the windows of its voltage. The crossing is where the
correlation of one cycle of samples with a cosine vanishes: harmonics and a constant drop out, a window around
it sees the past and the future alike. A window is as long as the *tracked period*, not as the distance of its
two crossings: a dip bends the crossings next to its edges, and a window inside the dip must not notice. The
period is only learnt from cycles that are calm. Below `hold_fraction` of the declared voltage nothing is left
to track and crossings are set forth by the last period.

The rule never to be broken: what is computed depends on absolute sample positions and carried state only,
so any cut of the stream gives the same bits.
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

LOWEST_HZ, HIGHEST_HZ = 40.0, 70.0
"""Fundamental frequencies that are followed (class A asks for 42.5-57.5 Hz and 51-69 Hz, recalled)."""

# What a channel carries: the tracked period and the one its table was made for; the last two crossings
# (position, direction, held) and the positions of two more; the fundamental's amplitude; calm half cycles in
# a row; half cycles since the period was learnt; crossings found; whether ever locked; sums of squares of the
# whole samples between the last two crossings. And what it was given: the amplitude below which it is held,
# the shortest and longest period, V and A per count.
(_PERIOD, _TABLE_PERIOD, _LAST, _LAST_SIGN, _LAST_HELD, _OLDER, _OLDER_SIGN, _OLDER_HELD, _THIRD, _FOURTH,
 _AMPLITUDE, _CALM, _RESTLESS, _FOUND, _LOCKED, _U_SEGMENT, _I_SEGMENT, _HOLD, _SHORTEST, _LONGEST, _U_SCALE,
 _I_SCALE, _STATE) = range(23)  # fmt: skip

# What is written of a half cycle.
_START, _LENGTH, _U_V, _I_A, _COLUMNS = range(5)
_RISING, _IS_HELD, _MARKS = range(3)

_CALM_SHIFT = 0.02
"""A crossing this share of a period away from where it was expected is no calm one (7 degrees)."""
_CALM_CHANGE = 0.02
"""Relative change of the fundamental from half cycle to half cycle that is no calm one."""
_CALM_IN_A_ROW = 6
"""Calm crossings after which a cycle in their midst is trusted: a step just within reach of the first or the
last of them moves that one unnoticed, the one beside it noticeably."""
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
        self._state[:, _U_SCALE] = self._u_scale
        self._state[:, _I_SCALE] = np.asarray(i_scale, np.float64)
        self._position = first_sample
        self._u_carry: Samples | None = None
        self._i_carry: Samples | None = None

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
            self._u_carry, self._i_carry = u[:, :0], currents[:, :0]
        elif self._u_carry.dtype != u.dtype or self._i_carry.shape[0] != currents.shape[0]:
            raise MeteringError(
                "samples of another type, or currents that come or go",
                where=f"sample {self._position}",
                expected=f"{self._u_carry.dtype}, {self._i_carry.shape[0]} currents",
            )
        u, currents = np.ascontiguousarray(u), np.ascontiguousarray(currents)
        count = u.shape[1]
        head = min(count, self._reach)
        kept = self._u_carry.shape[1]
        joined_u = np.concatenate((self._u_carry, u[:, :head]), axis=1)
        joined_i = np.concatenate((self._i_carry, currents[:, :head]), axis=1)
        columns = np.empty((phases, _COLUMNS, int((count + kept) / (0.25 * self._state[0, _SHORTEST])) + 4))
        marks = np.empty((phases, _MARKS, columns.shape[2]), np.bool_)
        counts = np.zeros(phases, np.int64)
        first = self._position - kept
        _track(joined_u, joined_i, first, self._state, self._tables, columns, marks, counts)
        if head < count:
            _track(u, currents, self._position, self._state, self._tables, columns, marks, counts)
            joined_u, joined_i = u, currents
        self._u_carry = joined_u[:, -self._reach :].copy()
        self._i_carry = joined_i[:, -self._reach :].copy()
        self._position += count
        return tuple(
            HalfCycleRms(
                start=found[_START, :n],
                period=found[_LENGTH, :n],
                u_v=found[_U_V, :n],
                i_a=found[_I_A, : n if i is not None else 0],
                rising=marked[_RISING, :n],
                held=marked[_IS_HELD, :n],
            )
            for found, marked, n in zip(columns, marks, counts, strict=True)
        )


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


# Below, arrays are handed on whole, with the phase as an index: a row as an array of its own would be counted
# as a reference at every step, which takes longer than the step. Unsigned indices need no look at their sign.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _squares(x: Samples, phase: int, begin: int, end: int) -> float:  # pragma: no cover - compiled
    """Sum of squares of samples ``begin`` to ``end`` (not included)."""
    total = 0.0
    for k in range(np.uint64(begin), np.uint64(max(begin, end))):
        value = float(x[phase, k])
        total += value * value
    return total


@njit(cache=True, nogil=True)
def _mean_square(
    x: Samples, phase: int, first: int, begin: float, period: float, inside: float, counted: int
) -> float:  # pragma: no cover - compiled
    """Mean square over [begin, begin + period), absolute; sample 0 of ``x`` is ``first``.

    ``inside`` is the sum from its first whole sample to the absolute sample ``counted``. The square runs
    straight between samples at the two edges; they lie by design where it is near zero.
    """
    end = begin + period
    low = int(np.ceil(begin))
    high = int(np.floor(end))
    for k in range(counted, high + 1):  # one sample or none, but after a jump of phase
        inside += float(x[phase, k - first]) ** 2
    for k in range(high + 1, counted):
        inside -= float(x[phase, k - first]) ** 2
    before, at_low = float(x[phase, low - 1 - first]) ** 2, float(x[phase, low - first]) ** 2
    at_high, after = float(x[phase, high - first]) ** 2, float(x[phase, high + 1 - first]) ** 2
    head = low - begin
    tail = end - high
    total = inside - 0.5 * (at_low + at_high)
    total += head * (at_low + 0.5 * head * (before - at_low))
    total += tail * (at_high + 0.5 * tail * (after - at_high))
    return max(total / period, 0.0)


@njit(cache=True, nogil=True)
def _angle(y: float, x: float) -> float:  # pragma: no cover - compiled
    """arctan(y / x) for x > 0; of small angles, which a locked channel sees, by a series good to 1e-11."""
    slope = y / x
    if abs(slope) > 0.06:
        return float(np.arctan2(y, x))
    square = slope * slope
    return slope * (1.0 - square * (1.0 / 3.0 - square * (0.2 - square * (1.0 / 7.0 - square / 9.0))))


@njit(cache=True, nogil=True)
def _learn_period(
    state: F64, phase: int, crossing: float, expected: float, amplitude: float, held: bool
) -> None:  # pragma: no cover - compiled
    """Take the period from calm cycles; seek it anew where there was none yet or none for long."""
    if held:
        state[phase, _LOCKED] = 1.0
        state[phase, _CALM] = 0.0
        return
    period = state[phase, _PERIOD]
    calm = (
        abs(crossing - expected) < _CALM_SHIFT * period
        and abs(amplitude - state[phase, _AMPLITUDE]) < _CALM_CHANGE * amplitude
    )
    state[phase, _CALM] = state[phase, _CALM] + 1.0 if calm else 0.0
    trusted = state[phase, _CALM] >= _CALM_IN_A_ROW
    state[phase, _RESTLESS] = 0.0 if trusted else state[phase, _RESTLESS] + 1.0
    if state[phase, _FOUND] < 2:
        return
    gain = 0.0
    measured = crossing - state[phase, _OLDER]
    if state[phase, _LOCKED] == 0.0:
        gain = 1.0
        if calm:
            state[phase, _LOCKED] = 1.0
    elif trusted:
        gain = _GAIN
        measured = state[phase, _OLDER] - state[phase, _FOURTH]
    elif state[phase, _RESTLESS] > _PATIENCE:
        gain = _GAIN
    period += gain * (measured - period)
    state[phase, _PERIOD] = min(max(period, state[phase, _SHORTEST]), state[phase, _LONGEST])


# Products may be summed in another order than written: correlations are needed to 1e-6 only, and the order is
# the same wherever the stream is cut.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _track(
    u: Samples,
    i: Samples,
    first: int,
    state: F64,
    tables: npt.NDArray[np.float32],
    columns: F64,
    marks: Mask,
    counts: npt.NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """Advance every phase as far as its samples reach; appends what was found to ``columns`` and ``marks``.

    Step k finds crossing k, closes segment k - 1 (the whole samples from crossing k - 1 up to crossing k) and
    finishes the window that began at crossing k - 2: two segments, more or less the few whole samples between
    crossing k and the window's end, and the fractions of a sample at its edges.

    A crossing is the nearest to where it is expected, of either direction (the phase may have jumped); it is
    sought with the cosine about the nearest sample, again about what was found when that lies further off.
    """
    middle_of_table = tables.shape[2] // 2
    currents = i.shape[0]
    for phase in range(u.shape[0]):
        written = counts[phase]
        while True:
            period = state[phase, _PERIOD]
            if abs(period - state[phase, _TABLE_PERIOD]) > _TABLE_STEP:
                _fill_table(tables[phase], period)
                state[phase, _TABLE_PERIOD] = period
            table_period = state[phase, _TABLE_PERIOD]
            reach = int(0.5 * table_period) + 1
            last, older = state[phase, _LAST], state[phase, _OLDER]
            expected = last + 0.5 * period
            low, high = expected - 0.25 * period, expected + 0.25 * period
            if int(np.floor(high)) + reach + 3 >= first + u.shape[1]:
                break
            middle = int(np.floor(expected + 0.5))
            crossing = expected
            amplitude = 0.0
            sign = -state[phase, _LAST_SIGN]
            for _ in range(3):
                in_phase = np.float32(0.0)
                quadrature = np.float32(0.0)
                place = np.uint64(middle - first - reach)
                entry = np.uint64(middle_of_table - reach)
                for k in range(np.uint64(2 * reach + 1)):
                    value = np.float32(u[phase, place + k])
                    in_phase += value * tables[phase, 0, entry + k]
                    quadrature += value * tables[phase, 1, entry + k]
                x, y = float(in_phase), float(quadrature)
                amplitude = 2.0 / table_period * np.sqrt(x * x + y * y)
                if amplitude < state[phase, _HOLD]:
                    crossing = expected
                    sign = -state[phase, _LAST_SIGN]
                    break
                if sign * x < 0.0:
                    sign = -sign
                crossing = middle - _angle(sign * y, sign * x) * table_period / (2.0 * np.pi)
                crossing = min(max(crossing, low), high)
                if abs(crossing - middle) <= 0.0625 * table_period:
                    break
                middle = int(np.floor(crossing + 0.5))
            held = amplitude < state[phase, _HOLD]
            begin = int(np.ceil(last))
            end = int(np.ceil(crossing))
            u_closed, i_closed = 0.0, 0.0
            if state[phase, _FOUND] >= 1:
                u_closed = _squares(u, phase, begin - first, end - first)
                if currents:
                    i_closed = _squares(i, phase, begin - first, end - first)
            if state[phase, _FOUND] >= 2 and state[phase, _LOCKED] > 0:
                columns[phase, _START, written] = older
                columns[phase, _LENGTH, written] = period
                inside = state[phase, _U_SEGMENT] + u_closed
                square = _mean_square(u, phase, first, older, period, inside, end)
                columns[phase, _U_V, written] = np.sqrt(square) * state[phase, _U_SCALE]
                if currents:
                    inside = state[phase, _I_SEGMENT] + i_closed
                    square = _mean_square(i, phase, first, older, period, inside, end)
                    columns[phase, _I_A, written] = np.sqrt(square) * state[phase, _I_SCALE]
                marks[phase, _RISING, written] = state[phase, _OLDER_SIGN] > 0.0
                marks[phase, _IS_HELD, written] = state[phase, _OLDER_HELD] > 0.0
                written += 1
            _learn_period(state, phase, crossing, expected, amplitude, held)
            state[phase, _U_SEGMENT], state[phase, _I_SEGMENT] = u_closed, i_closed
            state[phase, _FOURTH], state[phase, _THIRD] = state[phase, _THIRD], older
            state[phase, _OLDER], state[phase, _LAST] = last, crossing
            state[phase, _OLDER_SIGN], state[phase, _LAST_SIGN] = state[phase, _LAST_SIGN], sign
            state[phase, _OLDER_HELD] = state[phase, _LAST_HELD]
            state[phase, _LAST_HELD] = 1.0 if held else 0.0
            state[phase, _AMPLITUDE] = amplitude
            state[phase, _FOUND] += 1.0
        counts[phase] = written
