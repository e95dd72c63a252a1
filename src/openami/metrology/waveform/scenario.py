"""A waveform and its duration from TOML: what lies at the terminals, written down so that it can be repeated.

The keys are described in ``docs/stations/waveform-generator.md``; faults of single keys are told all at once,
then those between keys. Signals are built in one order: tones,
frequency ramp, gate, modulation, amplitude ramp, steps. Never to be broken: a file that is not understood
completely is refused, with every fault named by its key.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from openami.metrology.waveform.closed_form import Reference, reference
from openami.metrology.waveform.gate import Gate
from openami.metrology.waveform.noise import Noise
from openami.metrology.waveform.polyphase import PhaseOrder, Waveform, phase_angles
from openami.metrology.waveform.ramps import AmplitudeRamp, FrequencyRamp
from openami.metrology.waveform.signal import (
    Gated,
    Modulated,
    ModulationShape,
    Signal,
    Stepped,
    Sum,
    Tone,
    Tones,
)
from openami.metrology.waveform.test_waveforms import (
    Carried,
    Harmonic,
    InfluenceWaveform,
    harmonic_tone,
    influence_waveform,
)
from openami.quantities.errors import FormatError, MeteringError

Real = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _rising(knots: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if any(b[0] <= a[0] for a, b in pairwise(knots)):
        raise ValueError("the times do not rise")
    return knots


Knots = Annotated[tuple[tuple[Real, Real], ...], AfterValidator(_rising)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HarmonicTable(_Table):
    """``{ order, percent, phase_deg }``: a harmonic, counted from the rising zero of its fundamental."""

    order: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    percent: NotNegative
    phase_deg: Real = 0.0


class ToneTable(_Table):
    """``{ frequency_hz, percent, phase_deg }``: a tone that is in step with nothing; percent of the rms."""

    frequency_hz: Positive
    percent: NotNegative
    phase_deg: Real = 0.0


class GateTable(_Table):
    """``{ open_deg, cycles }``: spans of the voltage's phase in which the signal flows."""

    open_deg: tuple[tuple[Real, Real], ...]
    cycles: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _spans_are_possible(self) -> Self:
        try:
            Gate(50.0, self.open_deg, self.cycles)
        except MeteringError as error:
            raise ValueError(str(error)) from error
        return self


class ModulationTable(_Table):
    """``{ changes_per_minute, change_percent, shape, phase_deg }``: flicker, as IEC 61000-4-15 counts it."""

    changes_per_minute: Positive
    change_percent: NotNegative
    shape: Literal["sinusoidal", "rectangular"] = "rectangular"
    phase_deg: Real = 0.0


class StepTable(_Table):
    """``{ begin_s, end_s, gain, phase_jump_deg, phases }``: a dip, swell, interruption or phase jump."""

    begin_s: Real
    end_s: Real
    gain: NotNegative = 1.0
    phase_jump_deg: Real = 0.0
    phases: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.end_s <= self.begin_s:
            raise ValueError(f"it ends at {self.end_s} s and begins at {self.begin_s} s")
        return self


def _in_order(steps: tuple[StepTable, ...]) -> tuple[StepTable, ...]:
    for phase in (1, 2, 3):
        mine = [step for step in steps if phase in step.phases]
        if any(b.begin_s < a.end_s for a, b in pairwise(mine)):
            raise ValueError(f"steps of phase {phase} overlap or are not in order of time")
    return steps


class _QuantityTable(_Table):
    dc_percent: Real = 0.0
    harmonics: tuple[HarmonicTable, ...] = ()
    tones: tuple[ToneTable, ...] = ()
    gate: GateTable | None = None
    modulation: ModulationTable | None = None
    ramp: Knots = ()
    steps: Annotated[tuple[StepTable, ...], AfterValidator(_in_order)] = ()


class VoltageTable(_QuantityTable):
    """``[voltage]``."""

    rms_v: NotNegative | tuple[NotNegative, ...]
    phase_deg: tuple[Real, ...] | None = None


class CurrentTable(_QuantityTable):
    """``[current]``."""

    rms_a: NotNegative | tuple[NotNegative, ...]
    lag_deg: Real | tuple[Real, ...] = 0.0
    neutral: Literal["none", "sum"] = "none"


