"""Losses between the meter and the billed point: transformer and line (IEC 62056-6-1, C = 83 [recalled]).

    load losses     P_cu (I/In)²     magnetising   Q_fe (U/Un)^4
    no-load losses  P_fe (U/Un)²     series        Q_x  (I/In)²

The squares are those of the window; each phase has a third of a three-phase transformer's losses. A²h and
V²h are registers of their own, from which the active losses can be computed anew. Rule never to be broken:
the measured registers are never touched by a compensation; compensated energy has its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from openami.quantities.errors import MeteringError


class BillingPoint(IntEnum):
    """Where the billed point lies, seen from the meter; the value is the sign of the losses."""

    UPSTREAM = 1
    """On the grid's side of transformer and line: losses add to import."""
    METER = 0
    """Here: losses are registered, and compensated energy is the measured one."""
    DOWNSTREAM = -1
    """On the customer's side: losses are taken from import."""


@dataclass(frozen=True, slots=True)
class LossCompensation:
    """Nameplate losses, of all phases together, at rated voltage and current.

    Parameters
    ----------
    load_w:
        P_cu, W at In.
    no_load_w:
        P_fe, W at Un.
    series_var:
        Q_x, var at In.
    magnetising_var:
        Q_fe, var at Un.
    point:
        Where the billed point lies.

    Raises
    ------
    MeteringError
        A loss that is negative or not finite.
    """

    load_w: float = 0.0
    no_load_w: float = 0.0
    series_var: float = 0.0
    magnetising_var: float = 0.0
    point: BillingPoint = BillingPoint.METER

    def __post_init__(self) -> None:
        for name in ("load_w", "no_load_w", "series_var", "magnetising_var"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise MeteringError(f"a loss {name} of {value}", expected="0 or more, finite")

    def factors(
        self, phases: int, u_v_per_count: float, i_a_per_count: float, nominal_v: float, rated_a: float
    ) -> tuple[float, float, float, float]:
        """Losses of a phase by count²: load W, no-load W, series var; magnetising var by count^4."""
        current = (i_a_per_count / rated_a) ** 2 / phases
        voltage = (u_v_per_count / nominal_v) ** 2
        return (
            self.load_w * current,
            self.no_load_w * voltage / phases,
            self.series_var * current,
            self.magnetising_var * voltage * voltage / phases,
        )
