"""Waveforms of the bench: from a condition to what lies at the terminals.

The voltage source and the current source of the bench reach the 50th harmonic; switched waveforms
(phase-fired, burst-fired, half-wave) are their Fourier series up to there, and the reference integrates the
same series. Rule never to be broken: the device and the reference get one and the same waveform.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from openami.laboratory.conditions import Condition, WaveformName
from openami.meter.model import Rating
from openami.metrology.waveform.fourier import fourier_series
from openami.metrology.waveform.polyphase import PhaseOrder, Waveform, phase_angles, unbalanced
from openami.metrology.waveform.signal import Gated, Signal
from openami.metrology.waveform.test_waveforms import Circuit, influence_waveform
from openami.quantities.errors import MeteringError

HIGHEST_HARMONIC: Final = 50
"""Bandwidth of the bench's sources, in orders of the fundamental."""

_RUN_STEP_DEG: Final = 23.0


def waveform_of(condition: Condition, rating: Rating) -> Waveform:
    """Voltages and currents of a condition.

    Raises
    ------
    MeteringError
        A distorted waveform is asked for together with unlike elements, which no test does.
    """
    order = PhaseOrder.REVERSED if condition.reversed_order else PhaseOrder.FORWARD
    start_deg = _RUN_STEP_DEG * condition.run
    if condition.waveform is WaveformName.SINE:
        return unbalanced(
            condition.voltages(rating),
            [angle + start_deg for angle in phase_angles(rating.phases, order)],
            condition.currents(rating),
            (condition.angle_deg,) * rating.phases,
            condition.frequency_hz,
            WaveformName.SINE.value,
        )
    if condition.loaded or isinstance(condition.voltage, tuple):
        raise MeteringError(f"{condition.waveform.value} on unlike elements", expected="a balanced load")
    circuit = Circuit(
        condition.voltage * rating.un_v,
        condition.current_a,
        condition.angle_deg,
        condition.frequency_hz,
        rating.phases,
        order,
    )
    return _distorted(condition.waveform.value, circuit, float(condition.measure_s + 2))


def part_s_of(condition: Condition) -> float:
    """Length of the parts a measurement is read in: ten cycles, twenty where the waveform needs four, s."""
    cycles = 20 if condition.waveform is WaveformName.BURST_FIRED else 10
    return cycles / condition.frequency_hz


@lru_cache(maxsize=64)
def _distorted(name: str, circuit: Circuit, sweep_s: float) -> Waveform:
    entry = influence_waveform(name)
    waveform = entry.applied(circuit, sweep_s)
    if not entry.gate_open_deg:
        return waveform
    basic_hz = circuit.frequency_hz / entry.gate_cycles
    orders = HIGHEST_HARMONIC * entry.gate_cycles
    return replace(waveform, i=tuple(_limited(signal, basic_hz, orders) for signal in waveform.i))


def _limited(signal: Signal, basic_hz: float, orders: int) -> Signal:
    """A switched current as far as the current source reaches."""
    return fourier_series(signal, basic_hz, orders).tones if isinstance(signal, Gated) else signal
