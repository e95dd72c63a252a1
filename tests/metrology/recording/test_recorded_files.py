"""NPZ, WAV and CSV: what was recorded is what is read; what is unclear is an error that says where."""

from __future__ import annotations

import struct
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from openami.metrology.recording.opening import ReadingOptions, open_recording
from openami.metrology.recording.recording import Recording
from openami.quantities.errors import FormatError, MeteringError

F64 = npt.NDArray[np.float64]
RATE = 6400.0


def waves(count: int = 500, phases: int = 3) -> tuple[F64, F64]:
    rng = np.random.default_rng(count)
    return rng.normal(scale=230, size=(phases, count)), rng.normal(scale=10, size=(phases, count))


def same(recording: Recording, u: F64, i: F64) -> None:
    np.testing.assert_array_equal(recording.u, u)
    np.testing.assert_array_equal(recording.i, i)


# --- NPZ ----------------------------------------------------------------------------------------------------


def of_rows(x: F64) -> F64:
    return np.ascontiguousarray(x.T)


def of_columns(x: F64) -> F64:
    return x.T


def of_phases_first(x: F64) -> F64:
    return x


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("layout", [of_rows, of_columns, of_phases_first])
@pytest.mark.parametrize("block", [1, 7, 500, 65_536])
def test_npz_is_read_value_for_value_in_blocks_of_any_size(
    tmp_path: Path, save: Callable[..., None], layout: Callable[[F64], F64], block: int
) -> None:
    u, i = waves()
    file = tmp_path / "wave.npz"
    save(file, u=layout(u), i=layout(i), neutral=i.sum(axis=0), rate_hz=RATE)
    waveform = open_recording(file)
    parts = list(waveform.blocks(block))
    assert [part.first_sample for part in parts] == list(range(0, 500, block))
    np.testing.assert_array_equal(np.concatenate([part.u for part in parts], axis=1), u)
    np.testing.assert_array_equal(np.concatenate([part.i for part in parts], axis=1), i)
    neutral = [part.neutral for part in parts if part.neutral is not None]
    np.testing.assert_array_equal(np.concatenate(neutral), i.sum(axis=0))
    assert waveform.rate_hz == RATE


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i2", ">i4", "<u2", "<i8"])
def test_npz_of_one_phase_and_any_numbers(tmp_path: Path, kind: str) -> None:
    u = np.arange(100).astype(kind)
    i = (np.arange(100) % 7).astype(kind)
    np.savez(tmp_path / "one.npz", u=u, i=i[:, None], rate_hz=np.array([4000]))
    same(open_recording(tmp_path / "one.npz").read(), u.astype(float)[None], i.astype(float)[None])


