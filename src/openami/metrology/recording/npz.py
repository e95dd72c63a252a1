"""Recorded waveforms in NumPy's NPZ: ``u`` in V, ``i`` in A, ``rate_hz``; or ``neutral``, ``start_utc``.

Arrays are of shape (samples,) or (samples, phases); other numeric arrays of as many samples are further
channels for a channel map. Integer samples of a converter are welcome with ``u_v_per_count``,
``i_a_per_count`` (one number, or one per phase) and ``full_scale_counts``. The rule never to be broken: no
pickle is loaded, and nothing is allocated by a header's word: a header is held against the size the archive
declares, and an archive's member is decompressed block by block.
"""

from __future__ import annotations

import ast
import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from openami.metrology.recording.channels import Block, Channel, ChannelKind
from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]

_MAGIC: Final = b"\x93NUMPY"
_HEADER_LIMIT: Final = 10_000
_SCALAR_LIMIT: Final = 4_096
"""Bytes of an array that is one number or one text."""
_MOST_PHASES: Final = 16
_WELCOME: Final = "arrays u and i of shape (samples,) or (samples, phases) in V and A, and the number rate_hz"


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header of an array declares, held against the archive."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    fortran_order: bool
    offset: int
    """Bytes before the data."""

    @property
    def samples(self) -> int:
        return max(self.shape, default=1)

    @property
    def columns(self) -> int:
        return 1 if len(self.shape) < 2 else min(self.shape)

    @property
    def by_rows(self) -> bool:
        """The samples of all columns follow one another (row-major of (samples, phases))."""
        samples_first = len(self.shape) < 2 or self.shape[0] >= self.shape[1]
        return samples_first != self.fortran_order


@dataclass(frozen=True, slots=True)
class _Column:
    header: _Header
    index: int


@dataclass(frozen=True, slots=True)
class NpzFile:
    """An opened NPZ file, a `ChannelFile`."""

    path: Path
    channels: tuple[Channel, ...]
    columns: tuple[_Column, ...]
    rate_hz: float
    samples: int
    start_us: int | None
    format: str = "NPZ"
    remarks: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def blocks(self, picked: Sequence[int], size: int) -> Iterator[Block]:
        """The samples of the picked channels, in blocks of at most ``size`` samples."""
        wanted = [self.columns[index] for index in picked]
        with _faults_of(self.path), ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            readers = {
                name: stack.enter_context(_Reader(archive, header))
                for name, header in {column.header.name: column.header for column in wanted}.items()
            }
            for first in range(0, self.samples, size):
                count = min(size, self.samples - first)
                arrays = {name: reader.read(count) for name, reader in readers.items()}
                rows = [arrays[column.header.name][column.index] for column in wanted]
                with np.errstate(invalid="ignore"):  # a signalling NaN is a missing sample like any other
                    values = np.array(rows, np.float64)
                yield Block(first, values)


class _Reader:
    """The columns of one array, read side by side from the beginning to the end.

    Invariant: every stream stands at the same sample. A row-major array is one stream of rows, a column-major
    one is a stream for each column, each skipped to where its column begins.
    """

    def __init__(self, archive: zipfile.ZipFile, header: _Header) -> None:
        self._header = header
        self._streams: list[IO[bytes]] = []
        size = header.dtype.itemsize
        for column in range(1 if header.by_rows else header.columns):
            stream = archive.open(f"{header.name}.npy")
            self._streams.append(stream)
            stream.seek(header.offset + column * header.samples * size)

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.close()

    def read(self, count: int) -> npt.NDArray[np.generic]:
        """The next samples, (columns, count)."""
        header = self._header
        width = header.columns if header.by_rows else 1
        parts = [_exactly(stream, count * width * header.dtype.itemsize) for stream in self._streams]
        if header.by_rows:
            return np.frombuffer(parts[0], header.dtype).reshape(count, width).T
        return np.stack([np.frombuffer(part, header.dtype) for part in parts])


