"""Lines of delimited numbers as columns of float64, with the line of whatever is none.

The rule never to be broken: an empty field is a missing value (NaN), everything else that is no decimal
number is an error; a whole chunk of lines is converted at once, and looked at line by line only to find a
fault.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import FormatError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

CHUNK_BYTES: Final = 1 << 22
"""Bytes of lines that are converted together."""

_LONGEST_LINE: Final = 1 << 16
_LONGEST_VALUE: Final = 64
_SIGNS_OF_NUMBERS: Final = b"0123456789+-.eEnaNAifIF \t\r\n"
_DECIMAL_COMMA: Final = re.compile(rb"\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*")


def is_number(field: bytes) -> bool:
    """Whether a field is a decimal number, infinity or NaN; with either decimal sign."""
    if _DECIMAL_COMMA.fullmatch(field):
        return True
    try:
        float(field)
    except ValueError:
        return False
    return not field.translate(None, _SIGNS_OF_NUMBERS)


def checked_lines(texts: list[bytes], numbers: I64, path: Path) -> None:
    """Refuse a line too long to be one of samples, before anything is made of it.

    Raises
    ------
    FormatError
        With the line.
    """
    if max(map(len, texts)) > _LONGEST_LINE:
        at = next(index for index, text in enumerate(texts) if len(text) > _LONGEST_LINE)
        raise fault(path, int(numbers[at]), f"a line of {len(texts[at])} bytes", "one sample a line")


def fields_of(texts: list[bytes], numbers: I64, separator: bytes, columns: int, path: Path) -> list[bytes]:
    """The fields of lines one after the other, each line having as many as there are columns.

    Parameters
    ----------
    texts, numbers:
        The lines, and their numbers in the file.
    separator:
        One byte; a blank stands for any run of them.

    Raises
    ------
    FormatError
        A line with another number of fields, or a field too long for a number; with the line.
    """
    rows = [text.split() if separator == b" " else text.split(separator) for text in texts]
    for row, number in zip(rows, numbers.tolist(), strict=True):
        if len(row) != columns:
            if separator != b"," and any(map(_DECIMAL_COMMA.fullmatch, row)):
                raise decimal_comma(path, number, b"".join(row))
            raise fault(path, number, f"{len(row)} fields", f"{columns}, one for each column")
    fields = [field.strip().strip(b'"') for row in rows for field in row]
    if max(map(len, fields)) > _LONGEST_VALUE:
        at = next(index for index, field in enumerate(fields) if len(field) > _LONGEST_VALUE)
        raise fault(path, int(numbers[at // columns]), f"a value of {len(fields[at])} characters", "a number")
    return fields


def numbers_of(fields: list[bytes], numbers: I64, decimal: bytes, path: Path) -> F64:
    """The fields of one column as float64, empty ones as NaN.

    Raises
    ------
    FormatError
        A field that is no number, or one with another decimal sign; with the line.
    """
    joined = b" ".join(fields)
    if decimal == b",":
        if b"." in joined:
            at = next(index for index, field in enumerate(fields) if b"." in field)
            raise fault(
                path,
                int(numbers[at]),
                f"a decimal point in {shown(fields[at])}",
                "decimal commas, as asked for",
            )
        joined = joined.replace(b",", b".")
        fields = [field.replace(b",", b".") for field in fields]
    if joined.translate(None, _SIGNS_OF_NUMBERS):
        raise _first_fault(fields, numbers, path)
    if b"" in fields:
        fields = [field or b"nan" for field in fields]
    try:
        values: F64 = np.array(fields).astype(np.float64)
    except ValueError as error:
        raise _first_fault(fields, numbers, path) from error
    return values


def _first_fault(fields: list[bytes], numbers: I64, path: Path) -> FormatError:
    """What is wrong with the first field that is no number."""
    for field, number in zip(fields, numbers.tolist(), strict=True):
        if _DECIMAL_COMMA.fullmatch(field):
            return decimal_comma(path, number, field)
        if field and not is_number(field):
            return fault(path, number, f"{shown(field)} is no number", "a number")
    return fault(path, int(numbers[0]), "something in these lines is no number", "numbers")


def shown(field: bytes) -> str:
    """A field as it can be shown."""
    return repr(field[:40].decode("utf-8", errors="replace"))


def decimal_comma(path: Path, number: int, text: bytes) -> FormatError:
    """The error of a decimal comma that nobody asked for."""
    return fault(
        path, number, f"{shown(text.strip())} has a decimal comma", "--decimal ',' if that is what it is"
    )


def fault(path: Path, number: int, message: str, expected: str) -> FormatError:
    """An error with its line."""
    return FormatError(message, where=f"{path}, line {number}", expected=expected)
