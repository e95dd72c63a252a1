"""xDLMS InitiateRequest, InitiateResponse, ConfirmedServiceError and the conformance block (IEC 62056-5-3).

Rule of this file: what both sides may use is the intersection of what the client proposed and what the
server has; nothing else is used in the association. What the other side sent stays a number: of every
combination of flags that it made up, the enumeration would keep an object for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag

from openami.protocols.dlms.encoding.octets import Reader, encode_octets
from openami.quantities.errors import RemoteProtocolError

DLMS_VERSION = 6
VAA_LOGICAL_NAMES = 0x0007

INITIATE_REQUEST = 0x01
INITIATE_RESPONSE = 0x08
CONFIRMED_SERVICE_ERROR = 0x0E


class Conformance(IntFlag):
    """The conformance block; bit 0 of the standard is the most significant of 24."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    DELTA_VALUE_ENCODING = 1 << 17
    ATTRIBUTE_0_SET = 1 << 15
    PRIORITY_MANAGEMENT = 1 << 14
    ATTRIBUTE_0_GET = 1 << 13
    BLOCK_TRANSFER_GET = 1 << 12
    BLOCK_TRANSFER_SET = 1 << 11
    BLOCK_TRANSFER_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


SUPPORTED = (
    Conformance.GENERAL_PROTECTION
    | Conformance.GENERAL_BLOCK_TRANSFER
    | Conformance.PRIORITY_MANAGEMENT
    | Conformance.BLOCK_TRANSFER_GET
    | Conformance.BLOCK_TRANSFER_SET
    | Conformance.BLOCK_TRANSFER_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.DATA_NOTIFICATION
    | Conformance.ACCESS
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.EVENT_NOTIFICATION
    | Conformance.ACTION
)
"""What this implementation has, in both roles."""

BLOCKS_OF_SERVICES = (
    Conformance.BLOCK_TRANSFER_GET | Conformance.BLOCK_TRANSFER_SET | Conformance.BLOCK_TRANSFER_ACTION
)

PROPOSED = SUPPORTED & ~Conformance.GENERAL_BLOCK_TRANSFER
"""What a client proposes unless told otherwise: the blocks of the services are what all meters in the field
have in common."""

PROPOSED_FOR_WINDOWS = SUPPORTED & ~BLOCKS_OF_SERVICES
"""What a client proposes that wants long APDUs streamed in windows: general-block-transfer and no other."""


def includes(conformance: int, services: Conformance) -> bool:
    """True where all the services are in a conformance block; cheaper than the operators of flags."""
    return int(services) & ~int(conformance) == 0


def _conformance_bytes(conformance: int) -> bytes:
    return b"\x5f\x1f\x04\x00" + conformance.to_bytes(3, "big")


