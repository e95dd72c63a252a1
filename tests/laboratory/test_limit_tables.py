"""Every limit is the one that was noted with its provenance, and none is shown as more certain than it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from openami.laboratory.accuracy_limits import Basis, ClassLimits, InfluenceLimit, IntrinsicLimit, Load
from openami.laboratory.limit_tables import (
    STANDARD_FILES,
    class_limits,
    classes_of,
    goals,
    in_service_limit,
    least_current_ratios,
    limits_of_document,
    rounding_interval,
    standard_named,
    standard_of_class,
)
from openami.quantities.errors import FormatError, MeteringError

INFLUENCE_TESTS = {
    "temp_coeff_pct_per_K": ("temperature_coefficient",),
    "voltage_pm10pct": ("voltage",),
    "voltage_pm10": ("voltage",),
    "frequency_pm2pct": ("frequency",),
    "frequency_pm2": ("frequency",),
    "reversed_phase_sequence_0.1In": ("reversed_phase_sequence",),
    "reversed_phase_sequence_0.1Ib": ("reversed_phase_sequence",),
    "reversed_sequence": ("reversed_phase_sequence",),
    "voltage_unbalance_In": ("voltage_unbalance",),
    "voltage_unbalance_Ib": ("voltage_unbalance",),
    "voltage_0.8-0.9_1.1-1.15Un": ("severe_voltage",),
    "severe_voltage_0.8-0.9_1.1-1.15": ("severe_voltage",),
    "harmonics_UI_0.5Imax": ("fifth_harmonic",),
    "harmonics_UI": ("quadriform", "peaked"),
    "subharmonics_0.5In": ("burst_fired",),
    "subharmonics_0.5Ib": ("burst_fired",),
    "subharmonics_burst": ("burst_fired",),
    "odd_harmonics_0.5Ib": ("phase_fired_90",),
    "phase_fired_odd": ("phase_fired_90",),
    "dc_even_harmonics_Imax/sqrt2": ("half_wave",),
    "dc_even_harmonics": ("half_wave",),
    "high_order_harmonics": ("high_order_voltage", "high_order_current"),
    "auxiliary_0.01In": ("auxiliary",),
    "auxiliary_0.05Ib": ("auxiliary",),
    "dc_magnetic_In": ("dc_magnetic",),
    "dc_magnetic": ("dc_magnetic",),
    "ac_magnetic_0.5mT_In": ("ac_magnetic",),
    "ac_magnetic_0.5mT": ("ac_magnetic",),
    "rf_conducted_burst_damped_In": ("radio_frequency",),
    "rf_In": ("radio_frequency",),
    "rf": ("radio_frequency",),
    "burst": ("fast_transients",),
    "self_heating_Imax": ("self_heating",),
    "self_heating": ("self_heating",),
    "short_overcurrent_20Imax_0.5s": ("short_overcurrent",),
    "load_balance": ("load_balance",),
    "tilt_3deg": ("tilt",),
    "phase_interruption": ("phase_interruption",),
}
"""What the noted tables call an influence quantity, and what it is called here."""


@pytest.fixture(scope="module")
def noted(shared_data: Path) -> Mapping[str, Any]:
    file = shared_data / "metrology" / "accuracy_limits.json"
    document: Mapping[str, Any] = json.loads(file.read_text())
    return document


def _find(
    rows: tuple[IntrinsicLimit, ...], entry: Mapping[str, Any], load: Load, factor: str
) -> IntrinsicLimit:
    begin, end = entry["I"]
    [row] = [
        row
        for row in rows
        if row.load is load and (row.begin, row.end) == (begin, end) and factor in row.factor
    ]
    return row


def _same_intrinsic(
    limits: ClassLimits, entries: list[Mapping[str, Any]], load: Load, connection: str | None, read: bool
) -> int:
    rows = tuple(row for row in limits.intrinsic if row.connection in (None, connection))
    for entry in entries:
        for factor in entry.get("pf", entry.get("sin")):
            row = _find(rows, entry, load, factor)
            assert row.limit_pct == entry["lim"]
            believed = read and not entry.get("prov", "read").startswith("memory")
            assert row.source.basis is (Basis.READ if believed else Basis.RECALLED)
    return len(entries)


def _influence(limits: ClassLimits, test: str, factor: str) -> InfluenceLimit:
    [row] = [row for row in limits.influence if row.test == test and row.factor == factor]
    return row


def _same_influence(limits: ClassLimits, noted: Mapping[str, Any], read: bool) -> None:
    for key, value in noted.items():
        if key == "voltage_below_0.8Un":
            row = _influence(limits, "low_voltage", "1")
            assert [row.limit_pct, row.low_pct] == value
            continue
        for test in INFLUENCE_TESTS[key]:
            by_factor = value if isinstance(value, Mapping) else {"1": value}
            for factor, limit in by_factor.items():
                row = _influence(limits, test, "1" if factor == "unity" else factor)
                assert row.limit_pct == limit, (limits.name, key, factor)
                assert row.source.basis is (Basis.READ if read else Basis.RECALLED)


def test_limits_of_62053_22_are_those_noted_entry_for_entry(noted: Mapping[str, Any]) -> None:
    tables = noted["IEC_62053_22"]
    assert set(tables) == set(classes_of("IEC 62053-22"))
    for name, table in tables.items():
        limits = class_limits("IEC 62053-22", name)
        read = table["prov"].startswith("read")
        assert _same_intrinsic(limits, table["balanced"], Load.BALANCED, "ct", read) == sum(
            row.load is Load.BALANCED for row in limits.intrinsic
        )
        _same_intrinsic(limits, table.get("single_phase_load", []), Load.SINGLE_PHASE, "ct", read)
        _same_influence(limits, table.get("influence", {}), read)
        assert limits.starting["ct"] == table["starting_current_In"]
        if "single_vs_balanced_diff_at_In" in table:
            assert limits.single_difference_pct == table["single_vs_balanced_diff_at_In"]
    rule = class_limits("IEC 62053-22", "0.2S").no_load
    assert rule is not None
    assert (rule.voltage, rule.max_pulses) == (1.15, tables["0.2S"]["no_load"]["max_pulses"])
    assert (rule.source.basis, rule.pulse_factor_source.basis) == (Basis.READ, Basis.RECALLED)
    assert class_limits("IEC 62053-22", "0.2S").repeatability_fraction == 0.1


def test_what_is_not_known_of_01s_is_half_of_02s_and_says_so() -> None:
    tenth, fifth = class_limits("IEC 62053-22", "0.1S"), class_limits("IEC 62053-22", "0.2S")
    for row in fifth.influence:
        half = _influence(tenth, row.test, row.factor)
        if row.test != "low_voltage":  # +10 .. -100 % is no accuracy and does not halve
            assert half.limit_pct == pytest.approx(row.limit_pct / 2)
        assert half.source.confidence == "low"
        assert "low confidence, confirm against the standard" in half.source.statement
        assert "half of 0.2 S" in half.source.statement


def test_limits_of_62053_21_are_those_noted_entry_for_entry(noted: Mapping[str, Any]) -> None:
    table = noted["IEC_62053_21"]
    for name in ("1", "2"):
        limits = class_limits("IEC 62053-21", name)
        count = 0
        for key, connection in (("balanced_direct", "direct"), ("balanced_ct", "ct")):
            count += _same_intrinsic(limits, table[key][name], Load.BALANCED, connection, read=False)
        assert count == sum(row.load is Load.BALANCED for row in limits.intrinsic)
        _same_intrinsic(limits, table["single_phase_load"][name], Load.SINGLE_PHASE, "direct", read=True)
        _same_influence(limits, table["influence"][name], read=True)
        _same_influence(limits, table["influence_memory"][name], read=False)
        noted_tests = {
            test
            for key in (*table["influence"][name], *table["influence_memory"][name])
            for test in INFLUENCE_TESTS[key]
        }
        assert {row.test for row in limits.influence} == noted_tests
        assert limits.starting == {
            "direct": table["starting"]["direct_Ib"][name],
            "ct": table["starting"]["ct_In"][name],
        }
        assert limits.no_load is not None
        assert limits.no_load.pulse_factor == {"1": 600, "2": 480}[name]


@pytest.mark.parametrize(
    ("standard", "key"), [("IEC 62053-23", "IEC_62053_23"), ("IEC 62053-24", "IEC_62053_24")]
)
def test_limits_of_reactive_energy_are_those_noted(noted: Mapping[str, Any], standard: str, key: str) -> None:
    for name in classes_of(standard):
        limits = class_limits(standard, name)
        assert limits.quantity == "reactive"
        count = _same_intrinsic(limits, noted[key][name], Load.BALANCED, None, read=False)
        assert count == len(limits.intrinsic)
        if standard == "IEC 62053-23":
            assert limits.starting["direct"] == noted[key]["starting_direct_Ib"][name]


def test_limits_of_r46_are_those_noted_and_all_recalled(noted: Mapping[str, Any]) -> None:
    table = noted["OIML_R46_2012"]
    for name in "ABCD":
        limits = class_limits("OIML R 46", name)
        for (begin, end), key in {("Imin", "Itr"): "Imin..Itr", ("Itr", "Imax"): "Itr..Imax"}.items():
            for factor, factor_key in (("1", "unity"), ("0.5L", "0.5L..1..0.8C"), ("0.8C", "0.5L..1..0.8C")):
                row = _find(limits.intrinsic, {"I": [begin, end]}, Load.BALANCED, factor)
                assert row.limit_pct == table["base_mpe"][key][factor_key][name]
        growing = _find(limits.intrinsic, {"I": ["Ist", "Imin"]}, Load.BALANCED, "1")
        assert f"{growing.limit_pct}*{growing.law}" == table["base_mpe"]["Ist..Imin"]["unity"][name]
        coefficients = {factor: values[name] for factor, values in table["temp_coeff_pct_per_K"].items()}
        _same_influence(limits, {"temp_coeff_pct_per_K": coefficients}, read=False)
        for key, values in table["influence"].items():
            flat = (
                {factor: by_class[name] for factor, by_class in values.items()}
                if key.startswith(("voltage", "frequency"))
                else values[name]
            )
            if flat is None:
                assert not any(row.test in INFLUENCE_TESTS[key] for row in limits.influence)
            else:
                _same_influence(limits, {key: flat}, read=False)
        assert all(row.source.basis is Basis.RECALLED for row in (*limits.intrinsic, *limits.influence))


def test_current_ratios_of_r46_are_those_noted(noted: Mapping[str, Any]) -> None:
    table = noted["OIML_R46_2012"]["current_ratios"]
    for connection, key in (("direct", "direct"), ("ct", "transformer")):
        for name in "ABCD":
            ratios, source = least_current_ratios(connection, name)
            assert ratios == {ratio: by_class[name] for ratio, by_class in table[key].items()}
            assert source.basis is Basis.RECALLED


def test_limits_of_the_directive_are_those_noted(noted: Mapping[str, Any]) -> None:
    table = noted["MID_2014_32_EU_MI003"]
    for name in "ABC":
        rows = {(row.load, row.begin): row for row in class_limits("EN 50470-3", name).composite}
        low = rows[Load.BALANCED, "Imin"]
        assert list(low.limits_pct) == table["balanced_Imin_Itr"][name]
        high = rows[Load.BALANCED, "Itr"]
        assert list(high.limits_pct) == table["balanced_Itr_Imax"][name]
        single = rows[Load.SINGLE_PHASE, "Itr"]
        assert list(single.limits_pct) == table["single_phase_load_Itr_Imax_memory"][name]
        assert (low.source.basis, high.source.basis, single.source.basis) == ("read", "read", "recalled")
    ranges = class_limits("EN 50470-3", "B").temperatures
    assert ranges == (
        ((5, 30),),
        ((-10, 5), (30, 40)),
        ((-25, -10), (40, 55)),
        ((-40, -25), (55, 70)),
    )


def test_limits_in_service_and_rounding_are_those_noted(noted: Mapping[str, Any]) -> None:
    for name in "ABCD":
        found = in_service_limit(name)
        assert found is not None
        assert found[0] == noted["FR_in_service_mpe"][name]
        assert found[1].basis is Basis.READ
    assert in_service_limit("0.2S") is None
    for index, step in noted["rounding_interval"].items():
        if index == "prov":
            continue
        found = rounding_interval({"0.2": "0.2S", "0.5": "0.5S"}.get(index, index))
        assert found is not None
        assert (found[0], found[1].basis) == (step, Basis.RECALLED)


def test_every_recalled_limit_says_that_it_is_to_be_confirmed() -> None:
    for standard in STANDARD_FILES:
        for name in classes_of(standard):
            limits = class_limits(standard, name)
            for row in (*limits.intrinsic, *limits.influence, *limits.composite):
                recalled = row.source.basis is Basis.RECALLED
                assert ("confirm against the standard" in row.source.statement) is recalled


def test_what_was_taken_over_by_analogy_says_so() -> None:
    for standard in ("OIML R 46", "EN 50470-3"):
        for name in classes_of(standard):
            rule = class_limits(standard, name).no_load
            assert rule is not None
            assert rule.pulse_factor_source.basis is Basis.OWN
            assert "by analogy" in rule.pulse_factor_source.statement


def test_goals_are_the_ones_of_the_survey() -> None:
    wanted = goals()
    assert (wanted.full_power_active, wanted.full_power_reactive, wanted.full_power_apparent) == (1, 2, 3)
    assert (wanted.intrinsic, wanted.influence, wanted.linearity) == (0.4, 0.5, 0.2)
    assert wanted.source.basis is Basis.OWN


@pytest.mark.parametrize(
    ("class_name", "standard"),
    [("0.1S", "IEC 62053-22"), ("0.5S", "IEC 62053-22"), ("1", "IEC 62053-21"), ("D", "OIML R 46")],
)
def test_the_letter_of_a_class_picks_its_standard(class_name: str, standard: str) -> None:
    assert standard_of_class(class_name) == standard


@pytest.mark.parametrize(
    ("written", "standard"),
    [
        ("r46", "OIML R 46"),
        ("MID", "EN 50470-3"),
        ("62053-22", "IEC 62053-22"),
        ("iec 62053-21", "IEC 62053-21"),
        ("EN 50470-3", "EN 50470-3"),
        ("IEC_62053-24", "IEC 62053-24"),
    ],
)
def test_a_standard_is_found_as_people_write_it(written: str, standard: str) -> None:
    assert standard_named(written) == standard


def test_an_unknown_class_or_standard_names_those_that_are_known() -> None:
    with pytest.raises(MeteringError, match=r"0\.3S.*0\.2S"):
        standard_of_class("0.3S")
    with pytest.raises(MeteringError, match=r"ANSI.*IEC 62053-21"):
        standard_named("ANSI C12.20")
    with pytest.raises(MeteringError, match=r"no class 'D'.*A, B, C"):
        class_limits("EN 50470-3", "D")


DOCUMENT: dict[str, Any] = {
    "standard": {"id": "X", "title": "X", "quantity": "active", "base": "reference"},
    "source": {"book": {"basis": "read", "reference": "a book"}},
    "class": {
        "1": {
            "source": "book",
            "intrinsic": [{"load": "balanced", "from": 0.1, "to": "Imax", "factor": ["1"], "limit_pct": 1.0}],
        }
    },
}


def test_a_limit_without_a_source_is_refused() -> None:
    assert limits_of_document(DOCUMENT, "1", "x").intrinsic[0].limit_pct == 1.0
    broken = json.loads(json.dumps(DOCUMENT))
    broken["class"]["1"]["intrinsic"][0]["source"] = "hearsay"
    with pytest.raises(FormatError, match=r"hearsay.*book"):
        limits_of_document(broken, "1", "x")


def test_all_faults_of_a_table_are_named_at_once() -> None:
    broken = json.loads(json.dumps(DOCUMENT))
    row = broken["class"]["1"]["intrinsic"][0]
    row["limit_pct"] = "much"
    row["colour"] = "red"
    with pytest.raises(FormatError, match=r"(?s)limit_pct.*colour"):
        limits_of_document(broken, "1", "x")
