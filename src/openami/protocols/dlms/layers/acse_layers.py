"""AARQ, AARE, RLRQ, RLRE and the xDLMS Initiate services in words (IEC 62056-5-3).

Rule of this file: a password is never shown, nor a dedicated key; of a challenge every octet is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from openami.protocols.dlms.apdus.acse import AARE, AARQ, RLRE, RLRQ
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.initiate import (
    CONFIRMED_SERVICE_ERROR,
    INITIATE_REQUEST,
    INITIATE_RESPONSE,
    ConfirmedServiceError,
    Conformance,
)
from openami.protocols.dlms.apdus.results import AssociationResult, Diagnostic
from openami.protocols.dlms.layers.layer_tree import Cursor, in_hex, in_text
from openami.quantities.errors import RemoteProtocolError

ACSE_NAMES: Final = {
    AARQ: "AARQ association request", AARE: "AARE association response",
    RLRQ: "RLRQ release request", RLRE: "RLRE release response",
}  # fmt: skip
_FIELDS: Final = {
    AARQ: {
        0x80: "protocol-version", 0xA1: "application-context-name", 0xA2: "called-AP-title",
        0xA3: "called-AE-qualifier", 0xA4: "called-AP-invocation-id", 0xA5: "called-AE-invocation-id",
        0xA6: "calling-AP-title", 0xA7: "calling-AE-qualifier", 0xA8: "calling-AP-invocation-id",
        0xA9: "calling-AE-invocation-id", 0x8A: "sender-acse-requirements", 0x8B: "mechanism-name",
        0xAC: "calling-authentication-value", 0xBD: "implementation-information", 0xBE: "user-information",
    },
    AARE: {
        0x80: "protocol-version", 0xA1: "application-context-name", 0xA2: "result",
        0xA3: "result-source-diagnostic", 0xA4: "responding-AP-title", 0xA5: "responding-AE-qualifier",
        0xA6: "responding-AP-invocation-id", 0xA7: "responding-AE-invocation-id",
        0x88: "responder-acse-requirements", 0x89: "mechanism-name",
        0xAA: "responding-authentication-value", 0xBD: "implementation-information",
        0xBE: "user-information",
    },
    RLRQ: {0x80: "reason", 0xBE: "user-information"},
    RLRE: {0x80: "reason", 0xBE: "user-information"},
}  # fmt: skip
_CONTEXTS: Final = {
    1: "logical names, no ciphering", 2: "short names, no ciphering",
    3: "logical names with ciphering", 4: "short names with ciphering",
}  # fmt: skip
_MECHANISMS: Final = {
    Mechanism.NONE: "lowest level security", Mechanism.LOW: "low level security (password)",
    Mechanism.HIGH: "high level security, the manufacturer's own",
    Mechanism.HIGH_MD5: "high level security with MD5",
    Mechanism.HIGH_SHA1: "high level security with SHA-1",
    Mechanism.HIGH_GMAC: "high level security with GMAC",
    Mechanism.HIGH_SHA256: "high level security with SHA-256",
    Mechanism.HIGH_ECDSA: "high level security with ECDSA",
}  # fmt: skip
_OID: Final = bytes.fromhex("6085740508")
_TITLES: Final = (0xA6, 0xA4)


def explain_acse(
    cursor: Cursor, user_information: Callable[[Cursor], None], title: Callable[[int, bytes], None]
) -> None:
    """Pass an ACSE APDU.

    Parameters
    ----------
    cursor:
        At its tag.
    user_information:
        Passes the APDU inside.
    title:
        Told the tag of the APDU and the system title in it.
    """
    tag = cursor.peek()[0]
    with cursor.group(ACSE_NAMES[tag]) as label:
        cursor.number("tag", 1, lambda number: f"{number:#04x}")
        with cursor.within(cursor.length("length")):
            password = tag == AARQ and _mechanism(cursor) in (None, Mechanism.LOW)
            while cursor.remaining:
                _field(cursor, tag, password, user_information, title)
        outcome = ("result", "result-source-diagnostic")
        label.value = ", ".join(node.value for node in cursor.nodes if node.name in outcome)


def _mechanism(cursor: Cursor) -> int | None:
    """Mechanism that an AARQ names; None where it names none."""
    ahead = Cursor(cursor.data, cursor.position, cursor.end)
    try:
        while ahead.remaining:
            number = ahead.skip(1)[0]
            content = ahead.skip(ahead.length())
            if number == 0x8B:
                return content[-1] if content else None
    except RemoteProtocolError:
        return None
    return None


def _field(
    cursor: Cursor,
    tag: int,
    password: bool,
    user_information: Callable[[Cursor], None],
    title: Callable[[int, bytes], None],
) -> None:
    number = cursor.peek()[0]
    name = _FIELDS[tag].get(number, f"field {number:#04x}")
    if number == 0xBE:
        with cursor.group(name):
            cursor.skip(1)
            with cursor.within(cursor.length()):
                if cursor.skip(1) != b"\x04":
                    raise RemoteProtocolError("user information is no octet string")
                with cursor.within(cursor.length()):
                    user_information(cursor)
        return
    begin = cursor.position
    cursor.skip(1)
    content = cursor.skip(cursor.length())
    if number in _TITLES and content[:1] == b"\x04" and number == (0xA6 if tag == AARQ else 0xA4):
        title(tag, content[2:])
    if password and number == 0xAC:
        words = f"{max(len(content) - 2, 0)} octets, not shown: a password"
    else:
        words = _words(tag, number, content)
    cursor.note(name, words, begin=begin)


def _words(tag: int, number: int, content: bytes) -> str:
    """What a field says; its octets where it says nothing that is known."""
    if number == 0xA1 and content[2:7] == _OID and len(content) == 9:
        return f"{content[8]} {_CONTEXTS.get(content[8], 'unknown')}"
    if number in (0x8B, 0x89) and content[:5] == _OID and len(content) == 7:
        return f"{content[6]} {_MECHANISMS.get(Mechanism(content[6]), '') if content[6] <= 7 else 'unknown'}"
    if number in (0x8A, 0x88) and content[:1] == b"\x07":
        return "authentication" if content[1:2] and content[1] & 0x80 else in_hex(content)
    if tag == AARE and number == 0xA2 and len(content) == 3:
        known = content[2] in AssociationResult.__members__.values()
        return AssociationResult(content[2]).name.lower().replace("_", " ") if known else str(content[2])
    if tag == AARE and number == 0xA3 and len(content) == 5:
        source = {0xA1: "service user", 0xA2: "service provider"}.get(content[0], "unknown source")
        code = content[4]
        known = content[0] == 0xA1 and code in Diagnostic.__members__.values()
        reason = Diagnostic(code).name.lower().replace("_", " ") if known else str(code)
        return f"{reason} ({source})"
    if tag in (RLRQ, RLRE) and number == 0x80 and len(content) == 1:
        return {0: "normal", 1: "urgent" if tag == RLRQ else "not finished", 30: "user defined"}.get(
            content[0], str(content[0])
        )
    if content[:1] in (b"\x04", b"\x80") and len(content) >= 2 and content[1] == len(content) - 2:
        return (
            f"{in_hex(content[2:])}  {in_text(content[2:])}" if content[2:].isascii() else in_hex(content[2:])
        )
    return in_hex(content)


# --- Initiate ------------------------------------------------------------------------------------------


def conformance_text(block: int) -> str:
    """Services of a conformance block, by name."""
    names = [
        (item.name or "").lower().replace("_", "-") for item in Conformance if block & item and item.name
    ]
    return ", ".join(names) or "none"


def explain_initiate(cursor: Cursor, dedicated_key: Callable[[bytes], None]) -> None:
    """Pass an InitiateRequest, InitiateResponse or ConfirmedServiceError.

    Parameters
    ----------
    dedicated_key:
        Told the key of the association; it is not shown.
    """
    tag = cursor.peek()[0]
    if tag == CONFIRMED_SERVICE_ERROR:
        with cursor.group("confirmed-service-error") as label:
            cursor.skip(1)
            label.value = str(ConfirmedServiceError(*cursor.skip(3)))
        return
    with cursor.group("initiate-request" if tag == INITIATE_REQUEST else "initiate-response"):
        cursor.skip(1)
        if tag == INITIATE_REQUEST:
            if cursor.number("dedicated-key", 1, _presence):
                dedicated_key(cursor.octets("key", lambda key: f"{len(key)} octets, not shown"))
            if cursor.number("response-allowed", 1, lambda there: "stated" if there else "default: true"):
                cursor.number("allowed", 1, lambda allowed: "true" if allowed else "false")
            if cursor.number("proposed-quality-of-service", 1, _presence):
                cursor.number("quality", 1, signed=True)
        elif cursor.number("negotiated-quality-of-service", 1, _presence):
            cursor.number("quality", 1, signed=True)
        cursor.number("dlms-version", 1)
        begin = cursor.position
        if cursor.skip(1) != b"\x5f":
            raise RemoteProtocolError("no conformance block", expected="5f")
        if cursor.peek() == b"\x1f":
            cursor.skip(1)
        block = cursor.skip(cursor.length())
        cursor.note("conformance", conformance_text(int.from_bytes(block[1:], "big")), begin=begin)
        name = "client" if tag == INITIATE_REQUEST else "server"
        cursor.number(f"{name}-max-receive-pdu-size", 2)
        if tag == INITIATE_RESPONSE:
            cursor.number("vaa-name", 2, lambda number: f"{number:#06x}")


def _presence(there: int) -> str:
    return "present" if there else "absent"
