"""The flickermeter of IEC 61000-4-15 edition 2: from samples of voltage to the instantaneous sensation Pinst.

Blocks 1 to 4 of the standard: gain control to the mean of the half-cycle rms values (first order, 27.3 s),
squaring demodulator, weighting filters, squaring and sliding mean. Squares are taken at the rate of the
samples, decimated in the same pass to some 400 Hz, and everything after runs there (`flicker_filters` says
why nothing is lost). Block 5, the classifier, is `flicker_severity`.

Rule: what comes out depends on the samples alone, not on how the stream was cut; a feed that is refused
leaves the meter as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.power_quality.flicker_filters import SMOOTHING_S, decimator, weighting_bank
from openami.metrology.windows.lane_spectra import aligned
from openami.metrology.windows.lanes import (
    DOUBLES,
    LANES,
    load,
    load_doubles,
    splat,
    splat_double,
    store_doubles,
    total,
)
from openami.quantities.errors import MeteringError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ADAPTATION_S: Final = 27.3
"""Time constant of block 1: 10 % to 90 % of a step in one minute."""

SETTLING_S: Final = 5.0
"""After this time from the first sample, or from the return of a dead phase, Pinst is within 1 %."""

MINIMUM_RATE_HZ: Final = 1000.0
"""Below, squares of the voltage's harmonics fold back onto flicker."""

_OUTPUT_HZ: Final = 400.0
_SMOOTHING_STARTS_S: Final = 2.0
"""Block 4 begins to average when block 3 has forgotten that the carrier was switched on."""
_DEAD: Final = 0.05
"""Below this part of the reference a phase is interrupted, and block 1 keeps its reference."""
_RETURN: Final = 4.0
"""No swell multiplies a voltage like this: the phase was dead, and the meter starts anew on it."""
_BLOCK: Final = 4096
"""Samples squared at a time; they stay in the nearest cache."""
_LARGEST: Final = 1e15
"""Magnitude of a sample whose square single precision still holds with ease."""


@dataclass(frozen=True, slots=True)
class PinstColumns:
    """Instantaneous flicker sensation of a stretch of the stream."""

    position: I64
    """(n,) absolute index of the sample at which the decimation window of the value is centred."""
    pinst: F64
    """(phases, n), in units of the perceptibility threshold."""
    settled: Mask
    """(phases, n); false for the first seconds of a phase (`SETTLING_S`)."""


class _Memory(NamedTuple):
    """What a meter carries from one feed to the next; arrays of one row a phase."""

    waiting: F32
    """(phases, taps + factor) squares that a coming output still needs."""
    recent: F64
    """(phases, k - 1) the last decimated squares, newest last."""
    gain: F64
    """(phases, 4) rms reference of block 1 in the unit of the samples; outputs since the phase began, from
    the first whole half cycle; last input and output of block 4's sliding mean."""
    bank: F64
    """(phases, 2, `DOUBLES`) real and imaginary parts of block 3."""

    def copy(self) -> _Memory:
        return _Memory(self.waiting.copy(), self.recent.copy(), self.gain.copy(), self.bank.copy())


class _Design(NamedTuple):
    """Constants of a meter as the kernel takes them."""

    taps: F32
    """The decimator, then zeros up to a whole number of `LANES`."""
    centre: int
    """Delay of the decimator in samples."""
    half_cycle: F64
    """(k,) weights of the last decimated squares in the half-cycle mean square; that of the oldest, which
    stands first, is a fraction."""
    bank: F64
    """(4, `DOUBLES`): pole (real, imaginary) and residue (real, imaginary); zeros behind the seven poles."""
    adaptation: float
    smoothing: float
    square_gain: float
    smoothing_starts: int
    settles: int


