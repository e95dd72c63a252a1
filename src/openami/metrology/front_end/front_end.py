"""A front end: sensors and converter of all channels, from a waveform in V and A to int32 counts.

The stream is looked at in *operating blocks* of a fifth of a second, counted from sample 0. In each block
every channel has one operating state (rms load, direct component, temperature, time since sample 0), and
with it one frequency response; `openami.metrology.front_end.response` passes the signal through it, and the
converter counts.

Never to be broken: the counts of a sample depend on the parameters, the waveform, the temperature and the
absolute index of the sample. `FrontEnd.convert` gives the same counts however the stream is cut, in whatever
order the parts are asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.metrology.front_end.converter import ConverterModel, noise_key, normal_deviates
from openami.metrology.front_end.response import (
    ChannelResponse,
    SteadyTones,
    pass_tones,
    sample_tones,
    steady_tones,
    strongest_tone_hz,
)
from openami.metrology.front_end.sensor import Operation, SensorModel
from openami.metrology.waveform.polyphase import Waveform
from openami.metrology.waveform.signal import Signal
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_BLOCK_S = 0.2
_CLOCK_CHANNEL = 1 << 16
_MOST_CACHED_BLOCKS = 2
_MOST_PHASES = 3
_COLDEST_C, _HOTTEST_C = -60.0, 120.0


@dataclass(frozen=True, slots=True)
class ChannelModel:
    """One channel: its sensor and its converter."""

    sensor: SensorModel
    converter: ConverterModel

    def response(self, operation: Operation) -> ChannelResponse:
        """Frequency response from the terminals to the count (in the units of the terminals)."""
        return self.sensor.response(operation).behind(
            self.converter.gain(operation.temperature_c),
            self.converter.delay_s,
            self.converter.anti_alias_hz,
        )


@dataclass(frozen=True, slots=True)
class FrontEndParameters:
    """All there is to know of a front end.

    Parameters
    ----------
    rate_hz:
        Nominal sampling rate.
    voltage, current:
        Channels (phases,).
    nominal_hz:
        Nominal frequency of the grid, 50 or 60.
    clock_error_ppm:
        Error of the sampling clock: sample k is taken at k / (rate_hz · (1 + error)).
    jitter_s:
        Standard deviation of the sampling instants, common to all channels.
    seed:
        Makes the noise of this device.
    name, source:
        What it describes, and where its numbers come from.

    Raises
    ------
    MeteringError
        Channels that do not fit together, or a rate, clock error or jitter that cannot be.
    """

    rate_hz: float
    voltage: tuple[ChannelModel, ...]
    current: tuple[ChannelModel, ...]
    nominal_hz: float = 50.0
    clock_error_ppm: float = 0.0
    jitter_s: float = 0.0
    seed: int = 1
    name: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.voltage) == len(self.current) <= _MOST_PHASES:
            raise MeteringError(
                f"a front end of {len(self.voltage)} voltage and {len(self.current)} current channels",
                expected="one of each per phase, 1 to 3 phases",
            )
        if not (math.isfinite(self.nominal_hz) and 10.0 <= self.nominal_hz <= 100.0):
            raise MeteringError(f"nominal_hz = {self.nominal_hz:g}", expected="a grid's frequency, 50 or 60")
        if not (math.isfinite(self.rate_hz) and self.rate_hz >= 4.0 * self.nominal_hz):
            raise MeteringError(
                f"rate_hz = {self.rate_hz:g}",
                expected=f"at least 4 samples per cycle of {self.nominal_hz:g} Hz",
            )
        if not abs(self.clock_error_ppm) <= 1e4:
            raise MeteringError(f"clock_error_ppm = {self.clock_error_ppm:g}", expected="within ±10000")
        if not 0.0 <= self.jitter_s * self.rate_hz < 0.5:
            raise MeteringError(
                f"jitter_s = {self.jitter_s:g}", expected="0 or more, below half a sampling interval"
            )
        widths = {channel.converter.bits for channel in self.voltage + self.current}
        if len(widths) != 1:
            raise MeteringError(
                f"converters of {sorted(widths)} bits in one front end", expected="one width for all channels"
            )

    @property
    def phases(self) -> int:
        """Number of phases, 1 to 3."""
        return len(self.voltage)

    @property
    def full_scale_counts(self) -> int:
        """Largest count of every channel."""
        return self.voltage[0].converter.full_scale_counts

    @property
    def block_samples(self) -> int:
        """Samples of an operating block, a fifth of a second."""
        return round(self.rate_hz * _BLOCK_S)


@dataclass(frozen=True, slots=True)
class Samples:
    """Counts of all channels over a span of the stream.

    Parameters
    ----------
    u, i:
        int32 (phases, n), C-contiguous.
    first_sample:
        Absolute index of the first column.
    saturation_counts:
        int64 (2, phases): how many samples were at full scale; row 0 voltages, row 1 currents.
    """

    u: I32
    i: I32
    first_sample: int
    saturation_counts: I64

    @property
    def saturated(self) -> Mask:
        """True (2, phases) for channels that met full scale; row 0 voltages, row 1 currents."""
        return self.saturation_counts > 0


@dataclass(frozen=True, slots=True)
class _Block:
    """What reaches the converter of one channel in one operating block: steady tones, or samples."""

    tones: SteadyTones | None
    values: F64


class FrontEnd:
    """Sensors and converter of a meter.

    Invariant: `convert` is a function of its arguments; what the object remembers (the last operating
    blocks) only saves time.

    Parameters
    ----------
    parameters:
        What the front end is made of.
    """

    def __init__(self, parameters: FrontEndParameters) -> None:
        self.parameters = parameters
        self._channels = parameters.voltage + parameters.current
        self._keys = tuple(noise_key(parameters.seed, channel) for channel in range(len(self._channels)))
        self._clock_key = noise_key(parameters.seed, _CLOCK_CHANNEL)
        self._clock_hz = Fraction(parameters.rate_hz) * (1 + Fraction(parameters.clock_error_ppm) / 10**6)
        self._cached: dict[tuple[int, int], _Block] = {}
        self._cached_for: tuple[Waveform, float] | None = None

    @property
    def rate_hz(self) -> float:
        """Nominal sampling rate."""
        return self.parameters.rate_hz

    @property
    def phases(self) -> int:
        """Number of phases, 1 to 3."""
        return self.parameters.phases

    @property
    def full_scale_counts(self) -> int:
        """Largest count of every channel."""
        return self.parameters.full_scale_counts

    @property
    def u_v_per_count(self) -> F64:
        """Nominal scale of the voltage channels, V per count, float64 (phases,)."""
        return np.array([channel.converter.units_per_count for channel in self.parameters.voltage])

    @property
    def i_a_per_count(self) -> F64:
        """Nominal scale of the current channels, A per count, float64 (phases,)."""
        return np.array([channel.converter.units_per_count for channel in self.parameters.current])

    def instant_s(self, sample: int) -> Fraction:
        """True instant of a sample in seconds, exact; differs from sample / rate_hz by the clock's error."""
        return sample / self._clock_hz

    def convert(
        self, waveform: Waveform, first_sample: int, count: int, *, temperature_c: float = 23.0
    ) -> Samples:
        """Counts of a waveform.

        Parameters
        ----------
        waveform:
            Voltages and currents, of as many phases as the front end has.
        first_sample, count:
            Absolute index of the first sample, and how many.
        temperature_c:
            Ambient temperature in °C.

        Returns
        -------
        Samples of shape (phases, count).

        Raises
        ------
        MeteringError
            Another number of phases, a negative index or count, a temperature out of -60 .. 120 °C, or a
            waveform that is not a number somewhere.
        """
        phases = self.phases
        if not len(waveform.u) == len(waveform.i) == phases:
            raise MeteringError(
                f"a waveform of {len(waveform.u)} voltages and {len(waveform.i)} currents",
                where=f"front end {self.parameters.name}".strip(),
                expected=f"{phases} of each",
            )
        if first_sample < 0 or count < 0:
            raise MeteringError(
                f"{count} samples from sample {first_sample}", expected="an index and a count of 0 or more"
            )
        if not _COLDEST_C <= temperature_c <= _HOTTEST_C:
            raise MeteringError(
                f"a temperature of {temperature_c:g} °C", expected=f"{_COLDEST_C:g} .. {_HOTTEST_C:g} °C"
            )
        self._forget_unless(waveform, temperature_c)
        counts = np.empty((2 * phases, count), np.int32)
        saturated = np.zeros(2 * phases, np.int64)
        signals = tuple(waveform.u) + tuple(waveform.i)
        size = self.parameters.block_samples
        done = 0
        while done < count:
            block, inside = divmod(first_sample + done, size)
            length = min(size - inside, count - done)
            seconds = self._seconds(block, inside, length)
            span = self.instant_s(block * size), self.instant_s((block + 1) * size)
            values = np.empty((2 * phases, length))
            for channel, signal in enumerate(signals):
                state = self._block(channel, signal, block, span, temperature_c)
                if state.tones is None:
                    values[channel] = state.values[inside : inside + length]
                else:
                    values[channel] = sample_tones(state.tones, seconds)
            if waveform.noise is not None:
                waveform.noise.add(values[:phases], values[phases:], first_sample + done)
            for channel, model in enumerate(self._channels):
                saturated[channel] += model.converter.convert(
                    values[channel],
                    first_sample + done,
                    self._keys[channel],
                    counts[channel, done : done + length],
                )
            done += length
        return Samples(counts[:phases], counts[phases:], first_sample, saturated.reshape(2, phases))

    def _forget_unless(self, waveform: Waveform, temperature_c: float) -> None:
        known = self._cached_for
        if known is None or known[0] is not waveform or known[1] != temperature_c:
            self._cached.clear()
            self._cached_for = (waveform, temperature_c)

    def _seconds(self, block: int, inside: int, length: int) -> F64:
        """Instants of samples of a block, counted from the block's first."""
        seconds = np.arange(inside, inside + length) / float(self._clock_hz)
        if self.parameters.jitter_s:
            first = block * self.parameters.block_samples + inside
            seconds += self.parameters.jitter_s * normal_deviates(self._clock_key, first, length)
        return seconds

    def _block(
        self, channel: int, signal: Signal, block: int, span: tuple[Fraction, Fraction], temperature_c: float
    ) -> _Block:
        known = self._cached.get((channel, block))
        if known is not None:
            return known
        begin, end = span
        pieces = signal.pieces(begin, end)
        tones = steady_tones(pieces, float(end - begin))
        model = self._channels[channel]
        if tones is not None:
            rms, dc, values = tones.rms, tones.dc, np.empty(0)
        else:
            times = float(begin) + self._seconds(block, 0, self.parameters.block_samples)
            values = signal.sample(times)
            strongest_hz = strongest_tone_hz(pieces, self.parameters.nominal_hz)
            rms = math.sqrt(float(np.mean(values * values)))
            dc = _mean_of_whole_cycles(values, float(self._clock_hz) / strongest_hz)
        response = model.response(
            Operation(
                load=rms / model.sensor.rated,
                dc_load=abs(dc) / model.sensor.rated,
                temperature_c=temperature_c,
                seconds_on=float(begin),
            )
        )
        if tones is None:
            gain, delay_s, dc_gain = response.as_gain_and_delay(strongest_hz)
            state = _Block(None, gain * signal.sample(times - delay_s) + (dc_gain - gain) * dc)
        else:
            state = _Block(pass_tones(tones, response), values)
        while len(self._cached) >= _MOST_CACHED_BLOCKS * len(self._channels):
            del self._cached[next(iter(self._cached))]
        self._cached[channel, block] = state
        return state


