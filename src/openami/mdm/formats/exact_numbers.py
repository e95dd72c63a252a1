"""Decimal text to exact integers: mantissa and number of decimals, never a float.

``"0.392"`` is (392, 3). Trailing zeros of the fraction are not significant: ``"1.500"`` is (15, 1). The
kernels know plain digits with one point; everything else (sign, blanks, exponent) goes through
`parse_number`, which gives the same result for what both understand.

The rule never to be broken: a number that does not fit exactly is refused, never rounded.
"""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.quantities.errors import FormatError

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Int8 = npt.NDArray[np.int8]

MAX_DIGITS = 18
"""Significant digits a number may have; 10**18 is below the int64 limit."""
MAX_DECIMALS = 12
"""Decimals a number may have; the finest quantum of the vocabulary is 1e-12."""
NOISY_DECIMALS = 40
"""Decimals that `parse_fields` reads, so that the noise of binary fractions can be told from a value."""
LIMIT = 10**MAX_DIGITS

NUMBER, EMPTY, ODD = 0, 1, 2
"""What a kernel found in a field: a plain number, nothing (or only blanks), something else."""

_PLAIN = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?")


def parse_number(text: bytes, max_decimals: int = MAX_DECIMALS) -> tuple[int, int]:
    """Mantissa and decimals of one number, blanks around it ignored.

    Parameters
    ----------
    text:
        ASCII decimal, with optional sign and exponent: ``b" -1.250 "`` is (-125, 2).
    max_decimals:
        Decimals it may have.

    Raises
    ------
    FormatError
        Not a finite decimal number, or more than 18 significant digits or too many decimals.
    """
    stripped = text.strip()
    if not _PLAIN.fullmatch(stripped) or len(stripped) > 64:
        shown = text[:40].decode("latin-1")
        raise FormatError(f"{shown!r} is not a number", expected="digits with a decimal point, as 12.345")
    sign, digits, exponent = Decimal(stripped.decode("ascii")).as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits)))
    if mantissa == 0:
        return 0, 0
    while exponent < 0 and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    if exponent > 0:
        mantissa, exponent = mantissa * 10**exponent, 0
    if mantissa >= LIMIT or -exponent > max_decimals:
        raise FormatError(
            f"{stripped.decode('ascii')} has too many digits",
            expected=f"at most {MAX_DIGITS} significant digits and {max_decimals} decimals",
        )
    return (-mantissa if sign else mantissa), -exponent


@njit(cache=True, nogil=True)
def _number(data: Bytes, start: int, end: int) -> tuple[int, int, int]:
    mantissa = 0
    digits = 0
    decimals = 0
    trailing = 0
    point = False
    seen = False
    for i in range(start, end):
        byte = data[i]
        if 48 <= byte <= 57:
            seen = True
            if point:
                decimals += 1
                trailing = trailing + 1 if byte == 48 else 0
            if mantissa != 0 or byte != 48:
                digits += 1
                if digits > 18:
                    return 0, 0, 2
            mantissa = mantissa * 10 + (byte - 48)
        elif byte == 46 and not point:
            point = True
        else:
            return 0, 0, 2
    if not seen:
        return 0, 0, 1 if start == end else 2
    if mantissa == 0:
        return 0, 0, 0
    for _ in range(trailing):
        mantissa //= 10
    decimals -= trailing
    if decimals > 40:
        return 0, 0, 2
    return mantissa, decimals, 0


@njit(cache=True, nogil=True)
def parse_fields(
    data: Bytes, starts: Int64, ends: Int64, mantissas: Int64, decimals: Int8, states: Int8
) -> None:
    """Parse fields ``data[starts[i]:ends[i]]``, blanks around them ignored.

    Parameters
    ----------
    data:
        uint8, the text.
    starts, ends:
        int64 ``(n,)``, the fields.
    mantissas, decimals, states:
        Written: int64, int8, int8 ``(n,)``; states are NUMBER, EMPTY or ODD.
    """
    for i in range(len(starts)):
        start, end = starts[i], ends[i]
        while start < end and data[start] == 32:
            start += 1
        while end > start and data[end - 1] == 32:
            end -= 1
        mantissas[i], decimals[i], states[i] = _number(data, start, end)


