"""EN 50160: verdicts of weeks made by hand, exact to the interval; the event tables, edge by edge."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openami.metrology.power_quality.en50160 import Finding, Verdict, evaluate, weeks_of
from openami.metrology.power_quality.en50160_limits import Characteristic, en50160_limits, limits_from_table
from openami.metrology.power_quality.event_kernel import EventKind
from openami.quantities.errors import MeteringError
from supply_week import ALLOWED_PCT, MONDAY_US, WEEK, quiet_week, spoilt_week, with_events


def finding(findings: tuple[Finding, ...], name: str, phase: int | None = None) -> Finding:
    return next(each for each in findings if each.limit.name == name and each.phase == phase)


def test_a_quiet_week_keeps_every_limit() -> None:
    week = evaluate(quiet_week())

    assert week.verdict is Verdict.KEPT
    assert week.whole
    # frequency twice, unbalance once; voltage twice, Plt, THD and 24 harmonics on three phases
    assert len(week.findings) == 3 + 3 * (2 + 1 + 1 + 24)
    assert {each.verdict for each in week.findings} == {Verdict.KEPT}
    assert all(each.within == each.intervals for each in week.findings)


@pytest.mark.parametrize(("low_intervals", "verdict"), [(50, Verdict.KEPT), (51, Verdict.BROKEN)])
def test_95_percent_of_1008_intervals_are_958(low_intervals: int, verdict: Verdict) -> None:
    week = quiet_week()
    u_v = week.u_v.copy()
    u_v[100 : 100 + low_intervals, 2] = 206.9

    result = evaluate(replace(week, u_v=u_v))

    found = finding(result.findings, "voltage_usual", 3)
    assert (found.within, found.outside, found.verdict) == (1008 - low_intervals, low_intervals, verdict)
    assert found.low_at_share == (206.9 if low_intervals == 51 else pytest.approx(226, abs=1))
    assert result.verdict_of("voltage_usual") is verdict
    assert result.verdict_of("voltage_always") is Verdict.KEPT


@pytest.mark.parametrize(
    ("volts", "name", "verdict"),
    [
        (207.0, "voltage_usual", Verdict.KEPT),
        (206.999, "voltage_usual", Verdict.BROKEN),
        (253.0, "voltage_usual", Verdict.KEPT),
        (253.001, "voltage_usual", Verdict.BROKEN),
        (195.5, "voltage_always", Verdict.KEPT),
        (195.499, "voltage_always", Verdict.BROKEN),
        (253.0, "voltage_always", Verdict.KEPT),
    ],
)
def test_a_value_on_its_limit_is_within(volts: float, name: str, verdict: Verdict) -> None:
    week = quiet_week()

    result = evaluate(replace(week, u_v=np.full_like(week.u_v, volts)))

    assert result.verdict_of(name) is verdict


@pytest.mark.parametrize("nominal_v", [57.7, 63.5, 100 / 3**0.5, 120.0, 127.0, 230.0, 231.0, 400.0])
@pytest.mark.parametrize("percent", [85, 90, 110])
def test_a_value_on_its_limit_is_within_at_every_nominal_voltage(nominal_v: float, percent: int) -> None:
    week = quiet_week(12, phases=1)
    volts = nominal_v * percent / 100

    result = evaluate(replace(week, nominal_v=nominal_v, u_v=np.full_like(week.u_v, volts)))

    assert result.verdict_of("voltage_always") is Verdict.KEPT


def test_a_spoilt_week_breaks_exactly_what_was_spoilt() -> None:
    week = evaluate(spoilt_week())

    broken = {(each.limit.name, each.phase): each.outside for each in week.findings if _broken(each)}
    assert broken == {
        ("frequency_usual", None): 406,
        ("frequency_always", None): 6,
        ("voltage_usual", 1): 83,  # 84 in the evenings, one of them flagged by the dip at 66,100 s
        ("voltage_always", 2): 1,
        ("flicker", 3): 9,  # ten two-hour periods of 1.3, one of them flagged
        ("unbalance", None): 60,
        ("thd", 2): 83,
        ("harmonic_5", 2): 83,
        ("harmonic_15", 1): 51,
    }
    assert week.verdict is Verdict.BROKEN
    assert not week.whole
    assert week.measured == WEEK - 12


def _broken(found: Finding) -> bool:
    return found.verdict is Verdict.BROKEN


def test_every_value_is_judged_missing_or_flagged() -> None:
    for each in evaluate(spoilt_week()).findings:
        assert each.judged + each.missing + each.flagged == each.intervals


@given(st.integers(0, 1008), st.integers(0, 1008))
def test_flagged_intervals_are_neither_good_nor_bad(outside: int, flagged: int) -> None:
    week = quiet_week()
    u_v = week.u_v.copy()
    u_v[:outside, 0] = 150.0

    result = evaluate(replace(week, u_v=u_v, flagged=np.arange(WEEK) < flagged))

    found = finding(result.findings, "voltage_always", 1)
    assert found.flagged == flagged
    assert found.outside == max(outside - flagged, 0)
    expected = (
        Verdict.NOT_MEASURED if flagged == WEEK else Verdict.BROKEN if outside > flagged else Verdict.KEPT
    )
    assert found.verdict is expected


def test_what_was_not_measured_is_not_called_kept() -> None:
    week = quiet_week(phases=1)
    bare = replace(
        week,
        pst=np.full_like(week.pst, np.nan),
        harmonic_orders=week.harmonic_orders[:3],
        harmonic_pct=week.harmonic_pct[:, :, :3],
    )

    result = evaluate(bare)

    assert result.verdict_of("unbalance") is Verdict.NOT_MEASURED
    assert result.verdict_of("flicker") is Verdict.NOT_MEASURED
    assert result.verdict_of("harmonic_4") is Verdict.KEPT
    assert result.verdict_of("harmonic_5") is Verdict.NOT_MEASURED
    assert result.verdict is Verdict.KEPT


def test_no_data_has_no_verdict() -> None:
    week = quiet_week(6)
    nothing = replace(
        week,
        u_v=np.full_like(week.u_v, np.nan),
        thd_pct=np.full_like(week.thd_pct, np.nan),
        harmonic_pct=np.full_like(week.harmonic_pct, np.nan),
        unbalance_pct=np.full_like(week.unbalance_pct, np.nan),
        pst=np.full_like(week.pst, np.nan),
        f_hz=np.full_like(week.f_hz, np.nan),
    )

    result = evaluate(nothing)

    assert result.verdict is Verdict.NOT_MEASURED
    assert all(np.isnan(each.largest) for each in result.findings)


def test_an_excluded_frequency_is_that_of_the_ten_seconds_and_not_of_the_ten_minutes() -> None:
    week = with_events(quiet_week(), (EventKind.DIP, 6005.0, 5.1, 70.0, 1))

    found = finding(evaluate(week).findings, "frequency_usual")

    assert found.flagged == 2  # 6000 to 6010 s and 6010 to 6020 s
    assert found.judged == 60 * WEEK - 2


def test_a_rapid_change_flags_nothing_and_an_event_without_end_flags_the_rest() -> None:
    quiet = quiet_week(12)
    changed = with_events(quiet, (EventKind.RAPID_VOLTAGE_CHANGE, 100.0, 0.1, 5.2, 1))
    lasting = with_events(quiet, (EventKind.INTERRUPTION, 3605.0, np.nan, 0.0, 7))

    assert not evaluate(changed).aggregates.frequency_flagged().any()
    assert evaluate(changed).rapid_changes == 1
    assert np.flatnonzero(lasting.frequency_flagged())[0] == 360
    assert lasting.frequency_flagged()[360:].all()
    assert evaluate(lasting).unended == 1
    assert evaluate(lasting).long_interruptions == 0


def test_plt_is_taken_at_the_even_hours_of_utc() -> None:
    """A week that begins at 01:20 has its first Plt from 02:00, its fourth interval."""
    week = quiet_week(40, phases=1)
    pst = np.full((40, 1), 0.5)
    pst[4:16] = 1.5
    shifted = replace(week, start_us=MONDAY_US + 8 * 600_000_000, pst=pst)

    long_term, flagged, first = shifted.long_term_flicker()

    assert first == 4
    np.testing.assert_allclose(long_term[:, 0], [1.5, 0.5, 0.5], rtol=1e-14)
    assert flagged.tolist() == [False, False, False]


def dip_cell(residual_pct: float, duration_s: float) -> tuple[int, int]:
    week = with_events(quiet_week(6), (EventKind.DIP, 10.0, duration_s, residual_pct, 1))
    counts = evaluate(week).dips.counts
    assert counts.sum() == 1
    row, column = np.argwhere(counts)[0]
    return int(row), int(column)


@pytest.mark.parametrize(
    ("residual", "row"),
    [
        (89.9, 0),
        (80.0, 0),
        (79.99, 1),
        (70.0, 1),
        (69.99, 2),
        (40.0, 2),
        (39.99, 3),
        (5.0, 3),
        (4.99, 4),
        (0.0, 4),
    ],
)
def test_residual_voltages_fall_into_the_rows_of_the_standard(residual: float, row: int) -> None:
    assert dip_cell(residual, 0.1) == (row, 1)


@pytest.mark.parametrize(
    ("seconds", "column"),
    [
        (0.009, 0), (0.010, 1), (0.2, 1), (0.2001, 2), (0.5, 2), (0.501, 3), (1.0, 3), (1.01, 4), (5.0, 4),
        (5.01, 5), (60.0, 5), (60.1, 6), (86_400.0, 6),
    ],
)  # fmt: skip
def test_durations_fall_into_the_columns_of_the_standard(seconds: float, column: int) -> None:
    assert dip_cell(60.0, seconds) == (2, column)


@pytest.mark.parametrize(
    ("largest", "seconds", "cell"),
    [
        (110.1, 0.5, (0, 1)),
        (119.9, 0.51, (0, 2)),
        (120.0, 5.0, (1, 2)),
        (150.0, 60.0, (1, 3)),
        (125.0, 61.0, (1, 4)),
    ],
)
def test_swells_fall_into_their_table(largest: float, seconds: float, cell: tuple[int, int]) -> None:
    week = with_events(quiet_week(6), (EventKind.SWELL, 10.0, seconds, largest, 1))

    counts = evaluate(week).swells.counts

    assert counts[cell] == counts.sum() == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(EventKind)),
            st.floats(0, 3599),
            st.one_of(st.floats(0, 1e6), st.just(float("nan"))),
            st.floats(0, 300),
            st.integers(1, 7),
        ),
        max_size=30,
    )
)
def test_every_event_is_counted_once(events: list[tuple[EventKind, float, float, float, int]]) -> None:
    result = evaluate(with_events(quiet_week(6), *events))

    of_voltage = [event for event in events if event[0] is not EventKind.RAPID_VOLTAGE_CHANGE]
    counted = int(result.dips.counts.sum() + result.swells.counts.sum())
    counted += result.short_interruptions + result.long_interruptions + result.unended
    assert counted == len(of_voltage)
    assert result.rapid_changes == len(events) - len(of_voltage)


@pytest.mark.parametrize(("seconds", "long"), [(180.0, 0), (180.1, 1)])
def test_an_interruption_is_long_after_three_minutes(seconds: float, long: int) -> None:
    result = evaluate(with_events(quiet_week(6), (EventKind.INTERRUPTION, 5.0, seconds, 0.0, 7)))

    assert (result.short_interruptions, result.long_interruptions) == (1 - long, long)


def test_more_than_a_week_is_cut_into_weeks_and_refused_as_one() -> None:
    fortnight = quiet_week(2 * WEEK + 5)

    with pytest.raises(MeteringError, match="2021 intervals"):
        evaluate(fortnight)

    weeks = list(weeks_of(fortnight))
    assert [week.intervals for week in weeks] == [WEEK, WEEK, 5]
    assert np.array_equal(np.concatenate([week.f_hz for week in weeks]), fortnight.f_hz)


def test_limits_are_those_of_the_projects_reference_and_say_they_are_recalled(shared_data: Path) -> None:
    file = shared_data / "metrology" / "pq_rules_and_checks.json"
    reference = json.loads(file.read_text())["EN50160"]
    limits = {limit.name: limit for limit in en50160_limits().limits}

    def hertz(name: str) -> list[float]:
        return [limits[name].low / 2, limits[name].high / 2]  # type: ignore[operator]

    assert hertz("frequency_usual") == reference["freq"]["99.5pct_year"]
    assert hertz("frequency_always") == reference["freq"]["100pct"]
    usual, always = limits["voltage_usual"], limits["voltage_always"]
    assert [usual.low, usual.high] == pytest.approx([100 * part for part in reference["U_10min_95pct_week"]])
    assert [always.low, always.high] == pytest.approx([100 * part for part in reference["U_10min_100pct"]])
    assert limits["flicker"].high == reference["Plt_95pct_week"]
    assert limits["unbalance"].high == reference["u2_95pct_week_pct"]
    assert limits["thd"].high == reference["THD_pct"]
    for order, percent in reference["harmonics_pct"].items():
        orders = range(6, 25, 2) if order == "even_6_24" else [int(order)]
        assert {limits[f"harmonic_{each}"].high for each in orders} == {percent}
    assert limits["frequency_usual"].share == Fraction(995, 1000)
    assert {limit.source for limit in limits.values()} == {"recalled, confirm against the standard"}
    assert {o for o, p in ALLOWED_PCT.items() if o <= 25} == {
        int(n[9:]) for n in limits if n[:9] == "harmonic_"
    }


def limits_text() -> str:
    folder = resources.files("openami.metrology.power_quality")
    return folder.joinpath("en50160_limits.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("share_percent = 99.5", "share_percent = 0", "share of 0 %"),
        ("share_percent = 99.5", "share_percent = 101", "share of 101 %"),
        ('quantity = "plt"', 'quantity = "colour"', "colour"),
        ("high = 8", "", "high"),
        ("high = 8", 'high = "much"', "much"),
        ('rule = "excluded"', 'rule = "ignored"', "ignored"),
        ("residual_percent = [90, 80, 70, 40, 5, 0]", "residual_percent = [90, 95]", "edges"),
        ("[interruptions]", "[interruption]", "interruptions"),
    ],
)
def test_broken_limits_are_refused(old: str, new: str, said: str) -> None:
    text = limits_text()
    assert old in text

    with pytest.raises(MeteringError, match=said):
        limits_from_table(tomllib.loads(text.replace(old, new, 1)))


def test_other_limits_can_be_used() -> None:
    strict = limits_from_table(tomllib.loads(limits_text().replace("high = 8", "high = 3")))

    result = evaluate(quiet_week(), strict)

    assert result.verdict_of("thd") is Verdict.BROKEN
    assert next(each for each in strict.limits if each.characteristic is Characteristic.THD).high == 3.0


def test_an_unknown_limit_has_no_verdict() -> None:
    with pytest.raises(MeteringError, match="colour"):
        evaluate(quiet_week(12)).verdict_of("colour")