def worsened(
    parameters: FrontEndParameters,
    *,
    current_ratio_percent: float = 0.0,
    current_phase_minutes: float = 0.0,
    voltage_ratio_percent: float = 0.0,
    voltage_phase_minutes: float = 0.0,
) -> FrontEndParameters:
    """The same front end with sensors made worse by stated amounts, in every phase.

    A ratio error is a further factor on what the sensor gives; a phase displacement is added at the rated
    frequency (positive: the output leads more) and follows the sensor's own law at other frequencies.
    """

    def shifted(channel: ChannelModel, ratio_percent: float, phase_minutes: float) -> ChannelModel:
        errors = channel.sensor.errors.shifted(ratio_percent, phase_minutes)
        return replace(channel, sensor=replace(channel.sensor, errors=errors))

    return replace(
        parameters,
        voltage=tuple(shifted(c, voltage_ratio_percent, voltage_phase_minutes) for c in parameters.voltage),
        current=tuple(shifted(c, current_ratio_percent, current_phase_minutes) for c in parameters.current),
    )


def _mean_of_whole_cycles(values: F64, samples_per_cycle: float) -> float:
    """Mean over the whole cycles that the samples hold (over all of them when they hold none)."""
    cycles = math.floor(values.size / samples_per_cycle + 1e-9)
    if cycles == 0:
        return float(np.mean(values))
    length = min(cycles * samples_per_cycle, float(values.size))
    whole = math.floor(length)
    total = float(np.sum(values[:whole]))
    if whole < values.size:
        total += (length - whole) * float(values[whole])
    return total / length
