"""Ciphered APDUs in words, and deciphered where the keys are given (IEC 62056-5-3 clause 5.3.3).

    glo, ded                 header, cipher text, tag; the sender's system title is that of the dialogue
    general-glo, general-ded the same behind the sender's system title
    general-ciphering        originator, recipient and key information before it
    general-signing          a signature behind the content

Counters are shown and never judged: a dump has no memory. Rule of this file: it says of everything deciphered
whether the tag was verified, and of everything that was not, which key or title is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from openami.protocols.dlms.layers.layer_tree import Cursor, in_hex, in_text
from openami.protocols.dlms.protection.security_control import HEADER_OCTETS, Protection
from openami.quantities.errors import ProtectionError, RemoteProtocolError, SecurityError
from openami.security.gcm import TAG_OCTETS, Gcm
from openami.security.meter_keys import SYSTEM_TITLE_OCTETS
from openami.security.secret import Secret

GENERAL_GLO, GENERAL_DED, GENERAL_CIPHERING, GENERAL_SIGNING = 0xDB, 0xDC, 0xDD, 0xDF
_GLO: Final = {
    0x21: "initiate-request", 0x28: "initiate-response", 0x2E: "confirmed-service-error",
    0xC8: "get-request", 0xC9: "set-request", 0xCA: "event-notification", 0xCB: "action-request",
    0xCC: "get-response", 0xCD: "set-response", 0xCF: "action-response",
}  # fmt: skip
_DED: Final = {tag + (0x20 if tag < 0x80 else 0x08): name for tag, name in _GLO.items()}
_FROM_CLIENT: Final = frozenset((0x21, 0xC8, 0xC9, 0xCB, 0x41, 0xD0, 0xD1, 0xD3))
PROTECTED_TAGS: Final = frozenset(
    (*_GLO, *_DED, GENERAL_GLO, GENERAL_DED, GENERAL_CIPHERING, GENERAL_SIGNING)
)
_KEY_OCTETS: Final = (16, 32)


@dataclass(frozen=True, slots=True)
class LayerKeys:
    """What is known to decipher with.

    Parameters
    ----------
    encryption:
        Global unicast encryption key (GUEK).
    authentication:
        Authentication key (GAK).
    dedicated:
        Dedicated key; found in the association request where that is in the dump and could be deciphered.
    client_title, server_title:
        System titles, for APDUs that do not carry their sender's; those in the dump take their place.

    Raises
    ------
    SecurityError
        A key has not 16 or 32 octets, or a title not eight.
    """

    encryption: Secret | None = None
    authentication: Secret | None = None
    dedicated: Secret | None = None
    client_title: bytes = b""
    server_title: bytes = b""

    def __post_init__(self) -> None:
        for key in (self.encryption, self.authentication, self.dedicated):
            if key is not None and len(key) not in _KEY_OCTETS:
                raise SecurityError(f"a key of {len(key)} octets", expected="16 or 32 octets")
        for title in (self.client_title, self.server_title):
            if len(title) not in (0, SYSTEM_TITLE_OCTETS):
                raise SecurityError(f"a system title of {len(title)} octets", expected="8 octets")

    def with_title(self, title: bytes, *, client: bool) -> LayerKeys:
        """With a title that the dump tells."""
        if len(title) != SYSTEM_TITLE_OCTETS:
            return self
        return replace(self, client_title=title) if client else replace(self, server_title=title)


@dataclass(frozen=True, slots=True)
class Unveiled:
    """What came out of a protected APDU: octets, and how far they can be trusted."""

    octets: bytes
    words: str


def explain_protected(cursor: Cursor, keys: LayerKeys) -> Unveiled | None:
    """Pass a protected APDU; gives what is inside where it can be had."""
    tag = cursor.peek()[0]
    if tag == GENERAL_CIPHERING:
        return _general_ciphering(cursor, keys)
    if tag == GENERAL_SIGNING:
        return _general_signing(cursor)
    dedicated = tag in _DED or tag == GENERAL_DED
    general = tag in (GENERAL_GLO, GENERAL_DED)
    form = "ded" if dedicated else "glo"
    name = f"general-{form}-ciphering" if general else f"{form}-{(_DED if dedicated else _GLO)[tag]}"
    with cursor.group(name) as label:
        cursor.number("tag", 1, lambda number: f"{number:#04x}")
        title = keys.client_title if tag in _FROM_CLIENT else keys.server_title
        if general:
            title = cursor.octets("system title", _title) or title
        plain, words = None, ""
        with cursor.within(cursor.length("length")):
            key = keys.dedicated if dedicated else keys.encryption
            plain, words = _content(cursor, key, keys, title, b"")
        label.value = words
    return None if plain is None else Unveiled(plain, words)


def _title(octets: bytes) -> str:
    if len(octets) != SYSTEM_TITLE_OCTETS:
        return in_hex(octets)
    return f"{in_hex(octets)}  {in_text(octets[:3])} {int.from_bytes(octets[3:], 'big')}"


def _content(
    cursor: Cursor, key: Secret | None, keys: LayerKeys, title: bytes, associated: bytes
) -> tuple[bytes | None, str]:
    """Security header and protected octets up to the cursor's end; the plain text and words on it."""
    begin = cursor.position
    control = cursor.number("security control", 1, _control)
    counter = cursor.number("invocation counter", 4)
    protection = Protection(control & 0xF0)
    if protection & Protection.AUTHENTICATED and cursor.remaining < TAG_OCTETS:
        raise RemoteProtocolError(f"{cursor.remaining} octets where a tag of {TAG_OCTETS} should be")
    text = cursor.field(
        "protected octets", cursor.remaining - (TAG_OCTETS if protection & Protection.AUTHENTICATED else 0)
    )
    tag = cursor.field("authentication tag", TAG_OCTETS) if protection & Protection.AUTHENTICATED else b""
    plain, words = _unveiled(
        protection, key, keys.authentication, title, counter, control, text, tag, associated
    )
    if plain is None:
        cursor.fault(words, begin=begin)
    elif protection & Protection.COMPRESSED:
        cursor.fault("compressed (V.44): what is inside is not expanded", begin=begin)
        return None, words
    return plain, words


