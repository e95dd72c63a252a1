"""The security header of a ciphered APDU: control octet and invocation counter (IEC 62056-5-3 clause 5.3.3).

bit  7            6           5           4               3..0
     compression  broadcast   encrypted   authenticated   security suite
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from openami.protocols.dlms.encoding.octets import Reader
from openami.quantities.errors import RemoteProtocolError


class Protection(IntFlag):
    """How an APDU is protected: bits of the control octet."""

    NONE = 0
    AUTHENTICATED = 0x10
    ENCRYPTED = 0x20
    BROADCAST = 0x40
    COMPRESSED = 0x80

    def covers(self, wanted: Protection) -> bool:
        """True where every bit of ``wanted`` is set; without the objects that the operators of flags make."""
        return int(wanted) & ~int(self) == 0


AUTHENTICATED_ENCRYPTION = Protection.AUTHENTICATED | Protection.ENCRYPTED
HEADER_OCTETS = 5

_OF_CONTROL = tuple(Protection(bits << 4) for bits in range(16))
_LEVELS = _OF_CONTROL[:4]


@dataclass(frozen=True, slots=True)
class SecurityHeader:
    """What stands before protected octets.

    Parameters
    ----------
    suite:
        Security suite.
    protection:
        How the octets are protected.
    counter:
        Invocation counter.
    """

    suite: int
    protection: Protection
    counter: int

    @property
    def control(self) -> bytes:
        """The control octet."""
        return bytes((self.suite | int(self.protection),))

    @property
    def level(self) -> Protection:
        """Authenticated, encrypted, both or neither."""
        return _LEVELS[self.protection >> 4 & 3]

    def to_bytes(self) -> bytes:
        """Control octet and counter."""
        return self.control + self.counter.to_bytes(4, "big")

    @classmethod
    def read(cls, reader: Reader) -> SecurityHeader:
        """Header at the reader's place; raises `RemoteProtocolError`."""
        control = reader.u8()
        suite = control & 0x0F
        if suite > 2:
            raise RemoteProtocolError(f"security suite {suite}", expected="0, 1 or 2")
        return cls(suite, _OF_CONTROL[control >> 4], reader.u32())
