"""Reading a front end at a calibration point: fundamental phasors of its counts, compared with the truth.

The phasors are three-parameter sine fits at the frequency of the reference (IEEE 1057-2017, 4.3), ten of
them a point, whose scatter is the uncertainty of their mean. Never to be broken: a point that saturates a
channel, or at which a channel shows nothing, gives no reading.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from openami.metrology.front_end.calibration_record import CalibrationPoint, PhaseReading, PointReading
from openami.metrology.front_end.front_end import FrontEnd
from openami.metrology.waveform.polyphase import balanced
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
C128 = npt.NDArray[np.complex128]

_FITS_PER_POINT = 10
_SETTLING_S = 0.4


def measure(front_end: FrontEnd, point: CalibrationPoint) -> PointReading:
    """What a front end shows at a point, compared with the truth.

    Raises
    ------
    MeteringError
        A channel saturates, or shows nothing.
    """
    waveform = balanced(point.u_v, point.i_a, point.angle_deg, point.frequency_hz, phases=front_end.phases)
    rate = front_end.rate_hz
    length = max(round(point.seconds * rate / _FITS_PER_POINT), 16)
    samples = front_end.convert(
        waveform, round(_SETTLING_S * rate), _FITS_PER_POINT * length, temperature_c=point.temperature_c
    )
    if bool(samples.saturated.any()):
        row, phase = (int(x[0]) for x in np.nonzero(samples.saturated))
        raise MeteringError(
            f"the {('voltage', 'current')[row]} channel saturates",
            where=f"phase {phase + 1}, {point}",
            expected="a point within full scale",
        )
    voltage = _fitted(samples.u, point.frequency_hz / rate, length)
    current = _fitted(samples.i, point.frequency_hz / rate, length)
    u_scale, i_scale = front_end.u_v_per_count, front_end.i_a_per_count
    truth = np.exp(-1j * math.radians(point.angle_deg)) * point.i_a / point.u_v
    phases = []
    for phase in range(front_end.phases):
        (u_phasor, u_mean), (i_phasor, i_mean) = voltage[phase], current[phase]
        if not (np.all(np.abs(u_phasor) > 0.5) and np.all(np.abs(i_phasor) > 0.5)):
            raise MeteringError(
                "a channel shows no signal", where=f"phase {phase + 1}, {point}", expected="a connected phase"
            )
        u_ratio = np.abs(u_phasor) * u_scale[phase] / point.u_v
        i_ratio = np.abs(i_phasor) * i_scale[phase] / point.i_a
        lead = np.angle(i_phasor / u_phasor / truth)
        root = math.sqrt(_FITS_PER_POINT)
        phases.append(
            PhaseReading(
                u_ratio=float(np.mean(u_ratio)),
                i_ratio=float(np.mean(i_ratio)),
                lead_rad=float(np.mean(lead)),
                u_offset_counts=float(np.mean(u_mean)),
                i_offset_counts=float(np.mean(i_mean)),
                u_ratio_std=float(np.std(u_ratio, ddof=1)) / root,
                i_ratio_std=float(np.std(i_ratio, ddof=1)) / root,
                lead_rad_std=float(np.std(lead, ddof=1)) / root,
            )
        )
    return PointReading(point, tuple(phases))


def _fitted(counts: I32, relative_frequency: float, length: int) -> list[tuple[C128, F64]]:
    """Phasors (fits,) and means (fits,) of each channel, from sine fits over ``length`` samples each."""
    fits = counts.shape[1] // length
    turn = 2.0 * np.pi * ((np.arange(fits * length) * relative_frequency) % 1.0).reshape(fits, length)
    out = []
    for channel in counts:
        rows = channel.reshape(fits, length).astype(np.float64)
        phasor, mean = np.empty(fits, np.complex128), np.empty(fits)
        for fit in range(fits):
            base = np.stack((np.cos(turn[fit]), np.sin(turn[fit]), np.ones(length)), axis=1)
            a, b, c = np.linalg.solve(base.T @ base, base.T @ rows[fit])
            phasor[fit], mean[fit] = complex(a, -b) / math.sqrt(2.0), c
        out.append((phasor, mean))
    return out