def _control(control: int) -> str:
    flags = [
        word
        for bit, word in (
            (Protection.COMPRESSED, "compressed"), (Protection.BROADCAST, "broadcast key"),
            (Protection.ENCRYPTED, "encrypted"), (Protection.AUTHENTICATED, "authenticated"),
        )
        if control & bit
    ]  # fmt: skip
    return f"{control:#04x}: suite {control & 0x0F}, {', '.join(flags) or 'not protected'}"


def _unveiled(
    protection: Protection,
    key: Secret | None,
    authentication: Secret | None,
    title: bytes,
    counter: int,
    control: int,
    text: bytes,
    tag: bytes,
    associated: bytes,
) -> tuple[bytes | None, str]:
    """Plain text and how far it can be trusted; None and why it cannot be had."""
    encrypted = bool(protection & Protection.ENCRYPTED)
    authenticated = bool(protection & Protection.AUTHENTICATED)
    if not encrypted and not authenticated:
        return text, "not protected"
    missing = "the system title of the sender" if not title else "the encryption key" if key is None else ""
    if missing or key is None:
        if not encrypted:
            return text, f"not encrypted; tag not verified: {missing} is missing"
        return None, f"not deciphered: {missing} is missing"
    gcm = Gcm(key.reveal())
    nonce = title + counter.to_bytes(HEADER_OCTETS - 1, "big")
    if not authenticated:
        return gcm.crypt(nonce, text), "deciphered, not authenticated by the sender"
    if authentication is None:
        plain = gcm.crypt(nonce, text) if encrypted else text
        done = "deciphered" if encrypted else "not encrypted"
        return plain, f"{done}; tag not verified: the authentication key is missing"
    bound = bytes((control,)) + authentication.reveal() + associated
    try:
        if encrypted:
            return gcm.open(nonce, text + tag, bound), "deciphered, tag verified"
        gcm.verify(nonce, tag, bound + text)
        return text, "not encrypted, tag verified"
    except ProtectionError:
        wrong = "the authentication tag is wrong: another key or system title, or octets that were changed"
        return (None if encrypted else text), wrong


def _head(cursor: Cursor) -> tuple[bytes, bytes]:
    """What stands before the key information; gives its octets and the originator's title."""
    begin = cursor.position
    cursor.octets("transaction-id")
    originator = cursor.octets("originator-system-title", _title)
    cursor.octets("recipient-system-title", _title)
    cursor.octets("date-time")
    cursor.octets("other-information")
    return cursor.data[begin : cursor.position], originator


def _general_ciphering(cursor: Cursor, keys: LayerKeys) -> Unveiled | None:
    key = keys.encryption
    with cursor.group("general-ciphering") as label:
        cursor.number("tag", 1, lambda number: f"{number:#04x}")
        associated, originator = _head(cursor)
        if cursor.number("key-info", 1, lambda there: "present" if there else "absent"):
            kinds = {0: "identified key", 1: "wrapped key", 2: "agreed key"}
            kind = cursor.number("kind of key", 1, lambda number: kinds.get(number, "unknown"))
            if kind == 0:
                names = {0: "global unicast encryption key", 1: "global broadcast encryption key"}
                number = cursor.number("key-id", 1, lambda number: names.get(number, "unknown"))
                key = keys.encryption if number == 0 else None
            elif kind == 1:
                key = None
                cursor.number("kek-id", 1, lambda number: {0: "master key"}.get(number, "unknown"))
                cursor.octets("key-ciphered-data")
            else:
                key = None
                cursor.octets("key-parameters")
                cursor.octets("key-ciphered-data")
        plain, words = None, ""
        with cursor.within(cursor.length("length")):
            plain, words = _content(cursor, key, keys, originator, associated)
        label.value = words
    return None if plain is None else Unveiled(plain, words)


def _general_signing(cursor: Cursor) -> Unveiled | None:
    with cursor.group("general-signing") as label:
        cursor.number("tag", 1, lambda number: f"{number:#04x}")
        _head(cursor)
        content = cursor.octets("content")
        cursor.octets("signature")
        label.value = "signature not verified: no certificate"
    return Unveiled(content, label.value)
