"""Voltages and currents of one to three phases as one waveform, sampled by a common clock.

Sample k of every channel is taken at k / rate_hz less the delay of its channel, as exact rational numbers.
Never to be broken: the reference is computed from the signals, so noise, which has no closed form, is added
to samples only and belongs to no energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from openami.metrology.waveform.instants import Instants
from openami.metrology.waveform.noise import Noise
from openami.metrology.waveform.signal import Signal, Tone, Tones
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Delays = float | Sequence[float]
"""Seconds: one for all channels, or one per phase."""


class PhaseOrder(Enum):
    """Succession of the phases of a three-phase system."""

    FORWARD = "forward"
    """L1, L2, L3: phase 2 lags phase 1 by 120 degrees."""
    REVERSED = "reversed"
    """L1, L3, L2: phase 2 leads phase 1 by 120 degrees."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """What lies at the terminals of a meter.

    Parameters
    ----------
    u, i:
        Signals in V and in A, one per phase (1 to 3).
    neutral:
        Neutral current in A, where it is measured.
    name:
        For reports.
    noise:
        White noise added to samples, not to the reference.

    Raises
    ------
    MeteringError
        When voltages and currents are not equally many, or not 1 to 3.
    """

    u: tuple[Signal, ...]
    i: tuple[Signal, ...]
    neutral: Signal | None = None
    name: str = ""
    noise: Noise | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "u", tuple(self.u))
        object.__setattr__(self, "i", tuple(self.i))
        if len(self.u) != len(self.i) or not 1 <= len(self.u) <= 3:
            raise MeteringError(
                f"a waveform of {len(self.u)} voltages and {len(self.i)} currents",
                where=self.name or None,
                expected="one voltage and one current per phase, 1 to 3 phases",
            )

    @property
    def phases(self) -> int:
        """Number of phases."""
        return len(self.u)

    def sample(
        self,
        rate_hz: float,
        first_sample: int,
        count: int,
        u_delay_s: Delays = 0.0,
        i_delay_s: Delays = 0.0,
    ) -> tuple[F64, F64]:
        """Samples of voltages and currents, by absolute sample index.

        Parameters
        ----------
        rate_hz:
            Sampling rate.
        first_sample, count:
            Samples ``first_sample <= k < first_sample + count``; sample 0 is taken at t = 0.
        u_delay_s, i_delay_s:
            Delay of each channel in seconds: sample k is x(k / rate_hz - delay).

        Returns
        -------
        u, i:
            float64 (phases, count), V and A.

        Raises
        ------
        MeteringError
            For a rate, an index or delays that cannot be.
        """
        clock = Instants.of_samples(rate_hz, first_sample, count)
        u = _sampled(self.u, clock, _per_phase(u_delay_s, self.phases, "u_delay_s"))
        i = _sampled(self.i, clock, _per_phase(i_delay_s, self.phases, "i_delay_s"))
        if self.noise is not None:
            self.noise.add(u, i, first_sample)
        return u, i

    def sample_neutral(self, rate_hz: float, first_sample: int, count: int, delay_s: float = 0.0) -> F64:
        """Samples of the neutral current, float64 (count,), without noise.

        Raises
        ------
        MeteringError
            When the waveform has no neutral current.
        """
        if self.neutral is None:
            raise MeteringError(
                "the waveform has no neutral current",
                where=self.name or None,
                expected="Waveform(neutral=...)",
            )
        clock = Instants.of_samples(rate_hz, first_sample, count)
        return _sampled((self.neutral,), clock, (delay_s,)).reshape(count)

    def with_currents_scaled(self, gain: float) -> Waveform:
        """The same waveform with all currents (neutral too) times a factor."""
        return replace(
            self,
            i=tuple(signal.scaled(gain) for signal in self.i),
            neutral=None if self.neutral is None else self.neutral.scaled(gain),
        )


def balanced(
    u_v: float,
    i_a: float,
    angle_deg: float = 0.0,
    frequency_hz: float = 50.0,
    phases: int = 3,
    phase_order: PhaseOrder = PhaseOrder.FORWARD,
    name: str = "",
) -> Waveform:
    """Sinusoidal voltages and currents, alike in all phases; phase 1 has sine phase 0.

    Parameters
    ----------
    u_v, i_a:
        Rms of every phase.
    angle_deg:
        Angle by which current lags voltage (positive: inductive, Q > 0; beyond +-90: export).
    frequency_hz:
        Fundamental.
    phases:
        1 to 3; phases 2 and 3 lie at -120 and +120 degrees (exchanged when reversed).
    phase_order:
        Succession of the phases.
    """
    return unbalanced(
        (u_v,) * phases,
        phase_angles(phases, phase_order),
        (i_a,) * phases,
        (angle_deg,) * phases,
        frequency_hz,
        name,
    )


def single_phase(
    u_v: float, i_a: float, angle_deg: float = 0.0, frequency_hz: float = 50.0, name: str = ""
) -> Waveform:
    """A sinusoidal voltage and current; ``angle_deg`` > 0: the current lags."""
    return balanced(u_v, i_a, angle_deg, frequency_hz, phases=1, name=name)


def unbalanced(
    u_v: Sequence[float],
    u_phase_deg: Sequence[float],
    i_a: Sequence[float],
    angle_deg: Sequence[float],
    frequency_hz: float = 50.0,
    name: str = "",
) -> Waveform:
    """Sinusoidal voltages and currents of any magnitude and angle in each phase.

    Parameters
    ----------
    u_v, i_a:
        Rms of each phase.
    u_phase_deg:
        Sine phase of each voltage.
    angle_deg:
        Angle by which each current lags its own voltage.
    frequency_hz:
        Fundamental.

    Raises
    ------
    MeteringError
        When the sequences are not equally long.
    """
    if not len(u_v) == len(u_phase_deg) == len(i_a) == len(angle_deg):
        raise MeteringError(
            f"{len(u_v)} voltages, {len(u_phase_deg)} phases, {len(i_a)} currents, {len(angle_deg)} angles",
            where=name or None,
            expected="one of each per phase",
        )
    return Waveform(
        tuple(Tones(0.0, (Tone(frequency_hz, u, a),)) for u, a in zip(u_v, u_phase_deg, strict=True)),
        tuple(
            Tones(0.0, (Tone(frequency_hz, i, a - lag),))
            for i, a, lag in zip(i_a, u_phase_deg, angle_deg, strict=True)
        ),
        name=name,
    )


def phase_angles(phases: int, phase_order: PhaseOrder = PhaseOrder.FORWARD) -> tuple[float, ...]:
    """Sine phases of the voltages of a balanced system, in degrees.

    Raises
    ------
    MeteringError
        When there are not 1 to 3 phases.
    """
    if not 1 <= phases <= 3:
        raise MeteringError(f"{phases} phases", expected="1 to 3")
    forward = (0.0, -120.0, 120.0) if phase_order is PhaseOrder.FORWARD else (0.0, 120.0, -120.0)
    return forward[:phases]


def _per_phase(delays: Delays, phases: int, name: str) -> tuple[float, ...]:
    values = (float(delays),) * phases if isinstance(delays, int | float) else tuple(map(float, delays))
    if len(values) != phases or not np.isfinite(values).all():
        raise MeteringError(f"{name} is {delays}", expected=f"one finite number, or one per phase ({phases})")
    return values


def _sampled(signals: tuple[Signal, ...], clock: Instants, delays_s: tuple[float, ...]) -> F64:
    shifted = {delay: clock.minus(delay) if delay else clock for delay in set(delays_s)}
    out = np.empty((len(signals), len(clock)))
    for row, signal, delay in zip(out, signals, delays_s, strict=True):
        row[:] = signal.at(shifted[delay])
    return out