def _read_conformance(reader: Reader) -> int:
    """``[APPLICATION 31] IMPLICIT BIT STRING (24)``; some send the tag without its second octet."""
    if reader.u8() != 0x5F:
        raise RemoteProtocolError("no conformance block", where=f"byte {reader.position - 1}", expected="5f")
    length = reader.length()
    if length == 0x1F:
        length = reader.length()
    block = reader.take(length)
    if length != 4 or block[0] != 0:
        raise RemoteProtocolError(f"conformance block {block.hex()}", expected="24 bits")
    return int.from_bytes(block[1:], "big") & 0x7FFFFF


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """What the client proposes.

    Parameters
    ----------
    conformance:
        Services: bits of `Conformance`.
    max_pdu:
        Largest APDU that the client takes; 0 for any.
    dedicated_key:
        Key for this association; not used without ciphering.
    response_allowed:
        False for an unconfirmed association.
    quality:
        Proposed quality of service.
    version:
        DLMS version.
    """

    conformance: int
    max_pdu: int
    dedicated_key: bytes | None = field(default=None, repr=False)
    response_allowed: bool = True
    quality: int | None = None
    version: int = DLMS_VERSION

    def to_bytes(self) -> bytes:
        """The APDU."""
        key = b"\x00" if self.dedicated_key is None else b"\x01" + encode_octets(self.dedicated_key)
        response = b"\x00" if self.response_allowed else b"\x01\x00"
        quality = b"\x00" if self.quality is None else bytes((1, self.quality & 0xFF))
        return (
            bytes((INITIATE_REQUEST,))
            + key
            + response
            + quality
            + bytes((self.version,))
            + _conformance_bytes(self.conformance)
            + self.max_pdu.to_bytes(2, "big")
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> InitiateRequest:
        """The request of an APDU; raises `RemoteProtocolError`."""
        reader = Reader(data)
        _expect(reader, INITIATE_REQUEST, "InitiateRequest")
        key = reader.octets() if reader.presence() else None
        response = reader.presence() if reader.presence() else True
        quality = reader.i8() if reader.presence() else None
        version = reader.u8()
        request = cls(_read_conformance(reader), reader.u16(), key, response, quality, version)
        reader.end()
        return request


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    """What the server agrees to: bits of `Conformance`, and the largest APDU that the server takes."""

    conformance: int
    max_pdu: int
    quality: int | None = None
    version: int = DLMS_VERSION
    vaa_name: int = VAA_LOGICAL_NAMES

    def to_bytes(self) -> bytes:
        """The APDU."""
        quality = b"\x00" if self.quality is None else bytes((1, self.quality & 0xFF))
        return (
            bytes((INITIATE_RESPONSE,))
            + quality
            + bytes((self.version,))
            + _conformance_bytes(self.conformance)
            + self.max_pdu.to_bytes(2, "big")
            + self.vaa_name.to_bytes(2, "big")
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> InitiateResponse:
        """The response of an APDU; raises `RemoteProtocolError`."""
        reader = Reader(data)
        _expect(reader, INITIATE_RESPONSE, "InitiateResponse")
        quality = reader.i8() if reader.presence() else None
        version = reader.u8()
        response = cls(_read_conformance(reader), reader.u16(), quality, version, reader.u16())
        reader.end()
        return response


_SERVICES = {
    1: "initiate", 2: "get-status", 3: "get-name-list", 4: "get-variable-attribute", 5: "read", 6: "write",
    7: "get-data-set-attribute", 8: "get-ti-attribute", 9: "change-scope", 10: "start", 11: "stop",
    12: "resume", 13: "make-usable", 14: "initiate-load", 15: "load-segment", 16: "terminate-load",
    17: "initiate-upload", 18: "upload-segment", 19: "terminate-upload",
}  # fmt: skip
_CATEGORIES: dict[int, tuple[str, tuple[str, ...]]] = {
    0: ("application-reference", (
        "other", "time elapsed", "application unreachable", "application reference invalid",
        "application context unsupported", "provider communication error", "deciphering error",
    )),
    1: ("hardware-resource", (
        "other", "memory unavailable", "processor resource unavailable", "mass storage unavailable",
        "other resource unavailable",
    )),
    2: ("vde-state-error", (
        "other", "no DLMS context", "loading data set", "status nochange", "status inoperable",
    )),
    3: ("service", ("other", "PDU size", "service unsupported")),
    4: ("definition", (
        "other", "object undefined", "object class inconsistent", "object attribute inconsistent",
    )),
    5: ("access", (
        "other", "scope of access violated", "object access violated", "hardware fault",
        "object unavailable",
    )),
    6: ("initiate", (
        "other", "DLMS version too low", "incompatible conformance", "PDU size too short",
        "refused by the VDE handler",
    )),
    7: ("load-data-set", (
        "other", "primitive out of sequence", "not loadable", "data set size too large",
        "not awaited segment", "interpretation failure", "storage failure", "data set not ready",
    )),
    8: ("change-scope", ()),
    9: ("task", ("other", "no remote control", "TI stopped", "TI running", "TI unusable")),
    10: ("other", ("other",)),
}  # fmt: skip
"""Choices of ``ServiceError`` and the names of their values (IEC 61334-4-41 annex A, recalled)."""

INITIATE_CATEGORY = 6
OTHER_INITIATE_ERROR = 0
VERSION_TOO_LOW = 1
INCOMPATIBLE_CONFORMANCE = 2
PDU_TOO_SHORT = 3


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    """The service, the category of the error, and its code there."""

    service: int
    category: int
    code: int

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((CONFIRMED_SERVICE_ERROR, self.service, self.category, self.code))

    @classmethod
    def from_bytes(cls, data: bytes) -> ConfirmedServiceError:
        """The error of an APDU; raises `RemoteProtocolError`."""
        reader = Reader(data)
        _expect(reader, CONFIRMED_SERVICE_ERROR, "ConfirmedServiceError")
        error = cls(reader.u8(), reader.u8(), reader.u8())
        reader.end()
        if error.service not in _SERVICES or error.category not in _CATEGORIES:
            raise RemoteProtocolError(f"no service error reads {data[1:].hex()}")
        return error

    def __str__(self) -> str:
        service = _SERVICES.get(self.service, str(self.service))
        category, codes = _CATEGORIES.get(self.category, (str(self.category), ()))
        named = f" ({codes[self.code]})" if self.code < len(codes) else ""
        return f"{service}: {category} error {self.code}{named}"


def _expect(reader: Reader, tag: int, name: str) -> None:
    found = reader.u8()
    if found != tag:
        raise RemoteProtocolError(f"tag {found:#04x} where {name} begins", expected=f"{tag:#04x}")
