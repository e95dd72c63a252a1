"""COMTRADE: what is written is read, here and by the peer; what the standard allows is understood."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openami.metrology.recording.comtrade import ComtradeFile, Side, open_comtrade
from openami.metrology.recording.comtrade_configuration import DataKind, Edition, parse_configuration
from openami.metrology.recording.comtrade_write import (
    ComtradeRecord,
    RecordLabel,
    encode_comtrade,
    format_configuration,
    write_comtrade,
)
from openami.metrology.recording.opening import ReadingOptions, open_recording
from openami.metrology.recording.recording import Recording
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[3]
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
START = 1_795_442_400_123_456

RESOLUTION = {
    DataKind.ASCII: 1 / 99_000,
    DataKind.BINARY: 1 / 32_000,
    DataKind.BINARY32: 2.0**-30,
    DataKind.FLOAT32: 2.0**-23,
}
KINDS = [
    *((kind, Edition.E2013) for kind in DataKind),
    *(
        (kind, edition)
        for kind in (DataKind.ASCII, DataKind.BINARY)
        for edition in (Edition.E1999, Edition.E1991)
    ),
]


def wave(count: int = 200, rate: float = 6400.0, *, missing: bool = False) -> Recording:
    t = np.arange(count) / rate
    u = np.stack([325 * np.sin(2 * np.pi * 49.3 * t - phase) for phase in (0.0, 2.1, 4.2)])
    i = np.stack([14 * np.sin(2 * np.pi * 49.3 * t - phase - 1) for phase in (0.0, 2.1, 4.2)])
    if missing:
        u[1, 50] = np.nan
    return Recording(u, i, rate, neutral=i.sum(axis=0), start_us=START)


def label(count: int = 200) -> RecordLabel:
    trip = np.arange(count) > 70
    return RecordLabel("FEEDER 7", "meter 4711", 50.0, 60, {"trip": trip, "close": ~trip}, "0")


def close(found: F64, written: F64, kind: DataKind) -> None:
    """Equal within half of what one count is worth."""
    peak = np.nanmax(np.abs(written))
    np.testing.assert_allclose(found, written, rtol=0, atol=0.51 * RESOLUTION[kind] * peak)


@pytest.mark.parametrize("suffix", [".cfg", ".cff"])
@pytest.mark.parametrize(("kind", "edition"), KINDS)
def test_what_is_written_is_read_back(tmp_path: Path, kind: DataKind, edition: Edition, suffix: str) -> None:
    recording = wave(missing=edition is not Edition.E1991)
    written = write_comtrade(
        tmp_path / f"r{suffix}", encode_comtrade(recording, label(), kind, edition=edition)
    )
    assert written[0].suffix == suffix
    assert sorted(tmp_path.iterdir()) == sorted(written)
    waveform = open_recording(written[0])
    found = waveform.read()
    for row, original in ((found.u, recording.u), (found.i, recording.i)):
        for got, wanted in zip(row, original, strict=True):
            close(got, wanted, kind)
    assert found.neutral is not None
    assert recording.neutral is not None
    close(found.neutral, recording.neutral, kind)
    assert found.rate_hz == 6400.0
    assert found.names == ("UA", "UB", "UC", "IA", "IB", "IC", "IN")
    assert found.start_us == (START if edition is Edition.E2013 else None)
    assert found.present().all() == (edition is Edition.E1991)
    assert found.saturated is None or not found.saturated.any()
    assert isinstance(waveform.file, ComtradeFile)
    assert waveform.file.status_names == ("trip", "close")


@pytest.mark.peer
@pytest.mark.skipif(not PEER_PYTHON.exists(), reason="no environment of peers (.venv-peers)")
def test_the_peer_reads_what_is_written_value_for_value(tmp_path: Path) -> None:
    """Every kind, edition and container in one process; missing values are NaN there, too."""
    records: list[tuple[Path, Recording, DataKind]] = []
    for number, (kind, edition) in enumerate(KINDS):
        for suffix in (".cfg", ".cff"):
            recording = wave(
                missing=kind in (DataKind.BINARY, DataKind.BINARY32) and edition is not Edition.E1991
            )
            record = encode_comtrade(recording, label(), kind, edition=edition)
            records.append((write_comtrade(tmp_path / f"r{number}{suffix}", record)[0], recording, kind))
    found = read_by_peer(tmp_path, [path for path, _, _ in records])
    for number, (path, recording, kind) in enumerate(records):
        channels = np.vstack((recording.u, recording.i, recording.neutral))
        for got, wanted in zip(found[f"analog{number}"], channels, strict=True):
            close(got, wanted, kind)
        ours = open_recording(path).read()
        np.testing.assert_array_equal(found[f"analog{number}"][:6], np.vstack((ours.u, ours.i)))
        np.testing.assert_array_equal(found[f"status{number}"], [np.arange(200) > 70, np.arange(200) <= 70])
        np.testing.assert_allclose(found[f"time{number}"], np.arange(200) / 6400.0, atol=1e-12)
        assert found[f"names{number}"].tolist() == ["UA", "UB", "UC", "IA", "IB", "IC", "IN"]
        assert found[f"phases{number}"].tolist() == ["A", "B", "C", "A", "B", "C", "N"]
        # The peer takes the two-digit year of 1991 as it stands.
        assert str(found[f"start{number}"])[2:] == "26-11-23T14:00:00.123456"
        assert str(found[f"trigger{number}"])[2:] == "26-11-23T14:00:00.132831"
        assert found[f"frequency{number}"] == 50.0


@pytest.mark.peer
@pytest.mark.skipif(not PEER_PYTHON.exists(), reason="no environment of peers (.venv-peers)")
@pytest.mark.parametrize("name", ["ascii", "binary", "binary32", "float32"])
def test_records_of_others_are_read_as_the_peer_reads_them(tmp_path: Path, name: str) -> None:
    """Records put together by hand: offsets, ratios, seventeen digital channels, scaled time."""
    path = by_hand(tmp_path, name)
    found = read_by_peer(tmp_path, [path])
    ours = open_recording(path, ReadingOptions(channels="u=1 i=2")).read()
    np.testing.assert_array_equal(ours.u[0], found["analog0"][0] * 1000.0)  # kV
    np.testing.assert_array_equal(ours.i[0], found["analog0"][1])


def read_by_peer(folder: Path, paths: list[Path]) -> Any:
    program = Path(__file__).parent / "peers" / "comtrade_reader.py"
    done = subprocess.run(
        [str(PEER_PYTHON), str(program), str(folder / "peer.npz"), *map(str, paths)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "peer.npz")


def by_hand(folder: Path, name: str, count: int = 40, missing: int | None = None) -> Path:
    """A record nobody here wrote: fields in odd order of magnitude, lower case, spaces."""
    digital = "\n".join(f"{n},D{n},,,0" for n in range(1, 18))
    cfg = (
        f" Substation Ä , 17 ,1999\n 19 , 2A,17d\n"
        "1,Bus A,A,, kV ,0.0125,-0.5,0,-32767,32767,400,0.1,P\n"
        "2,Line A,a,,A,0.25,3,0,-32767,32767,2000,1,S\n"
        f"{digital}\n60\n1\n1000,{count}\n31/12/2025,23:59:59.5\n31/12/2025,23:59:59.75\n{name}\n2\n"
    )
    (folder / f"h_{name}.CFG").write_text(cfg, encoding="utf-8")
    values = [(100 * k - 2000, -7 * k + 11) for k in range(count)]
    if name == "ascii":
        rows = [
            f"{k + 1},{k * 500},{u},{i},{','.join('01'[(k >> n) & 1] for n in range(17))}"
            for k, (u, i) in enumerate(values)
        ]
        (folder / f"h_{name}.DAT").write_text("\r\n".join(rows) + "\r\n\x1a")
    else:
        form = {"binary": "<IIhhHH", "binary32": "<IIiiHH", "float32": "<IIffHH"}[name]
        body = b"".join(
            struct.pack(
                form, k + 1, k * 500, *(values[k] if k != missing else (-32768, 5)), k & 0xFFFF, k >> 16
            )
            for k in range(count)
        )
        (folder / f"h_{name}.DAT").write_bytes(body)
    return folder / f"h_{name}.CFG"


def test_scaling_units_and_sides(tmp_path: Path) -> None:
    path = by_hand(tmp_path, "binary")
    stored_u, stored_i = 100.0 * np.arange(40) - 2000, 11.0 - 7 * np.arange(40)
    recorded = open_recording(path).read()
    np.testing.assert_allclose(recorded.u[0], (0.0125 * stored_u - 0.5) * 1000, rtol=1e-14)
    np.testing.assert_allclose(recorded.i[0], 0.25 * stored_i + 3, rtol=1e-14)
    assert recorded.names == ("Bus A", "Line A")
    primary = open_recording(path, ReadingOptions(side=Side.PRIMARY)).read()
    np.testing.assert_allclose(primary.u, recorded.u, rtol=1e-14)
    np.testing.assert_allclose(primary.i, recorded.i * 2000, rtol=1e-14)
    secondary = open_recording(path, ReadingOptions(side=Side.SECONDARY)).read()
    np.testing.assert_allclose(secondary.u, recorded.u / 4000, rtol=1e-14)
    np.testing.assert_allclose(secondary.i, recorded.i, rtol=1e-14)


def test_either_half_names_the_record_whatever_its_case(tmp_path: Path) -> None:
    path = by_hand(tmp_path, "binary")
    assert open_comtrade(path.with_suffix(".DAT")).path == path
    path.with_suffix(".DAT").unlink()
    with pytest.raises(FormatError, match=r"the \.dat of the record is missing"):
        open_comtrade(path)


def test_a_missing_value_is_missing_and_not_saturated(tmp_path: Path) -> None:
    recording = open_recording(by_hand(tmp_path, "binary", missing=7)).read()
    assert np.isnan(recording.u[0, 7])
    assert recording.i[0, 7] == 0.25 * 5 + 3
    assert np.flatnonzero(~recording.present()).tolist() == [7]
    assert recording.saturated is not None


def cfg_of(
    analog: list[str], rates: str, *, kind: str, edition: str = "1999", tail: str = "1\n", total: str = ""
) -> str:
    times = "01/02/2026,03:04:05.000006\n01/02/2026,03:04:05.000007\n"
    count = total or f"{len(analog)},{len(analog)}A,0D"
    return (
        f"s,d,{edition}\n{count}\n"
        + "".join(f"{line}\n" for line in analog)
        + f"50\n{rates}\n{times}{kind}\n{tail}"
    )


U = "1,U,A,,V,1,0,0,-32767,32767,1,1,P"
I = "2,I,A,,A,1,0,0,-32767,32767,1,1,P"  # noqa: E741


def two_channels(folder: Path, rates: str, rows: list[tuple[int, int | None]], **options: str) -> Path:
    """An ASCII record of rows (number, time stamp); values count the rows."""
    (folder / "t.cfg").write_text(cfg_of([U, I], rates, kind="ASCII", **options))
    text = "".join(f"{n},{'' if t is None else t},{k},{-k}\r\n" for k, (n, t) in enumerate(rows))
    (folder / "t.dat").write_text(text)
    return folder / "t.cfg"


def test_several_sampling_rates_must_be_chosen_from(tmp_path: Path) -> None:
    rows = [(k + 1, 250 * k if k < 30 else 7500 + 1000 * (k - 30)) for k in range(50)]
    path = two_channels(tmp_path, "2\n4000,30\n1000,50", rows)
    with pytest.raises(FormatError, match="2 sampling rates") as refused:
        open_comtrade(path)
    assert "2: 1000 Hz, samples 31 to 50" in str(refused.value.expected)
    for segment, rate, values in ((1, 4000.0, range(30)), (2, 1000.0, range(30, 50))):
        recording = open_recording(path, ReadingOptions(segment=segment)).read()
        assert recording.rate_hz == rate
        assert recording.u[0].tolist() == list(values)
    with pytest.raises(FormatError, match="no segment 3"):
        open_comtrade(path, segment=3)


def test_segments_of_one_rate_are_one_recording(tmp_path: Path) -> None:
    path = two_channels(tmp_path, "2\n4000,30\n4000,50", [(k + 1, 250 * k) for k in range(50)])
    assert open_recording(path).read().samples == 50


def test_without_a_rate_the_time_stamps_tell_it(tmp_path: Path) -> None:
    rows = [(k + 1, round(k * 1e6 / 6400)) for k in range(640)]
    waveform = open_recording(two_channels(tmp_path, "0\n0,640", rows))
    assert waveform.rate_hz == 6400.0
    assert "taken from the time stamps" in waveform.file.remarks[0]
    without: list[tuple[int, int | None]] = [(k + 1, None) for k in range(640)]
    with pytest.raises(FormatError, match="neither a sampling rate nor time stamps"):
        open_comtrade(two_channels(tmp_path, "0\n0,640", without))


@pytest.mark.parametrize(
    ("rows", "blocks"),
    [
        ([(k + 1 + (5 if k > 9 else 0), 250 * k) for k in range(20)], [(0, 10), (15, 10)]),
        ([(k + 1, 250 * (k + (7 if k > 9 else 0))) for k in range(20)], [(0, 10), (17, 10)]),
        ([(k + 1 + 3 * (k > 9), 250 * (k + 3 * (k > 9))) for k in range(20)], [(0, 10), (13, 10)]),
        ([(k + 101, 250 * k + 77) for k in range(20)], [(0, 20)]),
        ([(k + 1, 0) for k in range(20)], [(0, 20)]),
        ([(k + 1, None) for k in range(20)], [(0, 20)]),
        ([(k + 1, (250 * k) // 1000 * 1000) for k in range(20)], [(0, 20)]),
    ],
    ids=["number", "time", "both", "offset", "zeros", "no times", "coarse times"],
)  # fmt: skip
def test_a_gap_shows_in_numbers_or_times(
    tmp_path: Path, rows: list[tuple[int, int | None]], blocks: list[tuple[int, int]]
) -> None:
    path = two_channels(tmp_path, "1\n4000,20", rows)
    for size in (3, 65_536):
        parts = list(open_recording(path).blocks(size))
        runs: list[tuple[int, int]] = []
        for part in parts:
            if runs and sum(runs[-1]) == part.first_sample:
                runs[-1] = (runs[-1][0], runs[-1][1] + part.samples)
            else:
                runs.append((part.first_sample, part.samples))
        assert runs == blocks, size
        assert [part.gap is not None for part in parts].count(True) == len(blocks) - 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(1, 0), (2, 250), (2, 500)], "sample number 2 after"),
        ([(1, 0), (3, 250), (2, 500)], "sample number 2 after"),
        ([(1, 500), (2, 750), (3, 250)], "time runs backwards"),
    ],
)
def test_numbers_and_times_that_run_backwards(
    tmp_path: Path, rows: list[tuple[int, int | None]], said: str
) -> None:
    path = two_channels(tmp_path, "1\n4000,3", rows)
    with pytest.raises(FormatError, match=said) as refused:
        open_recording(path).read()
    assert str(refused.value.where).endswith("row 3")


def test_time_stamps_may_wrap_after_71_minutes(tmp_path: Path) -> None:
    (tmp_path / "w.cfg").write_text(cfg_of([U, I], "1\n4000,8", kind="BINARY"))
    stamps = [(2**32 - 1000 + 250 * k) % 2**32 for k in range(8)]
    assert 0 in stamps
    body = b"".join(struct.pack("<IIhh", k + 1, stamp, k, k) for k, stamp in enumerate(stamps))
    (tmp_path / "w.dat").write_bytes(body)
    assert open_recording(tmp_path / "w.cfg").read().samples == 8


@pytest.mark.parametrize(
    ("edition", "stored", "missing"),
    [
        ("1991", [(1, 1), (-1, -1), (-1, 5), (-32768, 5)], [1]),
        ("1999", [(1, 1), (-1, -1), (-32768, 5), (5, -32768)], [2, 3]),
    ],
)
def test_what_stands_for_a_missing_value_depends_on_the_edition(
    tmp_path: Path, edition: str, stored: list[tuple[int, int]], missing: list[int]
) -> None:
    (tmp_path / "m.cfg").write_text(cfg_of([U, I], "1\n4000,4", kind="BINARY", edition=edition))
    if edition == "1991":
        text = (
            (tmp_path / "m.cfg")
            .read_text()
            .replace(",1991", "")
            .replace(",1,1,P", "")
            .replace("BINARY\n1\n", "BINARY\n")
        )
        (tmp_path / "m.cfg").write_text(text)
    body = b"".join(struct.pack("<IIhh", k + 1, 250 * k, *row) for k, row in enumerate(stored))
    (tmp_path / "m.dat").write_bytes(body)
    recording = open_recording(tmp_path / "m.cfg").read()
    assert np.flatnonzero(~recording.present()).tolist() == missing


def test_missing_values_of_text_are_empty_or_99999(tmp_path: Path) -> None:
    (tmp_path / "m.cfg").write_text(cfg_of([U, I.replace("32767,1", "999999,1")], "1\n4000,4", kind="ASCII"))
    (tmp_path / "m.dat").write_text("1,0,5,99999\n2,250,99999,7\n3,500,,7\n4,750,1,\n")
    recording = open_recording(tmp_path / "m.cfg").read()
    assert recording.i[0, 0] == 99999  # its channel says that it goes up to 999999
    assert np.flatnonzero(~recording.present()).tolist() == [1, 2, 3]


def test_the_end_of_a_converters_range_is_a_limit_the_largest_sample_is_none(tmp_path: Path) -> None:
    limited, fitted = U.replace("32767", "2047"), I.replace("32767", "1933")
    (tmp_path / "l.cfg").write_text(cfg_of([limited, fitted], "1\n4000,4", kind="BINARY"))
    rows = [(0, 1933), (2047, 0), (-2047, 5), (2046, -1933)]
    (tmp_path / "l.dat").write_bytes(
        b"".join(struct.pack("<IIhh", k + 1, 0, *row) for k, row in enumerate(rows))
    )
    recording = open_recording(tmp_path / "l.cfg").read()
    assert recording.saturated is not None
    assert recording.saturated.tolist() == [False, True, True, False]


def test_channels_are_sorted_by_phase_and_strangers_left_out(tmp_path: Path) -> None:
    analog = [
        "1,UC,C,,V,1,0,0,-32767,32767,1,1,P", "2,IA,A,,A,1,0,0,-32767,32767,1,1,P",
        "3,UA,A,,V,1,0,0,-32767,32767,1,1,P", "4,IC,C,,A,1,0,0,-32767,32767,1,1,P",
        "5,UB,B,,V,1,0,0,-32767,32767,1,1,P", "6,IB,B,,mA,1,0,0,-32767,32767,1,1,P",
        "7,IN,N,,A,1,0,0,-32767,32767,1,1,P", "8,UN,N,,V,1,0,0,-32767,32767,1,1,P",
        "9,temperature,,,degC,1,0,0,-32767,32767,1,1,P", "10,UAB,AB,,V,1,0,0,-32767,32767,1,1,P",
    ]  # fmt: skip
    (tmp_path / "p.cfg").write_text(cfg_of(analog, "1\n4000,1", kind="ASCII"))
    (tmp_path / "p.dat").write_text("1,0,1,2,3,4,5,6,7,8,9,10\n")
    recording = open_recording(tmp_path / "p.cfg").read()
    assert recording.names == ("UA", "UB", "UC", "IA", "IB", "IC", "IN")
    assert recording.u[:, 0].tolist() == [3, 5, 1]
    assert recording.i[:, 0].tolist() == [2, 0.006, 4]
    assert recording.neutral is not None
    assert recording.neutral.tolist() == [7]


@pytest.mark.parametrize(
    ("code", "shift_us"), [("0,0", 0), ("+5h30,0", -19_800_000_000), ("-3,-3", 10_800_000_000), ("x,x", None)]
)
def test_utc_is_what_the_time_code_says(tmp_path: Path, code: str, shift_us: int | None) -> None:
    path = two_channels(tmp_path, "1\n4000,1", [(1, 0)], edition="2013", tail=f"1\n{code}\n0,0\n")
    local = 1_769_915_045_000_006
    assert open_recording(path).read().start_us == (None if shift_us is None else local + shift_us)


def test_dates_of_1991_have_the_month_first(tmp_path: Path) -> None:
    text = (
        "s,d\n1,1A,0D\n1,U,A,,V,1,0,0,0,9\n50\n1\n4000,1\n02/01/26,03:04:05.5\n02/01/26,03:04:05.5\nASCII\n"
    )
    configuration = parse_configuration(text, "x")
    assert configuration.edition is Edition.E1991
    assert configuration.start is not None
    assert configuration.start.isoformat() == "2026-02-01T03:04:05.500000"


GOOD = cfg_of([U, I], "1\n4000,4", kind="BINARY")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("s,d,1999", "s", 1, "1 fields for the station"),
        ("s,d,1999", "s,d,2525", 1, "edition '2525'"),
        ("2,2A,0D", "2,2A", 2, "2 fields"),
        ("2,2A,0D", "2,3A,0D", 2, "3 analogue and 0 digital channels of 2"),
        ("2,2A,0D", "x,2A,0D", 2, "'x' is no number of channels"),
        ("2,2A,0D", "2,2A,2A", 2, "no number of channels"),
        ("2,2A,0D", "99999,99999A,0D", 2, "analogue and 0 digital channels of 99999"),
        ("2,2A,0D", "9000,9000A,0D", 5, "fields for an analogue channel"),
        ("V,1,0", "V,one,0", 3, "'one' is no factor a"),
        ("V,1,0", "V,0,0", 3, "factor a of zero"),
        ("V,1,0", "V,nan,0", 3, "'nan' is no factor a"),
        ("V,1,0", "V,1e999,0", 3, "is no factor a"),
        ("A,1,0,0", "A,1,0,soon", 4, "'soon' is no skew"),
        ("1,1,P\n2", "1,1,X\n2", 3, "'X' is no side"),
        ("\n50\n", "\nfifty\n", 5, "'fifty' is no frequency"),
        ("1\n4000", "one\n4000", 6, "'one' is no number of sampling rates"),
        ("1\n4000", "99999\n4000", 6, "99999 sampling rates"),
        ("4000,4", "-4000,4", 7, "-4000 Hz"),
        ("4000,4", "0,4", 7, "0 Hz"),
        ("4000,4", "4000,0", 7, "sample 0 as the last"),
        ("4000,4", "4000,four", 7, "'four' is no number of the last sample"),
        ("4000,4", "4000,-4", 7, "'-4' is no number"),
        ("01/02/2026,03:04:05.000006", "32/02/2026,03:04:05.0", 8, "is no time"),
        ("01/02/2026,03:04:05.000006", "01/02/2026", 8, "is no time"),
        ("BINARY", "SECRET", 10, "'SECRET' is no kind"),
        ("BINARY\n1", "BINARY\n0", 11, "time multiplier of 0"),
        ("BINARY\n1", "BINARY\nx", 11, "'x' is no time multiplier"),
    ],
)  # fmt: skip
def test_faults_of_a_configuration_are_told_with_their_line(old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    with pytest.raises(FormatError, match=said) as refused:
        parse_configuration(GOOD.replace(old, new, 1), "r.cfg")
    assert refused.value.where == f"r.cfg, line {line}"
    assert refused.value.expected


@pytest.mark.parametrize("rows", [0, 3, 5, 1000])
def test_data_of_another_length_than_declared_are_refused(tmp_path: Path, rows: int) -> None:
    (tmp_path / "n.cfg").write_text(GOOD)
    (tmp_path / "n.dat").write_bytes(bytes(12 * rows))
    with pytest.raises(FormatError, match=f"that is 48 bytes; {12 * rows} are there"):
        open_comtrade(tmp_path / "n.cfg")
    path = two_channels(tmp_path, "1\n4000,4", [(k + 1, None) for k in range(rows)])
    with pytest.raises(FormatError, match="samples are declared"):
        open_recording(path).read()


def test_a_billion_declared_samples_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "n.cfg").write_text(GOOD.replace("4000,4", "4000,999999999"))
    (tmp_path / "n.dat").write_bytes(bytes(48))
    with pytest.raises(FormatError, match="999999999 samples are declared"):
        open_comtrade(tmp_path / "n.cfg")
    (tmp_path / "n.cfg").write_text(GOOD.replace("4000,4", "4000,999999999").replace("BINARY", "ASCII"))
    with pytest.raises(FormatError, match="999999999 samples are declared"):
        open_comtrade(tmp_path / "n.cfg")


def test_combined_files_with_less_data_than_declared_or_of_another_kind(tmp_path: Path) -> None:
    content = encode_comtrade(wave(20), None, DataKind.BINARY).cff()
    for name, changed, said in (
        ("cut", content[:-1], "bytes of data are declared"),
        ("kind", content.replace(b"DAT BINARY", b"DAT ASCII"), "the configuration says BINARY"),
        ("none", content[: content.index(b"--- file type: DAT")], "no section of data"),
    ):
        (tmp_path / f"{name}.cff").write_bytes(changed)
        with pytest.raises(FormatError, match=said):
            open_comtrade(tmp_path / f"{name}.cff")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda record: encode_comtrade(record, None, DataKind.FLOAT32, edition=Edition.E1999),
            "edition of 1999",
        ),
        (lambda record: encode_comtrade(record, RecordLabel(station="a,b")), "comma"),
        (lambda record: encode_comtrade(record, RecordLabel(device="a\nb")), "line end"),
        (lambda record: encode_comtrade(record, RecordLabel(trigger_sample=200)), "triggered at sample 200"),
        (
            lambda record: encode_comtrade(record, RecordLabel(status={"x": np.ones(3, bool)})),
            "digital channel 'x'",
        ),
        (lambda record: encode_comtrade(Recording(record.u + np.inf, record.i, 1.0)), "infinite"),
        (lambda record: encode_comtrade(Recording(record.u[:, :0], record.i[:, :0], 1.0)), "0 samples"),
    ],
)
def test_what_no_record_can_hold_is_refused(change: Callable[[Recording], ComtradeRecord], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        change(wave())


def test_a_record_is_called_cfg_or_cff(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"called 'r\.txt'"):
        write_comtrade(tmp_path / "r.txt", encode_comtrade(wave()))


def test_a_recording_that_begins_later_starts_later(tmp_path: Path) -> None:
    recording = wave()
    later = Recording(recording.u, recording.i, 6400.0, start_us=START, first_sample=6400)
    write_comtrade(tmp_path / "l.cff", encode_comtrade(later))
    assert open_recording(tmp_path / "l.cff").read().start_us == START + 1_000_000


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(list(DataKind)),
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40),
    rate=st.sampled_from([1000.0, 6400.0, 12_800.5, 50_000.0]),
    zone=st.one_of(st.none(), st.integers(0, 4_000_000_000_000_000)),
)
def test_any_recording_survives(
    tmp_path_factory: pytest.TempPathFactory,
    kind: DataKind,
    values: list[float],
    rate: float,
    zone: int | None,
) -> None:
    x = np.array([values])
    record = encode_comtrade(Recording(x, -x, rate, start_us=zone), None, kind)
    assert parse_configuration(record.cfg.decode(), "x") == record.configuration
    assert format_configuration(parse_configuration(record.cfg.decode(), "x")).encode() == record.cfg
    path = tmp_path_factory.mktemp("record") / "x.cff"
    write_comtrade(path, record)
    found = open_recording(path).read()
    close(found.u, x, kind)
    close(found.i, -x, kind)
    assert found.start_us == zone
    assert found.rate_hz == rate
