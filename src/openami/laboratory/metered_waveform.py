"""A meter of a digital model that measures a described waveform, sample by sample, for whoever reads it.

Front end, compensation and energy path are those of the bench; the metering core over them has the interface
of every other, so that management core and protocols serve its registers. Rule never to be broken: the
samples are a function of model, seed and waveform alone, and come in order, once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openami.laboratory.software_meter import SoftwareMeter
from openami.meter.metering_core.waveform_core import FOUR_QUADRANTS, WaveformMeteringCore
from openami.metrology.energy.energy_path import EnergyPath
from openami.metrology.front_end.compensation import DynamicCompensation
from openami.metrology.front_end.front_end import FrontEnd
from openami.metrology.waveform.polyphase import Waveform
from openami.quantities.errors import MeteringError
from openami.quantities.obis import ObisCode

I32 = npt.NDArray[np.int32]

REFERENCE_TEMPERATURE_C = 23.0


class MeteredWaveform:
    """Compensated samples of a waveform behind a meter's front end; a `SampleSource`.

    Invariant: every sample is given once, in order; what the compensation holds back comes with the next.

    Parameters
    ----------
    meter:
        The meter: front end and calibration.
    waveform:
        What lies at its terminals, from its time 0 on.
    temperature_c:
        Temperature of the meter.

    Raises
    ------
    MeteringError
        The waveform has another number of phases than the meter.
    """

    def __init__(
        self, meter: SoftwareMeter, waveform: Waveform, temperature_c: float = REFERENCE_TEMPERATURE_C
    ) -> None:
        phases = meter.model.rating.phases
        if len(waveform.u) != phases or len(waveform.i) != phases:
            raise MeteringError(
                f"a waveform of {len(waveform.u)} voltages and {len(waveform.i)} currents",
                where=f"model {meter.model.name}",
                expected=f"{phases} of each",
            )
        self._front_end = FrontEnd(meter.parameters)
        self._waveform = waveform
        self._temperature_c = temperature_c
        self._compensation = None if meter.compensation is None else DynamicCompensation(meter.compensation)
        self._converted = 0
        self._given = 0
        self._u: I32 = np.empty((phases, 0), np.int32)
        self._i: I32 = np.empty((phases, 0), np.int32)

    def samples(self, first: int, count: int) -> tuple[I32, I32]:
        """Codes from sample ``first`` on, int32 (phases, count) each.

        Raises
        ------
        MeteringError
            ``first`` is not the sample after the last one given.
        """
        if first != self._given:
            raise MeteringError(f"sample {first} asked of a stream", expected=f"sample {self._given}")
        while self._u.shape[1] < count:
            self._convert(count - self._u.shape[1])
        u, i = self._u[:, :count].copy(), self._i[:, :count].copy()
        self._u, self._i = self._u[:, count:], self._i[:, count:]
        self._given += count
        return u, i

    def _convert(self, count: int) -> None:
        samples = self._front_end.convert(
            self._waveform, self._converted, count, temperature_c=self._temperature_c
        )
        self._converted += count
        if self._compensation is not None:
            samples = self._compensation.feed(samples.u, samples.i, temperature_c=self._temperature_c)
        self._u = np.concatenate((self._u, samples.u), axis=1)
        self._i = np.concatenate((self._i, samples.i), axis=1)


def waveform_core(
    meter: SoftwareMeter,
    waveform: Waveform,
    position_ms: int,
    *,
    digits: int = 9,
    channels: Sequence[ObisCode] = FOUR_QUADRANTS,
) -> WaveformMeteringCore:
    """A metering core that measures a waveform from an instant on.

    Parameters
    ----------
    meter:
        The meter, as `openami.laboratory.devices.device_source` makes it.
    waveform:
        What lies at its terminals; its time 0 is ``position_ms``.
    position_ms:
        Milliseconds of UTC since 1970.
    digits:
        Digits of the dials.
    channels:
        Registers that the meter has.
    """
    return WaveformMeteringCore(
        EnergyPath(meter.energy_settings),
        MeteredWaveform(meter, waveform),
        position_ms,
        digits,
        (0,) * len(channels),
        channels,
    )
