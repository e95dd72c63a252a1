"""What the power quality analyser hands out for a stretch of a stream: columns, and events as objects.

The rule: joining the results of two stretches gives the results of the two fed as one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openami.metrology.power_quality.aggregation import Intervals
from openami.metrology.power_quality.events import Beginning, VoltageEvent
from openami.metrology.power_quality.flicker import PinstColumns
from openami.metrology.power_quality.half_cycle_rms import HalfCycleRms
from openami.metrology.power_quality.quantities import Quantities
from openami.metrology.power_quality.ten_second_frequency import FrequencyColumns
from openami.quantities.errors import MeteringError


@dataclass(frozen=True, slots=True, eq=False)
class PowerQualityResults:
    """What a stretch of the stream brought; every column in order of time.

    Parameters
    ----------
    windows:
        10/12-cycle windows.
    cycles_150, ten_minutes, two_hours:
        Their aggregates.
    frequency:
        Ten-second frequencies.
    half_cycles:
        Urms(1/2) and Irms(1/2), per phase.
    pinst:
        Instantaneous flicker sensation; positions are absolute.
    begun, events:
        Events that began, and events that are over.
    """

    windows: Intervals
    cycles_150: Intervals
    ten_minutes: Intervals
    two_hours: Intervals
    frequency: FrequencyColumns
    half_cycles: tuple[HalfCycleRms, ...]
    pinst: PinstColumns
    begun: tuple[Beginning, ...]
    events: tuple[VoltageEvent, ...]


def joined(parts: list[PowerQualityResults]) -> PowerQualityResults:
    """Results of consecutive stretches as those of one.

    Raises
    ------
    MeteringError
        No results.
    """
    if not parts:
        raise MeteringError("nothing to join", expected="results of one stretch or more")
    if len(parts) == 1:
        return parts[0]
    return PowerQualityResults(
        windows=_intervals([part.windows for part in parts]),
        cycles_150=_intervals([part.cycles_150 for part in parts]),
        ten_minutes=_intervals([part.ten_minutes for part in parts]),
        two_hours=_intervals([part.two_hours for part in parts]),
        frequency=FrequencyColumns(
            np.concatenate([part.frequency.tag_us for part in parts]),
            np.concatenate([part.frequency.f_hz for part in parts]),
            np.concatenate([part.frequency.cycles for part in parts]),
            np.concatenate([part.frequency.phase for part in parts]),
        ),
        half_cycles=tuple(
            _half_cycles([part.half_cycles[phase] for part in parts])
            for phase in range(len(parts[0].half_cycles))
        ),
        pinst=PinstColumns(
            np.concatenate([part.pinst.position for part in parts]),
            np.concatenate([part.pinst.pinst for part in parts], axis=1),
            np.concatenate([part.pinst.settled for part in parts], axis=1),
        ),
        begun=tuple(begun for part in parts for begun in part.begun),
        events=tuple(event for part in parts for event in part.events),
    )


def no_frequency() -> FrequencyColumns:
    """Frequencies of no interval."""
    none = np.empty(0, np.int64)
    return FrequencyColumns(none, np.empty(0), none, none)


def no_half_cycles(phases: int) -> tuple[HalfCycleRms, ...]:
    """No half cycles, of each phase."""
    none, no = np.empty(0), np.empty(0, np.bool_)
    return (HalfCycleRms(none, none, none, none, no, no),) * phases


def no_pinst(phases: int) -> PinstColumns:
    """No instantaneous flicker."""
    return PinstColumns(np.empty(0, np.int64), np.empty((phases, 0)), np.empty((phases, 0), np.bool_))


def _intervals(parts: list[Intervals]) -> Intervals:
    first = parts[0].quantities
    return Intervals(
        start=np.concatenate([part.start for part in parts]),
        end=np.concatenate([part.end for part in parts]),
        tag_us=np.concatenate([part.tag_us for part in parts]),
        windows=np.concatenate([part.windows for part in parts]),
        flags=np.concatenate([part.flags for part in parts]),
        quantities=Quantities(
            first.layout, np.concatenate([part.quantities.columns for part in parts]), first.declared_v
        ),
        pst=np.concatenate([part.pst for part in parts]),
        plt=np.concatenate([part.plt for part in parts]),
    )


def _half_cycles(parts: list[HalfCycleRms]) -> HalfCycleRms:
    return HalfCycleRms(
        start=np.concatenate([part.start for part in parts]),
        period=np.concatenate([part.period for part in parts]),
        u_v=np.concatenate([part.u_v for part in parts]),
        i_a=np.concatenate([part.i_a for part in parts]),
        rising=np.concatenate([part.rising for part in parts]),
        held=np.concatenate([part.held for part in parts]),
    )
