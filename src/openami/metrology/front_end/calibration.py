"""Calibration: what a reference and the meter say at stated points becomes the corrections of each channel.

At every point (voltage, current, angle, temperature, frequency) voltage and current of each phase are
compared with the reference as fundamental phasors (`measure`): the ratio
of each channel, and how far the current channel leads the voltage channel beyond the truth. Only this
*relative* displacement makes an error of power, and only it can be seen from outside; it is made up for on
the current channel.

The first temperature, the first frequency and the load nearest to 1 of the points are the reference
condition. Points of other loads there give the tables; points of other temperatures the temperature
coefficients; points of other frequencies tell a delay (displacement as f) from a lower corner (as 1/f).
Without them all displacement is taken as a delay.

Never to be broken: nothing is extrapolated from points that were not measured, and a correction that no
sound front end needs is refused with the point and the phase that asked for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openami.metrology.front_end.calibration_reading import measure
from openami.metrology.front_end.calibration_record import (
    CalibrationPoint,
    CalibrationRecord,
    PhaseReading,
    PointReading,
    Residual,
)
from openami.metrology.front_end.channel_correction import ChannelCorrection
from openami.metrology.front_end.compensation import CompensationSettings
from openami.metrology.front_end.front_end import FrontEnd
from openami.metrology.front_end.front_end_toml import TableReader
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]

_LARGEST_RATIO_ERROR = 0.10
_LARGEST_DISPLACEMENT_RAD = math.radians(8.0)
_SMALLEST_TEMPERATURE_STEP_K = 5.0
_SMALLEST_FREQUENCY_STEP_HZ = 1.0
_LOW_LOAD = 0.1
_LONGER_AT_LOW_LOAD = 5.0


@dataclass(frozen=True, slots=True)
class Reference:
    """The standard that was measured against.

    Parameters
    ----------
    name:
        What it is.
    ratio_uncertainty_ppm, phase_uncertainty_urad:
        Its standard uncertainty (k = 1) for a voltage or current, and for the angle between them.
    """

    name: str
    ratio_uncertainty_ppm: float = 0.0
    phase_uncertainty_urad: float = 0.0


GENERATOR = Reference("the waveform generator, exact")
"""The reference of a calibration in software."""


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """At what a kind of meter is calibrated; the first value of each list is the reference condition.

    Parameters
    ----------
    load:
        Currents in multiples of the rated current.
    temperature_c, frequency_hz:
        Temperatures and frequencies.
    angle_deg:
        Angle of the current, lagging.
    seconds:
        How long a point is measured; one below a tenth of the rated current five times as long, because the
        noise of the converter weighs more there.
    """

    load: tuple[float, ...] = (1.0,)
    temperature_c: tuple[float, ...] = (23.0,)
    frequency_hz: tuple[float, ...] = (50.0,)
    angle_deg: float = 60.0
    seconds: float = 2.0

    def __post_init__(self) -> None:
        if not (self.load and self.temperature_c and self.frequency_hz):
            raise MeteringError(
                "a calibration plan without points", expected="a load, temperature, frequency"
            )
        if not 0.2 <= self.seconds <= 3600.0:
            raise MeteringError(f"{self.seconds:g} s a point", expected="0.2 .. 3600 s")

    def points(self, u_v: float, rated_a: float) -> tuple[CalibrationPoint, ...]:
        """The plan's points: all loads at the first temperature and frequency, the rest at one load."""
        main = min(self.load, key=lambda load: abs(math.log(load)))
        first_c, first_hz = self.temperature_c[0], self.frequency_hz[0]

        def point(load: float, temperature_c: float, frequency_hz: float) -> CalibrationPoint:
            seconds = self.seconds * (_LONGER_AT_LOW_LOAD if load < _LOW_LOAD else 1.0)
            return CalibrationPoint(u_v, load * rated_a, self.angle_deg, temperature_c, frequency_hz, seconds)

        return (
            *(point(load, first_c, first_hz) for load in self.load),
            *(point(main, other, first_hz) for other in self.temperature_c[1:]),
            *(point(main, first_c, other) for other in self.frequency_hz[1:]),
        )