def test_npz_of_converter_counts_knows_volts_and_saturation(tmp_path: Path) -> None:
    counts = np.array([[0, 5], [8_388_607, -3], [7, 8_388_607], [1, 1]], np.int32)
    np.savez(
        tmp_path / "counts.npz",
        u=counts,
        i=counts // 2,
        rate_hz=RATE,
        u_v_per_count=[1e-4, 2e-4],
        i_a_per_count=1e-5,
        full_scale_counts=8_388_607,
    )
    recording = open_recording(tmp_path / "counts.npz").read()
    same(recording, counts.T * np.array([[1e-4], [2e-4]]), (counts // 2).T * 1e-5)
    assert recording.saturated is not None
    assert recording.saturated.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-11-23T14:00:00.000001+00:00", 1_795_442_400_000_001),
        ("2026-11-23T15:00:00+01:00", 1_795_442_400_000_000),
        (np.datetime64("2026-11-23T14:00:00"), 1_795_442_400_000_000),
        (1_795_442_400_000_000, 1_795_442_400_000_000),
    ],
)
def test_npz_start_is_utc_in_microseconds(tmp_path: Path, start: object, expected: int) -> None:
    np.savez(tmp_path / "at.npz", u=np.ones(9), i=np.ones(9), rate_hz=RATE, start_utc=start)
    assert open_recording(tmp_path / "at.npz").read().start_us == expected


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"u": np.ones(9), "i": np.ones(9)}, "no rate_hz"),
        ({"u": np.ones(9), "i": np.ones(9), "rate_hz": 0.0}, "rate_hz is"),
        ({"u": np.ones(9), "i": np.ones(9), "rate_hz": np.nan}, "rate_hz is"),
        ({"u": np.ones(9), "i": np.ones(9), "rate_hz": "fast"}, "rate_hz is no number"),
        ({"u": np.ones(9), "i": np.ones(8), "rate_hz": RATE}, "i has 8 samples, u has 9"),
        ({"u": np.ones((9, 3)), "i": np.ones((9, 2)), "rate_hz": RATE}, "3 voltages, 2 currents"),
        ({"u": np.ones((9, 4)), "i": np.ones((9, 4)), "rate_hz": RATE}, "4 voltages"),
        ({"u": np.ones((9, 9, 2)), "i": np.ones(9), "rate_hz": RATE}, "shape"),
        ({"u": np.ones(9, complex), "i": np.ones(9), "rate_hz": RATE}, "complex128"),
        ({"u": np.ones(9, bool), "i": np.ones(9), "rate_hz": RATE}, "bool"),
        ({"x": np.ones(9), "y": np.ones(9), "rate_hz": RATE}, "does not say which channels"),
        ({"u": np.ones(0), "i": np.ones(0), "rate_hz": RATE}, "arrays"),
        ({"u": np.ones(9), "i": np.ones(9), "rate_hz": RATE, "start_utc": "yesterday"}, "start_utc"),
        ({"u": np.ones(9), "i": np.ones(9), "rate_hz": RATE, "start_utc": "2026-11-23T14:00"}, "start_utc"),
        (
            {"u": np.ones((9, 3)), "i": np.ones((9, 3)), "rate_hz": RATE, "u_v_per_count": [1.0, 2.0]},
            "2 numbers",
        ),
    ],
)
def test_npz_that_is_not_clear_is_refused(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=said) as refused:
        open_recording(tmp_path / "bad.npz")
    assert refused.value.where
    assert "bad.npz" in refused.value.where
    assert refused.value.expected


def test_npz_never_loads_a_pickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", u=np.array([{"a": 1}], object), i=np.ones(1), rate_hz=RATE)
    with pytest.raises(FormatError, match="array of object"):
        open_recording(tmp_path / "evil.npz")


def member(header: str, data: bytes) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}",
            "declares 8000000000000 bytes",
        ),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}",
            "declares 24 bytes, the archive holds 16",
        ),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-2,)}", "shape"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (True, True)}", "shape"),
        ("{'descr': '<f8', 'fortran_order': 1, 'shape': (2,)}", "shape"),
        ("{'descr': '<f8', 'fortran_order': False}", "header that is none"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", "array of object"),
        ("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,)}", "array of"),
        ("{'descr': '|V99999999', 'fortran_order': False, 'shape': (2,)}", "array of"),
        ("__import__('os').abort()", "header that is none"),
        ("(" * 110, "header that is none"),
    ],
)
def test_npz_headers_are_not_believed(tmp_path: Path, header: str, said: str) -> None:
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("u.npy", member(header, bytes(16)))
    with pytest.raises(FormatError, match=said):
        open_recording(tmp_path / "liar.npz", ReadingOptions(rate_hz=RATE))


