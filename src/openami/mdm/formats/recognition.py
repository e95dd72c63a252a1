"""`read_file`: what a file is, is told by its content, also inside .zip and .gz.

The rule never to be broken: an archive is unpacked only up to a bound, and a file that cannot be read gives
diagnostics, never a foreign exception.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from openami.mdm.formats.diagnostics import Diagnostic, ImportResult, Policy, Severity
from openami.mdm.formats.espi_read import read_espi
from openami.mdm.formats.mapping import Mapping
from openami.mdm.formats.nem12_read import read_nem12
from openami.mdm.formats.nem13_read import read_nem13
from openami.mdm.formats.own_tables import is_own_table, read_own_table
from openami.mdm.formats.table_read import read_table
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError

MAX_BYTES = 1 << 30
"""Most bytes of a file, packed or unpacked."""
MAX_MEMBERS = 1000
MAX_DEPTH = 3
"""Archives inside archives."""


def read_file(
    path: Path,
    *,
    policy: Policy,
    mapping: Mapping | None = None,
    zone: str | None = None,
    captured_at: datetime,
) -> ImportResult:
    """Read a file of meter readings.

    Parameters
    ----------
    path:
        NEM12, NEM13, Green Button (ESPI), or a CSV or Parquet table; plain, gzipped, or in a zip archive.
    policy:
        STRICT, or TOLERANT for files whose readings are sound but whose form is not.
    mapping:
        What the columns mean; a table cannot be read without.
    zone:
        IANA zone in which civil days are counted: of a Green Button file, where its LocalTimeParameters do
        not name one, and of a table instead of its mapping's. NEM12 and NEM13 are in NEM time.
    captured_at:
        When the file was obtained; taken where the file does not say when it was made.

    Returns
    -------
    ImportResult
        Of an archive with several files: all their readings, ``format`` of the first; messages name
        the file.

    Raises
    ------
    FormatError
        The file cannot be opened.
    QuantityError
        There is no such zone.
    """
    if zone is not None:
        zone_of(zone)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(
                f"{path.stat().st_size} bytes", where=str(path), expected=f"at most {MAX_BYTES}"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as fault:
        raise FormatError(f"cannot be opened: {fault}", where=str(path)) from None
    # A name of a Linux file may hold bytes that are no text; evidence and messages need text.
    name = path.name.encode("utf-8", "replace").decode()
    return read_bytes(data, name, policy=policy, mapping=mapping, zone=zone, captured_at=captured_at)


def read_bytes(
    data: bytes,
    source: str,
    *,
    policy: Policy,
    mapping: Mapping | None = None,
    zone: str | None = None,
    captured_at: datetime,
) -> ImportResult:
    """Read the bytes of a file; see `read_file`."""
    digest = hashlib.sha256(data).hexdigest()
    try:
        members = list(_members(data, source, MAX_DEPTH))
    except FormatError as fault:
        return _unreadable(source, digest, "archive", str(fault), fault.expected)
    if not members:
        return _unreadable(source, digest, "empty_archive", "the archive holds no file", "a file of readings")
    results = [
        _read_one(content, name, digest, policy, mapping, zone, captured_at) for name, content in members
    ]
    return results[0] if len(results) == 1 else _joined(results, source, digest)


def recognise(data: bytes) -> str:
    """Format of some bytes: ``nem12``, ``nem13``, ``espi``, ``parquet``, ``csv`` or ``unknown``."""
    if data.startswith(b"PAR1"):
        return "parquet"
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"100,NEM13") or head.startswith(b"250,"):
        return "nem13"
    if head.startswith((b"100,", b"200,", b"300,")) or (head.startswith(b"900") and len(data) < 8):
        return "nem12"
    if head.startswith(b"<") or data.startswith((b"\xff\xfe<", b"\xfe\xff\x00<")):
        return "espi"
    if b"\x00" in head and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "unknown"
    return "csv" if head and any(mark in head for mark in (b",", b";", b"\t", b"|")) else "unknown"


def _read_one(
    data: bytes,
    source: str,
    digest: str,
    policy: Policy,
    mapping: Mapping | None,
    zone: str | None,
    captured_at: datetime,
) -> ImportResult:
    form = recognise(data)
    if form == "nem12" and mapping is None:
        return read_nem12(data, source, policy=policy, captured_at=captured_at, sha256=digest)
    if form == "nem13" and mapping is None:
        return read_nem13(data, source, policy=policy, captured_at=captured_at, sha256=digest)
    if form == "espi":
        return read_espi(data, source, policy=policy, zone=zone, captured_at=captured_at, sha256=digest)
    if not data.strip():
        return _unreadable(
            source, digest, "empty_file", "the file is empty", "NEM12, NEM13, ESPI, CSV or Parquet"
        )
    if mapping is None and is_own_table(data):
        return read_own_table(data, source, policy=policy, captured_at=captured_at, sha256=digest)
    if mapping is None and form in ("csv", "parquet"):
        message = f"a {form} table cannot be read without a mapping"
        return _unreadable(source, digest, "no_mapping", message, "a mapping of its columns (TOML)")
    if mapping is None:
        return _unreadable(
            source,
            digest,
            "unknown_format",
            "none of the known formats",
            "NEM12, NEM13, ESPI, CSV or Parquet",
        )
    if (form == "parquet") != (mapping.format == "parquet"):
        return _unreadable(
            source,
            digest,
            "wrong_format",
            f"the file is {form}",
            f"{mapping.format}, as mapping {mapping.name} says",
        )
    if zone is not None:
        mapping = mapping.model_copy(update={"zone": zone})
    return read_table(data, source, mapping=mapping, policy=policy, captured_at=captured_at, sha256=digest)


def _unreadable(source: str, digest: str, code: str, message: str, expected: str | None) -> ImportResult:
    fault = Diagnostic(None, Severity.ERROR, code, message, expected)
    return ImportResult("unknown", source, digest, diagnostics=(fault,))


def _members(data: bytes, name: str, depth: int) -> Iterator[tuple[str, bytes]]:
    """Files in an archive, or the file itself."""
    if data.startswith(b"\x1f\x8b"):
        _check_depth(name, depth)
        yield from _members(_gunzip(data, name), name, depth - 1)
    elif data.startswith(b"PK\x03\x04") or data.startswith(b"PK\x05\x06"):
        _check_depth(name, depth)
        for inner, content in _unzip(data, name):
            yield from _members(content, f"{name}/{inner}", depth - 1)
    else:
        yield name, data


def _check_depth(name: str, depth: int) -> None:
    if depth == 0:
        raise FormatError(f"archives in archives in {name}", expected=f"at most {MAX_DEPTH} deep")


def _gunzip(data: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise FormatError(f"broken gzip: {fault}", where=name, expected="a whole gzip file") from None
    if len(content) > MAX_BYTES:
        raise FormatError(f"more than {MAX_BYTES} bytes unpacked", where=name, expected="a smaller file")
    return content


def _unzip(data: bytes, name: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    budget = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [item for item in archive.infolist() if not item.filename.endswith("/")]
            if len(members) > MAX_MEMBERS:
                raise FormatError(f"{len(members)} files", where=name, expected=f"at most {MAX_MEMBERS}")
            for item in members:
                with archive.open(item) as file:
                    content = file.read(budget + 1)
                budget -= len(content)
                if budget < 0:
                    raise FormatError(
                        f"more than {MAX_BYTES} bytes unpacked", where=name, expected="a smaller archive"
                    )
                found.append((item.filename.rsplit("/", 1)[-1], content))
    except (
        zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError,
        NotImplementedError, RuntimeError, ValueError, OverflowError, IndexError,
    ) as fault:  # fmt: skip
        raise FormatError(
            f"broken zip: {fault}", where=name, expected="a whole, unencrypted zip file"
        ) from None
    return found


def _joined(results: list[ImportResult], source: str, digest: str) -> ImportResult:
    """Several files of an archive as one; messages and refused parts name the file."""
    return ImportResult(
        format=results[0].format,
        source=source,
        sha256=digest,
        intervals=tuple(block for result in results for block in result.intervals),
        register_reads=tuple(read for result in results for read in result.register_reads),
        evidence=tuple(item for result in results for item in result.evidence),
        diagnostics=tuple(
            replace(item, message=f"{result.source}: {item.message}")
            for result in results
            for item in result.diagnostics
        ),
        readings=sum(result.readings for result in results),
        usage_points={key: value for result in results for key, value in result.usage_points.items()},
        costs=tuple(cost for result in results for cost in result.costs),
        period_totals=tuple(total for result in results for total in result.period_totals),
        refused=tuple(
            replace(part, what=f"{result.source}: {part.what}")
            for result in results
            for part in result.refused
        ),
    )
