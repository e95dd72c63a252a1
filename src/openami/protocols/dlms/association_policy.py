"""Who may associate with a logical device, how they prove it, and what they may do then.

Rule of this file: a secret is compared in constant time and never shown.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from openami.protocols.dlms.apdu_block_transfer import MAX_WINDOW
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.protocols.dlms.limits import DEFAULT_WINDOW, MAX_PDU, MIN_PDU
from openami.protocols.dlms.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode

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


@dataclass(frozen=True, slots=True)
class AssociationPolicy:
    """What one client (by its wPort) may do.

    Parameters
    ----------
    client:
        Its wPort.
    mechanism:
        How the client proves who it is.
    secret:
        Password of `Mechanism.LOW`, or what the hashes of mechanisms 3, 4 and 6 are made over.
    ceiling:
        Access at most; methods run only where it is `Access.READ_WRITE`.
    objects:
        The objects that the client sees; None for all.
    protection:
        Protection that each of its requests must have at least; `Protection.NONE` for a plain association.
    max_pdu:
        Largest APDU that the server takes from it.
    window:
        Blocks of a general-block-transfer that the server takes at once.

    Raises
    ------
    LocalProtocolError
        A size or window that the protocol does not have.
    """

    client: int
    mechanism: Mechanism = Mechanism.NONE
    secret: bytes = field(default=b"", repr=False)
    ceiling: Access = Access.READ_WRITE
    objects: frozenset[ObisCode] | None = None
    protection: Protection = Protection.NONE
    max_pdu: int = MAX_PDU
    window: int = DEFAULT_WINDOW

    def __post_init__(self) -> None:
        if not MIN_PDU <= self.max_pdu <= MAX_PDU or not 1 <= self.window <= MAX_WINDOW:
            raise LocalProtocolError(
                f"a policy with PDUs of {self.max_pdu} octets and a window of {self.window}",
                expected=f"{MIN_PDU} .. {MAX_PDU} octets, 1 .. {MAX_WINDOW} blocks",
            )

    def sees(self, logical_name: ObisCode) -> bool:
        """True where the client may know of the object."""
        return self.objects is None or logical_name in self.objects

    def access(self, offered: Access) -> Access:
        """Access that is left of what an attribute offers."""
        return Access(offered & self.ceiling)

    def proves(self, secret: bytes) -> bool:
        """True where ``secret`` is the password."""
        return hmac.compare_digest(secret, self.secret)


def public(objects: Iterable[ObisCode], client: int = PUBLIC_CLIENT) -> AssociationPolicy:
    """The public client: no password, reads the objects named."""
    return AssociationPolicy(client, ceiling=Access.READ, objects=frozenset(objects))


def management(secret: bytes, client: int = MANAGEMENT_CLIENT) -> AssociationPolicy:
    """The management client: low level security, everything."""
    return AssociationPolicy(client, Mechanism.LOW, secret)


def secured_management(
    protection: Protection = AUTHENTICATED_ENCRYPTION, client: int = MANAGEMENT_CLIENT
) -> AssociationPolicy:
    """The management client with high level security 5 (GMAC) and ciphered requests: everything."""
    return AssociationPolicy(client, Mechanism.HIGH_GMAC, protection=protection)
