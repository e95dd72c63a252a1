"""The waveforms of the accuracy tests by name: IEC 62053-21/-22, OIML R 46, and disturbances of the supply.

What distinguishes one from another is data with its source (`test_waveforms.toml`), shown in every report.
Never to be broken: the current named is the rms of the full sine, and of the fundamental where harmonics are
added; what flows behind a gate is less.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from importlib import resources
from types import MappingProxyType

from openami.metrology.waveform.gate import Gate
from openami.metrology.waveform.polyphase import PhaseOrder, Waveform, balanced, phase_angles
from openami.metrology.waveform.ramps import AmplitudeRamp, FrequencyRamp, swept
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
from openami.quantities.errors import MeteringError


@dataclass(frozen=True, slots=True)
class Harmonic:
    """A harmonic relative to its fundamental."""

    order: float
    """Multiple of the fundamental; whole for harmonics, not whole for interharmonics."""
    percent: float
    phase_deg: float = 0.0
    """Degrees of the harmonic from its own rising zero, at the rising zero of the fundamental."""


class Carried(Enum):
    """What carries a swept tone."""

    VOLTAGE = "voltage"
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Sweep:
    """A tone whose frequency sweeps over harmonic orders, up and back again."""

    on: Carried
    from_order: float
    to_order: float
    percent: float

    def tone(self, rms: float, frequency_hz: float, duration_s: float) -> FrequencyRamp:
        """The tone: from the first order at t = 0 to the last, and back at ``duration_s``."""
        low, high = self.from_order * frequency_hz, self.to_order * frequency_hz
        once = swept(rms * self.percent / 100, low, high, 0.0, duration_s / 2)
        return replace(once, knots=(*once.knots, (duration_s, 1.0)))


@dataclass(frozen=True, slots=True)
class Circuit:
    """The circuit under test, to which a test waveform is applied.

    Parameters
    ----------
    u_v, i_a:
        Rms of the full sine of every phase.
    angle_deg:
        Angle by which current lags voltage.
    frequency_hz, phases, phase_order:
        The system.
    """

    u_v: float
    i_a: float
    angle_deg: float = 0.0
    frequency_hz: float = 50.0
    phases: int = 3
    phase_order: PhaseOrder = PhaseOrder.FORWARD

    def sine(self, name: str = "sine") -> Waveform:
        """The circuit under sinusoidal voltages and currents."""
        return balanced(
            self.u_v, self.i_a, self.angle_deg, self.frequency_hz, self.phases, self.phase_order, name
        )

    @property
    def u_phase_deg(self) -> tuple[float, ...]:
        """Sine phases of the voltages."""
        return phase_angles(self.phases, self.phase_order)


@dataclass(frozen=True, slots=True)
class InfluenceWaveform:
    """A waveform of an influence test, as the standard describes it."""

    name: str
    title: str
    standard: str
    source: str
    """Where the description comes from; "recalled" where it was not read in the standard."""
    active_over_sine: float
    """Active power over that of the sine alone, at power factor 1."""
    voltage: tuple[Harmonic, ...] = ()
    current: tuple[Harmonic, ...] = ()
    gate_open_deg: tuple[tuple[float, float], ...] = ()
    gate_cycles: int = 1
    sweep: Sweep | None = None

    def applied(self, circuit: Circuit, duration_s: float = 60.0) -> Waveform:
        """The waveform at the terminals of a circuit.

        Parameters
        ----------
        circuit:
            Voltage, current, angle, frequency and phases. Gates follow the zero crossings of the voltage of
            their phase; harmonics of a current are counted from the current's own fundamental.
        duration_s:
            Time of a sweep from its first order to its last and back, from t = 0.
        """
        voltages, currents = [], []
        for u_phase in circuit.u_phase_deg:
            i_phase = u_phase - circuit.angle_deg
            voltages.append(_harmonic_tones(circuit.u_v, circuit.frequency_hz, u_phase, self.voltage))
            current: Signal = _harmonic_tones(circuit.i_a, circuit.frequency_hz, i_phase, self.current)
            if self.gate_open_deg:
                gate = Gate(circuit.frequency_hz, self.gate_open_deg, self.gate_cycles, u_phase)
                current = Gated(current, gate)
            currents.append(current)
        waveform = Waveform(tuple(voltages), tuple(currents), name=self.name)
        return waveform if self.sweep is None else _with_sweep(waveform, circuit, self.sweep, duration_s)


@cache
def influence_waveforms() -> Mapping[str, InfluenceWaveform]:
    """All influence waveforms by name, in the order of the data file."""
    text = resources.files(__package__).joinpath("test_waveforms.toml").read_text(encoding="utf-8")
    catalogue = {}
    for name, entry in tomllib.loads(text).items():
        gate = entry.get("gate", {})
        sweep = entry.get("sweep")
        catalogue[name] = InfluenceWaveform(
            name=name,
            title=entry["title"],
            standard=entry["standard"],
            source=entry["source"],
            active_over_sine=entry["active_over_sine"],
            voltage=tuple(Harmonic(**harmonic) for harmonic in entry.get("voltage", ())),
            current=tuple(Harmonic(**harmonic) for harmonic in entry.get("current", ())),
            gate_open_deg=tuple((begin, end) for begin, end in gate.get("open_deg", ())),
            gate_cycles=gate.get("cycles", 1),
            sweep=None if sweep is None else Sweep(**{**sweep, "on": Carried(sweep["on"])}),
        )
    return MappingProxyType(catalogue)


def influence_waveform(name: str) -> InfluenceWaveform:
    """An influence waveform by name.

    Raises
    ------
    MeteringError
        When there is none of that name.
    """
    catalogue = influence_waveforms()
    if name not in catalogue:
        raise MeteringError(f"no test waveform is named {name!r}", expected=", ".join(catalogue))
    return catalogue[name]


def fifth_harmonic(circuit: Circuit) -> Waveform:
    """5th harmonic, 10 % in voltage and 40 % in current: P = 1.04 P1."""
    return influence_waveform("fifth_harmonic").applied(circuit)


def quadriform(circuit: Circuit) -> Waveform:
    """Flat-topped current (harmonics 3 to 13): P = 0.9806 P1."""
    return influence_waveform("quadriform").applied(circuit)


def peaked(circuit: Circuit) -> Waveform:
    """Peaked current (harmonics 3 to 13): P = 0.9806 P1."""
    return influence_waveform("peaked").applied(circuit)


def phase_fired_90(circuit: Circuit) -> Waveform:
    """Current that flows from 90 degrees of each half wave: half the power of the full sine."""
    return influence_waveform("phase_fired_90").applied(circuit)


def burst_fired(circuit: Circuit) -> Waveform:
    """Current that flows two cycles of four: half the power of the full sine."""
    return influence_waveform("burst_fired").applied(circuit)


def half_wave(circuit: Circuit) -> Waveform:
    """Half-wave rectified current: half the power of the full sine, a DC part of its peak over pi."""
    return influence_waveform("half_wave").applied(circuit)


def high_order(circuit: Circuit, on: Carried = Carried.VOLTAGE, duration_s: float = 60.0) -> Waveform:
    """A tone swept from order 15 to 40 and back over ``duration_s``, on the voltage or on the current."""
    return influence_waveform(f"high_order_{on.value}").applied(circuit, duration_s)


def with_harmonics(
    circuit: Circuit,
    voltage: Sequence[Harmonic] = (),
    current: Sequence[Harmonic] = (),
    name: str = "harmonics",
) -> Waveform:
    """The circuit with any harmonics and interharmonics on its voltages and currents."""
    entry = InfluenceWaveform(name, name, "", "chosen by the user", 1.0, tuple(voltage), tuple(current))
    return entry.applied(circuit)


def flicker(
    circuit: Circuit,
    changes_per_minute: float,
    change_percent: float,
    shape: ModulationShape = ModulationShape.RECTANGULAR,
) -> Waveform:
    """Voltages under modulation, in step on all phases: u (1 + d / 2 m(t)), as IEC 61000-4-15 has it.

    Parameters
    ----------
    circuit:
        The circuit; currents are not modulated.
    changes_per_minute:
        n; the modulation has n / 120 Hz.
    change_percent:
        d, the relative voltage change from one level to the other, percent.
    shape:
        Sinusoidal or rectangular m(t).
    """
    sine = circuit.sine("flicker")
    frequency, depth = changes_per_minute / 120, change_percent / 100
    return replace(sine, u=tuple(Modulated(u, frequency, depth, shape) for u in sine.u))


def dip(
    circuit: Circuit,
    residual: float,
    begin_s: float,
    duration_s: float,
    phases: Sequence[int] = (0, 1, 2),
    phase_jump_deg: float = 0.0,
) -> Waveform:
    """Voltages that fall to a fraction of themselves for a time and come back.

    Parameters
    ----------
    circuit:
        The circuit; currents stay.
    residual:
        Residual over normal voltage: below 0.9 a dip, 0 an interruption, above 1.1 a swell.
    begin_s, duration_s:
        When, and for how long.
    phases:
        Indices of the phases concerned.
    phase_jump_deg:
        Jump of the phase while it lasts.

    Raises
    ------
    MeteringError
        When it does not last.
    """
    if not duration_s > 0:
        raise MeteringError(f"a dip that lasts {duration_s} s", expected="a positive duration")
    sine = circuit.sine("dip")
    voltages: list[Signal] = []
    for phase, (u, angle) in enumerate(zip(sine.u, circuit.u_phase_deg, strict=True)):
        low = Tones(0.0, (Tone(circuit.frequency_hz, circuit.u_v * residual, angle + phase_jump_deg),))
        steps = ((begin_s, low), (begin_s + duration_s, u))
        voltages.append(Stepped(u, steps) if phase in phases else u)
    return replace(sine, u=tuple(voltages))


def ramp(circuit: Circuit, to_hz: float, begin_s: float, end_s: float) -> Waveform:
    """A frequency that moves linearly from that of the circuit to ``to_hz``, on voltages and currents."""
    sine = circuit.sine("ramp")
    knots = ((begin_s, 1.0), (end_s, to_hz / circuit.frequency_hz))
    return replace(
        sine,
        u=tuple(FrequencyRamp(_as_tones(u), knots) for u in sine.u),
        i=tuple(FrequencyRamp(_as_tones(i), knots) for i in sine.i),
    )


def voltage_ramp(circuit: Circuit, to_v: float, begin_s: float, end_s: float) -> Waveform:
    """Voltages that move linearly from those of the circuit to ``to_v``."""
    sine = circuit.sine("voltage ramp")
    knots = ((begin_s, 1.0), (end_s, to_v / circuit.u_v))
    return replace(sine, u=tuple(AmplitudeRamp(u, knots) for u in sine.u))


def phase_jump(circuit: Circuit, jump_deg: float, at_s: float) -> Waveform:
    """Voltages and currents whose phases all jump at once."""
    before, after = circuit.sine("phase jump"), circuit.sine()
    turned = [[_turned(_as_tones(s), jump_deg) for s in signals] for signals in (after.u, after.i)]
    return replace(
        before,
        u=tuple(Stepped(s, ((at_s, t),)) for s, t in zip(before.u, turned[0], strict=True)),
        i=tuple(Stepped(s, ((at_s, t),)) for s, t in zip(before.i, turned[1], strict=True)),
    )


def harmonic_tone(frequency_hz: float, rms: float, phase_deg: float, harmonic: Harmonic) -> Tone:
    """A harmonic of a fundamental of given frequency, rms and sine phase."""
    return Tone(
        harmonic.order * frequency_hz,
        rms * harmonic.percent / 100,
        harmonic.order * phase_deg + harmonic.phase_deg,
    )


def _harmonic_tones(
    rms: float, frequency_hz: float, phase_deg: float, harmonics: Sequence[Harmonic]
) -> Tones:
    first = Tone(frequency_hz, rms, phase_deg)
    return Tones(0.0, (first, *(harmonic_tone(frequency_hz, rms, phase_deg, each) for each in harmonics)))


def _with_sweep(waveform: Waveform, circuit: Circuit, sweep: Sweep, duration_s: float) -> Waveform:
    if sweep.on is Carried.VOLTAGE:
        tone = sweep.tone(circuit.u_v, circuit.frequency_hz, duration_s)
        return replace(waveform, u=tuple(Sum((u, tone)) for u in waveform.u))
    tone = sweep.tone(circuit.i_a, circuit.frequency_hz, duration_s)
    return replace(waveform, i=tuple(Sum((i, tone)) for i in waveform.i))


def _as_tones(signal: Signal) -> Tones:
    return signal if isinstance(signal, Tones) else Tones(0.0, (signal.carrier(),))


def _turned(signal: Tones, angle_deg: float) -> Tones:
    return Tones(signal.dc, tuple(replace(t, phase_deg=t.phase_deg + angle_deg) for t in signal.tones))
