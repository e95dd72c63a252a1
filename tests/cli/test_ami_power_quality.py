"""`ami power-quality`: from files to a verdict, a report and aggregates; faults are told by their file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from ami_command import call_ami
from openami.metrology.power_quality.en50160_file import read_aggregates, write_aggregates
from openami.metrology.recording.opening import open_recording
from supply_week import MONDAY_US, quiet_week, spoilt_week

RATE = 4000.0


def write_recording(path: Path, *, seconds: float = 12.0, start: str | None = "2026-03-02T00:00:00Z") -> Path:
    t = np.arange(int(RATE * seconds)) / RATE
    u = 230 * np.sqrt(2) * np.sin(2 * np.pi * 50 * t[:, np.newaxis] - 2 * np.pi / 3 * np.arange(3))
    extra = {} if start is None else {"start_utc": start}
    np.savez(path, u=u, rate_hz=RATE, **extra)  # type: ignore[arg-type]
    return path


def test_a_spoilt_week_is_broken_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    write_aggregates(tmp_path / "week.npz", spoilt_week())

    outcome = call_ami("power-quality", "week.npz", "--json", cwd=tmp_path)

    assert outcome.code == 1
    document = outcome.document
    assert document["verdict"] == "broken"
    assert document["source"] == "recalled, confirm against the standard"
    broken = {
        (f["limit"], f["phase"]): f["outside"] for f in document["findings"] if f["verdict"] == "broken"
    }
    assert broken["voltage_usual", 1] == 83
    assert broken["harmonic_15", 1] == 51
    assert len(broken) == 9
    assert [event["kind"] for event in document["events"]].count("dip") == 4
    assert document["events"][0] == {
        "kind": "dip",
        "start_utc": "2026-03-03T01:00:00+00:00",
        "duration_s": 0.08,
        "u_v": pytest.approx(165.6),
        "u_pct": pytest.approx(72.0),
        "phases": [1],
    }
    assert document["intervals_measured"] == 996
    assert all(finding["source"] for finding in document["findings"])


def test_a_quiet_week_is_kept_for_people_too(tmp_path: Path) -> None:
    write_aggregates(tmp_path / "week.npz", quiet_week())

    outcome = call_ami("power-quality", "week.npz", cwd=tmp_path)

    assert outcome.code == 0
    assert "EN 50160: kept" in outcome.out
    assert "1008 of 1008" in outcome.out
    assert "confirm them against the standard" in outcome.out


@pytest.mark.parametrize(("language", "said"), [("en", "Limits are broken."), ("zh", "有指标超出限值。")])
def test_the_report_is_written_whole(tmp_path: Path, language: str, said: str) -> None:
    write_aggregates(tmp_path / "week <1>.npz", spoilt_week())

    outcome = call_ami(
        "power-quality", "week <1>.npz", "--report", "week.html", "--language", language, cwd=tmp_path
    )

    assert outcome.code == 1
    page = (tmp_path / "week.html").read_text("utf-8")
    assert said in page
    assert "week &lt;1&gt;.npz" in page
    assert page.endswith("</html>\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["week <1>.npz", "week.html"]


def test_days_in_any_order_make_a_week(tmp_path: Path) -> None:
    week = quiet_week()
    names = []
    for day in (3, 0, 6, 1, 5, 2, 4):
        names.append(f"day{day}.npz")
        write_aggregates(tmp_path / names[-1], week.stretch(144 * day, 144 * (day + 1)))

    document = call_ami("power-quality", *names, "--json", cwd=tmp_path).document

    assert document["whole_week"]
    assert document["verdict"] == "kept"
    assert [file["name"] for file in document["files"]] == names


def test_the_second_of_two_weeks_can_be_asked_for(tmp_path: Path) -> None:
    write_aggregates(tmp_path / "fortnight.npz", quiet_week(2016))

    second = call_ami("power-quality", "fortnight.npz", "--week", "2", "--json", cwd=tmp_path)
    third = call_ami("power-quality", "fortnight.npz", "--week", "3", cwd=tmp_path)

    assert (second.document["week"], second.document["weeks"]) == (2, 2)
    assert second.document["start_utc"] == "2026-03-09T00:00:00+00:00"
    assert third.code == 2
    assert "no week 3" in third.err


def test_recordings_are_measured_and_their_aggregates_can_be_kept(tmp_path: Path) -> None:
    write_recording(tmp_path / "one.npz")
    write_recording(tmp_path / "two.npz", start="2026-03-02T00:00:12Z")

    outcome = call_ami(
        "power-quality", "two.npz", "one.npz", "--json", "--aggregates", "kept.npz", cwd=tmp_path
    )
    again = call_ami("power-quality", "kept.npz", "--json", cwd=tmp_path)

    assert outcome.code == 0
    document = outcome.document
    assert (document["intervals"], document["intervals_measured"]) == (1, 0)
    frequency = next(f for f in document["findings"] if f["limit"] == "frequency_usual")
    assert frequency["within"] == 2  # the second ten seconds lie over both files, without a gap
    assert again.document["findings"] == document["findings"]
    assert read_aggregates(tmp_path / "kept.npz").intervals == 1


@pytest.mark.parametrize("current", [True, False])
def test_the_waveform_of_an_event_is_captured_as_comtrade(tmp_path: Path, current: bool) -> None:
    """A dip of L2 from 5.000 s to 5.200 s: captured from 0.2 s before to 0.8 s after its first window."""
    t = np.arange(int(12 * RATE)) / RATE
    u = 325.0 * np.sin(2 * np.pi * (50 * t - np.arange(3)[:, None] / 3))
    u[1, (t >= 5.0) & (t < 5.2)] *= 0.6
    held = {"u": u.T, "i": u.T / 10.0} if current else {"u": u.T}
    np.savez(tmp_path / "dip.npz", rate_hz=RATE, start_utc="2026-03-02T00:00:00Z", **held)

    outcome = call_ami("power-quality", "dip.npz", "--capture", "events", "--json", cwd=tmp_path)

    assert outcome.code == 0, outcome.err
    assert [event["kind"] for event in outcome.document["events"]] == ["dip"]
    (file,) = (tmp_path / "events").iterdir()
    assert file.name.startswith("dip-20260302T000004.7")
    captured = open_recording(file).read()
    first = round((captured.start_us - MONDAY_US) * RATE / 1e6)
    assert 4.77 < first / RATE < 4.81
    assert captured.samples == RATE
    expected = u[:, first : first + captured.samples]
    assert np.abs(captured.u - expected).max() < 0.02  # a step of 16 bits
    assert captured.i.shape[0] == (3 if current else 0)
    if current:
        assert np.abs(captured.i - expected / 10.0).max() < 0.002


def test_a_recording_without_a_start_needs_one(tmp_path: Path) -> None:
    write_recording(tmp_path / "clockless.npz", start=None)

    without = call_ami("power-quality", "clockless.npz", "--json", cwd=tmp_path)
    with_start = call_ami(
        "power-quality", "clockless.npz", "--start", "2026-03-02T01:00:00+01:00", "--json", cwd=tmp_path
    )

    assert without.code == 2
    assert "--start" in without.document["error"]["expected"]
    assert with_start.document["start_utc"] == "2026-03-02T00:00:00+00:00"


@pytest.mark.parametrize(
    ("start", "said"),
    [("yesterday", "no instant"), ("2026-03-02T00:00:00", "has no zone"), ("", "no instant")],
)
def test_a_start_that_is_no_instant_is_refused(tmp_path: Path, start: str, said: str) -> None:
    write_recording(tmp_path / "clockless.npz", start=None)

    outcome = call_ami("power-quality", "clockless.npz", "--start", start, cwd=tmp_path)

    assert outcome.code == 2
    assert said in outcome.err


def test_a_recording_too_slow_for_class_a_is_told_by_its_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "slow.npz", u=np.ones(999), rate_hz=800.0, start_utc="2026-03-02T00:00:00Z")
    outcome = call_ami("power-quality", "slow.npz", "--json", cwd=tmp_path)
    assert outcome.code == 2
    assert outcome.document["error"]["where"] == "slow.npz"
    assert "800 Hz" in outcome.document["error"]["message"]


def test_files_that_cannot_be_used_are_told_by_name(tmp_path: Path) -> None:
    write_recording(tmp_path / "one.npz")
    write_recording(tmp_path / "overlapping.npz", start="2026-03-02T00:00:05Z")
    (tmp_path / "text.txt").write_text("hello\n")
    week = tmp_path / "week.npz"
    write_aggregates(week, quiet_week(12))
    (tmp_path / "cut.npz").write_bytes(week.read_bytes()[:-500])

    for files in (["one.npz", "overlapping.npz"], ["text.txt"], ["cut.npz"], ["nowhere.npz"]):
        outcome = call_ami("power-quality", *files, "--report", "out.html", cwd=tmp_path)
        assert outcome.code == 2, files
        assert files[-1] in outcome.err, files
        assert not (tmp_path / "out.html").exists()


def test_other_limits_are_used_and_their_source_is_shown(tmp_path: Path) -> None:
    write_aggregates(tmp_path / "week.npz", quiet_week())
    folder = resources.files("openami.metrology.power_quality")
    text = folder.joinpath("en50160_limits.toml").read_text("utf-8")
    text = text.replace("high = 8", "high = 2").replace("recalled, confirm against the standard", "page 12")
    (tmp_path / "national.toml").write_text(text)
    (tmp_path / "broken.toml").write_text("limit = [")

    outcome = call_ami(
        "power-quality", "week.npz", "--limits", "national.toml", "--report", "r.html", "--json", cwd=tmp_path
    )
    broken = call_ami("power-quality", "week.npz", "--limits", "broken.toml", cwd=tmp_path)

    assert outcome.code == 1
    assert {finding["source"] for finding in outcome.document["findings"]} == {"page 12"}
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "page 12" in page
    assert "recalled" not in page
    assert broken.code == 2
    assert "broken.toml" in broken.err
