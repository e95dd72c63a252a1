"""Gates that open and close with the phase of a fundamental: thyristors, burst control, rectifiers.

The waveforms of the influence tests of IEC 62053-21/-22 and OIML R 46 (phase-fired, burst-fired, half-wave)
are sine waves behind such a gate. Never to be broken: a gate opens at the same instants for sampling and for
the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from openami.metrology.waveform.instants import Instants, whole_and_part
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_REACHED_TURN = 2.0**-46
"""An edge this close ahead counts as reached (0.3 fs at 50 Hz): samples on edges are all decided alike."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Open in spans ``[from, to)`` of the phase of a fundamental, repeated every ``cycles`` cycles.

    Parameters
    ----------
    frequency_hz:
        The fundamental.
    open_deg:
        Spans in degrees, 0 at the fundamental's rising zero crossing, up to 360 ``cycles``; in rising order.
    cycles:
        Cycles after which the gate repeats (4 for two cycles on, two off).
    phase_deg:
        Sine phase of the fundamental at t = 0, which is also where the gate stands in its ``cycles``: at -120
        a burst begins a third of a cycle after t = 0, at 240 it began two thirds of a cycle before.

    Raises
    ------
    MeteringError
        When frequency or spans cannot be.
    """

    frequency_hz: float
    open_deg: tuple[tuple[float, float], ...]
    cycles: int = 1
    phase_deg: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "open_deg", tuple((float(a), float(b)) for a, b in self.open_deg))
        if not (np.isfinite(self.frequency_hz) and self.frequency_hz > 0):
            raise MeteringError(f"a gate at {self.frequency_hz} Hz", expected="a positive frequency")
        if self.cycles < 1:
            raise MeteringError(f"a gate that repeats after {self.cycles} cycles", expected="1 or more")
        if not np.isfinite(self.phase_deg):
            raise MeteringError(f"a gate of phase {self.phase_deg} degrees", expected="a finite number")
        edges = [edge for span in self.open_deg for edge in span]
        rising = all(a < b for a, b in self.open_deg) and all(a <= b for a, b in pairwise(edges))
        if not edges or not rising or edges[0] < 0 or edges[-1] > 360 * self.cycles:
            raise MeteringError(
                f"a gate open in {self.open_deg} degrees",
                expected=f"spans in rising order within 0 to {360 * self.cycles}",
            )

    def open(self, instants: Instants) -> Mask:
        """True where the gate is open, bool (n,)."""
        whole, part = whole_and_part(instants, self.frequency_hz, self._phase_turns)
        position = np.mod(whole, self.cycles) + part
        position = np.where(position < -_REACHED_TURN, position + self.cycles, position)
        # Just before the end of a period counts as its end, and so as the beginning of the next.
        position = np.where(position >= self.cycles - _REACHED_TURN, position - self.cycles, position)
        is_open = np.zeros(len(instants), dtype=np.bool_)
        for begin, end in self.open_deg:
            is_open |= (position >= begin / 360 - _REACHED_TURN) & (position < end / 360 - _REACHED_TURN)
        return is_open

    def intervals(self, origin_s: Fraction, length_s: float) -> tuple[F64, F64]:
        """Beginnings and ends (m,) of the open spans on ``[0, length_s)`` from an origin, in seconds."""
        frequency = Fraction(self.frequency_hz)
        at_origin = (frequency * origin_s + self._phase_turns) / self.cycles
        first = at_origin.__floor__()
        periods = int(length_s * self.frequency_hz / self.cycles) + 3
        turns = np.arange(periods, dtype=np.float64) * self.cycles
        spans = []
        for span in self.open_deg:
            for edge in span:
                start = (first - at_origin) * self.cycles + Fraction(edge) / 360
                spans.append((turns + float(start)) / self.frequency_hz)
        begin = np.concatenate(spans[0::2])
        end = np.concatenate(spans[1::2])
        kept = (begin < length_s) & (end > 0)
        order = np.argsort(begin[kept], kind="stable")
        return np.maximum(begin[kept][order], 0.0), np.minimum(end[kept][order], length_s)

    def complement(self) -> Gate:
        """The gate that is open where this one is closed.

        Raises
        ------
        MeteringError
            When this gate never closes.
        """
        edges = [0.0, *(edge for span in self.open_deg for edge in span), 360.0 * self.cycles]
        spans = tuple((a, b) for a, b in zip(edges[0::2], edges[1::2], strict=True) if a < b)
        if not spans:
            raise MeteringError("a gate that never closes has no complement", expected="a gate that closes")
        return Gate(self.frequency_hz, spans, self.cycles, self.phase_deg)

    @property
    def _phase_turns(self) -> Fraction:
        return Fraction(self.phase_deg) / 360 % self.cycles