def calibration_plan_from_table(table: Mapping[str, object], where: str = "calibration") -> CalibrationPlan:
    """The plan in the ``[calibration]`` table of a model.

    Keys: ``load``, ``temperature_c``, ``frequency_hz`` (lists), ``angle_deg``, ``seconds``; see
    `CalibrationPlan`.

    Raises
    ------
    FormatError
        A key that is not known, or a value of another type.
    MeteringError
        No plan can be made of the values.
    """
    reader = TableReader(table, where)
    standard = CalibrationPlan()
    plan = CalibrationPlan(
        reader.numbers("load", standard.load),
        reader.numbers("temperature_c", standard.temperature_c),
        reader.numbers("frequency_hz", standard.frequency_hz),
        reader.number("angle_deg", standard.angle_deg),
        reader.number("seconds", standard.seconds),
    )
    reader.close()
    return plan


def calibrate(
    front_end: FrontEnd,
    points: Sequence[CalibrationPoint],
    *,
    at: datetime,
    who: str,
    meter: str = "",
    reference: Reference = GENERATOR,
) -> CalibrationRecord:
    """Measure a front end at points against the waveform generator and solve its corrections.

    Parameters
    ----------
    front_end:
        The device.
    points:
        What to measure; `CalibrationPlan.points` makes a usual set.
    at:
        When, with a time zone.
    who, meter:
        Who calibrated which device.
    reference:
        The standard; its uncertainty enters that of the corrections.

    Raises
    ------
    MeteringError
        A point that saturates or is not measurable, too few points, or a correction out of all proportion.
    """
    return solve(
        front_end,
        tuple(measure(front_end, point) for point in points),
        at=at,
        who=who,
        meter=meter,
        reference=reference,
    )


def solve(
    front_end: FrontEnd,
    readings: Sequence[PointReading],
    *,
    at: datetime,
    who: str,
    meter: str = "",
    reference: Reference = GENERATOR,
) -> CalibrationRecord:
    """Corrections from readings (which may come from another bench as well as from `measure`).

    Raises
    ------
    MeteringError
        Too few points, or a correction out of all proportion.
    """
    if not readings:
        raise MeteringError("a calibration without points", expected="at least one point")
    if at.tzinfo is None:
        raise MeteringError(f"the time {at} of a calibration has no zone", expected="an instant with a zone")
    phases = front_end.phases
    for reading in readings:
        _refuse_nonsense(reading, phases)
    voltage, current = [], []
    for phase in range(phases):
        u, i = front_end.parameters.voltage[phase], front_end.parameters.current[phase]
        columns = _columns(readings, phase)
        main = _reference_point(readings, i.sensor.rated)
        u_pole_hz, i_pole_hz = u.converter.anti_alias_hz, i.converter.anti_alias_hz
        voltage.append(_voltage_correction(columns, main, u.sensor.rated, u_pole_hz))
        current.append(_current_correction(columns, main, i.sensor.rated, i_pole_hz, u_pole_hz))
    return CalibrationRecord(
        meter=meter,
        at=at,
        who=who,
        reference=reference.name,
        reference_ratio_ppm=reference.ratio_uncertainty_ppm,
        reference_phase_urad=reference.phase_uncertainty_urad,
        rate_hz=front_end.rate_hz,
        nominal_hz=front_end.parameters.nominal_hz,
        readings=tuple(readings),
        residuals=tuple(
            tuple(
                _residual(reading.point, shown, u, i, reference)
                for shown, u, i in zip(reading.phases, voltage, current, strict=True)
            )
            for reading in readings
        ),
        voltage=tuple(voltage),
        current=tuple(current),
    )


def compensation_settings(
    front_end: FrontEnd, record: CalibrationRecord, *, guard_bits: int = 0
) -> CompensationSettings:
    """Settings of the compensation that a calibrated front end runs with.

    Raises
    ------
    MeteringError
        The record is of a front end of another rate, frequency or number of phases.
    """
    own = (front_end.rate_hz, front_end.parameters.nominal_hz, front_end.phases)
    recorded = (record.rate_hz, record.nominal_hz, len(record.voltage))
    if own != recorded:
        raise MeteringError(
            f"a calibration for rate, frequency and phases {recorded}", expected=f"one for {own}"
        )
    return CompensationSettings(
        rate_hz=front_end.rate_hz,
        u_v_per_count=tuple(float(x) for x in front_end.u_v_per_count),
        i_a_per_count=tuple(float(x) for x in front_end.i_a_per_count),
        full_scale_counts=front_end.full_scale_counts,
        voltage=record.voltage,
        current=record.current,
        nominal_hz=front_end.parameters.nominal_hz,
        guard_bits=guard_bits,
    )


class _Columns(NamedTuple):
    """The readings of one phase as columns (points,)."""

    u_v: F64
    i_a: F64
    temperature_c: F64
    frequency_hz: F64
    u_ratio: F64
    i_ratio: F64
    lead_rad: F64
    u_offset_counts: F64
    i_offset_counts: F64


