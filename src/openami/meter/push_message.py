"""A push of a software meter as octets for the wire: where it goes, how it is protected and framed.

    transport_service  0 TCP (wrapper)   1 UDP (wrapper)   5 HDLC (UI frames, over TCP)
    destination        host:port as text, port 4059 where there is none; an IPv6 address in brackets
    message            0 A-XDR

Enumerations of IEC 62056-6-2 clause 4.4.8, recalled; that the destination is text, and HDLC over TCP, are
this meter's own. Rule of this file: what leaves is protected as configured, or does not leave.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from openami.protocols.dlms.apdus.block_transfer import unconfirmed_blocks
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.hdlc_frame import HdlcAddress
from openami.protocols.dlms.framing.hdlc_link import unnumbered_information
from openami.protocols.dlms.framing.llc import RESPONSE
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.stored_object import items, number, octets
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.message_protection import Manner
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.notifications import PLAIN, general_glo, protected
from openami.quantities.errors import LocalProtocolError, OpenAmiError

PUSH_PORT: Final = 4059
"""Where a push goes whose destination names no port: the registered port of DLMS/COSEM."""

_A_XDR: Final = 0
_HOST: Final = 253
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_DATAGRAM: Final = 1200
_INFORMATION: Final = 128
_LEVELS: Final = (Protection.AUTHENTICATED, Protection.ENCRYPTED, AUTHENTICATED_ENCRYPTION)
_SIGNED: Final = 3
_IDENTIFIED: Final = {0: KeySource.UNICAST, 1: KeySource.BROADCAST}
_AGREED: Final = {b"\x01": KeySource.ONE_PASS, b"\x02": KeySource.STATIC}
_TITLE: Final = 8


class Carrier(Enum):
    """Transport services that a software meter has, by their number."""

    TCP = 0
    UDP = 1
    HDLC = 5


@dataclass(frozen=True, slots=True)
class PushTarget:
    """Where a push goes.

    Parameters
    ----------
    carrier:
        On what.
    host, port:
        Whom it calls.
    """

    carrier: Carrier
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PushProtection:
    """How a push is protected.

    Parameters
    ----------
    manner:
        Level, form, key and signature.
    recipient:
        System title of the destination; empty where it is not named.
    """

    manner: Manner
    recipient: bytes = b""


def push_target(transport: int, destination: bytes, message: int) -> PushTarget:
    """Where ``send_destination_and_method`` points.

    Raises
    ------
    LocalProtocolError
        A transport or message type that this meter has not, or a destination that is none.
    """
    if transport not in (known.value for known in Carrier):
        raise LocalProtocolError(f"transport service {transport}", expected="0 TCP, 1 UDP or 5 HDLC")
    if message != _A_XDR:
        raise LocalProtocolError(f"message type {message}", expected="0, A-XDR")
    text = destination.decode("latin-1")
    host, _, port = text.rpartition(":")
    if ":" not in text or text.endswith("]") or _is_ipv6(text):
        host, port = text, str(PUSH_PORT)
    if host.startswith("[") and host.endswith("]") and _is_ipv6(host[1:-1]):
        host = host[1:-1]
    named = _NAME.fullmatch(host) is not None and len(host) <= _HOST
    port_is_one = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536
    if not (named or _is_ipv6(host)) or not port_is_one:
        raise LocalProtocolError("a push destination", expected="host:port as text")
    return PushTarget(Carrier(transport), host, int(port))


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def push_protection(layers: Sequence[Data], keyed: bool) -> PushProtection:
    """How a push is protected that has ``push_protection_parameters``.

    Without any, and in version 0 of the class, which has none, a meter with keys authenticates and encrypts
    (general-glo-ciphering), one without pushes plain. A layer whose options name no key is
    general-glo-ciphering as well, one that names it is general-ciphering.

    Parameters
    ----------
    layers:
        ``{ protection_type, { transaction_id, originator, recipient, other_information, { key_info_type,
        key_info } } }``, the innermost first: one that ciphers, one that signs, or both in this order.
    keyed:
        Whether the meter has keys.

    Raises
    ------
    LocalProtocolError
        Protection without keys, or parameters that this meter does not know.
    """
    if not layers:
        return PushProtection(general_glo(AUTHENTICATED_ENCRYPTION) if keyed else PLAIN)
    if not keyed:
        raise LocalProtocolError("a push that is protected without keys")
    try:
        return _of_layers(layers)
    except (OpenAmiError, ValueError, KeyError, IndexError):
        raise LocalProtocolError(
            "push protection parameters", expected="one layer that ciphers, one that signs, or both"
        ) from None


def _of_layers(layers: Sequence[Data]) -> PushProtection:
    level, form, source, signed, recipient = Protection.NONE, None, None, False, b""
    for layer in layers:
        kind, options = items(layer)
        parts = items(options) if options.tag is Tag.STRUCTURE else ()
        if parts and len(octets(parts[2])) == _TITLE:
            recipient = octets(parts[2])
        if signed or (level and number(kind) != _SIGNED):
            raise ValueError
        if number(kind) == _SIGNED:
            signed = True
            continue
        level = _LEVELS[number(kind)]
        source = _key_source(parts[4]) if parts else None
        form = Form.GENERAL_GLOBAL if source is None else None
    return PushProtection(Manner(level, form, source, signed), recipient)


def _key_source(key: Data) -> KeySource | None:
    """Source of the key of a layer; None where it names none."""
    parts = items(key) if key.tag is Tag.STRUCTURE else ()
    if not parts:
        return None
    kind, named = parts
    match number(kind):
        case 0:
            return _IDENTIFIED[number(items(named)[0] if named.tag is Tag.STRUCTURE else named)]
        case 1:
            return KeySource.WRAPPED
        case 2:
            return _AGREED[octets(items(named)[0] if named.tag is Tag.STRUCTURE else named)]
    raise ValueError


def push_frames(
    apdu: bytes,
    carrier: Carrier,
    protection: PushProtection,
    security: DeviceSecurity | None,
    server: int,
    client: int,
) -> list[bytes]:
    """Frames of a notification: what one attempt to push sends, under a counter of its own.

    Parameters
    ----------
    apdu:
        The plain notification.
    carrier, protection, security:
        What it travels on, how it is protected, and with whose keys.
    server, client:
        Logical device and client, as wPorts and as upper HDLC addresses.

    Raises
    ------
    LocalProtocolError
        It cannot be protected so, or an address does not fit.
    SecurityError
        The counters of the meter are used up.
    """
    manner = protection.manner
    if not manner.plain:
        if security is None:
            raise LocalProtocolError("a push that is protected without keys")
        layers = security.layers(client, security.cipher(protection.recipient or bytes(_TITLE)))
        apdu = protected(apdu, layers, manner)
    if carrier is Carrier.HDLC:
        own = HdlcAddress(server) if server <= 0x7F else HdlcAddress(server, 1, 4)
        frames = unnumbered_information(RESPONSE + apdu, HdlcAddress(client), own, _INFORMATION)
        return [frame.to_bytes() for frame in frames]
    largest = _DATAGRAM if carrier is Carrier.UDP else 0xFFFF
    return [Frame(server, client, block).to_bytes() for block in unconfirmed_blocks(apdu, largest)]
