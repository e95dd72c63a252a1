"""Rule packs: complete, sourced, dated, and all faults are listed at once."""

from __future__ import annotations

from datetime import date

import pytest

from openami.mdm.vee.rule_pack import RegistryPacks, RulePack, default_pack, default_pack_text
from openami.quantities.errors import ValidationError
from vee_world import Utility


def test_packaged_rules_have_the_values_and_sources_of_the_reference() -> None:
    pack = default_pack()
    assert (pack.name, pack.spike_ratio, pack.register_sum_steps) == ("default@1", 1.8, 2)
    assert (pack.linear_max_gap_s, pack.like_day_count, pack.like_day_max_age_days) == (7200, 3, 35)
    assert pack.zero_run_hours == 24
    assert len(pack.sources) == 26
    assert "recalled" in pack.sources["spike.ratio"]
    assert "recalled" in pack.sources["register_sum.steps"]
    assert all(source.strip() for source in pack.sources.values())


def test_all_faults_of_a_pack_are_listed() -> None:
    text = default_pack_text()
    for old, new in [
        ('id = "default"', "id = 7"),
        ("ratio = { value = 1.8, source", "ratio = { value = 0, source"),
        ("steps = { value = 2, source", "steps = { value = 2, origin"),
        ('"linear", "like_day_average"', '"linear", "linear", "crystal_ball"'),
        ('"DATA_INVALID"', '"NO_SUCH_FLAG"'),
        (
            'channels = { value = ["1-0:1.29.0"], source = "ours: an export',
            'channels = { value = ["x"], source = "',
        ),
        ("days = []", 'days = ["yesterday"]'),
        ('friday = ["friday"]', 'friday = ["freitag"]'),
        ("[clock]", "[clock]\nforesight = 1"),
        ("hours = { value = 24", "hours = { value = true"),
    ]:
        assert old in text, old
        text = text.replace(old, new, 1)
    with pytest.raises(ValidationError) as error:
        RulePack.from_toml(text, where="mine.toml")
    message = str(error.value)
    for part in (
        "mine.toml",
        "pack.id = 7",
        "spike.ratio = 0",
        "register_sum.steps has no source",
        "register_sum.steps has unknown keys ['origin']",
        "order.short has unknown methods ['crystal_ball']",
        "order.short names a method twice",
        "unknown flag 'NO_SUCH_FLAG'",
        "zero_run.channels: 'x' is not an OBIS code",
        "holidays.days",
        "equivalent_days.friday has unknown days ['freitag']",
        "clock.foresight is not a rule",
        "zero_run.hours = True",
    ):
        assert part in message, part


def test_a_missing_section_is_one_fault_and_no_crash() -> None:
    text = default_pack_text().replace("[clock]", "[clocks]")
    with pytest.raises(ValidationError, match=r"section \[clock\] is missing"):
        RulePack.from_toml(text)


@pytest.mark.parametrize(
    "text", ["", "spike = 3", "[pack]\nid =", "\x00", "a = " + "9" * 5000, "a = " + "[" * 5000]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        RulePack.from_toml(text)


def test_every_cut_of_a_pack_is_refused() -> None:
    text = default_pack_text()
    lines = text.splitlines()
    for count in range(len(lines) - 3):
        with pytest.raises(ValidationError):
            RulePack.from_toml("\n".join(lines[:count]))


def test_a_holiday_counts_as_a_sunday() -> None:
    pack = RulePack.from_toml(default_pack_text().replace("days = []", "days = [2024-05-01]"))
    assert pack.day_class(date(2024, 5, 1)) == 6
    assert pack.day_class(date(2024, 5, 2)) == 3


def test_versions_begin_on_their_day_and_the_packaged_pack_rules_before(utility: Utility) -> None:
    for version, day in (("2", date(2024, 1, 1)), ("3", date(2024, 6, 1))):
        text = default_pack_text().replace('version = "1"', f'version = "{version}"')
        utility.registry.put_document(
            "rule_pack", "default", text, valid_from=day, actor="test", why="new rules"
        )
    packs = RegistryPacks(utility.registry)
    names = [packs.on(day).name for day in (date(2023, 12, 31), date(2024, 1, 1), date(2024, 6, 1))]
    assert names == ["default@1", "default@2", "default@3"]
    assert RegistryPacks(utility.registry, "other").on(date(2024, 1, 1)).name == "default@1"
