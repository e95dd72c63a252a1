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

from openami.metrology.windows.lane_spectra import aligned
from openami.metrology.windows.lanes import (
    DOUBLES,
    LANES,
    first_of,
    load,
    load_doubles,
    load_samples,
    splat,
    splat_double,
    total,
)
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Samples = npt.NDArray[np.int32 | np.float64]

LOWEST_HZ, HIGHEST_HZ = 40.0, 70.0
"""Fundamental frequencies that are followed (class A asks for 42.5-57.5 Hz and 51-69 Hz, recalled)."""

# What a channel carries: the tracked period and the one its table was made for; the last two crossings
# (position, direction, held) and the positions of two more; the fundamental's amplitude; calm half cycles in
# a row; half cycles since the period was learnt; crossings found; whether ever locked; sums of squares of the
# whole samples between the last two crossings; the crossing that was just found (whether, position,
# direction, held, the amplitude there, position where it was expected). And what it was given: the amplitude
# below which it is held, the shortest and longest period, V and A per count.
(_PERIOD, _TABLE_PERIOD, _LAST, _LAST_SIGN, _LAST_HELD, _OLDER, _OLDER_SIGN, _OLDER_HELD, _THIRD, _FOURTH,
 _AMPLITUDE, _CALM, _RESTLESS, _FOUND, _LOCKED, _U_SEGMENT, _I_SEGMENT, _NEW_FOUND, _NEW, _NEW_SIGN,
 _NEW_HELD, _NEW_AMPLITUDE, _EXPECTED, _HOLD, _SHORTEST, _LONGEST, _U_SCALE, _I_SCALE, _STATE,
) = range(29)  # fmt: skip

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
        width = -(-(2 * (int(longest / 2) + 2) + 1) // LANES) * LANES  # zeros behind: whole values are read
        self._tables = aligned(phases * 2 * width).reshape(phases, 2, width)  # filled before they are used
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
        self._currents = False

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
        currents = i if i is not None else u  # the work for none would be as much
        if self._u_carry is None or self._i_carry is None:
            self._u_carry, self._i_carry = u[:, :0], currents[:, :0]
            self._currents = i is not None
        elif self._u_carry.dtype != u.dtype or self._currents != (i is not None):
            raise MeteringError(
                "samples of another type, or currents that come or go",
                where=f"sample {self._position}",
                expected=f"{self._u_carry.dtype}, {phases if self._currents else 0} currents",
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
        found = self._state, self._tables, columns, marks, counts
        _track(joined_u.ravel(), joined_i.ravel(), kept + head, first, *found)
        if head < count:
            _track(u.ravel(), currents.ravel(), count, self._position, *found)
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
            for found, marked, n in zip(columns, marks, counts.tolist(), strict=True)
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_table(
    tables: npt.NDArray[np.float32], phase: int, period: float
) -> None:  # pragma: no cover - compiled
    """Sine and cosine of one cycle about its midst, weighted so that sums are integrals over the period.

    Inside, the weight is 1; at the ends it is that of the integral of the straight line between samples.
    """
    half = period / 2.0
    last = int(np.floor(half))
    share = half - last
    middle = last + 1
    tables[phase] = 0.0
    for offset in range(-last - 1, last + 2):
        distance = abs(offset)
        weight = 1.0
        if distance == last:
            weight = 0.5 + share - 0.5 * share * share
        elif distance == last + 1:
            weight = 0.5 * share * share
        angle = 2.0 * np.pi * offset / period
        tables[phase, 0, middle + offset] = weight * np.sin(angle)
        tables[phase, 1, middle + offset] = weight * np.cos(angle)


# Below, arrays are handed on whole, with an index: a row as an array of its own would be counted as a
# reference at every step, which takes longer than the step. Samples are flat, one phase behind the other.
@njit(cache=True, nogil=True, error_model="numpy")
def _squares(
    u: Samples, i: Samples, at: int, count: int
) -> tuple[float, float]:  # pragma: no cover - compiled
    """Sums of squares of ``count`` samples from place ``at`` of both arrays on; reads up to seven more."""
    u_total, i_total = splat_double(0.0), splat_double(0.0)
    for k in range(0, count, DOUBLES):
        x = first_of(load_doubles(u, at + k), count - k)
        y = first_of(load_doubles(i, at + k), count - k)
        u_total = u_total + x * x
        i_total = i_total + y * y
    return total(u_total), total(i_total)


@njit(cache=True, nogil=True, error_model="numpy")
def _correlation(
    u: Samples, at: int, tables: npt.NDArray[np.float32], sine: int, cosine: int, blocks: int
) -> tuple[float, float]:  # pragma: no cover - compiled
    """Inner products of samples from place ``at`` on with two rows of the tables, by sixteens."""
    in_phase, quadrature = splat(np.float32(0.0)), splat(np.float32(0.0))
    for k in range(0, blocks * LANES, LANES):
        values = load_samples(u, at + k)
        in_phase = in_phase + values * load(tables, sine + k)
        quadrature = quadrature + values * load(tables, cosine + k)
    return np.float64(total(in_phase)), np.float64(total(quadrature))


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_squares(
    u: Samples, i: Samples, row: int, begin: float, period: float, u_inside: float, i_inside: float,
    counted: int,
) -> tuple[float, float]:  # pragma: no cover - compiled  # fmt: skip
    """Mean squares over [begin, begin + period), absolute; the absolute sample k lies in place ``row + k``.

    What is ``inside`` are the sums from the first whole sample to the absolute sample ``counted``. The square
    runs straight between samples at the two edges; they lie by design where that of the voltage is near zero.
    """
    end = begin + period
    low = int(np.ceil(begin))
    high = int(np.floor(end))
    if counted != high + 1:  # rarely, and by one sample, but after a jump of phase
        sign = 1.0 if counted <= high else -1.0
        for k in range(min(counted, high + 1), max(counted, high + 1)):
            u_inside += sign * float(u[row + k]) ** 2
            i_inside += sign * float(i[row + k]) ** 2
    head, tail = low - begin, end - high
    before, at_low = 0.5 * head * head, head - 0.5 * head * head - 0.5
    after, at_high = 0.5 * tail * tail, tail - 0.5 * tail * tail - 0.5
    for k, weight in ((low - 1, before), (low, at_low), (high, at_high), (high + 1, after)):
        u_inside += weight * float(u[row + k]) ** 2
        i_inside += weight * float(i[row + k]) ** 2
    return max(u_inside / period, 0.0), max(i_inside / period, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _angle(y: float, x: float) -> float:  # pragma: no cover - compiled
    """arctan(y / x) for x > 0; of small angles, which a locked channel sees, by a series good to 1e-11."""
    slope = y / x
    if abs(slope) > 0.06:
        return float(np.arctan2(y, x))
    square = slope * slope
    return slope * (1.0 - square * (1.0 / 3.0 - square * (0.2 - square * (1.0 / 7.0 - square / 9.0))))


@njit(cache=True, nogil=True, error_model="numpy")
def _learn_period(state: F64, phase: int) -> None:  # pragma: no cover - compiled
    """Take the period from calm cycles; seek it anew where there was none yet or none for long."""
    crossing, amplitude = state[phase, _NEW], state[phase, _NEW_AMPLITUDE]
    if state[phase, _NEW_HELD] > 0.0:
        state[phase, _LOCKED] = 1.0
        state[phase, _CALM] = 0.0
        return
    period = state[phase, _PERIOD]
    calm = (
        abs(crossing - state[phase, _EXPECTED]) < _CALM_SHIFT * period
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


@njit(cache=True, nogil=True, error_model="numpy")
def _track(
    u: Samples,
    i: Samples,
    size: int,
    first: int,
    state: F64,
    tables: npt.NDArray[np.float32],
    columns: F64,
    marks: Mask,
    counts: npt.NDArray[np.int64],
) -> None:  # pragma: no cover - compiled
    """Advance every phase as far as its samples reach; appends what was found to ``columns`` and ``marks``.

    ``u`` and ``i`` are flat, ``size`` samples a phase from the absolute sample ``first`` on. Step k finds
    crossing k, closes segment k - 1 (the whole samples from crossing k - 1 up to crossing k) and finishes the
    window that began at crossing k - 2: two segments, more or less the few whole samples between crossing k
    and the window's end, and the fractions of a sample at its edges. The phases take their steps in turns,
    each by itself, so that the processor works on the next one while it awaits the crossing of the last.

    A crossing is the nearest to where it is expected, of either direction (the phase may have jumped); it is
    sought with the cosine about the nearest sample, again about what was found when that lies further off.
    """
    found = 1
    while found > 0:
        found = 0
        for phase in range(counts.size):
            row = phase * size - first
            period = state[phase, _PERIOD]
            if abs(period - state[phase, _TABLE_PERIOD]) > _TABLE_STEP:
                _fill_table(tables, phase, period)
                state[phase, _TABLE_PERIOD] = period
            table_period = state[phase, _TABLE_PERIOD]
            reach = int(0.5 * table_period) + 1
            expected = state[phase, _LAST] + 0.5 * period
            low, high = expected - 0.25 * period, expected + 0.25 * period
            state[phase, _NEW_FOUND] = 0.0
            if int(np.floor(high)) + reach + 3 + LANES >= first + size:
                continue
            sine = 2 * phase * tables.shape[2]
            cosine = sine + tables.shape[2]
            blocks = (2 * reach + LANES) // LANES
            middle = int(np.floor(expected + 0.5))
            crossing = expected
            amplitude = 0.0
            sign = -state[phase, _LAST_SIGN]
            for _ in range(3):
                x, y = _correlation(u, row + middle - reach, tables, sine, cosine, blocks)
                amplitude = 2.0 / table_period * np.sqrt(x * x + y * y)
                if amplitude < state[phase, _HOLD]:
                    crossing = expected
                    sign = -state[phase, _LAST_SIGN]
                    break
                if sign * x < 0.0:
                    sign = -sign
                crossing = middle - _angle(sign * y, sign * x) * (table_period * (0.5 / np.pi))
                crossing = min(max(crossing, low), high)
                if abs(crossing - middle) <= 0.0625 * table_period:
                    break
                middle = int(np.floor(crossing + 0.5))
            state[phase, _NEW], state[phase, _NEW_SIGN] = crossing, sign
            state[phase, _NEW_HELD] = 1.0 if amplitude < state[phase, _HOLD] else 0.0
            state[phase, _NEW_AMPLITUDE], state[phase, _EXPECTED] = amplitude, expected
            state[phase, _NEW_FOUND] = 1.0
            found += 1
        for phase in range(counts.size):
            if state[phase, _NEW_FOUND] == 0.0:
                continue
            row = phase * size - first
            last, older, crossing = state[phase, _LAST], state[phase, _OLDER], state[phase, _NEW]
            begin, end = int(np.ceil(last)), int(np.ceil(crossing))
            u_closed, i_closed = 0.0, 0.0
            if state[phase, _FOUND] >= 1:
                u_closed, i_closed = _squares(u, i, row + begin, end - begin)
            if state[phase, _FOUND] >= 2 and state[phase, _LOCKED] > 0:
                period = state[phase, _PERIOD]
                u_square, i_square = _mean_squares(
                    u, i, row, older, period, state[phase, _U_SEGMENT] + u_closed,
                    state[phase, _I_SEGMENT] + i_closed, end,
                )  # fmt: skip
                written = counts[phase]
                columns[phase, _START, written] = older
                columns[phase, _LENGTH, written] = period
                columns[phase, _U_V, written] = np.sqrt(u_square) * state[phase, _U_SCALE]
                columns[phase, _I_A, written] = np.sqrt(i_square) * state[phase, _I_SCALE]
                marks[phase, _RISING, written] = state[phase, _OLDER_SIGN] > 0.0
                marks[phase, _IS_HELD, written] = state[phase, _OLDER_HELD] > 0.0
                counts[phase] = written + 1
            _learn_period(state, phase)
            state[phase, _U_SEGMENT], state[phase, _I_SEGMENT] = u_closed, i_closed
            state[phase, _FOURTH], state[phase, _THIRD] = state[phase, _THIRD], older
            state[phase, _OLDER], state[phase, _LAST] = last, crossing
            state[phase, _OLDER_SIGN] = state[phase, _LAST_SIGN]
            state[phase, _OLDER_HELD] = state[phase, _LAST_HELD]
            state[phase, _LAST_SIGN] = state[phase, _NEW_SIGN]
            state[phase, _LAST_HELD] = state[phase, _NEW_HELD]
            state[phase, _AMPLITUDE] = state[phase, _NEW_AMPLITUDE]
            state[phase, _FOUND] += 1.0
