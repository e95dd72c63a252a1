"""Aggregates of a supply: joining, cutting, their file, and every way the file can be broken."""

from __future__ import annotations

import io
import random
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openami.metrology.power_quality.en50160_aggregates import (
    EventKind,
    SupplyAggregates,
    SupplyEvents,
    joined,
    no_events,
)
from openami.metrology.power_quality.en50160_file import is_aggregates, read_aggregates, write_aggregates
from openami.quantities.errors import FormatError, MeteringError
from supply_week import quiet_week, spoilt_week, with_events


def assert_same(one: SupplyAggregates, other: SupplyAggregates) -> None:
    for field in fields(SupplyAggregates):
        if field.name != "events":
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), field.name)
    for column in fields(SupplyEvents):
        np.testing.assert_array_equal(
            getattr(one.events, column.name), getattr(other.events, column.name), column.name
        )


def test_a_week_survives_its_file(tmp_path: Path) -> None:
    week = spoilt_week()
    file = tmp_path / "week.npz"

    write_aggregates(file, week)

    assert is_aggregates(file)
    assert_same(read_aggregates(file), week)


def test_a_week_cut_and_joined_in_any_order_is_the_week() -> None:
    week = spoilt_week()
    parts = [week.stretch(first, min(first + 100, 1008)) for first in range(0, 1008, 100)]
    random.Random(3).shuffle(parts)

    assert_same(joined(parts), week)


def test_what_lies_between_two_stretches_is_missing() -> None:
    week = spoilt_week()

    whole = joined([week.stretch(20, 30), week.stretch(0, 10)])

    assert whole.intervals == 30
    assert np.isnan(whole.u_v[10:20]).all()
    assert np.isnan(whole.f_hz[600:1200]).all()
    assert not whole.flagged[10:20].any()
    assert_same(whole.stretch(20, 30), week.stretch(20, 30))


def test_stretches_that_do_not_belong_together_are_refused() -> None:
    week = quiet_week(30)
    first, last = week.stretch(0, 10), week.stretch(10, 20)

    with pytest.raises(MeteringError, match="no aggregates"):
        joined([])
    with pytest.raises(MeteringError, match=r"interval at 2026-03-0\dT\d\d:\d\d:00 UTC"):
        joined([first, week.stretch(9, 12)])
    with pytest.raises(MeteringError, match="120 V"):
        joined([first, replace(last, nominal_v=120.0)])
    decades_later = replace(first, start_us=first.start_us + 40 * 365 * 144 * 600_000_000)
    with pytest.raises(MeteringError, match="14600 days"):
        joined([decades_later, first])
    with pytest.raises(MeteringError, match="different harmonics"):
        joined(
            [
                first,
                replace(
                    last, harmonic_orders=last.harmonic_orders[:5], harmonic_pct=last.harmonic_pct[..., :5]
                ),
            ]
        )


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (3, 3), (5, 4), (0, 31)])
def test_intervals_that_are_not_there_cannot_be_cut_out(first: int, last: int) -> None:
    with pytest.raises(MeteringError, match="intervals"):
        quiet_week(30).stretch(first, last)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flagged": np.zeros(11, np.bool_)}, "flagged has the shape"),
        ({"f_hz": np.zeros(719)}, "f_hz has the shape"),
        ({"u_v": np.zeros((12, 4))}, r"voltages of the shape \(12, 4\)"),
        ({"u_v": np.zeros(12)}, r"voltages of the shape \(12,\)"),
        ({"pst": np.full((12, 3), -0.1)}, "pst has negative"),
        ({"f_hz": np.full(720, np.inf)}, "f_hz has negative or infinite"),
        ({"nominal_v": 0.0}, "0.0 V"),
        ({"nominal_v": float("nan")}, "nan V"),
        ({"nominal_hz": 55}, "55 Hz"),
        ({"nominal_v": 1e-300}, "1e-300 V"),
        ({"start_us": 1}, "begin at 1 us"),
        ({"start_us": -600_000_000}, "begin at -600000000 us"),
        ({"start_us": 9_000_000_000_000_000_000 // 600_000_000 * 600_000_000}, "begin at 9000"),
        ({"events": with_events(quiet_week(20), (EventKind.DIP, 9e3, 1.0, 50.0, 1)).events}, "outside"),
        ({"harmonic_orders": np.arange(39, 0, -1)}, "harmonics"),
    ],
)
def test_impossible_aggregates_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MeteringError, match=said):
        replace(quiet_week(12), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": np.array([9], np.uint8)}, "unknown kinds"),
        ({"duration_s": np.array([np.inf])}, "infinite"),
        ({"duration_s": np.array([-1.0])}, "negative"),
        ({"level_v": np.array([1.0, 2.0])}, "columns of events"),
    ],
)
def test_impossible_events_are_refused(changes: dict[str, Any], said: str) -> None:
    dip = with_events(quiet_week(2), (EventKind.DIP, 5.0, 1.0, 50.0, 1)).events

    with pytest.raises(MeteringError, match=said):
        replace(dip, **changes)
    assert no_events().count == 0


