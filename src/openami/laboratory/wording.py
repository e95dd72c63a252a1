"""The two languages of a report. A phrase is its English text; the catalogue gives the Chinese one.

Code words (``voltage_unbalance``) are phrases too; in English they are written as words. Rule never to be
broken: a phrase missing in the catalogue stays English, and a test fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Final

import orjson

from openami.quantities.errors import MeteringError

LANGUAGES: Final[Mapping[str, str]] = {"en": "en", "zh": "zh-CN"}
"""Languages of a report and their tags in HTML."""

Translate = Callable[..., str]

_ENGLISH: Final[Mapping[str, str]] = {
    "intrinsic_error": "intrinsic error",
    "single_phase_load": "error under single-phase load",
    "single_phase_difference": "difference of single-phase and balanced load",
    "reactive_error": "error of reactive energy",
    "starting": "starting",
    "no_load": "no load (creep)",
    "meter_constant": "meter constant: pulses against register",
    "dc_even_harmonics": "direct current and even harmonics",
    "half_wave": "half-wave rectified current (DC, even harmonics)",
    "phase_fired_90": "phase-fired current, 90° (odd harmonics)",
    "burst_fired": "burst-fired current (sub-harmonics)",
    "fifth_harmonic": "5th harmonic in voltage and current",
    "quadriform": "quadriform waveform",
    "peaked": "peaked waveform",
    "voltage": "voltage ±10 %",
    "severe_voltage": "voltage 0.8 .. 0.9 and 1.1 .. 1.15 Un",
    "low_voltage": "voltage below 0.8 Un",
    "frequency": "frequency ±2 %",
    "temperature_coefficient": "temperature coefficient",
    "combined_error": "combined maximum error",
    "linearity": "linearity over the current",
    "harmonic_energy": "fundamental and harmonic energy apart",
    "very_low_power_factor": "power factor 0.01",
    "full_power_active": "full-power accuracy, active",
    "full_power_reactive": "full-power accuracy, reactive",
    "full_power_apparent": "full-power accuracy, apparent",
    "margin_intrinsic": "errors within 40 % of the class",
    "margin_influence": "influences within half of their limits",
    "service_life": "errors over the service life",
    "in_service_error": "error at the end of life, limit in service",
    "no_limit": "no limit",
    "ct": "current transformers",
    "direct": "direct",
    "digital": "digital multiplier",
    "ferraris": "Ferraris disc",
    "time_division": "time-division multiplier",
    "hall": "Hall multiplier",
}


@cache
def chinese() -> Mapping[str, str]:
    """Chinese text by English phrase or code word."""
    catalogue: Mapping[str, str] = orjson.loads(
        resources.files(__package__).joinpath("locales/zh.json").read_bytes()
    )
    return catalogue


def translator(language: str) -> Translate:
    """The function that turns a phrase or code word into the language; named fields are filled in.

    Raises
    ------
    MeteringError
        There is no such language.
    """
    if language not in LANGUAGES:
        raise MeteringError(f"no reports in {language!r}", where="--language", expected=", ".join(LANGUAGES))

    def translate(phrase: str, **fields: object) -> str:
        if language == "zh":
            text = chinese().get(phrase, phrase)
        else:
            text = _ENGLISH.get(phrase) or (phrase.replace("_", " ") if phrase.isidentifier() else phrase)
        return text.format(**fields) if fields else text

    return translate
