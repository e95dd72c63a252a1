"""A scenario file says what it means, all of it, or is refused with every fault named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.waveform.scenario import (
    Scenario,
    read_scenario,
    scenario_from_toml,
    scenario_to_toml,
)
from openami.quantities.errors import FormatError

PLAIN = """
name = "plain"
duration_s = 1.0
[voltage]
rms_v = 230
[current]
rms_a = 10
lag_deg = 60
"""


def test_plain_scenario_is_a_balanced_system() -> None:
    result = scenario_from_toml(PLAIN).reference()
    assert result.active_ws == pytest.approx([1150.0] * 3, rel=1e-14)
    assert result.fundamental_reactive_ws == pytest.approx([1991.8584287042088] * 3, rel=1e-14)


def test_every_key_has_its_effect() -> None:
    text = """
name = "all"
duration_s = 2.0
frequency_hz = 50.0
phases = 2
phase_order = "reversed"
[voltage]
rms_v = [230.0, 220.0]
phase_deg = [0.0, 180.0]
harmonics = [{ order = 5, percent = 10 }]
steps = [{ begin_s = 1.0, end_s = 2.0, gain = 0.5, phases = [2] }]
[current]
rms_a = [10.0, 5.0]
lag_deg = [0.0, 60.0]
dc_percent = 3.0
harmonics = [{ order = 5, percent = 40 }]
tones = [{ frequency_hz = 175.0, percent = 20.0 }]
neutral = "sum"
[noise]
u_v = 0.1
seed = 3
"""
    scenario = scenario_from_toml(text)
    wave, result = scenario.signals(), scenario.reference()
    # 2300 W with 4 % of the 5th harmonic; 220 x 5 x cos 60 (+ 4 % cos 300), one second full, one at half.
    assert result.active_ws == pytest.approx([2 * 2392.0, 1.5 * 550.0 * 1.04], rel=1e-12)
    assert result.i_rms_a == pytest.approx(
        np.array([10.0, 5.0]) * np.sqrt(1 + 0.16 + 0.04 + 0.0009), rel=1e-12
    )
    assert result.i_dc_a == pytest.approx([0.3, 0.15], rel=1e-12)
    assert wave.neutral is not None
    neutral = wave.sample_neutral(6400.0, 5, 64)
    assert neutral == pytest.approx(wave.sample(6400.0, 5, 64)[1].sum(axis=0), abs=1e-13)
    assert wave.noise is not None
    assert (wave.noise.u_v, wave.noise.i_a, wave.noise.seed) == (0.1, 0.0, 3)


@pytest.mark.parametrize("name", ["quadriform", "phase_fired_90", "half_wave", "high_order_current"])
def test_influence_waveforms_are_called_by_name(name: str) -> None:
    ratio = {"quadriform": 0.9806, "phase_fired_90": 0.5, "half_wave": 0.5, "high_order_current": 1.0}[name]
    text = PLAIN.replace('name = "plain"', f'name = "plain"\nwaveform = "{name}"').replace("60", "0")
    tolerance = 1e-6 if name == "high_order_current" else 1e-12
    assert scenario_from_toml(text).reference().active_ws == pytest.approx([2300 * ratio] * 3, rel=tolerance)


def test_gate_of_a_lagging_current_follows_the_voltage() -> None:
    gate = "gate = { open_deg = [[0, 180]] }"
    _, i = scenario_from_toml(PLAIN + gate).signals().sample(6000.0, 0, 120)
    assert np.flatnonzero(i[0]).tolist() == [k for k in range(60) if k != 20]  # zero crossing of the current
    # Half of sin(x) sin(x - 60) over half a cycle: half of the power.
    assert scenario_from_toml(PLAIN + gate).reference().active_ws == pytest.approx([575.0] * 3, rel=1e-12)


def test_ramps_flicker_and_phase_jumps() -> None:
    ramp = scenario_from_toml(PLAIN + "[frequency]\nramp = [[0.0, 50.0], [0.5, 51.0], [1.0, 50.0]]\n")
    assert ramp.reference().fundamental_active_ws == pytest.approx([1150.0] * 3, rel=1e-13)
    level = scenario_from_toml(PLAIN.replace("rms_v = 230", "rms_v = 230\nramp = [[0.0, 1.0], [1.0, 1.2]]"))
    assert level.reference().fundamental_active_ws == pytest.approx([1150.0 * 1.1] * 3, rel=1e-13)
    change = "modulation = { changes_per_minute = 120, change_percent = 20 }"
    flicker = scenario_from_toml(PLAIN.replace("rms_v = 230", f"rms_v = 230\n{change}"))
    assert flicker.reference().u_rms_v == pytest.approx([230 * np.sqrt(1.01)] * 3, rel=1e-12)
    step = "steps = [{ begin_s = 0.0, end_s = 1.0, phase_jump_deg = 60.0 }]"
    jump = scenario_from_toml(PLAIN.replace("rms_v = 230", f"rms_v = 230\n{step}"))
    # The voltage leads by 60 degrees more: cos 120.
    assert jump.reference().active_ws == pytest.approx([-1150.0] * 3, rel=1e-12)


def test_all_faults_are_told_at_once_with_their_keys() -> None:
    text = """
