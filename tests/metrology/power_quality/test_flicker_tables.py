"""The tables of IEC 61000-4-15 edition 2: every point, every system, three sample rates.

The points come from the project's test material (`iec61000_4_15_ed2_flicker_tables.json`, values of the
standard as coded in QWTB's `verify_flicker_sim`); the waveforms are closed forms. A rectangular modulation is
averaged over each sample's interval, as a converter behind its anti-alias filter sees it: its jumps lie
between samples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.power_quality.flicker import FlickerMeter
from openami.metrology.power_quality.flicker_severity import PstClassifier

F64 = npt.NDArray[np.float64]

SYSTEMS = {"230V_50Hz": (230, 50), "120V_60Hz": (120, 60), "120V_50Hz": (120, 50), "230V_60Hz": (230, 60)}
SINUSOIDAL = "table1_sinusoidal_Pinst=1"
RECTANGULAR = "table2_rectangular_Pinst=1"
SEVERITY = "table5_rectangular_Pst=1"


def square_wave(turns: F64) -> F64:
    """Mean of a square wave of period one between neighbouring arguments."""
    part = turns - np.floor(turns)
    return np.diff(np.minimum(part, 1 - part)) / np.diff(turns)


def modulated(
    shape: str, rate: float, seconds: float, carrier_hz: int, changes: float, d_percent: float
) -> F64:
    """Peak one: sin(2 pi f t) (1 + d/2 m(t)), ``changes`` of the voltage a minute."""
    sample = np.arange(int(rate * seconds))
    turns_per_sample = changes / 120 / rate
    if shape == RECTANGULAR:
        envelope = square_wave((np.arange(sample.size + 1) - 0.5) * turns_per_sample)
    else:
        envelope = np.sin(2 * np.pi * turns_per_sample * sample)
    envelope *= d_percent / 200
    envelope += 1
    cycle = np.sin(2 * np.pi * carrier_hz / rate * np.arange(round(rate)))
    envelope *= np.resize(cycle, sample.size)
    return envelope


@pytest.fixture(scope="module")
def tables(shared_data: Path) -> dict[str, Any]:
    file = shared_data / "metrology" / "iec61000_4_15_ed2_flicker_tables.json"
    found: dict[str, Any] = json.loads(file.read_text())["tables"]
    return found


def test_the_material_holds_346_points(tables: dict[str, Any]) -> None:
    points = sum(len(block["d_percent"]) for table in tables.values() for block in table.values())

    assert points == 346


@pytest.mark.parametrize("rate", [4000.0, 6400.0, 12800.0])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("table", [SINUSOIDAL, RECTANGULAR])
def test_largest_pinst_is_one_at_every_point(
    tables: dict[str, Any], table: str, system: str, rate: float
) -> None:
    lamp_v, nominal_hz = SYSTEMS[system]
    block = tables[table][system]
    points = list(zip(block["changes_per_min"], block["d_percent"], strict=True))
    u = np.stack([modulated(table, rate, 12, nominal_hz, cpm, d) for cpm, d in points])

    columns = FlickerMeter(rate, nominal_hz, lamp_v, len(points)).feed(u)

    largest = columns.pinst[:, columns.settled.all(axis=0)].max(axis=1)
    wrong = {cpm: value for (cpm, _), value in zip(points, largest, strict=True) if abs(value - 1) > 0.006}
    assert wrong == {}  # the standard allows 8 %, the project 2 %; the tables themselves are rounded to 0.5 %


@pytest.mark.parametrize("rate", [4000.0, 6400.0, pytest.param(12800.0, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("system", SYSTEMS)
def test_pst_is_one_at_every_point(tables: dict[str, Any], system: str, rate: float) -> None:
    lamp_v, nominal_hz = SYSTEMS[system]
    block = tables[SEVERITY][system]
    wrong = {}
    for cpm, d in zip(block["changes_per_min"], block["d_percent"], strict=True):
        u = modulated(RECTANGULAR, rate, 660, nominal_hz, cpm, d)[np.newaxis]
        columns = FlickerMeter(rate, nominal_hz, lamp_v).feed(u)
        classifier = PstClassifier()
        classifier.add(columns, int(columns.position.searchsorted(60 * rate)))
        severity = float(classifier.close().pst[0])
        if abs(severity - 1) > 0.005:
            wrong[cpm] = severity
    assert wrong == {}  # the standard allows 5 %, the project 1 %