class FrequencyTable(_Table):
    """``[frequency]``: knots ``[time_s, frequency_hz]`` of a ramp."""

    ramp: Annotated[tuple[tuple[Real, Positive], ...], Field(min_length=1), AfterValidator(_rising)]


class NoiseTable(_Table):
    """``[noise]``: white noise of the samples, not of the reference."""

    u_v: NotNegative = 0.0
    i_a: NotNegative = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Scenario(_Table):
    """A waveform, its fundamental and its duration."""

    name: str
    duration_s: Positive
    frequency_hz: Positive = 50.0
    phases: Literal[1, 2, 3] = 3
    phase_order: Literal["forward", "reversed"] = "forward"
    waveform: str | None = None
    """Name of an influence waveform whose harmonics, gate or sweep are applied."""
    voltage: VoltageTable
    current: CurrentTable
    frequency: FrequencyTable | None = None
    noise: NoiseTable | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        faults = [*self._wrong_counts(), *self._wrong_mixtures()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def signals(self) -> Waveform:
        """The waveform at the terminals."""
        entry = None if self.waveform is None else influence_waveform(self.waveform)
        u_v, i_a = self._each(self.voltage.rms_v), self._each(self.current.rms_a)
        lags = self._each(self.current.lag_deg)
        angles = self.voltage.phase_deg or phase_angles(self.phases, PhaseOrder(self.phase_order))
        voltages, currents = [], []
        for phase, (u, i, angle, lag) in enumerate(zip(u_v, i_a, angles, lags, strict=True), start=1):
            voltages.append(self._signal(self.voltage, entry, Carried.VOLTAGE, u, angle, angle, phase))
            currents.append(self._signal(self.current, entry, Carried.CURRENT, i, angle - lag, angle, phase))
        noise = self.noise
        return Waveform(
            tuple(voltages),
            tuple(currents),
            neutral=Sum(tuple(currents)) if self.current.neutral == "sum" else None,
            name=self.name,
            noise=None if noise is None else Noise(noise.u_v, noise.i_a, noise.seed),
        )

    def reference(self) -> Reference:
        """Energies and rms values over the duration.

        Raises
        ------
        MeteringError
            When a signal has no fundamental of this frequency.
        """
        return reference(self.signals(), 0.0, self.duration_s, self.frequency_hz)

    def _signal(
        self,
        table: VoltageTable | CurrentTable,
        entry: InfluenceWaveform | None,
        carried: Carried,
        rms: float,
        phase_deg: float,
        gate_phase_deg: float,
        phase: int,
    ) -> Signal:
        hz = self.frequency_hz
        harmonics = [Harmonic(each.order, each.percent, each.phase_deg) for each in table.harmonics]
        gate = None if table.gate is None else (table.gate.open_deg, table.gate.cycles)
        if entry is not None:
            harmonics += entry.voltage if carried is Carried.VOLTAGE else entry.current
            if entry.gate_open_deg and carried is Carried.CURRENT:
                gate = (entry.gate_open_deg, entry.gate_cycles)
        tones = Tones(
            rms * table.dc_percent / 100,
            (
                Tone(hz, rms, phase_deg),
                *(harmonic_tone(hz, rms, phase_deg, harmonic) for harmonic in harmonics),
                *(Tone(each.frequency_hz, rms * each.percent / 100, each.phase_deg) for each in table.tones),
            ),
        )
        signal: Signal = tones
        if self.frequency is not None:
            signal = FrequencyRamp(tones, tuple((time, value / hz) for time, value in self.frequency.ramp))
        if gate is not None:
            signal = Gated(signal, Gate(hz, gate[0], gate[1], gate_phase_deg))
        if entry is not None and entry.sweep is not None and entry.sweep.on is carried:
            signal = Sum((signal, entry.sweep.tone(rms, hz, self.duration_s)))
        return self._shaped(signal, table, phase)

    def _shaped(self, signal: Signal, table: _QuantityTable, phase: int) -> Signal:
        if table.modulation is not None:
            signal = Modulated(
                signal,
                table.modulation.changes_per_minute / 120,
                table.modulation.change_percent / 100,
                ModulationShape(table.modulation.shape),
                table.modulation.phase_deg,
            )
        if table.ramp:
            signal = AmplitudeRamp(signal, table.ramp)
        steps: list[tuple[float, Signal]] = []
        for step in table.steps:
            if phase not in step.phases:
                continue
            if steps and steps[-1][0] == step.begin_s:
                steps.pop()
            changed = signal.scaled(step.gain)
            if step.phase_jump_deg:
                changed = changed.delayed(-step.phase_jump_deg / 360 / self.frequency_hz)
            steps += [(step.begin_s, changed), (step.end_s, signal)]
        return Stepped(signal, tuple(steps)) if steps else signal

    def _each(self, value: float | tuple[float, ...]) -> tuple[float, ...]:
        return value if isinstance(value, tuple) else (value,) * self.phases

    def _wrong_counts(self) -> list[str]:
        faults = []
        for key, value in (
            ("voltage.rms_v", self.voltage.rms_v),
            ("voltage.phase_deg", self.voltage.phase_deg),
            ("current.rms_a", self.current.rms_a),
            ("current.lag_deg", self.current.lag_deg),
        ):
            if isinstance(value, tuple) and len(value) != self.phases:
                faults.append(f"{key} has {len(value)} values for {self.phases} phases")
        return faults

    def _wrong_mixtures(self) -> list[str]:
        faults = []
        gated = self.voltage.gate is not None or self.current.gate is not None
        if self.waveform is not None:
            try:
                entry = influence_waveform(self.waveform)
            except MeteringError as error:
                return [f"waveform: {error}"]
            if gated and entry.gate_open_deg:
                faults.append(f"waveform: {self.waveform} has a gate of its own")
            gated = gated or bool(entry.gate_open_deg)
        if self.frequency is not None:
            steps = (*self.voltage.steps, *self.current.steps)
            if gated:
                faults.append("frequency.ramp: a gate does not follow a frequency ramp")
            if any(step.phase_jump_deg for step in steps):
                faults.append("frequency.ramp: a phase jump needs a steady frequency")
        return faults


def scenario_from_toml(text: str, where: str = "scenario") -> Scenario:
    """A scenario from TOML text.

    Parameters
    ----------
    text:
        The text.
    where:
        Its name in errors.

    Raises
    ------
    FormatError
        When it is no TOML, or not a scenario; the message holds all faults, each with its key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"not TOML: {error}", where=where) from error
    try:
        return Scenario.model_validate(_tuples(document))
    except ValidationError as error:
        raise FormatError(
            "; ".join(dict.fromkeys(_faults(error))),
            where=where,
            expected="the keys of docs/stations/waveform-generator.md",
        ) from error


def read_scenario(path: Path) -> Scenario:
    """A scenario from a TOML file.

    Raises
    ------
    FormatError
        When the file cannot be read, is not UTF-8, or is no scenario.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"cannot be read: {error}", where=str(path)) from error
    return scenario_from_toml(text, where=path.name)