def test_npz_bomb_is_measured_by_its_bytes_and_not_unpacked_at_once(tmp_path: Path) -> None:
    """200 MB of zeros in 200 kB: opened without unpacking, its first block costs a block."""
    count = 25_000_000
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count},)}}"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("u", "i"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                stream.write(member(header, b""))
                for _ in range(count // 250_000):
                    stream.write(bytes(2_000_000))
    waveform = open_recording(tmp_path / "bomb.npz", ReadingOptions(rate_hz=RATE))
    assert waveform.samples == count
    first = next(iter(waveform.blocks()))
    assert first.samples == 65_536
    assert not first.u.any()


def test_npz_with_a_password_or_a_stranger_inside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("u.npy", b"hello, this is no array at all")
    with pytest.raises(FormatError, match="not an array of NumPy"):
        open_recording(tmp_path / "text.npz")
    np.savez(tmp_path / "locked.npz", u=np.ones(9), i=np.ones(9), rate_hz=RATE)
    content = bytearray((tmp_path / "locked.npz").read_bytes())
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = content.find(signature)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(signature, place + 1)
    (tmp_path / "locked.npz").write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read"):
        open_recording(tmp_path / "locked.npz")


# --- WAV ----------------------------------------------------------------------------------------------------


def wav(
    tag: int, bits: int, frames: bytes, channels: int, *, rate: int = 6400, extensible: bool = False
) -> bytes:
    frame = channels * bits // 8
    if extensible:
        guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        fmt = struct.pack("<HHIIHHHHI", 0xFFFE, channels, rate, rate * frame, frame, bits, 22, bits, 0) + guid
    else:
        fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    body += b"data" + struct.pack("<I", len(frames)) + frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


SCALES = ReadingOptions(scale_u=400.0, scale_i=20.0)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("tag", "bits", "kind", "full"),
    [
        (1, 16, "<i2", 2.0**15),
        (1, 24, None, 2.0**23),
        (1, 32, "<i4", 2.0**31),
        (3, 32, "<f4", 1),
        (3, 64, "<f8", 1),
    ],
)
def test_wav_of_every_encoding(
    tmp_path: Path, tag: int, bits: int, kind: str | None, full: float, extensible: bool
) -> None:
    rng = np.random.default_rng(bits)
    fractions = np.rint(rng.uniform(-0.9, 0.9, (300, 2)) * 2.0**15) / 2.0**15
    if kind is None:
        counts = (fractions * full).astype("<i4")
        frames = counts.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        frames = (fractions * full).astype(kind).tobytes()
    (tmp_path / "a.wav").write_bytes(wav(tag, bits, frames, 2, extensible=extensible))
    recording = open_recording(tmp_path / "a.wav", SCALES).read()
    same(recording, fractions[:, :1].T * 400.0, fractions[:, 1:].T * 20.0)
    assert recording.rate_hz == 6400.0


def test_wav_as_the_standard_library_writes_it(tmp_path: Path) -> None:
    counts = np.arange(-300, 300, dtype="<i2").reshape(-1, 6)
    with wave.open(str(tmp_path / "six.wav"), "wb") as file:
        file.setnchannels(6)
        file.setsampwidth(2)
        file.setframerate(12_800)
        file.writeframes(counts.tobytes())
    recording = open_recording(tmp_path / "six.wav", SCALES).read()
    same(recording, counts[:, :3].T / 2.0**15 * 400.0, counts[:, 3:].T / 2.0**15 * 20.0)
    assert recording.names == tuple(f"channel {number}" for number in range(1, 7))


def test_wav_longer_than_four_gigabytes_would_be_declared_in_ds64(tmp_path: Path) -> None:
    frames = np.arange(20, dtype="<i2").tobytes()
    plain = wav(1, 16, frames, 2)
    data = plain.index(b"data")
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, len(plain), len(frames), 10, 0)
    long = b"RF64" + b"\xff" * 4 + b"WAVE" + ds64 + plain[12 : data + 4] + b"\xff" * 4 + frames
    (tmp_path / "long.wav").write_bytes(long)
    assert open_recording(tmp_path / "long.wav", SCALES).read().samples == 10


