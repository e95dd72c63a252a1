"""Status of a value: quality, method, reason and the meter's own flags, as one small integer id.

Quality and method follow AEMO's MDFF numbering (the richest public list; other markets map onto it).
The id packs the four parts, so every process agrees on it without a shared table; id 0 is
"measured and valid". Missing or withdrawn is a status (`Quality.NULL`), never a zero.

    bits 0-2 quality | 3-9 method | 10-17 reason | 18-30 device flags
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import QuantityError


class Quality(IntEnum):
    """Quality flag; letters as in AEMO MDFF."""

    ACTUAL = 0
    ESTIMATED = 1
    FINAL_SUBSTITUTE = 2
    NULL = 3
    SUBSTITUTED = 4
    SUSPECT = 5

    @property
    def letter(self) -> str:
        """Letter of the MDFF; ``Q`` (questionable: measured, failed a check) is openami's own."""
        return "AEFNSQ"[self]

    @classmethod
    def from_letter(cls, letter: str) -> Quality:
        """Quality of a letter A, E, F, N, S or Q."""
        index = "AEFNSQ".find(letter)
        if index < 0 or len(letter) != 1:
            raise QuantityError(
                f"unknown quality flag {letter!r}", expected="A, E, F, N, S (or V per interval)"
            )
        return cls(index)


METHODS: dict[int, str] = {
    0: "none",
    11: "check", 12: "calculated", 13: "SCADA", 14: "retrospective like day",
    15: "retrospective average like day", 16: "agreed (obsolete)", 17: "linear", 18: "alternate",
    19: "zero", 20: "prospective like day", 21: "five-minute, no historical data",
    22: "prospective average like day", 23: "previous year", 24: "data scaling", 25: "ADL",
    51: "previous year", 52: "previous read", 53: "revision", 54: "linear", 55: "agreed",
    56: "prior to first read", 57: "customer class", 58: "zero", 59: "five-minute, no history",
    61: "previous year", 62: "previous read", 63: "customer class", 64: "agreed", 65: "ADL",
    66: "revision", 67: "customer read", 68: "zero", 69: "linear extrapolation",
    71: "recalculation", 72: "revised table", 73: "revised algorithm", 74: "agreed", 75: "existing table",
}  # fmt: skip
"""Estimation and substitution methods in AEMO numbering (11-25 interval meters, 51-75 others)."""


class DeviceFlag(IntFlag):
    """The meter's own status of an interval."""

    NONE = 0
    POWER_FAIL = 1 << 0
    CLOCK_SET = 1 << 1
    SHORT_INTERVAL = 1 << 2
    LONG_INTERVAL = 1 << 3
    CLOCK_INVALID = 1 << 4
    OVERFLOW = 1 << 5
    TEST_MODE = 1 << 6
    DATA_INVALID = 1 << 7
    DAYLIGHT_SAVING = 1 << 8
    REVERSE = 1 << 9
    DISCONNECTED = 1 << 10


@dataclass(frozen=True, slots=True)
class Status:
    """Status of one value."""

    quality: Quality = Quality.ACTUAL
    method: int = 0
    reason: int = 0
    device: DeviceFlag = DeviceFlag.NONE

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise QuantityError(f"unknown method {self.method}", expected="an AEMO method number")
        if not 0 <= self.reason <= 255:
            raise QuantityError(f"reason {self.reason} out of range", expected="0 .. 255")
        if not 0 <= self.device < 1 << 13:
            raise QuantityError(f"device flags {int(self.device)} out of range", expected="13 bits")

    @property
    def id(self) -> int:
        """The packed id."""
        return self.quality | self.method << 3 | self.reason << 10 | self.device << 18

    @classmethod
    def from_id(cls, status_id: int) -> Status:
        """Unpack an id.

        Raises
        ------
        QuantityError
            No status has this id.
        """
        if not 0 <= status_id < 1 << 31:
            raise QuantityError(f"no status has the id {status_id}", expected="0 .. 2147483647")
        try:
            return cls(
                Quality(status_id & 7),
                status_id >> 3 & 127,
                status_id >> 10 & 255,
                DeviceFlag(status_id >> 18),
            )
        except ValueError:
            raise QuantityError(f"no status has the id {status_id}") from None

    def __str__(self) -> str:
        return self.quality.letter + (f"{self.method:02d}" if self.method else "")


VALID = Status().id
MISSING = Status(Quality.NULL).id
SUSPECT = Status(Quality.SUSPECT).id


def qualities(status_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Quality part of an array of status ids, same shape."""
    return status_ids & np.int32(7)


def is_missing(status_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """True where a status id says that there is no value, same shape."""
    missing: npt.NDArray[np.bool_] = qualities(status_ids) == Quality.NULL
    return missing


def is_estimated(status_ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """True where a value was estimated or substituted (E, F, S), same shape."""
    quality = qualities(status_ids)
    estimated: npt.NDArray[np.bool_] = (
        (quality == Quality.ESTIMATED)
        | (quality == Quality.FINAL_SUBSTITUTE)
        | (quality == Quality.SUBSTITUTED)
    )
    return estimated
