"""What the measuring principles of the field's history have in common: waveforms in, registered energy out.

Each principle is a physical simulation in the time domain, one sample a step: `FerrarisMeter`,
`TimeDivisionMeter`, `HallMeter`, `DigitalMeter`. Their parameters are typical figures of such meters,
recalled, of no product; `SOURCE` says so wherever they are shown.

Never to be broken: the state is carried from block to block, so that a stream may be cut anywhere and the
registered energy is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]

SOURCE = "typical of meters of the kind, recalled; no product, confirm before relying on it"
"""Provenance of every default parameter of a measuring principle."""


class Parameters(Protocol):
    """Parameters of a principle."""

    @property
    def phases(self) -> int:
        """Number of phases."""
        ...


class MeasuringPrinciple(Protocol):
    """A meter that turns voltages and currents into registered energy."""

    @property
    def rate_hz(self) -> float:
        """Rate at which `advance` takes samples."""
        ...

    @property
    def phases(self) -> int:
        """Number of phases, 1 to 3."""
        ...

    @property
    def settling_s(self) -> float:
        """How long after a change of the load the registration has settled."""
        ...

    def advance(self, u_v: F64, i_a: F64, *, temperature_c: float = 23.0) -> float:
        """Energy in Ws that was registered while these samples passed.

        Parameters
        ----------
        u_v, i_a:
            float64 (phases, n), V and A.
        temperature_c:
            Ambient temperature.

        Raises
        ------
        MeteringError
            Another shape, or values that are not numbers.
        """
        ...


def checked(u_v: F64, i_a: F64, phases: int, temperature_c: float) -> tuple[F64, F64]:
    """The samples as C-contiguous float64 of (phases, n).

    Raises
    ------
    MeteringError
        Another shape, or values that are not finite.
    """
    u, i = np.ascontiguousarray(u_v, np.float64), np.ascontiguousarray(i_a, np.float64)
    if u.ndim != 2 or u.shape != i.shape or u.shape[0] != phases:
        raise MeteringError(
            f"voltages of shape {u.shape} and currents of {i.shape}", expected=f"({phases}, n) both"
        )
    for name, block in (("voltage", u), ("current", i)):
        bad = np.argwhere(~np.isfinite(block))
        if bad.size:
            raise MeteringError(
                f"the {name} is not a number",
                where=f"phase {bad[0][0] + 1}, sample {bad[0][1]} of the block",
                expected="finite samples",
            )
    if not math.isfinite(temperature_c):
        raise MeteringError(f"a temperature of {temperature_c} °C", expected="a finite number")
    return u, i


def check_rate(rate_hz: float, nominal_hz: float) -> None:
    """Refuse a rate at which the principles are not simulated well.

    Raises
    ------
    MeteringError
        Below 64 samples a cycle.
    """
    if not (math.isfinite(rate_hz) and rate_hz >= 64.0 * nominal_hz):
        raise MeteringError(
            f"rate_hz = {rate_hz:g}", expected=f"64 samples a cycle and more, {64 * nominal_hz:g} Hz"
        )


def check_parameters(parameters: Parameters, positive: Iterable[str], kind: str) -> None:
    """Refuse a meter that nobody could build.

    Parameters
    ----------
    parameters:
        Those of a principle.
    positive:
        Which of them must be above zero.
    kind:
        What is made from them, for the message.

    Raises
    ------
    MeteringError
        One of them is not, or there are not one to three phases.
    """
    for name in positive:
        value = getattr(parameters, name)
        if not (math.isfinite(value) and value > 0):
            raise MeteringError(f"{name} = {value} of a {kind}", expected="above 0")
    if not 1 <= parameters.phases <= 3:
        raise MeteringError(f"a {kind} of {parameters.phases} phases", expected="1 to 3")
