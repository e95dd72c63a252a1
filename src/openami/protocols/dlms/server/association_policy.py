"""Who may associate with a logical device, how they prove it, and what they may do then.

Rule of this file: a secret is compared in constant time and never shown.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final

from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, PUBLIC_CLIENT, Mechanism
from openami.protocols.dlms.apdus.general_block import MAX_WINDOW
from openami.protocols.dlms.encoding.limits import DEFAULT_WINDOW, MAX_PDU, MIN_PDU
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.message_protection import Accepted, Signing
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode


class Administration(IntFlag):
    """What a client may change of its own association."""

    NONE = 0
    SECRET = 1
    OBJECTS = 2
    USERS = 4


@dataclass(frozen=True, slots=True)
class ObjectRights:
    """What one client may do with one object.

    Parameters
    ----------
    attributes:
        Access to each attribute; none to those that are not named. Attribute 1 is always readable.
    methods:
        Methods that it may run.
    """

    attributes: Mapping[int, Access] = field(default_factory=dict, hash=False)
    methods: frozenset[int] = frozenset()


HIGHEST_ASSOCIATION_VERSION: Final = 3
_NO_RIGHTS: Final = ObjectRights()
_CURRENT: Final = ObisCode(0, 0, 40, 0, 0)


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
    rights:
        What it may do with each object, within the ceiling; objects that are not named it does not see.
        None: what the classes offer.
    association_version:
        Version of the class Association LN in which it sees its association.
    administers:
        What it may change of its own association.
    security_setup:
        The security setup that governs the association.
    users:
        Numbers and names of the users of the client; where there are any, nobody else associates. A number
        is what the client says of itself: it tells its users apart and proves nothing.
    pre_established:
        True for a client that is served without having associated, within its rights and without protection.
    key_sources:
        Where the keys of general-ciphering may come from; that form is refused where there are none.
    signing:
        Whether requests may or must be signed (general-signing).
    protected_release:
        An RLRQ must carry a ciphered InitiateRequest. Otherwise a plain one is believed, as most clients
        send it: it takes rights away and gives none, so what a forger gains is no more than cutting the
        connection; where links are shared (HDLC, UDP) that may be too much.

    Raises
    ------
    LocalProtocolError
        A size or window that the protocol does not have, or protection of a client that need not associate.
    """

    client: int
    mechanism: Mechanism = Mechanism.NONE
    secret: bytes = field(default=b"", repr=False)
    ceiling: Access = Access.READ_WRITE
    objects: frozenset[ObisCode] | None = None
    protection: Protection = Protection.NONE
    max_pdu: int = MAX_PDU
    window: int = DEFAULT_WINDOW
    rights: Mapping[ObisCode, ObjectRights] | None = field(default=None, hash=False, repr=False)
    association_version: int = 1
    administers: Administration = Administration.NONE
    security_setup: ObisCode | None = None
    users: tuple[tuple[int, str], ...] = ()
    pre_established: bool = False
    key_sources: frozenset[KeySource] = frozenset()
    signing: Signing = Signing.REFUSED
    protected_release: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.association_version <= HIGHEST_ASSOCIATION_VERSION:
            raise LocalProtocolError(
                f"Association LN version {self.association_version}",
                expected=f"0 .. {HIGHEST_ASSOCIATION_VERSION}",
            )
        proves = self.mechanism is not Mechanism.NONE or self.accepted.anything
        if self.pre_established and proves:
            raise LocalProtocolError(f"client {self.client} is pre-established and has to prove itself")
        if not MIN_PDU <= self.max_pdu <= MAX_PDU or not 1 <= self.window <= MAX_WINDOW:
            raise LocalProtocolError(
                f"a policy with PDUs of {self.max_pdu} octets and a window of {self.window}",
                expected=f"{MIN_PDU} .. {MAX_PDU} octets, 1 .. {MAX_WINDOW} blocks",
            )

    @property
    def accepted(self) -> Accepted:
        """What its requests may and must have."""
        return Accepted(self.protection, self.key_sources, self.signing)

    @property
    def needs_keys(self) -> bool:
        """True where the association needs the keys of the device."""
        return bool(self.protection) or self.mechanism.high or self.accepted.needs_keys

    def sees(self, logical_name: ObisCode) -> bool:
        """True where the client may know of the object."""
        if self.rights is not None and logical_name not in self.rights:
            return False
        return self.objects is None or logical_name in self.objects

    def access(self, offered: Access) -> Access:
        """Access that is left of what an attribute offers."""
        return Access(offered & self.ceiling)

    def granted(self, logical_name: ObisCode, index: int, offered: Access) -> Access:
        """Access to an attribute of an object that is left of what its class offers.

        The association in use is not among the rights: what a client may do with it is `administers`.
        """
        if self.rights is None or logical_name == _CURRENT:
            return self.access(offered)
        rights = self.rights.get(logical_name, _NO_RIGHTS)
        given = Access.READ if index == 1 else rights.attributes.get(index, Access.NONE)
        return Access(offered & given & self.ceiling)

    def may_invoke(self, logical_name: ObisCode, index: int) -> bool:
        """True where the client may run a method of an object."""
        if self.ceiling is not Access.READ_WRITE:
            return False
        if self.rights is None or logical_name == _CURRENT:
            return True
        return index in self.rights.get(logical_name, _NO_RIGHTS).methods

    def proves(self, secret: bytes) -> bool:
        """True where ``secret`` is the password; an empty one proves nothing."""
        return bool(self.secret) and hmac.compare_digest(secret, self.secret)


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