def open_npz(path: Path, *, rate_hz: float | None = None) -> NpzFile:
    """Open an NPZ file.

    Parameters
    ----------
    path:
        The file.
    rate_hz:
        Sampling rate where the file has none.

    Raises
    ------
    FormatError
        No archive, or a broken or encrypted one; arrays of objects, of other lengths than their headers
        say, or of shapes that are no samples; no rate.
    """
    with _faults_of(path), zipfile.ZipFile(path) as archive:
        headers = {}
        for info in archive.infolist():
            if info.filename.endswith(".npy") and info.filename.removesuffix(".npy") not in headers:
                header = _header(archive, info, path)
                headers[header.name] = header
        scalars = {
            name: _scalar(archive, header)
            for name, header in headers.items()
            if header.samples * header.dtype.itemsize <= _SCALAR_LIMIT and name in _SCALARS
        }
    rate = _rate(scalars.get("rate_hz"), rate_hz, path)
    u = headers.get("u")
    arrays = [header for name, header in headers.items() if name not in _SCALARS]
    measured = [header for header in arrays if header.dtype.kind in "iuf" and 1 <= len(header.shape) <= 2]
    if u is not None and u not in measured:
        raise FormatError(
            f"u is an array of {u.dtype} and shape {u.shape}", where=str(path), expected=_WELCOME
        )
    samples = u.samples if u is not None else max((header.samples for header in measured), default=0)
    channels, columns = [], []
    for header in measured:
        if header.samples != samples:
            if header.name in ("i", "neutral"):
                raise FormatError(
                    f"{header.name} has {header.samples} samples, u has {samples}",
                    where=str(path),
                    expected="as many samples in each",
                )
            continue
        if header.columns > _MOST_PHASES:
            raise FormatError(
                f"{header.name} has the shape {header.shape}", where=str(path), expected=_WELCOME
            )
        for index in range(header.columns):
            channels.append(_channel(header, index, scalars, path))
            columns.append(_Column(header, index))
    if measured and not all(header.samples * header.columns for header in measured):
        raise FormatError("the arrays hold no samples", where=str(path), expected=_WELCOME)
    if not channels:
        raise FormatError(f"arrays {', '.join(headers) or 'none'}", where=str(path), expected=_WELCOME)
    return NpzFile(
        path, tuple(channels), tuple(columns), rate, samples, _start(scalars.get("start_utc"), path)
    )


_SCALARS: Final = frozenset({"rate_hz", "start_utc", "u_v_per_count", "i_a_per_count", "full_scale_counts"})
_KINDS: Final = {"u": ChannelKind.VOLTAGE, "i": ChannelKind.CURRENT, "neutral": ChannelKind.NEUTRAL}
_COUNTS: Final = {"u": "u_v_per_count", "i": "i_a_per_count", "neutral": "i_a_per_count"}


def _channel(header: _Header, index: int, scalars: dict[str, npt.NDArray[np.generic]], path: Path) -> Channel:
    kind = _KINDS.get(header.name, ChannelKind.UNKNOWN)
    name = header.name if header.columns == 1 else f"{header.name}{index + 1}"
    gain, limit = 1.0, np.inf
    scale = scalars.get(_COUNTS.get(header.name, ""))
    if scale is not None:
        per_phase = _numbers(scale, _COUNTS[header.name], path)
        if per_phase.size not in (1, header.columns) and header.name != "neutral":
            raise FormatError(
                f"{_COUNTS[header.name]} has {per_phase.size} numbers for {header.columns} phases",
                where=str(path),
                expected="one number, or one for each phase",
            )
        gain = float(per_phase[index % per_phase.size])
    full_scale = scalars.get("full_scale_counts")
    if full_scale is not None:
        limit = float(_numbers(full_scale, "full_scale_counts", path)[0])
    phase = index if kind in (ChannelKind.VOLTAGE, ChannelKind.CURRENT) else None
    return Channel(name, kind, phase, gain, lowest=-limit, highest=limit)


def _numbers(array: npt.NDArray[np.generic], name: str, path: Path) -> F64:
    if array.dtype.kind not in "iuf" or not array.size:
        raise FormatError(f"{name} is no number", where=str(path), expected="a number")
    numbers: F64 = array.astype(np.float64).ravel()
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        wrong = float(numbers[~(np.isfinite(numbers) & (numbers > 0))][0])
        raise FormatError(f"{name} is {wrong:g}", where=str(path), expected="a positive number")
    return numbers