def test_wav_at_the_limit_of_its_converter_is_marked(tmp_path: Path) -> None:
    frames = np.array([[0, 0], [32767, 0], [0, -32768], [-32767, 32766]], "<i2").tobytes()
    (tmp_path / "loud.wav").write_bytes(wav(1, 16, frames, 2))
    recording = open_recording(tmp_path / "loud.wav", SCALES).read()
    assert recording.saturated is not None
    assert recording.saturated.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (wav(1, 8, bytes(4), 2), "encoding 1 of 8 bits"),
        (wav(6, 16, bytes(4), 2), "encoding 6"),
        (wav(1, 16, bytes(4), 2, rate=0), "at 0 Hz"),
        (wav(1, 16, bytes(6), 2), "no whole number of frames"),
        (wav(1, 16, b"", 2), "no samples"),
        (wav(1, 16, bytes(4), 2)[:-1], "declares 4 bytes, 3 are left"),
        (wav(1, 16, bytes(4), 2)[:40], "samples are missing|declares"),
        (b"RIFF\0\0\0\0AVI ", "not a WAV file"),
        (b"RIFF", "not a WAV file"),
        (wav(1, 16, bytes(4), 2).replace(b"data\x04\0\0\0", b"data\xff\xff\xff\xff"), "never written"),
    ],
)
def test_wav_that_is_none_is_refused_with_the_offset(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(FormatError, match=said) as refused:
        open_recording(tmp_path / "bad.wav", SCALES).read()
    assert "offset" in str(refused.value.where)
    assert refused.value.expected


def test_wav_knows_no_volts(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(1, 16, bytes(8), 2))
    with pytest.raises(FormatError, match="no volts"):
        open_recording(tmp_path / "a.wav")
    with pytest.raises(FormatError, match="no amperes"):
        open_recording(tmp_path / "a.wav", ReadingOptions(scale_u=400.0))


# --- channel maps, scales, rates ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "u", "i", "neutral"),
    [
        ("u=1 i=2", [0], [1], None),
        ("u=1,3 i=2,-4", [0, 2], [1, -3], None),
        ("i=5,6,1 u=2,3,4", [1, 2, 3], [4, 5, 0], None),
        ("u=x1 i=-x2 n=x7", [0], [-1], 6),
        ("u1,i1", [0], [1], None),
        ("-,u1,-,i1,n", [1], [3], 4),
        ("i2,u2,i1,u1", [3, 1], [2, 0], None),
    ],
)
def test_channel_maps(tmp_path: Path, text: str, u: list[int], i: list[int], neutral: int | None) -> None:
    x = np.random.default_rng(2).normal(size=(50, 7))
    np.savez(tmp_path / "x.npz", x=x, rate_hz=RATE)
    recording = open_recording(
        tmp_path / "x.npz", ReadingOptions(channels=text, scale_u=10.0, scale_i=0.5)
    ).read()
    np.testing.assert_array_equal(recording.u, x.T[u] * 10.0)
    signs = np.array([[-1.0 if index < 0 else 1.0] for index in i])
    np.testing.assert_array_equal(recording.i, x.T[[abs(index) for index in i]] * signs * 0.5)
    if neutral is not None:
        assert recording.neutral is not None
        np.testing.assert_array_equal(recording.neutral, x.T[neutral] * 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "", "u=", "i=1", "u=8 i=1", "u=0 i=1", "u=1 i=1", "u=1,2 i=3", "u=1,2,3,4 i=5,6,7,1", "u=y i=1",
        "v=1 i=2", "u=1 u=2 i=3", "u=1 i=2 n=3,4", "u1,u1", "u1,i1,i2", "u1,i1,q", "u4,i4", "u=1;i=2",
        "u=--1 i=2", "u=999999999999 i=1", "u1,i1,u2,i2,u3,i3,n,-,-", "u1,u2,i1,i3",
    ],
)  # fmt: skip
def test_channel_maps_that_are_none_are_refused_with_the_channels_there_are(
    tmp_path: Path, text: str
) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((50, 7)), rate_hz=RATE)
    with pytest.raises(FormatError) as refused:
        open_recording(tmp_path / "x.npz", ReadingOptions(channels=text))
    assert "x7" in str(refused.value.expected)


def test_voltages_alone_can_be_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "u.npz", u=np.ones((50, 3)), rate_hz=RATE)
    recording = open_recording(tmp_path / "u.npz").read()
    assert recording.i.shape == (0, 50)


def test_a_rate_that_contradicts_the_file_is_refused_and_a_truer_one_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", u=np.ones(50), i=np.ones(50), rate_hz=RATE)
    with pytest.raises(FormatError, match="the file says 6400 Hz"):
        open_recording(tmp_path / "x.npz", ReadingOptions(rate_hz=5000.0))
    assert open_recording(tmp_path / "x.npz", ReadingOptions(rate_hz=6400.13)).rate_hz == 6400.13


