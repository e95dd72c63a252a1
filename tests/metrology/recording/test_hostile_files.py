"""Files cut anywhere or changed anywhere: a recording or one clear error, in bounded time and memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from openami.metrology.recording.comtrade_configuration import DataKind, Edition
from openami.metrology.recording.comtrade_write import encode_comtrade
from openami.metrology.recording.opening import ReadingOptions, open_recording
from openami.metrology.recording.recording import Recording
from openami.quantities.errors import FormatError

MUTATIONS = int(os.environ.get("OPENAMI_FUZZ_RECORDINGS", "250"))
"""Changed files of each format; a run of 20,000 of each is quoted in docs/stations/measure.md."""

OPTIONS = ReadingOptions(scale_u=400.0, scale_i=20.0)
ONE = ReadingOptions(scale_u=400.0, scale_i=20.0, channels="u=1")
COUNT = 24


def recording() -> Recording:
    x = np.round(np.random.default_rng(4).normal(size=(2, COUNT)), 3)
    return Recording(x[:1], x[1:], 6400.0, start_us=1_795_442_400_000_000)


def files(folder: Path) -> dict[str, tuple[Path, bytes]]:
    """A small file of every format: the file to open, and the content of the one that is attacked."""
    made = {}
    one = recording()
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        save(folder / f"{name}.npz", u=one.u.T, i=one.i[0], rate_hz=6400.0)
        made[name] = (folder / f"{name}.npz", (folder / f"{name}.npz").read_bytes())
    frames = (one.u[0] * 3000).astype("<i2").tobytes()
    head = b"RIFF" + (36 + len(frames)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    head += (
        b"\x01\x00\x02\x00"
        + (6400).to_bytes(4, "little")
        + (25600).to_bytes(4, "little")
        + b"\x04\x00\x10\x00"
    )
    made["wav"] = (folder / "a.wav", head + b"data" + len(frames).to_bytes(4, "little") + frames)
    rows = [f"{k / 6400:.6f},{u},{i}" for k, (u, i) in enumerate(zip(one.u[0], one.i[0], strict=True))]
    floats = one.u[0].astype("<f4").tobytes()
    made["wav of floats"] = (
        folder / "f.wav",
        head[:20] + b"\x03\x00\x01\x00" + head[24:28] + head[28:32] + b"\x04\x00\x20\x00"
        + b"data" + len(floats).to_bytes(4, "little") + floats,
    )  # fmt: skip
    np.savez(folder / "floats.npz", u=one.u[0].astype("<f4"), i=one.i[0].astype("<f4"), rate_hz=6400.0)
    made["stored floats"] = (folder / "floats.npz", (folder / "floats.npz").read_bytes())
    made["csv"] = (folder / "a.csv", ("t,u,i\n" + "\n".join(rows) + "\n").encode())
    stamps = [f"2026-11-23T14:00:00.{k * 250:06d}Z,{k},{k}" for k in range(COUNT)]
    made["csv with civil times"] = (
        folder / "b.csv",
        ("time;u;i\n" + "\n".join(stamps)).replace(",", ";").encode(),
    )
    for kind in DataKind:
        record = encode_comtrade(one, None, kind)
        made[f"{kind.value} combined"] = (folder / f"{kind.value}.cff", record.cff())
        for part, content, other in (("cfg", record.cfg, record.dat), ("dat", record.dat, record.cfg)):
            stem = f"{kind.value}_{part}"
            (folder / f"{stem}.{'dat' if part == 'cfg' else 'cfg'}").write_bytes(other)
            made[f"{kind.value} {part}"] = (folder / f"{stem}.{part}", content)
    old = encode_comtrade(one, None, DataKind.BINARY, edition=Edition.E1991)
    (folder / "old.dat").write_bytes(old.dat)
    made["1991 cfg"] = (folder / "old.cfg", old.cfg)
    return made


NAMES = (
    "stored", "deflated", "stored floats", "wav", "wav of floats", "csv", "csv with civil times", "1991 cfg",
    *(f"{kind.value} {part}" for kind in DataKind for part in ("combined", "cfg", "dat")),
)  # fmt: skip
MAY_BE_CUT = {"csv", "csv with civil times", "ASCII dat", "ASCII combined", "1991 cfg"}
"""Texts: cut after a line or a digit they are shorter texts; nothing in them says how long they were."""


def read(path: Path, content: bytes) -> Recording | FormatError:
    path.write_bytes(content)
    try:
        return open_recording(path, ONE if path.name == "f.wav" else OPTIONS).read()
    except FormatError as error:
        return error


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_at_any_byte_is_told_from_a_whole_one(tmp_path: Path, name: str) -> None:
    path, content = files(tmp_path)[name]
    whole = read(path, content)
    assert isinstance(whole, Recording)
    assert whole.samples in (COUNT, COUNT // 2)
    for length in range(len(content)):
        found = read(path, content[:length])
        if isinstance(found, FormatError):
            assert found.where, (length, found)
            assert found.expected, (length, found)
        else:
            may_be_shorter = name in MAY_BE_CUT or name.endswith("cfg")
            assert may_be_shorter, f"{name} cut at {length} of {len(content)} was read"
            assert found.samples <= whole.samples
            if name.endswith("cfg"):
                # What follows the kind of data (time multiplier, UTC) may be missing: it is not told then.
                assert length > content.rindex(b"/")


def changed(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Bytes changed, runs of them taken out, doubled, or set to numbers that break things."""
    rng = np.random.default_rng(seed)
    nasty = (
        b"",
        b"\xff" * 4,
        b"\x00" * 8,
        b"\x7f\xff\xff\xff",
        b"-1",
        b"1e999",
        b"nan",
        b"99999999",
        b",",
        b"\n",
        b"\x80",
    )
    for _ in range(count):
        made = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(0, max(len(made), 1)))
            kind = int(rng.integers(0, 4))
            if kind == 0 and made:
                made[place % len(made)] = int(rng.integers(0, 256))
            elif kind == 1:
                piece = nasty[int(rng.integers(0, len(nasty)))]
                made[place : place + len(piece)] = piece
            elif kind == 2:
                del made[place : place + int(rng.integers(1, 9))]
            else:
                made[place:place] = made[place : place + int(rng.integers(1, 40))]
        yield bytes(made)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error")
def test_a_changed_file_is_read_or_refused_and_nothing_else(tmp_path: Path, name: str) -> None:
    path, content = files(tmp_path)[name]
    tracemalloc.start()
    outcomes = {Recording: 0, FormatError: 0}
    for attacked in changed(content, MUTATIONS, seed=len(content)):
        found = read(path, attacked)
        outcomes[type(found) if isinstance(found, Recording) else FormatError] += 1
        if isinstance(found, FormatError):
            assert found.where
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(outcomes.values()) == MUTATIONS
    assert outcomes[FormatError] > 0
    # A gap that a changed stamp or number declares is stood in for by NaN: 5 million samples at most.
    assert peak < 5_000_000 * 3 * 9, f"{peak} bytes for files of {len(content)}"
