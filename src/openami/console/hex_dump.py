"""Bytes as people read them: offset, sixteen in hexadecimal, and what of them is ASCII."""

from __future__ import annotations

from collections.abc import Iterator

_ROW = 16


def hex_rows(octets: bytes) -> Iterator[str]:
    """One line of text for every sixteen bytes."""
    for begin in range(0, len(octets), _ROW):
        row = octets[begin : begin + _ROW]
        text = "".join(chr(octet) if 32 <= octet < 127 else "." for octet in row)
        yield f"{begin:04x}  {row.hex(' '):<47}  {text}"