def _columns(readings: Sequence[PointReading], phase: int) -> _Columns:
    rows = [
        (
            reading.point.u_v,
            reading.point.i_a,
            reading.point.temperature_c,
            reading.point.frequency_hz,
            shown.u_ratio,
            shown.i_ratio,
            shown.lead_rad,
            shown.u_offset_counts,
            shown.i_offset_counts,
        )
        for reading in readings
        for shown in (reading.phases[phase],)
    ]
    return _Columns(*np.array(rows, np.float64).T)


def _voltage_correction(
    columns: _Columns, main: CalibrationPoint, rated: float, pole_hz: float
) -> ChannelCorrection:
    """Gain over voltage, its temperature coefficient, pole and offset."""
    plain = (columns.temperature_c == main.temperature_c) & (columns.frequency_hz == main.frequency_hz)
    applied, ratio = _table(columns.u_v, columns.u_ratio, plain & (columns.i_a == main.i_a))
    pole = abs(1.0 + 1j * main.frequency_hz / pole_hz)
    nothing = (0.0,) * applied.size
    return ChannelCorrection(
        rated=rated,
        load=_tuple(applied * ratio / rated),
        gain=_tuple(1.0 / ratio / pole),
        advance_s=nothing,
        corner_hz=nothing,
        gain_per_k=-_per_kelvin(columns, main, np.log(columns.u_ratio)),
        reference_temperature_c=main.temperature_c,
        pole_hz=pole_hz,
        offset_counts=float(np.mean(columns.u_offset_counts)),
    )


def _current_correction(
    columns: _Columns, main: CalibrationPoint, rated: float, pole_hz: float, u_pole_hz: float
) -> ChannelCorrection:
    """Gain, delay and corner over current, their temperature coefficients, pole and offset.

    The load of a table is the one the meter shows before correction: by that it will be looked up.
    """
    f = main.frequency_hz
    # restoring the poles turns both channels; what is left is a delay and a corner
    restored = np.arctan(columns.frequency_hz / pole_hz) - np.arctan(columns.frequency_hz / u_pole_hz)
    lead = columns.lead_rad + restored
    plain = (columns.temperature_c == main.temperature_c) & (columns.u_v == main.u_v)
    same = plain & (columns.frequency_hz == f)
    applied, ratio = _table(columns.i_a, columns.i_ratio, same)
    _, lead_over_load = _table(columns.i_a, lead, same)
    lead_per_k = _per_kelvin(columns, main, lead)
    delays = _delay_of_frequencies(columns.frequency_hz, lead, plain & (columns.i_a == main.i_a))
    if delays is None:
        advance, corner = -lead_over_load / (2.0 * math.pi * f), np.zeros(applied.size)
        advance_per_k, corner_per_k = -lead_per_k / (2.0 * math.pi * f), 0.0
    else:
        advance = np.full(applied.size, delays)
        corner = f * np.tan(lead_over_load + 2.0 * math.pi * f * delays)
        advance_per_k, corner_per_k = 0.0, f * lead_per_k
    shape = np.abs((1.0 + corner / (1j * f)) * (1.0 + 1j * f / pole_hz))
    return ChannelCorrection(
        rated=rated,
        load=_tuple(applied * ratio / rated),
        gain=_tuple(1.0 / ratio / shape),
        advance_s=_tuple(advance),
        corner_hz=_tuple(corner),
        gain_per_k=-_per_kelvin(columns, main, np.log(columns.i_ratio)),
        advance_s_per_k=advance_per_k,
        corner_hz_per_k=corner_per_k,
        reference_temperature_c=main.temperature_c,
        pole_hz=pole_hz,
        offset_counts=float(np.mean(columns.i_offset_counts)),
    )


def _table(x: F64, y: F64, chosen: npt.NDArray[np.bool_]) -> tuple[F64, F64]:
    """Distinct ``x`` of the chosen points, rising, and the mean ``y`` at each."""
    distinct, where = np.unique(x[chosen], return_inverse=True)
    mean = np.bincount(where.reshape(-1), y[chosen]) / np.bincount(where.reshape(-1))
    return distinct, np.asarray(mean)