def _rate(array: npt.NDArray[np.generic] | None, given: float | None, path: Path) -> float:
    if array is None:
        if given is None:
            raise FormatError("no rate_hz", where=str(path), expected=f"{_WELCOME}; or --rate")
        return given
    numbers = _numbers(array, "rate_hz", path)
    if numbers.size != 1:
        raise FormatError(f"rate_hz holds {numbers.size} numbers", where=str(path), expected="one number")
    return float(numbers[0])


def _start(array: npt.NDArray[np.generic] | None, path: Path) -> int | None:
    """UTC in microseconds of a text in ISO 8601 with zone, a datetime64, or an integer of microseconds."""
    if array is None:
        return None
    value = array.ravel()[0]
    if array.dtype.kind == "U":
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)
    elif array.dtype.kind == "M" and not np.isnat(value):
        return int(np.datetime64(value, "us").astype(np.int64))
    elif array.dtype.kind in "iu":
        return int(value)
    raise FormatError(
        f"start_utc is {value!r}",
        where=str(path),
        expected="ISO 8601 with its zone, or microseconds since 1970",
    )


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> _Header:
    """The header of one member, read by itself: nothing of the data is touched."""
    name = info.filename.removesuffix(".npy")
    where = f"{path}, array {name}"
    with archive.open(info) as stream:
        magic = _exactly(stream, 8)
        if magic[:6] != _MAGIC or magic[6] not in (1, 2, 3):
            raise FormatError("not an array of NumPy", where=where, expected="what numpy.savez writes")
        long = magic[6] > 1
        length = struct.unpack("<I" if long else "<H", _exactly(stream, 4 if long else 2))[0]
        if length > _HEADER_LIMIT:
            raise FormatError(f"a header of {length} bytes", where=where, expected=f"at most {_HEADER_LIMIT}")
        text = _exactly(stream, length).decode("utf-8" if magic[6] == 3 else "latin-1")
        offset = stream.tell()
    try:
        declared = ast.literal_eval(text.strip())
        dtype = np.dtype(declared["descr"])
        shape, fortran = declared["shape"], declared["fortran_order"]
    except (ValueError, SyntaxError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as error:
        raise FormatError("a header that is none", where=where, expected="what numpy.savez writes") from error
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None or dtype.itemsize > 4096:
        raise FormatError(f"an array of {dtype}", where=where, expected="numbers")
    if (
        not isinstance(shape, tuple)
        or not isinstance(fortran, bool)
        or len(shape) > 2
        or not all(type(extent) is int and extent >= 0 for extent in shape)
    ):
        raise FormatError(f"an array of the shape {shape!r}", where=where, expected=_WELCOME)
    wanted = dtype.itemsize
    for extent in shape:
        wanted *= extent
    if wanted != info.file_size - offset:
        raise FormatError(
            f"the header declares {wanted} bytes, the archive holds {info.file_size - offset}",
            where=where,
            expected="as many as declared",
        )
    return _Header(name, dtype, shape, fortran, offset)


def _scalar(archive: zipfile.ZipFile, header: _Header) -> npt.NDArray[np.generic]:
    with archive.open(f"{header.name}.npy") as stream:
        stream.seek(header.offset)
        count = 1
        for extent in header.shape:
            count *= extent
        data = _exactly(stream, count * header.dtype.itemsize)
    array: npt.NDArray[np.generic] = np.frombuffer(data, header.dtype)
    if not array.size:
        raise EOFError
    return array


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    """What the archive's own reader says of a broken file, as a `FormatError`."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        ValueError,
    ) as error:
        raise _broken(path, str(error) or "it ends too early") from error
    except OSError as error:
        # A directory that points before the file; every other fault of the system is the caller's to hear of.
        if error.errno != errno.EINVAL:
            raise
        raise _broken(path, "its directory points outside the file") from error
    except (NotImplementedError, RuntimeError) as error:
        # zipfile says so of an unknown compression and of a password.
        raise FormatError(
            f"the archive cannot be read: {error}", where=str(path), expected="no password, deflate or stored"
        ) from error


def _broken(path: Path, how: str) -> FormatError:
    return FormatError(
        f"the archive is broken: {how}", where=str(path), expected="a whole file, as numpy.savez writes it"
    )
