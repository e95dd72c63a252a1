"""What a measurement of a recorded waveform consists of: its windows as columns, and the whole."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.single_phase import SinglePhasePowers
from openami.metrology.powers.three_phase import ThreePhasePowers

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Wiring(Enum):
    """How the voltages and currents of a recording were taken."""

    EACH = "1p"
    """Each phase by itself; totals are sums."""
    FOUR_WIRE = "3p4w"
    """Three phases against the neutral."""
    THREE_WIRE = "3p3w"
    """Three phases against any common point, no neutral wire."""
    LINES = "3p3w-lines"
    """Line voltages u12, u23, u31 and the currents of the three phases."""
    ARON = "aron"
    """Two wattmeters: u12, u32 and i1, i3."""


class WindowMark(IntFlag):
    """What is to be known of a window besides its values."""

    NONE = 0
    SATURATED = 1
    """A channel stood at the limit of its converter, in the window or where its edges are found."""
    AFTER_GAP = 2
    """The first window after missing samples."""
    UNSYNCHRONISED = 4
    """No voltage to take the frequency from during at least a part of it, or hardly a fundamental in any."""
    REFERENCE_CHANGED = 8
    """No single phase had a voltage throughout."""
    SHORT = 16
    """Fewer cycles than the ten or twelve of IEC 61000-4-30, or a frequency from a fit."""


@dataclass(frozen=True, slots=True)
class HarmonicTable:
    """Harmonics 0 (constant) to 50 of each channel, over the windows: rms, and angle against U1 of L1."""

    rms: F64
    """(channels, 51), root-mean-square over the windows; NaN above 0.45 of the sampling rate."""
    degrees: F64
    """(channels, 51): angle of the mean phasor less h times that of the fundamental voltage of L1."""
    subgroup_distortion: F64
    """(channels,): THDS of IEC 61000-4-7 over orders 2 to 50, a ratio; NaN for windows of other lengths."""


@dataclass(frozen=True, slots=True)
class MeasuredWindows:
    """All windows as columns (w,) and (w, phases)."""

    start_s: F64
    """Seconds from sample 0 of the file."""
    duration_s: F64
    f_hz: F64
    marks: I64
    """`WindowMark` bits."""
    phases: SinglePhasePowers
    three: ThreePhasePowers | None


@dataclass(frozen=True, slots=True)
class Energies:
    """Energy of all samples that are there."""

    active_ws: F64
    """(phases,) sum of u * i over the sampling rate, signed."""
    imported_ws: float
    """Of the total, windows (and what lies between and around them) with P >= 0."""
    exported_ws: float
    q1_vars: F64
    """(phases,) fundamental reactive energy of the windows."""
    measured_s: float
    """Duration of the windows."""
    present_s: float
    """Duration of the samples that are there."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A recording measured."""

    wiring: Wiring
    nominal_hz: float
    cycles: int
    phases: SinglePhasePowers
    """Of the whole, fields (phases,)."""
    three: ThreePhasePowers | None
    f_hz: float
    """Cycles of the windows over their duration."""
    u_harmonics: HarmonicTable
    i_harmonics: HarmonicTable
    energies: Energies
    windows: MeasuredWindows
    left_out: int
    """Windows that are marked and not part of the whole."""
    samples: int
    missing: int
    """Samples between the first and the last that are not there or not finite."""
    saturated: int
    gaps: tuple[str, ...]
