"""Dynamic compensation: undoing gain, delay and lower corner of every channel while the meter runs.

Counts go in, counts come out. Per channel the stream passes a fractional delay that also restores the
anti-alias pole, an integrator that restores the lower corner of a transformer, and the rounding to counts.
Gain, delay and corner are looked up from the load measured in the window before and from the temperature;
over *frequency* nothing needs to be looked up, because each factor undoes its own law at every frequency
(a delay stays a delay, 1/f stays 1/f), harmonics included.

Windows are ten nominal cycles, counted from sample 0. Window w runs with what window w - 1 measured; the
first with the rated load. The temperature of a window is that of the call which brought the last sample of
the window before.

Never to be broken: every channel has the same delay of a whole number of samples; the output is the same to
the last bit however the stream is cut; a sample that was at full scale stays at full scale.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.front_end.channel_correction import ChannelCorrection
from openami.metrology.front_end.fractional_delay import (
    HALF_WIDTH,
    differentiator,
    interpolator,
    taps_response,
)
from openami.metrology.front_end.front_end import Samples
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
C128 = npt.NDArray[np.complex128]

LARGEST_SHIFT = 4
"""Largest delay that is undone, in samples."""

_MAGIC = b"openami compensation 1\n"
_CYCLES_OF_A_WINDOW = 10
_INTEGRAL_STATES = 4
"""Last value, its integral, the integral of that, and the integral of that."""


@dataclass(frozen=True, slots=True)
class CompensationSettings:
    """A compensation's fixed part.

    Parameters
    ----------
    rate_hz, nominal_hz:
        Sampling rate and grid frequency.
    u_v_per_count, i_a_per_count:
        (phases,) nominal scale of the input.
    full_scale_counts:
        Count at which an input sample is saturated.
    voltage, current:
        (phases,) corrections.
    half_width:
        Taps either side of the fractional delay.
    guard_bits:
        Further bits of the output; its scale is 2**-guard_bits of the input's, its rounding noise
        2**-guard_bits / sqrt(12) input counts.
    leak_hz:
        Corner below which the integrator that restores a transformer forgets.

    Raises
    ------
    MeteringError
        Channels that do not fit together, or an output that has no place in int32.
    """

    rate_hz: float
    u_v_per_count: tuple[float, ...]
    i_a_per_count: tuple[float, ...]
    full_scale_counts: int
    voltage: tuple[ChannelCorrection, ...]
    current: tuple[ChannelCorrection, ...]
    nominal_hz: float = 50.0
    half_width: int = HALF_WIDTH
    guard_bits: int = 0
    leak_hz: float = 0.5

    def __post_init__(self) -> None:
        lengths = {len(x) for x in (self.u_v_per_count, self.i_a_per_count, self.voltage, self.current)}
        if len(lengths) != 1 or not 1 <= len(self.voltage) <= 3:
            raise MeteringError(
                "scales and corrections of a compensation differ in number", expected="one each per phase"
            )
        if not (self.rate_hz > 0 and self.nominal_hz > 0 and self.leak_hz > 0):
            raise MeteringError("a rate or frequency of a compensation is not above 0", expected="above 0")
        if not 0 <= self.guard_bits <= 8 or self.full_scale_counts << self.guard_bits > 2**31 - 1:
            raise MeteringError(
                f"{self.guard_bits} guard bits on a full scale of {self.full_scale_counts} counts",
                expected="0 .. 8 bits, within int32",
            )
        if not 4 <= self.half_width <= 200:
            raise MeteringError(f"half_width = {self.half_width}", expected="4 .. 200")

    @property
    def phases(self) -> int:
        """Number of phases."""
        return len(self.voltage)

    @property
    def window_samples(self) -> int:
        """Samples between two looks at the tables: ten nominal cycles."""
        return round(self.rate_hz * _CYCLES_OF_A_WINDOW / self.nominal_hz)

    @property
    def reach(self) -> int:
        """Samples before and after that an output needs; also the delay of every channel."""
        return self.half_width + LARGEST_SHIFT

    @property
    def digest(self) -> bytes:
        """SHA-256 of the settings: a snapshot fits only where it was made."""
        return hashlib.sha256(repr(self).encode()).digest()


@dataclass(frozen=True, slots=True)
class RealisedFilter:
    """The filter of one channel in one window, with numbers as they are used.

    Parameters
    ----------
    shift:
        Whole samples of advance.
    taps:
        float64 (2·half_width + 1,): delay, gain and anti-alias pole.
    integral:
        Factor on the integral (per sample) that restores the lower corner.
    leak:
        What the integral forgets, per sample. It is added back by a second and a third one, so that
        1/(j2πf) is met to the cube of leak over frequency and a constant does not grow without end.
    """

    shift: int
    taps: F64
    integral: float
    leak: float

    def response(self, relative_frequency: F64) -> C128:
        """Complex gain at shares of the sampling rate, without the common delay."""
        f = np.asarray(relative_frequency, np.float64)
        step = np.exp(-2j * np.pi * f)
        # 1/(s + leak) with the trapezoidal rule, s = 2 (1 - z) / (1 + z)
        once = (1.0 + step) / (2.0 * (1.0 - step) + self.leak * (1.0 + step))
        again = self.leak * once
        restored = 1.0 + self.integral * once * (1.0 + again + again * again)
        return np.asarray(taps_response(self.taps, f) * np.exp(2j * np.pi * f * self.shift) * restored)


def realise(
    settings: CompensationSettings, correction: ChannelCorrection, load: float, temperature_c: float
) -> RealisedFilter:
    """The filter that undoes a channel at a load and a temperature; its gain is exact at nominal frequency.

    Raises
    ------
    MeteringError
        The advance is more than `LARGEST_SHIFT` samples.
    """
    _, advance_s, corner_hz = correction.at(load, temperature_c)
    leak = 2.0 * math.pi * settings.leak_hz / settings.rate_hz
    integral = 2.0 * math.pi * corner_hz / settings.rate_hz
    nominal = np.array([settings.nominal_hz / settings.rate_hz])
    # What leak and trapezoids of the integral do is made up for at nominal. What the ripple of the taps does
    # to the angle there is left alone: a delay that undid it would grow with frequency.
    plain = RealisedFilter(0, np.ones(1), integral, leak).response(nominal)[0]
    rest = complex((1.0 + corner_hz / (1j * settings.nominal_hz)) / plain)
    advance_s += math.atan2(rest.imag, rest.real) / (2.0 * math.pi * settings.nominal_hz)
    advance = advance_s * settings.rate_hz
    shift = math.floor(advance + 0.5)
    if abs(shift) > LARGEST_SHIFT:
        raise MeteringError(
            f"an advance of {advance_s:g} s is {advance:.1f} samples", expected=f"within ±{LARGEST_SHIFT}"
        )
    taps = interpolator(advance - shift, settings.half_width)
    if math.isfinite(correction.pole_hz):
        slope = differentiator(advance - shift, settings.half_width)
        taps = taps + slope * (settings.rate_hz / (2.0 * math.pi * correction.pole_hz))
    shown = abs(RealisedFilter(shift, taps, integral, leak).response(nominal)[0])
    wanted = abs(correction.response(settings.nominal_hz, load, temperature_c))
    return RealisedFilter(shift, taps * (wanted / float(shown)), integral, leak)


class DynamicCompensation:
    """Undoes the errors of a front end on the stream of its counts.

    Invariant: after `feed`, the outputs given so far are those of all samples from ``reach`` to ``reach``
    before the last one fed; what is kept is a function of the samples fed and of the temperatures, not of
    where the stream was cut.

    Parameters
    ----------
    settings:
        Fixed part and corrections.
    """

    def __init__(self, settings: CompensationSettings) -> None:
        self.settings = settings
        self._corrections = settings.voltage + settings.current
        self._scale = np.array(settings.u_v_per_count + settings.i_a_per_count) / np.array(
            [correction.rated for correction in self._corrections]
        )
        channels = len(self._corrections)
        self._fed = 0
        self._kept: I32 = np.empty((channels, 0), np.int32)
        self._squares: F64 = np.zeros(channels)
        self._loads: F64 = np.ones(channels)
        self._measured_loads: F64 = np.ones(channels)
        self._temperature_c = math.nan
        self._measured_temperature_c = math.nan
        self._window = -1
        self._numbers: list[tuple[float, float, float]] = [(math.nan,) * 3] * channels
        self._filters = [RealisedFilter(0, np.zeros(1), 0.0, 0.0)] * channels
        self._integrals: F64 = np.zeros((channels, _INTEGRAL_STATES))

    @property
    def group_delay_samples(self) -> int:
        """Delay of every channel: output k shows the input of instant k, this many samples later."""
        return self.settings.reach

    @property
    def full_scale_counts(self) -> int:
        """Largest count of the output."""
        return self.settings.full_scale_counts << self.settings.guard_bits

    @property
    def u_v_per_count(self) -> F64:
        """Scale of the voltage channels of the output, V per count, float64 (phases,)."""
        return np.array(self.settings.u_v_per_count) / (1 << self.settings.guard_bits)

    @property
    def i_a_per_count(self) -> F64:
        """Scale of the current channels of the output, A per count, float64 (phases,)."""
        return np.array(self.settings.i_a_per_count) / (1 << self.settings.guard_bits)

    @property
    def loads(self) -> F64:
        """Loads the running window's filters were looked up for, multiples of rated, float64 (channels,)."""
        return self._loads.copy()

    def feed(self, u: I32, i: I32, *, temperature_c: float = 23.0) -> Samples:
        """Take samples in; give those that can be given.

        Parameters
        ----------
        u, i:
            int32 (phases, n), the next n samples.
        temperature_c:
            What the meter's thermometer says.

        Returns
        -------
        Samples of shape (phases, m). ``first_sample`` is the index of the first in the input's count: the
        first call gives samples from ``group_delay_samples`` on, each call as many as have their followers.

        Raises
        ------
        MeteringError
            Another shape or type, or a temperature that is not a number.
        """
        phases = self.settings.phases
        for name, block in (("u", u), ("i", i)):
            if block.dtype != np.int32 or block.ndim != 2 or block.shape[0] != phases:
                raise MeteringError(
                    f"{name} is {block.dtype} of shape {block.shape}", expected=f"int32 ({phases}, n)"
                )
        if u.shape != i.shape:
            raise MeteringError(f"u and i are of {u.shape[1]} and {i.shape[1]} samples", expected="as many")
        if not math.isfinite(temperature_c):
            raise MeteringError(f"a temperature of {temperature_c} °C", expected="a finite number")
        if math.isnan(self._measured_temperature_c):
            self._measured_temperature_c = temperature_c
        counts = np.concatenate((u, i))
        window = self.settings.window_samples
        reach = self.settings.reach
        first = max(self._fed - reach, reach)
        given = max(self._fed + u.shape[1] - reach, first) - first
        out = np.empty((2 * phases, given), np.int32)
        saturated = np.zeros(2 * phases, np.int64)
        taken = done = 0
        while taken < counts.shape[1]:
            part = min(window - self._fed % window, counts.shape[1] - taken)
            done = self._advance(counts[:, taken : taken + part], out, done, first, saturated)
            taken += part
            if self._fed % window == 0:
                self._measured_loads = np.sqrt(self._squares / window) * self._scale
                self._measured_temperature_c = temperature_c
                self._squares = np.zeros(2 * phases)
        return Samples(out[:phases], out[phases:], first, saturated.reshape(2, phases))

    def snapshot(self) -> bytes:
        """Everything that decides what comes out next, as bytes."""
        return b"".join(
            (
                _MAGIC,
                self.settings.digest,
                struct.pack(
                    "<qqdd", self._fed, self._window, self._temperature_c, self._measured_temperature_c
                ),
                self._squares.tobytes(),
                self._loads.tobytes(),
                self._measured_loads.tobytes(),
                self._integrals.tobytes(),
                np.ascontiguousarray(self._kept).tobytes(),
            )
        )

    @classmethod
    def restore(cls, settings: CompensationSettings, snapshot: bytes) -> DynamicCompensation:
        """The compensation of which `snapshot` was taken.

        Raises
        ------
        MeteringError
            The bytes are no snapshot, are cut, or belong to other settings.
        """
        head = _MAGIC + settings.digest
        if not snapshot.startswith(head):
            raise MeteringError(
                "the snapshot is not one of this compensation", expected="one made with the same settings"
            )
        self = cls(settings)
        channels = len(self._corrections)
        numbers = struct.Struct("<qqdd")
        rows = 3 + _INTEGRAL_STATES
        state = channels * 8 * rows
        at = len(head) + numbers.size
        rest = len(snapshot) - at - state
        if rest < 0 or rest % (4 * channels):
            raise MeteringError(f"a snapshot of {len(snapshot)} bytes is cut", expected="all of it")
        self._fed, self._window, self._temperature_c, self._measured_temperature_c = numbers.unpack_from(
            snapshot, len(head)
        )
        columns = np.frombuffer(snapshot, np.float64, channels * rows, at).reshape(rows, channels)
        self._squares, self._loads, self._measured_loads = (columns[row].copy() for row in range(3))
        self._integrals = columns[3:].reshape(channels, _INTEGRAL_STATES).copy()
        self._kept = np.frombuffer(snapshot, np.int32, rest // 4, at + state).reshape(channels, -1).copy()
        if self._kept.shape[1] != min(self._fed, 2 * settings.reach):
            raise MeteringError(f"a snapshot of {len(snapshot)} bytes is cut", expected="all of it")
        if self._window >= 0:
            self._look_up()
        return self

    def _look_up(self) -> None:
        """Filters of the running window; those whose numbers have not changed are kept."""
        for channel, correction in enumerate(self._corrections):
            load = float(self._loads[channel])
            numbers = correction.at(load, self._temperature_c)
            if numbers != self._numbers[channel]:
                self._numbers[channel] = numbers
                self._filters[channel] = realise(self.settings, correction, load, self._temperature_c)

    def _advance(self, counts: I32, out: I32, done: int, first: int, saturated: I64) -> int:
        """Take samples of one input window in; fill ``out`` from ``done`` on; returns how far it is full."""
        reach, window = self.settings.reach, self.settings.window_samples
        _add_squares(counts, self._squares)
        kept = np.concatenate((self._kept, counts), axis=1)
        self._fed += counts.shape[1]
        base = self._fed - kept.shape[1]
        position = first + done
        while position < self._fed - reach:
            if position // window != self._window:
                self._window = position // window
                self._loads = self._measured_loads
                self._temperature_c = self._measured_temperature_c
                self._look_up()
            length = min((self._window + 1) * window, self._fed - reach) - position
            for channel, (realised, correction) in enumerate(
                zip(self._filters, self._corrections, strict=True)
            ):
                saturated[channel] += _compensate(
                    kept[channel],
                    position - base,
                    realised.shift,
                    realised.taps,
                    correction.offset_counts,
                    realised.integral,
                    realised.leak,
                    self._integrals[channel],
                    self.settings.full_scale_counts,
                    1 << self.settings.guard_bits,
                    out[channel, done : done + length],
                )
            done += length
            position += length
        self._kept = kept[:, max(kept.shape[1] - 2 * reach, 0) :]
        return done


@njit(cache=True, nogil=True)
def _add_squares(counts: I32, squares: F64) -> None:  # pragma: no cover - compiled
    for channel in range(counts.shape[0]):
        total = squares[channel]
        for index in range(counts.shape[1]):
            total += float(counts[channel, index]) ** 2
        squares[channel] = total


@njit(cache=True, nogil=True)
def _compensate(
    kept: I32,
    at: int,
    shift: int,
    taps: F64,
    offset: float,
    integral: float,
    leak: float,
    state: F64,
    full_scale: int,
    guard: int,
    out: I32,
) -> int:  # pragma: no cover - compiled
    half = taps.size // 2
    count = out.size
    values = np.empty(count + 2 * half)
    for index in range(values.size):
        values[index] = float(kept[at + shift - half + index]) - offset
    filtered = np.zeros(count)
    # tap by tap over all outputs: the same sum in the same order for each output, wherever a cut falls
    for tap in range(taps.size):
        weight = taps[tap]
        moved = values[tap : tap + count]
        for index in range(count):
            filtered[index] += weight * moved[index]
    limit = full_scale * guard
    taken = 0.5 / (1.0 + 0.5 * leak)
    decay = (1.0 - 0.5 * leak) / (1.0 + 0.5 * leak)
    saturated = 0
    for index in range(count):
        value = filtered[index]
        once = decay * state[1] + taken * (state[0] + value)
        twice = decay * state[2] + taken * (state[1] + once)
        state[3] = decay * state[3] + taken * (state[2] + twice)
        state[0], state[1], state[2] = value, once, twice
        integrated = once + leak * (twice + leak * state[3])
        value = np.rint((value + integral * integrated) * guard)
        source = kept[at + shift + index]
        if source >= full_scale or value >= limit:
            out[index] = limit
            saturated += 1
        elif source <= -full_scale or value <= -limit:
            out[index] = -limit
            saturated += 1
        else:
            out[index] = np.int32(value)
    return saturated