def scenario_to_toml(scenario: Scenario) -> str:
    """The scenario as TOML text from which `scenario_from_toml` makes it again; defaults are left out."""
    document = scenario.model_dump(exclude_defaults=True)
    plain = [f"{key} = {_toml(value)}" for key, value in document.items() if not isinstance(value, dict)]
    sections = []
    for key, table in document.items():
        if isinstance(table, dict):
            rows = [f"{name} = {_toml(value)}" for name, value in table.items()]
            sections.append("\n".join([f"[{key}]", *rows]))
    return "\n\n".join(["\n".join(plain), *sections]) + "\n"


def _tuples(value: object) -> object:
    """Lists as tuples, and whole numbers as they are: strict validation takes no list for a tuple."""
    if isinstance(value, list):
        return tuple(_tuples(each) for each in value)
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return value


def _faults(error: ValidationError) -> Iterator[str]:
    for each in error.errors():
        member = each["loc"][-1] if each["loc"] else ""
        listed = isinstance(each["input"], tuple)
        # A value that may be a number or a list is told once, as what it is.
        if (member in _NUMBER and listed) or (str(member).startswith("tuple[") and not listed):
            continue
        keys = [part for part in each["loc"] if part not in _NUMBER and not str(part).startswith("tuple[")]
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
        text = _FAULTS.get(each["type"], each["msg"].removeprefix("Value error, "))
        yield f"{path}: {text}" if path else text


_NUMBER = ("float", "constrained-float")
"""What the validator calls the number among number and list."""

_FAULTS = {"extra_forbidden": "is no key of a scenario", "missing": "is missing"}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")
