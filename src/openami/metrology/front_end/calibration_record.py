"""The record of a calibration: who measured what, when, against what, and the corrections that came of it.

It is written as TOML and read back to the same values, with a SHA-256 over everything else in it: a number
that was changed by hand, or got lost on the way, is refused. Never to be broken: a record shows the readings
its corrections were solved from, and what is left of the errors at each of them with its uncertainty.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TypedDict

from openami.metrology.front_end.channel_correction import ChannelCorrection
from openami.metrology.front_end.front_end_toml import TableReader
from openami.quantities.errors import FormatError, MeteringError

_FORMAT = "openami calibration 1"


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """What is applied to every phase.

    Parameters
    ----------
    u_v, i_a:
        Rms voltage and current.
    angle_deg:
        By how much the current lags.
    temperature_c, frequency_hz:
        Ambient temperature and frequency.
    seconds:
        How long it is measured.

    Raises
    ------
    MeteringError
        A value that cannot be applied.
    """

    u_v: float
    i_a: float
    angle_deg: float = 0.0
    temperature_c: float = 23.0
    frequency_hz: float = 50.0
    seconds: float = 2.0

    def __post_init__(self) -> None:
        for name in ("u_v", "i_a", "frequency_hz", "seconds"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise MeteringError(f"{name} = {getattr(self, name)} of a point", expected="above 0")
        if not (math.isfinite(self.angle_deg) and math.isfinite(self.temperature_c)):
            raise MeteringError(f"angle or temperature of a point: {self}", expected="finite numbers")

    def __str__(self) -> str:
        return (
            f"{self.u_v:g} V {self.i_a:g} A {self.angle_deg:g} degrees "
            f"{self.temperature_c:g} °C {self.frequency_hz:g} Hz"
        )


@dataclass(frozen=True, slots=True)
class PhaseReading:
    """What one phase showed at a point, relative to the reference, before correction.

    Parameters
    ----------
    u_ratio, i_ratio:
        Shown over true fundamental voltage and current.
    lead_rad:
        By how much the current channel leads the voltage channel beyond the truth.
    u_offset_counts, i_offset_counts:
        Mean of the counts.
    u_ratio_std, i_ratio_std, lead_rad_std:
        Standard deviations of the means above, from repeated fits.
    """

    u_ratio: float
    i_ratio: float
    lead_rad: float
    u_offset_counts: float = 0.0
    i_offset_counts: float = 0.0
    u_ratio_std: float = 0.0
    i_ratio_std: float = 0.0
    lead_rad_std: float = 0.0


@dataclass(frozen=True, slots=True)
class PointReading:
    """What all phases showed at a point."""

    point: CalibrationPoint
    phases: tuple[PhaseReading, ...]


@dataclass(frozen=True, slots=True)
class Residual:
    """What is left of the errors of one phase at a point, after correction.

    Parameters
    ----------
    power_ppm:
        Error of the active power at power factor 1.
    lead_urad:
        Displacement; the error of the power at an angle φ is ``power_ppm`` + ``lead_urad`` · tan φ.
    power_uncertainty_ppm, lead_uncertainty_urad:
        Expanded uncertainties (k = 2) of both: repeated fits and reference.
    """

    power_ppm: float
    lead_urad: float
    power_uncertainty_ppm: float
    lead_uncertainty_urad: float


class _Points(TypedDict):
    readings: tuple[PointReading, ...]
    residuals: tuple[tuple[Residual, ...], ...]


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """A calibration of one device.

    Parameters
    ----------
    meter, who:
        Which device, and who calibrated it.
    at:
        When; kept in UTC.
    reference, reference_ratio_ppm, reference_phase_urad:
        The standard and its standard uncertainty (k = 1).
    rate_hz, nominal_hz:
        Of the front end.
    readings:
        What was measured.
    residuals:
        What is left at each reading, (readings, phases).
    voltage, current:
        (phases,) corrections.

    Raises
    ------
    MeteringError
        Parts that do not fit together, or a time without a zone.
    """

    meter: str
    at: datetime
    who: str
    reference: str
    reference_ratio_ppm: float
    reference_phase_urad: float
    rate_hz: float
    nominal_hz: float
    readings: tuple[PointReading, ...]
    residuals: tuple[tuple[Residual, ...], ...]
    voltage: tuple[ChannelCorrection, ...]
    current: tuple[ChannelCorrection, ...]

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise MeteringError(f"the time {self.at} of a calibration has no zone", expected="with a zone")
        object.__setattr__(self, "at", self.at.astimezone(UTC))
        if not 1 <= len(self.voltage) == len(self.current) <= 3:
            raise MeteringError(
                f"{len(self.voltage)} voltage and {len(self.current)} current corrections",
                expected="one of each per phase",
            )
        phases = len(self.voltage)
        if len(self.readings) != len(self.residuals) or any(
            len(reading.phases) != phases or len(left) != phases
            for reading, left in zip(self.readings, self.residuals, strict=True)
        ):
            raise MeteringError(
                "readings, residuals and corrections of a calibration do not fit together",
                expected="a reading and a residual per point and phase",
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the record, hexadecimal."""
        return hashlib.sha256(self._body().encode()).hexdigest()

    def to_toml(self) -> str:
        """The record as a TOML document."""
        return f'format = "{_FORMAT}"\ndigest = "{self.digest}"\n{self._body()}'

    @classmethod
    def from_toml(cls, text: str, where: str = "calibration") -> CalibrationRecord:
        """The record in a TOML document.

        Raises
        ------
        FormatError
            No TOML, another format, a key that is missing or not known, a value of another type, or a
            digest that does not fit.
        MeteringError
            Corrections that cannot be (a load that does not increase, a gain out of all proportion).
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise FormatError(f"no TOML: {error}", where=where, expected="a calibration record") from None
        reader = TableReader(table, where)
        if reader.text("format") != _FORMAT:
            raise FormatError(f"format = {table['format']!r}", where=where, expected=repr(_FORMAT))
        digest = reader.text("digest")
        at = reader.raw("at")
        if not isinstance(at, datetime) or at.tzinfo is None:
            raise FormatError(f"at = {at}", where=where, expected="an instant with a zone")
        points = reader.tables("point")
        record = cls(
            meter=reader.text("meter"),
            at=at,
            who=reader.text("who"),
            reference=reader.text("reference"),
            reference_ratio_ppm=reader.number("reference_ratio_ppm"),
            reference_phase_urad=reader.number("reference_phase_urad"),
            rate_hz=reader.number("rate_hz"),
            nominal_hz=reader.number("nominal_hz"),
            **_points(points),
            voltage=tuple(_correction(entry) for entry in reader.tables("voltage")),
            current=tuple(_correction(entry) for entry in reader.tables("current")),
        )
        reader.close()
        if record.digest != digest:
            raise FormatError(
                f"the digest is {digest}, that of the content {record.digest}",
                where=where,
                expected="a record as it was written",
            )
        return record

    def _body(self) -> str:
        head = {
            "meter": self.meter,
            "at": self.at,
            "who": self.who,
            "reference": self.reference,
            "reference_ratio_ppm": self.reference_ratio_ppm,
            "reference_phase_urad": self.reference_phase_urad,
            "rate_hz": self.rate_hz,
            "nominal_hz": self.nominal_hz,
        }
        parts = [_lines(head)]
        for reading, left in zip(self.readings, self.residuals, strict=True):
            parts.append("[[point]]\n" + _lines(_columns_of(reading.point)))
            for shown, rest in zip(reading.phases, left, strict=True):
                columns = _columns_of(shown) | {f"left_{k}": v for k, v in _columns_of(rest).items()}
                parts.append("[[point.phase]]\n" + _lines(columns))
        for name, corrections in (("voltage", self.voltage), ("current", self.current)):
            parts += [f"[[{name}]]\n" + _lines(_columns_of(correction)) for correction in corrections]
        return "\n".join(parts)


def _columns_of(value: CalibrationPoint | PhaseReading | Residual | ChannelCorrection) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _lines(columns: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_literal(value)}\n" for key, value in columns.items())


def _literal(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return repr(float(str(value)))


def _points(entries: Sequence[TableReader]) -> _Points:
    readings, residuals = [], []
    for entry in entries:
        phases = entry.tables("phase")
        point = CalibrationPoint(
            **{field.name: entry.number(field.name) for field in fields(CalibrationPoint)}
        )
        shown = tuple(
            PhaseReading(**{field.name: phase.number(field.name) for field in fields(PhaseReading)})
            for phase in phases
        )
        left = tuple(
            Residual(**{field.name: phase.number(f"left_{field.name}") for field in fields(Residual)})
            for phase in phases
        )
        for table in (entry, *phases):
            table.close()
        readings.append(PointReading(point, shown))
        residuals.append(left)
    return {"readings": tuple(readings), "residuals": tuple(residuals)}


def _correction(entry: TableReader) -> ChannelCorrection:
    correction = ChannelCorrection(
        rated=entry.number("rated"),
        load=entry.numbers("load"),
        gain=entry.numbers("gain"),
        advance_s=entry.numbers("advance_s"),
        corner_hz=entry.numbers("corner_hz"),
        gain_per_k=entry.number("gain_per_k"),
        advance_s_per_k=entry.number("advance_s_per_k"),
        corner_hz_per_k=entry.number("corner_hz_per_k"),
        reference_temperature_c=entry.number("reference_temperature_c"),
        pole_hz=entry.number("pole_hz"),
        offset_counts=entry.number("offset_counts"),
    )
    entry.close()
    return correction