@njit(cache=True, nogil=True)
def parse_rows(
    data: Bytes,
    starts: Int64,
    ends: Int64,
    counts: Int64,
    offsets: Int64,
    mantissas: Int64,
    decimals: Int8,
    finest: Int8,
    tails: Int64,
) -> None:
    """Parse rows of comma-separated plain numbers.

    Parameters
    ----------
    data:
        uint8, the file.
    starts, ends:
        int64 ``(rows,)``; where the first number of each row begins, and where its line ends.
    counts, offsets:
        int64 ``(rows,)``; how many numbers a row must have, and where its first goes in ``mantissas``.
    mantissas, decimals:
        Written: int64 and int8 ``(sum of counts,)``.
    finest, tails:
        Written: ``(rows,)``; the most decimals of the row, and the position after the comma that follows
        its last number, or -1 when the row is not made of exactly so many plain numbers.
    """  # fmt: skip
    for row in range(len(starts)):
        position, end = starts[row], ends[row]
        tails[row] = -1
        most = 0
        whole = True
        for k in range(counts[row]):
            mantissa = 0
            digits = 0
            places = 0
            trailing = 0
            point = False
            seen = False
            closed = False
            while position < end:
                byte = data[position]
                position += 1
                if 48 <= byte <= 57:
                    seen = True
                    if point:
                        places += 1
                        trailing = trailing + 1 if byte == 48 else 0
                    if mantissa != 0 or byte != 48:
                        digits += 1
                        if digits > 18:
                            break
                    mantissa = mantissa * 10 + (byte - 48)
                elif byte == 44:
                    closed = True
                    break
                elif byte == 46 and not point:
                    point = True
                else:
                    break
            if not closed or not seen:
                whole = False
                break
            if mantissa == 0:
                places = 0
            else:
                for _ in range(trailing):
                    mantissa //= 10
                places -= trailing
            if places > 12:
                whole = False
                break
            mantissas[offsets[row] + k] = mantissa
            decimals[offsets[row] + k] = places
            most = max(most, places)
        if whole:
            tails[row] = position
            finest[row] = most


@njit(cache=True, nogil=True)
def scale_exact(mantissas: Int64, decimals: Int8, places: int, counts: Int64) -> int:
    """Bring numbers to one number of decimals: ``counts = mantissas * 10**(places - decimals)``.

    ``places`` may be smaller than an element's decimals only when the digits lost are zeros.

    Returns
    -------
    int
        Index of the first number that does not fit exactly, or -1.
    """
    for i in range(len(mantissas)):
        value = mantissas[i]
        steps = places - decimals[i]
        if value != 0:
            for _ in range(steps):
                if value > 922_337_203_685_477_580 or value < -922_337_203_685_477_580:
                    return i
                value *= 10
            for _ in range(-steps):
                if value % 10 != 0:
                    return i
                value //= 10
        counts[i] = value
    return -1


@njit(cache=True, nogil=True)
def scale_noisy(mantissas: Int64, decimals: Int8, places: int, counts: Int64) -> int:
    """Like `scale_exact`, but a number within a millionth of a whole count is that count.

    Returns
    -------
    int
        Index of the first number that is further away or does not fit, or -1.
    """
    for i in range(len(mantissas)):
        value = mantissas[i]
        steps = places - decimals[i]
        if value != 0 and steps >= 0:
            for _ in range(steps):
                if value > 922_337_203_685_477_580 or value < -922_337_203_685_477_580:
                    return i
                value *= 10
        elif value != 0 and steps >= -18:
            divisor = 1
            for _ in range(-steps):
                divisor *= 10
            whole = value // divisor
            rest = value - whole * divisor
            if rest > divisor // 2:
                whole += 1
                rest = divisor - rest
            if rest > divisor // 1_000_000:
                return i
            value = whole
        elif value != 0:
            for _ in range(-steps - 18):
                value = value // 10 if value > 0 else -(-value // 10)
            if value > 1_000_000_000_000 or value < -1_000_000_000_000:
                return i
            value = 0
        counts[i] = value
    return -1
