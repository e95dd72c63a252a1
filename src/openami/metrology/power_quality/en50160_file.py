"""The file of aggregates: NumPy's NPZ, the fields of `SupplyAggregates` as arrays and a text ``format``.

Arrays are float64 but for ``flagged`` (bool), ``harmonic_orders``, ``event_start_us`` (int64), ``event_kind``
and ``event_phases`` (uint8); the columns of the events are ``event_kind``, ``event_start_us``,
``event_duration_s``, ``event_level_v``, ``event_phases``. ``nominal_v``, ``nominal_hz`` and ``start_us`` are
single numbers.

Rule: no pickle is loaded, and nothing is allocated before a header was held against the archive.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from openami.metrology.power_quality.en50160_aggregates import SupplyAggregates, SupplyEvents
from openami.quantities.errors import FormatError, MeteringError

Scalar = TypeVar("Scalar", bound=np.generic)

FORMAT: Final = "openami supply aggregates 1"
"""Text ``format`` of the file."""

_LARGEST_FILE: Final = 1 << 28
_LARGEST_HEADER: Final = 4096
_COLUMNS: Final = ("u_v", "thd_pct", "harmonic_pct", "unbalance_pct", "pst", "f_hz")


def write_aggregates(path: Path, aggregates: SupplyAggregates) -> None:
    """Write the file, compressed.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    events = aggregates.events
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            allow_pickle=False,
            format=np.array(FORMAT),
            nominal_v=np.array(aggregates.nominal_v, np.float64),
            nominal_hz=np.array(aggregates.nominal_hz, np.int64),
            start_us=np.array(aggregates.start_us, np.int64),
            flagged=aggregates.flagged,
            harmonic_orders=aggregates.harmonic_orders,
            event_kind=events.kind,
            event_start_us=events.start_us,
            event_duration_s=events.duration_s,
            event_level_v=events.level_v,
            event_phases=events.phases,
            **{name: np.ascontiguousarray(getattr(aggregates, name)) for name in _COLUMNS},
        )


def is_aggregates(path: Path) -> bool:
    """True when the file is an archive with a member ``format``; its content is not looked at.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            return False
        try:
            with zipfile.ZipFile(stream) as archive:
                return "format.npy" in archive.namelist()
        except (zipfile.BadZipFile, NotImplementedError):
            return False


def read_aggregates(path: Path) -> SupplyAggregates:
    """Read what `write_aggregates` wrote.

    Raises
    ------
    FormatError
        No such archive, an array missing, of another type or shape, or not as long as its header says.
    OSError
        The file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"the archive is broken: {error}", where=str(path), expected=FORMAT) from None
    except MeteringError as error:
        raise FormatError(error.message, where=str(path), expected=error.expected) from None


def _read(archive: zipfile.ZipFile) -> SupplyAggregates:
    """The aggregates; what is wrong with an array is a `MeteringError`, its file not yet named."""
    if sum(info.file_size for info in archive.infolist()) > _LARGEST_FILE:
        raise MeteringError("the archive unpacks to more than 256 MiB", expected="weeks, not decades")
    text = _array(archive, "format")
    if text.shape != () or str(text) != FORMAT:
        raise MeteringError(f"the format is {text!s:.40}", expected=FORMAT)
    return SupplyAggregates(
        nominal_v=float(_number(archive, "nominal_v")),
        nominal_hz=int(_number(archive, "nominal_hz")),
        start_us=int(_number(archive, "start_us")),
        u_v=_column(archive, "u_v", np.float64),
        flagged=_column(archive, "flagged", np.bool_),
        thd_pct=_column(archive, "thd_pct", np.float64),
        harmonic_orders=_column(archive, "harmonic_orders", np.int64),
        harmonic_pct=_column(archive, "harmonic_pct", np.float64),
        unbalance_pct=_column(archive, "unbalance_pct", np.float64),
        pst=_column(archive, "pst", np.float64),
        f_hz=_column(archive, "f_hz", np.float64),
        events=SupplyEvents(
            kind=_column(archive, "event_kind", np.uint8),
            start_us=_column(archive, "event_start_us", np.int64),
            duration_s=_column(archive, "event_duration_s", np.float64),
            level_v=_column(archive, "event_level_v", np.float64),
            phases=_column(archive, "event_phases", np.uint8),
        ),
    )


def _column(archive: zipfile.ZipFile, name: str, wanted: type[Scalar]) -> npt.NDArray[Scalar]:
    array = _array(archive, name)
    if array.dtype != np.dtype(wanted):
        raise MeteringError(f"{name} is of type {array.dtype}", expected=np.dtype(wanted).name)
    return array.view(wanted)


def _number(archive: zipfile.ZipFile, name: str) -> float:
    array = _array(archive, name)
    if array.shape != () or array.dtype.kind not in "iuf" or not np.isfinite(array):
        raise MeteringError(f"{name} is {array!s:.40}", expected="one number")
    number: float = array.item()
    return number


def _array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[np.generic]:
    """One member, its header held against its size before anything is allocated."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise MeteringError(f"there is no array {name}", expected=FORMAT) from None
    with archive.open(info) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise MeteringError(f"{name} has a header of version {version}", expected="1.0")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(
                stream, max_header_size=_LARGEST_HEADER
            )
        except ValueError as error:
            raise MeteringError(f"{name}: {error}", expected="an array") from None
        size = dtype.itemsize
        for length in shape:
            size *= length
        if dtype.hasobject or fortran or not 0 <= size <= _LARGEST_FILE or min(shape, default=0) < 0:
            raise MeteringError(f"{name} is of {dtype}, {shape}", expected="an array of numbers")
        body = stream.read(size + 1)
    if len(body) != size:
        raise MeteringError(f"{name} has {len(body)} bytes of {size}", expected="a whole array")
    return np.frombuffer(body, dtype).reshape(shape)
