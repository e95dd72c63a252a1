"""The checks of validation, one bit each, as stored in ``failed_checks`` of a final block.

Bits are part of the stored data: a bit is never given a second meaning and never reused. A set bit
annotates the day; it removes nothing.
"""

from __future__ import annotations

from enum import IntFlag
from functools import lru_cache


class Check(IntFlag):
    """What was found on a day of one channel (``reference`` of the rules: `openami.mdm.vee.rule_pack`)."""

    NONE = 0
    GAP = 1 << 0
    DUPLICATE = 1 << 1
    NEGATIVE = 1 << 2
    SPIKE = 1 << 3
    REGISTER_SUM = 1 << 4
    ZERO_RUN = 1 << 5
    HIGH_USAGE = 1 << 6
    LOW_USAGE = 1 << 7
    REGISTER_ROLLOVER = 1 << 8
    REGISTER_REVERSE = 1 << 9
    POWER_OUTAGE = 1 << 10
    DEVICE_FLAG = 1 << 11
    METER_SILENT = 1 << 12
    CAPACITY = 1 << 13
    METER_EXCHANGE = 1 << 14
    ESTIMATION_REFUSED = 1 << 15


@lru_cache(maxsize=4096)
def check_names(bits: int) -> tuple[str, ...]:
    """Names of the bits that are set, lowest first: ``("gap", "spike")``."""
    return tuple(check.name.lower() for check in Check if check & bits and check.name)