name = 1
duration_s = -1
speed = 2
[voltage]
rms_v = "a"
ramp = [[1, 2], [0, 1]]
steps = [{ begin_s = 0, end_s = 2 }, { begin_s = 1, end_s = 3, phases = [2] }]
[current]
rms_a = [1, -2]
gate = { open_deg = [[90, 80]] }
steps = [{ begin_s = 1, end_s = 0 }, { begin_s = 1, end_s = 2, phases = [4] }]
[noise]
seed = -1
"""
    with pytest.raises(FormatError) as caught:
        scenario_from_toml(text, where="evening.toml")
    message = str(caught.value)
    for fault in (
        "evening.toml: ",
        "name: ",
        "duration_s: ",
        "speed: is no key",
        "voltage.rms_v: ",
        "voltage.ramp: the times do not rise",
        "voltage.steps: steps of phase 2 overlap",
        "current.rms_a[1]: ",
        "current.gate: a gate open in",
        "current.steps[0]: it ends at",
        "current.steps[1].phases[0]: ",
        "noise.seed: ",
    ):
        assert fault in message
    assert "float" not in message.replace("valid number", "")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name = ", "not TOML"),
        ('name = "a"', "voltage: is missing; current: is missing"),
        (PLAIN.replace("230", "[230, 231]"), "voltage.rms_v has 2 values for 3 phases"),
        (PLAIN.replace("60", "[0, 1, 2, 3]"), "current.lag_deg has 4 values for 3 phases"),
        (PLAIN.replace("230", "nan"), "voltage.rms_v: "),
        (PLAIN.replace("230", "true"), "voltage.rms_v: "),
        (PLAIN.replace("1.0", "inf"), "duration_s: "),
        ('waveform = "triangle"' + PLAIN, "waveform: no test waveform is named 'triangle'"),
        (
            'waveform = "half_wave"' + PLAIN + "gate = { open_deg = [[0, 90]] }",
            "waveform: half_wave has a gate of its own",
        ),
        (
            'waveform = "half_wave"' + PLAIN + "[frequency]\nramp = [[0, 50]]",
            "a gate does not follow a frequency ramp",
        ),
        (
            PLAIN + "steps = [{begin_s = 0, end_s = 1, phase_jump_deg = 1}]\n[frequency]\nramp = [[0, 50]]",
            "a phase jump needs a steady frequency",
        ),
        (PLAIN + "[frequency]\nramp = [[0, 50], [1, 0]]", "frequency.ramp[1][1]: "),
    ],
)
def test_each_fault_is_named(text: str, fault: str) -> None:
    with pytest.raises(FormatError) as caught:
        scenario_from_toml(text)
    assert fault in str(caught.value)


def test_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(PLAIN.replace("plain", "é").encode("latin-1"))
    with pytest.raises(FormatError, match="cannot be read"):
        read_scenario(path)
    path.write_text(PLAIN, encoding="utf-8")
    assert read_scenario(path) == scenario_from_toml(PLAIN)


def test_the_page_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[3] / "docs" / "stations" / "waveform-generator.md").read_text(
        encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(toml|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "python", "toml", "python"]
    Path("evening.toml").write_text(blocks[2][1], encoding="utf-8")
    world: dict[str, object] = {}
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "page", "exec"), world)
    assert scenario_from_toml(str(world["text"])) == world["scenario"]
    # What is commented out on the page is a key as well.
    text = re.sub(r"^gate = .*$|phase_jump_deg = -10.0, ", "", blocks[2][1], flags=re.MULTILINE)
    uncommented = scenario_from_toml(re.sub(r"^# ", "", text, flags=re.MULTILINE))
    assert uncommented.waveform == "quadriform"
    assert uncommented.frequency is not None
    assert uncommented.voltage.phase_deg == (0.0, -121.0, 119.0)


reals = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
harmonics = st.fixed_dictionaries({"order": positive, "percent": positive}, optional={"phase_deg": reals})
gates = st.just({"open_deg": ((90.0, 180.0), (270.0, 360.0)), "cycles": 1})
modulations = st.fixed_dictionaries(
    {"changes_per_minute": positive, "change_percent": positive},
    optional={"shape": st.sampled_from(["sinusoidal", "rectangular"]), "phase_deg": reals},
)
step = st.fixed_dictionaries(
    {"begin_s": st.floats(0.0, 1.0), "end_s": st.floats(1.5, 2.0)},
    optional={"gain": positive, "phase_jump_deg": reals, "phases": st.just((1, 3))},
)
common = {
    "dc_percent": reals,
    "harmonics": st.lists(harmonics, max_size=2).map(tuple),
    "tones": st.just(({"frequency_hz": 175.0, "percent": 1.0},)),
    "gate": gates,
    "modulation": modulations,
    "ramp": st.just(((0.0, 1.0), (1.0, 0.5))),
    "steps": st.lists(step, max_size=1).map(tuple),
}
scenarios = st.fixed_dictionaries(
    {
        "name": st.text(st.characters(codec="utf-8"), max_size=12),
        "duration_s": positive,
        "voltage": st.fixed_dictionaries({"rms_v": positive}, optional=common),
        "current": st.fixed_dictionaries(
            {"rms_a": st.tuples(positive, positive, positive)},
            optional={**common, "lag_deg": reals, "neutral": st.just("sum")},
        ),
    },
    optional={
        "frequency_hz": positive,
        "phase_order": st.sampled_from(["forward", "reversed"]),
        "waveform": st.just("quadriform"),
        "noise": st.fixed_dictionaries({}, optional={"u_v": positive, "seed": st.integers(0, 2**63 - 1)}),
    },
).map(Scenario.model_validate)


@settings(max_examples=150, deadline=None)
@given(scenarios)
def test_a_scenario_written_and_read_is_the_same(scenario: Scenario) -> None:
    assert scenario_from_toml(scenario_to_toml(scenario)) == scenario
    assert scenario.signals().phases == 3