class FlickerMeter:
    """Streaming flickermeter over the voltages of one to any number of phases.

    Parameters
    ----------
    rate_hz:
        Samples per second, at least 1 kHz.
    nominal_hz:
        50 or 60.
    lamp_v:
        120 or 230: the reference lamp, by the nominal voltage of the network (100 V class and 200 V class).
    phases:
        Voltages measured.

    Raises
    ------
    MeteringError
        A rate, nominal frequency, lamp or number of phases that cannot be measured with.

    Notes
    -----
    Source: IEC 61000-4-15:2010, clauses 5.2 to 5.6; constants as stated in `flicker_filters`. The scale of
    the samples does not matter. Block 1 averages all half cycles since the beginning until 27.3 s have
    passed, so that the gain is right within a second and not within minutes. While a phase is below 5 % of
    its reference the reference is kept; one that returns with more than four times its reference was dead
    when the meter started, and is measured as if it had just begun.

    Invariant: ``_held`` samples of each phase, from absolute index ``_first``, wait for their output.

    Examples
    --------
    >>> meter = FlickerMeter(6400.0, 50, 230, phases=3)
    >>> columns = meter.feed(u)  # u int32 or float64 (3, n)
    >>> columns.pinst.max(axis=1)  # after SETTLING_S
    """

    __slots__ = ("_design", "_factor", "_first", "_held", "_memory", "_phases", "_rate_hz")

    def __init__(self, rate_hz: float, nominal_hz: int, lamp_v: int, phases: int = 1) -> None:
        if not MINIMUM_RATE_HZ <= rate_hz < np.inf:
            raise MeteringError(
                f"flicker cannot be measured at {rate_hz} samples per second",
                expected=f"{MINIMUM_RATE_HZ:.0f} Hz or more",
            )
        if phases < 1:
            raise MeteringError(f"a flickermeter of {phases} phases", expected="one or more")
        factor = max(1, round(rate_hz / _OUTPUT_HZ))
        output_hz = rate_hz / factor
        bank = weighting_bank(lamp_v, nominal_hz, output_hz)
        taps = decimator(rate_hz, factor, nominal_hz)
        padded = aligned(-(-taps.size // LANES) * LANES)
        padded[: taps.size] = taps
        padded[taps.size :] = 0.0
        length = output_hz / (2 * nominal_hz)
        weights = np.minimum(1.0, length - np.arange(ceil(length))) / length
        parts = np.zeros((4, DOUBLES))
        parts[:2, : bank.poles.size] = bank.poles.real, bank.poles.imag
        parts[2:, : bank.poles.size] = 2 * bank.residues.real, 2 * bank.residues.imag
        self._design = _Design(
            taps=padded,
            centre=taps.size // 2,
            half_cycle=weights[::-1].copy(),
            bank=parts,
            adaptation=1 - exp(-1 / (output_hz * ADAPTATION_S)),
            smoothing=1 - exp(-1 / (output_hz * SMOOTHING_S)),
            square_gain=bank.square_gain,
            smoothing_starts=round(_SMOOTHING_STARTS_S * output_hz),
            settles=round(SETTLING_S * output_hz),
        )
        self._memory = _Memory(
            waiting=np.zeros((phases, padded.size + factor), np.float32),
            recent=np.zeros((phases, weights.size - 1)),
            gain=np.tile([0.0, 1.0 - weights.size, 0.0, 0.0], (phases, 1)),
            bank=np.zeros((phases, 2, DOUBLES)),
        )
        self._rate_hz = float(rate_hz)
        self._factor = factor
        self._phases = phases
        self._held = 0
        self._first = 0

    @property
    def output_rate_hz(self) -> float:
        """Values of Pinst per second and phase: the sample rate over a whole number, near 400 Hz."""
        return self._rate_hz / self._factor

    @property
    def reference(self) -> F64:
        """Rms reference of block 1, (phases,), in the unit of the samples; zero before a half cycle."""
        return self._memory.gain[:, 0].copy()

    def feed(self, u: F64 | I32) -> PinstColumns:
        """Take the next samples and give the Pinst that they complete.

        Parameters
        ----------
        u:
            (phases, n), int32 counts or float64 volts; any n, zero too.

        Raises
        ------
        MeteringError
            Another shape or type, or a sample that is no finite number; nothing was taken then.
        """
        samples = self._checked(u)
        available = self._held + samples.shape[1]
        taps = self._design.taps.size
        count = (available - taps) // self._factor + 1 if available >= taps else 0
        memory = self._memory.copy()
        pinst = np.empty((self._phases, count))
        settled = np.empty((self._phases, count), np.bool_)
        if not _advance(samples, self._held, self._factor, self._design, memory, pinst, settled):
            raise _bad_sample(samples, self._first + self._held)
        position = self._first + self._design.centre + self._factor * np.arange(count, dtype=np.int64)
        self._memory = memory
        self._first += count * self._factor
        self._held = available - count * self._factor
        return PinstColumns(position, pinst, settled)

    def _checked(self, u: F64 | I32) -> F64 | I32:
        if u.ndim != 2 or u.shape[0] != self._phases:
            raise MeteringError(
                f"samples of shape {u.shape} for a flickermeter of {self._phases} phases",
                where=f"sample {self._first + self._held}",
                expected=f"({self._phases}, n)",
            )
        if u.dtype not in (np.int32, np.float64):
            raise MeteringError(
                f"samples of type {u.dtype}",
                where=f"sample {self._first + self._held}",
                expected="int32 counts or float64 volts",
            )
        return u if u.flags.c_contiguous else u.copy()


def _bad_sample(u: F64 | I32, first: int) -> MeteringError:
    """Name the first sample that cannot be squared."""
    bad = ~(np.abs(u) < _LARGEST)
    index = int(bad.any(axis=0).argmax())
    phase = int(bad[:, index].argmax())
    return MeteringError(
        f"the voltage of phase {phase + 1} is {u[phase, index]}",
        where=f"sample {first + index}",
        expected="a finite number of volts",
    )


@njit(cache=True, nogil=True)
def _advance(
    u: F64 | I32, held: int, factor: int, design: _Design, memory: _Memory, pinst: F64, settled: Mask
) -> bool:  # pragma: no cover - compiled
    """Run blocks 1 to 4 over new samples; false when one of them is no finite number of volts."""
    before = memory.recent.shape[1]
    squares = np.empty(before + pinst.shape[1])
    rms = np.empty(pinst.shape[1])
    for phase in range(u.shape[0]):
        squares[:before] = memory.recent[phase]
        new = squares[before:]
        if not _demodulate(u[phase], held, factor, design.taps, memory.waiting[phase], new):
            return False
        _half_cycle_rms(squares, design.half_cycle, rms)
        _sense(new, rms, design, memory.gain[phase], memory.bank[phase], pinst[phase], settled[phase])
        memory.recent[phase] = squares[pinst.shape[1] :]
    return True


@njit(cache=True, nogil=True)
def _demodulate(
    u: F64 | I32, held: int, factor: int, taps: F32, waiting: F32, decimated: F64
) -> bool:  # pragma: no cover - compiled
    """Block 2: square one phase and decimate; false when a sample is no finite number of volts."""
    scratch = np.zeros(waiting.size + _BLOCK, np.float32)
    scratch[:held] = waiting[:held]
    output = 0
    for begin in range(0, u.size, _BLOCK):
        new = u[begin : begin + _BLOCK]
        if not _square(new, scratch[held : held + new.size]):
            return False
        held += new.size
        ready = max(0, min(decimated.size - output, (held - taps.size) // factor + 1))
        _decimate(scratch, factor, taps, decimated[output : output + ready])
        output += ready
        held -= ready * factor
        for index in range(held):
            scratch[index] = scratch[ready * factor + index]
    waiting[:held] = scratch[:held]
    return True


@njit(cache=True, nogil=True, fastmath={"reassoc"})  # the sum is compared with a bound that no sample is near
def _square(new: F64 | I32, squares: F32) -> bool:  # pragma: no cover - compiled
    """Squares of samples; false when one of them is no finite number of volts."""
    together = np.float32(0.0)
    for index in range(new.size):
        value = np.float32(new[index])
        square = value * value
        squares[index] = square
        together += square
    return bool(together < _LARGEST * _LARGEST)


@njit(cache=True, nogil=True)
def _decimate(squares: F32, factor: int, taps: F32, decimated: F64) -> None:  # pragma: no cover - compiled
    """Inner products of the decimator with the squares from every ``factor``-th on."""
    for output in range(decimated.size):
        mean = splat(np.float32(0.0))
        for tap in range(0, taps.size, LANES):
            mean = mean + load(taps, tap) * load(squares, output * factor + tap)
        decimated[output] = total(mean)


@njit(cache=True, nogil=True)
def _half_cycle_rms(squares: F64, weights: F64, rms: F64) -> None:  # pragma: no cover - compiled
    """Rms over the half cycle up to each of the last ``rms.size`` squares."""
    rms[:] = 0.0
    for index in range(weights.size):
        weight = weights[index]
        shifted = squares[index : index + rms.size]
        for output in range(rms.size):
            rms[output] += weight * shifted[output]
    for output in range(rms.size):
        rms[output] = np.sqrt(max(rms[output], 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _share(count: float, least: float) -> float:  # pragma: no cover - compiled
    """What a new value counts in a mean: one of ``count`` as long as that is more than ``least``."""
    return 1.0 / count if count * least < 1.0 else least


@njit(cache=True, nogil=True, error_model="numpy")
def _sense(
    squares: F64, rms: F64, design: _Design, gain: F64, bank: F64, pinst: F64, settled: Mask
) -> None:  # pragma: no cover - compiled
    """Blocks 1, 3 and 4 over the decimated squares of one phase; ``gain`` and ``bank`` are its state."""
    zero = splat_double(0.0)
    pole_real, pole_imaginary = load_doubles(design.bank, 0), load_doubles(design.bank, DOUBLES)
    residue_real, residue_imaginary = (
        load_doubles(design.bank, 2 * DOUBLES),
        load_doubles(design.bank, 3 * DOUBLES),
    )
    real, imaginary = load_doubles(bank, 0), load_doubles(bank, DOUBLES)
    reference, age, squared, smooth = gain[0], gain[1], gain[2], gain[3]
    for output in range(squares.size):
        age += 1.0
        change = 0.0
        if age >= 1.0:
            if age == 1.0 or rms[output] > _RETURN * reference:
                age = 1.0
                smooth = 0.0
                real, imaginary = zero, zero
                reference = rms[output]
            elif rms[output] >= _DEAD * reference:
                reference += (rms[output] - reference) * _share(age, design.adaptation)
            if reference > 0.0:
                change = squares[output] / (reference * reference) - 1.0
        turned = pole_real * imaginary + pole_imaginary * real
        real = splat_double(change) + pole_real * real - pole_imaginary * imaginary
        imaginary = turned
        sensation = total(residue_real * real - residue_imaginary * imaginary)
        before = squared
        squared = sensation * sensation * design.square_gain
        averaged = age - design.smoothing_starts
        if averaged > 0.0:
            # The mean of two inputs is where the one-pole filter has no lead of half a step.
            smooth += (0.5 * (before + squared) - smooth) * _share(averaged, design.smoothing)
        pinst[output] = smooth
        settled[output] = age >= design.settles
    store_doubles(bank, 0, real)
    store_doubles(bank, DOUBLES, imaginary)
    gain[0], gain[1], gain[2], gain[3] = reference, age, squared, smooth