def test_a_recording_is_no_file_of_aggregates(tmp_path: Path) -> None:
    np.savez(tmp_path / "recording.npz", u=np.zeros(5), rate_hz=6400.0)
    (tmp_path / "text.csv").write_text("u,i\n1,2\n")

    assert not is_aggregates(tmp_path / "recording.npz")
    assert not is_aggregates(tmp_path / "text.csv")


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rebuilt(file: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


def array_bytes(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("u_v", None, "no array u_v"),
        ("u_v", b"no array at all", "u_v"),
        ("u_v", array_bytes(np.zeros((12, 3), np.float32)), "type float32"),
        ("u_v", array_bytes(np.array([{}], object)), "an array of numbers"),
        ("u_v", array_bytes(np.zeros((12, 3)))[:-8], "bytes of 288"),
        ("u_v", array_bytes(np.zeros((3, 12)).T), "an array of numbers"),
        ("nominal_hz", array_bytes(np.array([50])), "one number"),
        ("nominal_v", array_bytes(np.array(np.nan)), "one number"),
        ("format", array_bytes(np.array("something else")), "something else"),
        ("event_kind", array_bytes(np.array([1, 2], np.uint8)), "columns of events"),
    ],
)
def test_a_broken_file_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    file = tmp_path / "week.npz"
    write_aggregates(file, quiet_week(12))
    contents = members(file)
    if content is None:
        del contents[f"{name}.npy"]
    else:
        contents[f"{name}.npy"] = content
    rebuilt(file, contents)

    with pytest.raises(FormatError, match=said) as caught:
        read_aggregates(file)
    assert caught.value.where == str(file)


def test_a_header_that_claims_terabytes_allocates_nothing(tmp_path: Path) -> None:
    file = tmp_path / "week.npz"
    write_aggregates(file, quiet_week(12))
    contents = members(file)
    claim = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)}
    np.lib.format.write_array_header_1_0(claim, header)
    contents["u_v.npy"] = claim.getvalue() + bytes(288)

    with pytest.raises(FormatError, match=r"u_v is of float64, \(1000000000000, 3\)"):
        read_aggregates(rebuilt(file, contents))


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, cut: float) -> None:
    file = tmp_path / "week.npz"
    write_aggregates(file, quiet_week(12))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * cut)])

    with pytest.raises(FormatError):
        read_aggregates(file)


def test_any_flipped_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    file = tmp_path / "week.npz"
    write_aggregates(file, quiet_week(2))
    content = file.read_bytes()
    rng = random.Random(8)
    for _ in range(400):
        broken = bytearray(content)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        file.write_bytes(broken)
        try:
            read_aggregates(file)
        except FormatError:
            continue