@pytest.mark.parametrize(
    "options", [{"scale_u": 0.0}, {"scale_i": np.inf}, {"rate_hz": -1.0}, {"rate_hz": np.nan}]
)
def test_scales_and_rates_that_are_none(tmp_path: Path, options: dict[str, float]) -> None:
    np.savez(tmp_path / "x.npz", u=np.ones(50), i=np.ones(50), rate_hz=RATE)
    with pytest.raises(FormatError):
        open_recording(tmp_path / "x.npz", ReadingOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_recording_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(FormatError) as refused:
        open_recording(tmp_path / "x.bin")
    assert refused.value.expected


def test_a_recording_is_made_of_what_belongs_together() -> None:
    u = np.zeros((3, 10))
    for arguments in (
        {"u": u, "i": np.zeros((2, 10))},
        {"u": u, "i": np.zeros((3, 9))},
        {"u": np.zeros((4, 10)), "i": np.zeros((4, 10))},
        {"u": u, "i": u, "neutral": np.zeros(9)},
        {"u": u, "i": u, "saturated": np.zeros(11, bool)},
        {"u": u[0], "i": u[0]},
    ):
        with pytest.raises(MeteringError):
            Recording(rate_hz=RATE, **arguments)  # type: ignore[arg-type]
    for rate in (0.0, np.nan, -5.0):
        with pytest.raises(MeteringError, match="sampling rate"):
            Recording(u, u, rate)


# --- CSV ----------------------------------------------------------------------------------------------------


def lines(u: F64, i: F64, times: list[str] | None, separator: str, decimal: str, header: str | None) -> str:
    rows = [] if header is None else [header]
    for k in range(u.shape[1]):
        row = [repr(float(value)).replace(".", decimal) for value in (*u[:, k], *i[:, k])]
        rows.append(separator.join(([] if times is None else [times[k]]) + row))
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize(
    "header", ["t,u1,u2,u3,i1,i2,i3", "time_s,ua,ub,uc,ia,ib,ic", "t,V_L1,V_L2,V_L3,I_L1,I_L2,I_L3"]
)
def test_csv_is_read_value_for_value(tmp_path: Path, separator: str, header: str) -> None:
    u, i = waves(300)
    times = [f"{k / 6400:.7f}" for k in range(300)]
    text = lines(u, i, times, separator, ".", header.replace(",", separator))
    (tmp_path / "a.csv").write_text(text)
    waveform = open_recording(tmp_path / "a.csv")
    same(waveform.read(), u, i)
    assert waveform.rate_hz == 6400.0
    assert "taken from the column" in waveform.file.remarks[0]


def test_csv_with_decimal_commas_must_be_asked_for(tmp_path: Path) -> None:
    u, i = waves(30)
    times = [f"{k / 6400:.9f}".replace(".", ",") for k in range(30)]
    (tmp_path / "a.csv").write_text(lines(u, i, times, ";", ",", "t;u1;u2;u3;i1;i2;i3"))
    with pytest.raises(FormatError, match="decimal comma") as refused:
        open_recording(tmp_path / "a.csv")
    assert str(refused.value.where).endswith("line 2")
    assert "--decimal" in str(refused.value.expected)
    same(open_recording(tmp_path / "a.csv", ReadingOptions(decimal=",")).read(), u, i)
    (tmp_path / "b.csv").write_text("1.5;2\n1,5;2\n")
    with pytest.raises(FormatError, match="decimal point"):
        open_recording(tmp_path / "b.csv", ReadingOptions(decimal=",", rate_hz=RATE, channels="u=1 i=2"))


def test_csv_without_header_or_times(tmp_path: Path) -> None:
    u, i = waves(40, 1)
    (tmp_path / "a.csv").write_text("# made by hand\n\n" + lines(u, i, None, ",", ".", None))
    with pytest.raises(FormatError, match="no rate"):
        open_recording(tmp_path / "a.csv")
    with pytest.raises(FormatError, match="which channels"):
        open_recording(tmp_path / "a.csv", ReadingOptions(rate_hz=RATE))
    same(open_recording(tmp_path / "a.csv", ReadingOptions(rate_hz=RATE, channels="u=1 i=2")).read(), u, i)


def test_csv_units_of_the_header_count(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "t [ms],u_kv,i_ma,in_a\n0,0.23,1500,0.1\n0.15625,-0.23,-1500,0.2\n0.3125,0,0,0\n"
    )
    recording = open_recording(tmp_path / "a.csv").read()
    np.testing.assert_allclose(recording.u, [[230.0, -230.0, 0.0]], rtol=1e-15)
    np.testing.assert_allclose(recording.i, [[1.5, -1.5, 0.0]], rtol=1e-15)
    assert recording.neutral is not None
    assert recording.neutral.tolist() == [0.1, 0.2, 0.0]
    assert recording.rate_hz == 6400.0


@pytest.mark.parametrize(("zone", "start"), [("Z", 1_795_442_400_000_000), ("", None)])
def test_csv_with_civil_times(tmp_path: Path, zone: str, start: int | None) -> None:
    rows = [f"2026-11-23T14:00:00.{k * 250:06d}{zone},{k},{k / 10}" for k in range(100)]
    (tmp_path / "a.csv").write_text("time,u,i\n" + "\n".join(rows))
    recording = open_recording(tmp_path / "a.csv").read()
    assert recording.rate_hz == 4000.0
    assert recording.start_us == start
    assert recording.u[0, 99] == 99.0


def test_csv_rate_is_that_of_the_whole_column_and_not_of_its_rounded_steps(tmp_path: Path) -> None:
    """Times rounded to 10 us at 6400 Hz step by 150 or 160 us; the column still says 6400 Hz."""
    rows = [f"{k / 6400:.5f},{k},1" for k in range(2000)]
    (tmp_path / "a.csv").write_text("t,u,i\n" + "\n".join(rows))
    assert open_recording(tmp_path / "a.csv").rate_hz == 6400.0
    rows = [f"{k / 6400.37:.9f},{k},1" for k in range(2000)]
    (tmp_path / "b.csv").write_text("t,u,i\n" + "\n".join(rows))
    assert open_recording(tmp_path / "b.csv").rate_hz == pytest.approx(6400.37, rel=1e-8)


def test_csv_gap_in_the_times_is_told_with_its_line_and_keeps_positions(tmp_path: Path) -> None:
    kept = [k for k in range(200) if not 80 <= k < 95]
    (tmp_path / "a.csv").write_text("t,u,i\n" + "\n".join(f"{k / 6400:.6f},{k},1" for k in kept))
    parts = list(open_recording(tmp_path / "a.csv").blocks())
    assert [(part.first_sample, part.samples) for part in parts] == [(0, 80), (95, 105)]
    assert parts[0].gap is None
    assert str(parts[1].gap).endswith("line 82: 15 samples are missing before it")
    whole = open_recording(tmp_path / "a.csv").read()
    assert whole.samples == 200
    assert np.isnan(whole.u[0, 80:95]).all()
    assert np.isfinite(np.delete(whole.u[0], np.s_[80:95])).all()
    assert not whole.present()[80:95].any()


def test_csv_missing_and_infinite_values_are_not_zero(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u,i\n1,2\n,3\n4,nan\ninf,5\n6,7\n")
    recording = open_recording(tmp_path / "a.csv", ReadingOptions(rate_hz=RATE)).read()
    assert recording.present().tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("t,u,i\n0,1,2\n0.1,1\n", 3, "2 fields"),
        ("t,u,i\n0,1,2\n0.1,1,2,3\n", 3, "4 fields"),
        ("t,u,i\n0,1,2\n0.1,x,2\n", 3, "'x' is no number"),
        ("t,u,i\n0,1,2\n0.1,1_0,2\n", 3, "'1_0' is no number"),
        ("t,u,i\n0,1,2\n0.1,1e,2\n", 3, "'1e' is no number"),
        ("t,u,i\n0,1,2\n0.1,--1,2\n", 3, "'--1' is no number"),
        ("t,u,i\n0,1,2\n0.1,1" + "0" * 80 + ",2\n", 3, "a value of 81 characters"),
        ("t,u,i\n0,1,2\n0,1,2\n", 3, "time goes from"),
        ("t,u,i\n0,1,2\n0.1,1,2\n0.05,1,2\n", 4, "time goes from"),
        ("t,u,i\n0,1,2\n0.1,1,2\n,1,2\n", 4, "without a time"),
        ("t,u,i\n0,1,2\n0.1,1,2\n0.2,1,2\n0.25,1,2\n0.4,1,2\n", 5, "off the grid"),
        ("t,u,i\n0,1,2\n", 2, "one sample tells no rate"),
        ("t,u,i\n", 1, "no samples"),
        ("t,u,i\n2026-11-23T14:00:00,1,2\n2026-11-23T14:00:61,1,2\n", 2, "time that is none"),
        ("t,u,i\n2026-11-23T14:00:00,1,2\n14:00:01,1,2\n", 3, "is no time"),
    ],
)
def test_csv_faults_are_told_with_their_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=said) as refused:
        open_recording(tmp_path / "a.csv").read()
    assert str(refused.value.where).endswith(f"a.csv, line {line}")
    assert refused.value.expected


def test_csv_times_that_contradict_the_given_rate(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,u,i\n" + "\n".join(f"{k / 6400:.6f},{k},1" for k in range(100)))
    with pytest.raises(FormatError, match="the rate is 5000"):
        open_recording(tmp_path / "a.csv", ReadingOptions(rate_hz=5000.0))


def test_csv_of_one_endless_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1," * 2_000_000)
    with pytest.raises(FormatError, match="a line of"):
        open_recording(tmp_path / "a.csv", ReadingOptions(rate_hz=RATE))
