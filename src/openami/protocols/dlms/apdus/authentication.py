"""Who asks, and how it proves itself: client addresses that every meter knows, and the mechanisms of ACSE."""

from __future__ import annotations

from enum import IntEnum

PUBLIC_CLIENT = 16
MANAGEMENT_CLIENT = 1


class Mechanism(IntEnum):
    """Authentication mechanism: last number of its object identifier (IEC 62056-5-3)."""

    NONE = 0
    LOW = 1
    HIGH = 2
    HIGH_MD5 = 3
    HIGH_SHA1 = 4
    HIGH_GMAC = 5
    HIGH_SHA256 = 6
    HIGH_ECDSA = 7

    @property
    def high(self) -> bool:
        """True where both sides answer a challenge."""
        return self >= Mechanism.HIGH
