"""The keys of one meter, and who it is: system titles.

Rule of this file: keys of different purposes are different keys.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum

from openami.quantities.errors import SecurityError
from openami.security.secret import Secret
from openami.security.suites import suite

SYSTEM_TITLE_OCTETS = 8


class KeyKind(Enum):
    """What a key is for; the value is its key-id in ``key_transfer`` (IEC 62056-6-2 class 64)."""

    GLOBAL_UNICAST = 0
    GLOBAL_BROADCAST = 1
    AUTHENTICATION = 2
    MASTER = 3


@dataclass(frozen=True, slots=True)
class MeterKeys:
    """Symmetric keys of one meter.

    Parameters
    ----------
    global_unicast:
        Global unicast encryption key (GUEK).
    authentication:
        Global authentication key (GAK).
    master:
        Key encryption key (KEK) under which new keys travel.
    global_broadcast:
        Global broadcast encryption key (GBEK); None where the meter takes no broadcasts.
    suite_number:
        Security suite.

    Raises
    ------
    SecurityError
        A key has not the length of the suite, or two purposes share one key.
    """

    global_unicast: Secret
    authentication: Secret
    master: Secret
    global_broadcast: Secret | None = None
    suite_number: int = 0

    def __post_init__(self) -> None:
        octets = suite(self.suite_number).key_octets
        keys = [self.global_unicast, self.authentication, self.master]
        if self.global_broadcast is not None:
            keys.append(self.global_broadcast)
        for key in keys:
            if len(key) != octets:
                raise SecurityError(f"a key of {len(key)} octets", expected=f"{octets} octets")
        if len(set(keys)) != len(keys):
            raise SecurityError("one key for two purposes", expected="keys that differ")

    @classmethod
    def random(cls, suite_number: int = 0) -> MeterKeys:
        """Fresh keys for one meter."""
        octets = suite(suite_number).key_octets
        drawn = [Secret.random(octets) for _ in range(4)]
        return cls(drawn[0], drawn[1], drawn[2], drawn[3], suite_number)

    def key(self, kind: KeyKind) -> Secret | None:
        """The key for a purpose; None where there is none (broadcasts)."""
        match kind:
            case KeyKind.GLOBAL_UNICAST:
                return self.global_unicast
            case KeyKind.GLOBAL_BROADCAST:
                return self.global_broadcast
            case KeyKind.AUTHENTICATION:
                return self.authentication
            case KeyKind.MASTER:
                return self.master

    @property
    def fingerprints(self) -> dict[KeyKind, str]:
        """What two people compare over the telephone, of each key that there is."""
        found = {kind: self.key(kind) for kind in KeyKind}
        return {kind: key.fingerprint for kind, key in found.items() if key is not None}

    def with_key(self, kind: KeyKind, key: Secret) -> MeterKeys:
        """The same keys but one."""
        match kind:
            case KeyKind.GLOBAL_UNICAST:
                return replace(self, global_unicast=key)
            case KeyKind.GLOBAL_BROADCAST:
                return replace(self, global_broadcast=key)
            case KeyKind.AUTHENTICATION:
                return replace(self, authentication=key)
            case KeyKind.MASTER:
                return replace(self, master=key)


def system_title(octets: bytes) -> bytes:
    """The octets, if they can be a system title: eight, the first three a manufacturer's letters.

    Some meters leave it empty or write other letters; only the length is held against them.

    Raises
    ------
    SecurityError
        There are not eight octets.
    """
    if len(octets) != SYSTEM_TITLE_OCTETS:
        raise SecurityError(f"a system title of {len(octets)} octets", expected="8 octets")
    return bytes(octets)


def system_title_of(manufacturer: bytes, serial: str) -> bytes:
    """System title of a meter: three letters and five octets of its serial number's hash or number.

    A number below 2**40 stands for itself, anything else for the first five octets of its SHA-256.
    """

    if len(manufacturer) != 3:
        raise SecurityError(f"manufacturer {manufacturer!r}", expected="three letters")
    if serial.isdecimal() and int(serial) < 1 << 40:
        return manufacturer + int(serial).to_bytes(5, "big")
    return manufacturer + hashlib.sha256(serial.encode("utf-8")).digest()[:5]
