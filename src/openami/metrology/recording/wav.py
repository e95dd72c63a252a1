"""Recorded waveforms in WAV: RIFF and RF64, PCM of 16, 24 and 32 bits, IEEE float of 32 and 64 bits.

A stored number is a fraction of full scale (-1 to 1); V and A come with a scale. Sources: Microsoft and IBM,
Multimedia Programming Interface and Data Specifications 1.0 (RIFF WAVE); EBU Tech 3306 (RF64). The rule never
to be broken: a chunk is only as long as the bytes that are there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.channels import Block, Channel, ChannelKind
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]

_PCM: Final = 1
_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE
_SUBFORMAT_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")
"""Bytes 3 to 16 of the GUID of a sub-format that is an ordinary format tag."""
_IN_DS64: Final = 0xFFFF_FFFF
_MOST_CHANNELS: Final = 64
_DEFAULT_KINDS: Final = {
    2: (ChannelKind.VOLTAGE, ChannelKind.CURRENT),
    6: (*(ChannelKind.VOLTAGE,) * 3, *(ChannelKind.CURRENT,) * 3),
    7: (*(ChannelKind.VOLTAGE,) * 3, *(ChannelKind.CURRENT,) * 3, ChannelKind.NEUTRAL),
}
"""WAV says nothing of its channels; this order is the documented one, any other needs a map."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    tag: int
    channels: int
    rate_hz: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


@dataclass(frozen=True, slots=True)
class WavFile:
    """An opened WAV file, a `ChannelFile`."""

    path: Path
    channels: tuple[Channel, ...]
    encoding: _Encoding
    offset: int
    samples: int
    start_us: int | None = None
    format: str = "WAV"
    remarks: tuple[str, ...] = ()

    @property
    def rate_hz(self) -> float:
        """Samples a second."""
        return float(self.encoding.rate_hz)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def blocks(self, picked: Sequence[int], size: int) -> Iterator[Block]:
        """The samples of the picked channels, as fractions of full scale."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            for first in range(0, self.samples, size):
                count = min(size, self.samples - first)
                data = stream.read(count * self.encoding.frame_bytes)
                if len(data) < count * self.encoding.frame_bytes:
                    raise FormatError("the file became shorter while it was read", where=str(self.path))
                frames = _fractions(data, self.encoding)
                yield Block(first, np.ascontiguousarray(frames[:, list(picked)].T))


def open_wav(path: Path) -> WavFile:
    """Open a WAV file; its channels have no gain.

    Raises
    ------
    FormatError
        Not RIFF WAVE, an encoding that is not measured with (8 bits, compressed), or chunks cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        encoding, offset, length = _chunks(stream, size, str(path))
    if length % encoding.frame_bytes:
        raise FormatError(
            f"{length} bytes of samples are no whole number of frames of {encoding.frame_bytes}",
            where=f"{path}, offset {offset}",
            expected="one value of every channel in each frame",
        )
    if not length:
        raise FormatError("no samples", where=f"{path}, offset {offset}", expected="at least one")
    kinds = _DEFAULT_KINDS.get(encoding.channels, (ChannelKind.UNKNOWN,) * encoding.channels)
    highest = np.inf if encoding.tag == _FLOAT else 1.0 - 2.0 ** (1 - encoding.bits)
    lowest = -np.inf if encoding.tag == _FLOAT else -1.0
    channels = [
        Channel(f"channel {number}", kind, gain=None, lowest=lowest, highest=highest)
        for number, kind in enumerate(kinds, 1)
    ]
    return WavFile(path, tuple(channels), encoding, offset, length // encoding.frame_bytes)


def _chunks(stream: IO[bytes], size: int, where: str) -> tuple[_Encoding, int, int]:
    """Encoding, and offset and length of the samples."""
    head = stream.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise FormatError("not a WAV file", where=f"{where}, offset 0", expected="RIFF or RF64, and WAVE")
    encoding: _Encoding | None = None
    long_length: int | None = None
    position = 12
    while position < size:
        stream.seek(position)
        name_length = stream.read(8)
        if len(name_length) < 8:
            break
        name, length = name_length[:4], struct.unpack("<I", name_length[4:])[0]
        position += 8
        if name == b"data" and length == _IN_DS64:
            if long_length is None:
                raise FormatError(
                    "the length of the samples was never written",
                    where=f"{where}, offset {position - 4}",
                    expected="a recording that was closed",
                )
            length = long_length
        if length > size - position:
            raise FormatError(
                f"chunk {name.decode('latin-1')!r} declares {length} bytes, {size - position} are left",
                where=f"{where}, offset {position - 4}",
                expected="a whole file",
            )
        if name == b"fmt ":
            encoding = _encoding(stream.read(min(length, 40)), f"{where}, offset {position}")
        elif name == b"ds64" and length >= 24:
            long_length = struct.unpack("<Q", stream.read(24)[8:16])[0]
        elif name == b"data":
            if encoding is None:
                raise FormatError(
                    "samples before their format",
                    where=f"{where}, offset {position}",
                    expected="fmt, then data",
                )
            return encoding, position, length
        position += length + length % 2
    missing = "format" if encoding is None else "samples"
    raise FormatError(
        f"the {missing} are missing", where=f"{where}, offset {size}", expected="chunks fmt and data"
    )


def _encoding(chunk: bytes, where: str) -> _Encoding:
    if len(chunk) < 16:
        raise FormatError(f"a format of {len(chunk)} bytes", where=where, expected="16 or more")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == _EXTENSIBLE and len(chunk) == 40 and chunk[26:] == _SUBFORMAT_TAIL:
        tag = struct.unpack("<H", chunk[24:26])[0]
    if (tag, bits) not in ((_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)):
        raise FormatError(
            f"encoding {tag} of {bits} bits",
            where=where,
            expected="PCM of 16, 24 or 32 bits, or float of 32 or 64",
        )
    if not 1 <= channels <= _MOST_CHANNELS or not rate or frame_bytes != channels * bits // 8:
        raise FormatError(
            f"{channels} channels at {rate} Hz in frames of {frame_bytes} bytes",
            where=where,
            expected=f"1 to {_MOST_CHANNELS} channels, a rate, frames of one value each",
        )
    return _Encoding(tag, channels, rate, bits)


def _fractions(data: bytes, encoding: _Encoding) -> F64:
    """Samples as fractions of full scale, float64 (frames, channels)."""
    fractions: F64
    if encoding.tag == _FLOAT:
        with np.errstate(invalid="ignore"):  # a signalling NaN is a missing sample like any other
            fractions = np.frombuffer(data, "<f4" if encoding.bits == 32 else "<f8").astype(np.float64)
    elif encoding.bits == 24:
        widened = np.zeros((len(data) // 3, 4), np.uint8)
        widened[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        fractions = widened.view("<i4").astype(np.float64).ravel() / 2.0**31
    else:
        stored = np.frombuffer(data, "<i2" if encoding.bits == 16 else "<i4")
        fractions = stored / 2.0 ** (encoding.bits - 1)
    return fractions.reshape(-1, encoding.channels)
