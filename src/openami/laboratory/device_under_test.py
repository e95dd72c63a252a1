"""What the bench sees of a meter: it is exposed to a waveform and read, at the beginning and at the end.

A device is anything that gives `Observation`s: the software meter behind its front end, a simulated Ferraris
disc, or a meter on a real bench behind a driver. Rule never to be broken: the device knows the waveform only
through its own sensors; nothing of the reference reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openami.laboratory.conditions import REFERENCE_TEMPERATURE_C, Quantity
from openami.metrology.waveform.polyphase import Waveform
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the bench applies, and for how long.

    Parameters
    ----------
    waveform:
        Voltages and currents at the terminals; time 0 is when the load was switched on.
    begin_s:
        From when on the measurement may begin; the device has settled by then.
    part_s, parts:
        The device is read once, and again after each of ``parts`` parts of about ``part_s``, whole cycles of
        the waveform. A device that registers window by window is read where its windows end.
    temperature_c:
        Ambient temperature, degrees Celsius.
    run:
        Number of a repeated run; another one has other noise.
    """

    waveform: Waveform
    begin_s: float
    part_s: float
    parts: int
    temperature_c: float = REFERENCE_TEMPERATURE_C
    run: int = 0

    def __post_init__(self) -> None:
        if self.parts < 1 or not self.part_s > 0 or self.begin_s < 0:
            raise MeteringError(
                f"a measurement of {self.parts} x {self.part_s} s from {self.begin_s} s",
                expected="one part of more than 0 s or more, from 0 s on",
            )


@dataclass(frozen=True, slots=True)
class Observation:
    """What was read.

    Parameters
    ----------
    begin_s:
        True instant of the first reading.
    part_s:
        Time from each reading to the next, s, float64 (parts,).
    energy_ws:
        Advance of each register in each part, Ws, float64 (parts,); import less export, for apparent
        energy import and export together.
    resolution_ws:
        Smallest step of a register, Ws; 0 for one without steps.
    pulse_s:
        True instants of the pulses of active energy, ascending, float64 (pulses,).
    pulse_ws:
        Energy of one pulse, Ws; 0 for a device without pulses.
    pulse_resolution_s:
        Step in which the instants of pulses are known, s.
    flagged_parts:
        Parts in which the device said that its samples were not to be trusted (saturation).
    runs_evenly:
        False for a disc: it runs unevenly within a turn and was read after whole turns, so its parts do not
        differ by chance.
    """

    begin_s: float
    part_s: F64
    energy_ws: Mapping[Quantity, F64]
    resolution_ws: float = 0.0
    pulse_s: F64 = field(default_factory=lambda: np.empty(0))
    pulse_ws: float = 0.0
    pulse_resolution_s: float = 0.0
    flagged_parts: int = 0
    runs_evenly: bool = True

    @property
    def end_s(self) -> float:
        """True instant of the last reading."""
        return self.begin_s + math.fsum(self.part_s)


def pulse_instants(energy_ws: F64, ends_s: F64, pulse_ws: float) -> F64:
    """When a register that advances evenly within each part passes whole pulses.

    Parameters
    ----------
    energy_ws:
        Advance in each part, Ws, (parts,).
    ends_s:
        True instants between the parts, s, (parts + 1,).
    pulse_ws:
        Energy of one pulse, Ws.

    Returns
    -------
    Instants, s, ascending; none when a part did not advance.
    """
    if energy_ws.size == 0 or not bool(np.all(energy_ws > 0)):
        return np.empty(0)
    total = np.concatenate((np.zeros(1), np.cumsum(energy_ws)))
    marks = pulse_ws * np.arange(1, int(total[-1] // pulse_ws) + 1)
    return np.asarray(np.interp(marks, total, ends_s))


class DeviceUnderTest(Protocol):
    """A meter on the bench."""

    @property
    def settling_s(self) -> float:
        """How long the load must be on before the registers advance as they should."""
        ...

    @property
    def quantities(self) -> frozenset[Quantity]:
        """Which energies the device registers."""
        ...

    def observe(self, exposure: Exposure) -> Observation:
        """Expose the device and read it.

        Raises
        ------
        MeteringError
            The waveform has another number of phases than the device.
        """
        ...


class DeviceSource(Protocol):
    """Gives the device at an age."""

    def __call__(self, age_years: float) -> DeviceUnderTest:
        """The device after ``age_years`` in service, with the calibration of its first day."""
        ...