def _per_kelvin(columns: _Columns, main: CalibrationPoint, y: F64) -> float:
    """Slope of ``y`` over temperature at the reference load; 0 when only one temperature was measured."""
    chosen = (
        (columns.u_v == main.u_v) & (columns.i_a == main.i_a) & (columns.frequency_hz == main.frequency_hz)
    )
    above_k = columns.temperature_c[chosen] - main.temperature_c
    spread = float(np.ptp(above_k))
    if spread == 0.0:
        return 0.0
    if spread < _SMALLEST_TEMPERATURE_STEP_K:
        raise MeteringError(
            f"temperatures of a calibration lie {spread:g} K apart",
            expected=f"one temperature, or {_SMALLEST_TEMPERATURE_STEP_K:g} K and more",
        )
    slope, _ = np.polyfit(above_k, y[chosen], 1)
    return float(slope)


def _delay_of_frequencies(f: F64, lead: F64, chosen: npt.NDArray[np.bool_]) -> float | None:
    """The delay a in lead = -2πf·a + atan(fc / f), by Gauss and Newton; None with one frequency only."""
    f, lead = f[chosen], lead[chosen]
    spread = float(np.ptp(f))
    if spread == 0.0:
        return None
    if spread < _SMALLEST_FREQUENCY_STEP_HZ:
        raise MeteringError(
            f"frequencies of a calibration lie {spread:g} Hz apart",
            expected=f"one frequency, or {_SMALLEST_FREQUENCY_STEP_HZ:g} Hz and more",
        )
    unknown = np.zeros(2)
    for _ in range(6):
        delay_s, corner_hz = unknown
        missing = lead - (np.arctan(corner_hz / f) - 2.0 * math.pi * f * delay_s)
        slopes = np.stack((-2.0 * math.pi * f, f / (f * f + corner_hz**2)), axis=1)
        unknown = unknown + np.linalg.lstsq(slopes, missing, rcond=None)[0]
    return float(unknown[0])


def _residual(
    point: CalibrationPoint,
    shown: PhaseReading,
    voltage: ChannelCorrection,
    current: ChannelCorrection,
    reference: Reference,
) -> Residual:
    """What the corrections leave of a reading, looked up as the meter will look them up."""
    f, temperature_c = point.frequency_hz, point.temperature_c
    by_u = voltage.response(f, point.u_v * shown.u_ratio / voltage.rated, temperature_c)
    by_i = current.response(f, point.i_a * shown.i_ratio / current.rated, temperature_c)
    ratio = shown.u_ratio * shown.i_ratio * abs(by_u) * abs(by_i)
    turn = by_i / by_u
    lead = shown.lead_rad + math.atan2(turn.imag, turn.real)
    return Residual(
        power_ppm=(ratio * math.cos(lead) - 1.0) * 1e6,
        lead_urad=lead * 1e6,
        power_uncertainty_ppm=2.0
        * math.hypot(
            shown.u_ratio_std * 1e6,
            shown.i_ratio_std * 1e6,
            reference.ratio_uncertainty_ppm,
            reference.ratio_uncertainty_ppm,
        ),
        lead_uncertainty_urad=2.0 * math.hypot(shown.lead_rad_std * 1e6, reference.phase_uncertainty_urad),
    )


def _reference_point(readings: Sequence[PointReading], rated: float) -> CalibrationPoint:
    """The point of the first temperature and frequency whose load is nearest to the rated."""
    first = readings[0].point
    there = [
        reading.point
        for reading in readings
        if (reading.point.temperature_c, reading.point.frequency_hz)
        == (first.temperature_c, first.frequency_hz)
    ]
    return min(there, key=lambda point: abs(math.log(point.i_a / rated)))


def _refuse_nonsense(reading: PointReading, phases: int) -> None:
    if len(reading.phases) != phases:
        raise MeteringError(
            f"readings of {len(reading.phases)} phases", where=str(reading.point), expected=f"{phases}"
        )
    for number, shown in enumerate(reading.phases, start=1):
        where = f"phase {number}, {reading.point}"
        for name, ratio in (("voltage", shown.u_ratio), ("current", shown.i_ratio)):
            if not abs(ratio - 1.0) <= _LARGEST_RATIO_ERROR:
                raise MeteringError(
                    f"the {name} channel shows {ratio:.4f} of the truth",
                    where=where,
                    expected=f"within ±{_LARGEST_RATIO_ERROR * 100:g} %: a ratio or connection is wrong",
                )
        if not abs(shown.lead_rad) <= _LARGEST_DISPLACEMENT_RAD:
            raise MeteringError(
                f"the current channel leads by {math.degrees(shown.lead_rad):.2f} degrees",
                where=where,
                expected=f"within ±{math.degrees(_LARGEST_DISPLACEMENT_RAD):g} degrees: a phase is exchanged "
                "or a current reversed",
            )


def _tuple(column: F64) -> tuple[float, ...]:
    return tuple(float(x) for x in column)
