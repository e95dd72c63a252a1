"""ACSE APDUs AARQ, AARE, RLRQ and RLRE (IEC 62056-5-3, BER of X.690): opening and closing an association.

Read tolerantly: fields that are not needed may come in any number and order, unknown ones are kept out; what
is needed must be well-formed. Written canonically. Rule of this file: a field is bounded before it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from openami.protocols.dlms.apdus.results import AssociationResult
from openami.protocols.dlms.encoding.limits import MAX_ACSE_FIELD
from openami.protocols.dlms.encoding.octets import Reader, encode_octets
from openami.quantities.errors import RemoteProtocolError

AARQ = 0x60
AARE = 0x61
RLRQ = 0x62
RLRE = 0x63

CONTEXT_LN = 1
CONTEXT_LN_CIPHERED = 3

_OID_PREFIX = bytes.fromhex("6085740508")  # 2.16.756.5.8: dlms-ua
_CONTEXT = 1
_MECHANISM = 2
_VERSION1 = 0x80  # bit 0 of a bit string is the highest of its first octet
_REQUIREMENTS = bytes.fromhex("0780")  # bit 0: authentication


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + encode_octets(content)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each field of a BER sequence; nearly all have a length of one octet, read here."""
    position, size = 0, len(data)
    while position < size:
        tag = data[position]
        begin = position + 2
        if begin > size or (length := data[position + 1]) >= 0x80:
            reader = Reader(data, position + 1)
            length, begin = reader.length(), reader.position
        if length > MAX_ACSE_FIELD:
            raise RemoteProtocolError(
                f"ACSE field {tag:#04x} of {length} octets", expected=f"at most {MAX_ACSE_FIELD}"
            )
        position = begin + length
        yield tag, data[begin:position] if position <= size else Reader(data, begin).take(length)


def _body(data: bytes, tag: int) -> dict[int, bytes]:
    """Fields of an ACSE APDU by tag; of a repeated field the first counts."""
    reader = Reader(data)
    if reader.u8() != tag:
        raise RemoteProtocolError(f"tag {data[0]:#04x}", where="byte 0", expected=f"{tag:#04x}")
    content = reader.octets()
    reader.end()
    fields: dict[int, bytes] = {}
    for number, value in _fields(content):
        fields.setdefault(number, value)
    return fields


def _inner(content: bytes, tag: int) -> bytes:
    """Content of the one field ``tag`` inside an explicitly tagged field."""
    length = len(content) - 2
    if 0 <= length < 0x80 and content[0] == tag and content[1] == length:
        return content[2:]
    for number, value in _fields(content):
        if number == tag:
            return value
    raise RemoteProtocolError(f"no field {tag:#04x} in {content.hex()}")


def _name(oid: bytes, branch: int) -> int:
    """Last number of an object identifier ``2.16.756.5.8.branch.n``."""
    if len(oid) != 7 or oid[:5] != _OID_PREFIX or oid[5] != branch:
        raise RemoteProtocolError(f"object identifier {oid.hex()}", expected=f"2.16.756.5.8.{branch}.n")
    return oid[6]


def _integer(content: bytes) -> int:
    """An INTEGER inside an explicit tag."""
    value = _inner(content, 0x02)
    if not 1 <= len(value) <= 4:
        raise RemoteProtocolError(f"integer of {len(value)} octets", expected="1 .. 4")
    return int.from_bytes(value, "big", signed=True)


def _user(content: bytes) -> int:
    """Number of a user: one octet, or two where BER wants a leading zero. gurux writes 128 .. 255 in one."""
    value = _inner(content, 0x02)
    number = int.from_bytes(value, "big")
    if not 1 <= len(value) <= 2 or number > 0xFF:
        raise RemoteProtocolError(f"user {value.hex()}", expected="0 .. 255")
    return number


def _authentication_value(content: bytes) -> bytes:
    """Characters (tag 80) of an authentication value; some wrap a bit string (81) instead."""
    for number, value in _fields(content):
        if number in (0x80, 0x81):
            return value
    raise RemoteProtocolError(f"authentication value {content.hex()}", expected="80 and a string")


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """An AARQ.

    Parameters
    ----------
    context:
        Application context: 1 logical names, 3 with ciphering.
    user_information:
        The InitiateRequest, as sent (perhaps ciphered); empty where there is none.
    mechanism:
        Authentication mechanism, 0 for none.
    secret:
        Authentication value: password or challenge.
    calling_ap_title:
        System title of the client.
    user:
        Calling AE invocation identifier: which user of the client it is, 0 .. 255.
    protocol_version:
        Bit string of the versions of ACSE, as sent (unused bits, bits); None stands for version1.
    """

    user_information: bytes
    context: int = CONTEXT_LN
    mechanism: int = 0
    secret: bytes | None = field(default=None, repr=False)
    calling_ap_title: bytes | None = None
    user: int | None = None
    protocol_version: bytes | None = None

    @property
    def version1(self) -> bool:
        """True where version1, bit 0, is among the versions of ACSE; the only one that COSEM has."""
        version = self.protocol_version
        return version is None or (len(version) > 1 and version[0] < 8 and version[1] >= _VERSION1)

    def to_bytes(self) -> bytes:
        """The APDU."""
        parts = [] if self.protocol_version is None else [_tlv(0x80, self.protocol_version)]
        parts.append(_tlv(0xA1, _tlv(0x06, _OID_PREFIX + bytes((_CONTEXT, self.context)))))
        if self.calling_ap_title is not None:
            parts.append(_tlv(0xA6, _tlv(0x04, self.calling_ap_title)))
        if self.user is not None:
            parts.append(_tlv(0xA9, _tlv(0x02, self.user.to_bytes(1 + self.user // 128))))
        if self.mechanism:
            parts.append(_tlv(0x8A, _REQUIREMENTS))
            parts.append(_tlv(0x8B, _OID_PREFIX + bytes((_MECHANISM, self.mechanism))))
        if self.secret is not None:
            parts.append(_tlv(0xAC, _tlv(0x80, self.secret)))
        if self.user_information:
            parts.append(_tlv(0xBE, _tlv(0x04, self.user_information)))
        return _tlv(AARQ, b"".join(parts))

    @classmethod
    def from_bytes(cls, data: bytes) -> AssociationRequest:
        """The request of an APDU; raises `RemoteProtocolError`."""
        fields = _body(data, AARQ)
        if 0xA1 not in fields:
            raise RemoteProtocolError("AARQ without application context")
        return cls(
            _inner(fields[0xBE], 0x04) if 0xBE in fields else b"",
            _name(_inner(fields[0xA1], 0x06), _CONTEXT),
            _name(fields[0x8B], _MECHANISM) if 0x8B in fields else 0,
            _authentication_value(fields[0xAC]) if 0xAC in fields else None,
            _inner(fields[0xA6], 0x04) if 0xA6 in fields else None,
            _user(fields[0xA9]) if 0xA9 in fields else None,
            fields.get(0x80),
        )


@dataclass(frozen=True, slots=True)
class AssociationResponse:
    """An AARE.

    Parameters
    ----------
    result:
        Accepted or rejected.
    diagnostic:
        Reason, of the ACSE service user or (``provider``) provider.
    user_information:
        InitiateResponse or ConfirmedServiceError.
    """

    result: AssociationResult
    diagnostic: int
    user_information: bytes | None = None
    context: int = CONTEXT_LN
    provider: bool = False
    mechanism: int = 0
    challenge: bytes | None = None
    responding_ap_title: bytes | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        source = 0xA2 if self.provider else 0xA1
        parts = [
            _tlv(0xA1, _tlv(0x06, _OID_PREFIX + bytes((_CONTEXT, self.context)))),
            _tlv(0xA2, _tlv(0x02, bytes((self.result,)))),
            _tlv(0xA3, _tlv(source, _tlv(0x02, bytes((self.diagnostic,))))),
        ]
        if self.responding_ap_title is not None:
            parts.append(_tlv(0xA4, _tlv(0x04, self.responding_ap_title)))
        if self.mechanism:
            parts.append(_tlv(0x88, _REQUIREMENTS))
            parts.append(_tlv(0x89, _OID_PREFIX + bytes((_MECHANISM, self.mechanism))))
        if self.challenge is not None:
            parts.append(_tlv(0xAA, _tlv(0x80, self.challenge)))
        if self.user_information is not None:
            parts.append(_tlv(0xBE, _tlv(0x04, self.user_information)))
        return _tlv(AARE, b"".join(parts))

    @classmethod
    def from_bytes(cls, data: bytes) -> AssociationResponse:
        """The response of an APDU; raises `RemoteProtocolError`."""
        fields = _body(data, AARE)
        if 0xA2 not in fields or 0xA3 not in fields:
            raise RemoteProtocolError("AARE without result or diagnostic")
        code = _integer(fields[0xA2])
        if code not in AssociationResult.__members__.values():
            raise RemoteProtocolError(f"association result {code}", expected="0, 1 or 2")
        source = next(_fields(fields[0xA3]), (0, b""))
        if source[0] not in (0xA1, 0xA2):
            raise RemoteProtocolError(f"diagnostic {fields[0xA3].hex()}", expected="a1 or a2")
        return cls(
            AssociationResult(code),
            _integer(source[1]),
            _inner(fields[0xBE], 0x04) if 0xBE in fields else None,
            _name(_inner(fields[0xA1], 0x06), _CONTEXT) if 0xA1 in fields else CONTEXT_LN,
            source[0] == 0xA2,
            _name(fields[0x89], _MECHANISM) if 0x89 in fields else 0,
            _authentication_value(fields[0xAA]) if 0xAA in fields else None,
            _inner(fields[0xA4], 0x04) if 0xA4 in fields else None,
        )


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """An RLRQ; without a reason it is two octets."""

    reason: int | None = 0
    user_information: bytes | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        return _release(RLRQ, self.reason, self.user_information)

    @classmethod
    def from_bytes(cls, data: bytes) -> ReleaseRequest:
        """The request of an APDU; raises `RemoteProtocolError`."""
        return cls(*_released(data, RLRQ))


@dataclass(frozen=True, slots=True)
class ReleaseResponse:
    """An RLRE."""

    reason: int | None = 0
    user_information: bytes | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        return _release(RLRE, self.reason, self.user_information)

    @classmethod
    def from_bytes(cls, data: bytes) -> ReleaseResponse:
        """The response of an APDU; raises `RemoteProtocolError`."""
        return cls(*_released(data, RLRE))


def _release(tag: int, reason: int | None, user_information: bytes | None) -> bytes:
    content = b"" if reason is None else _tlv(0x80, bytes((reason,)))
    if user_information is not None:
        content += _tlv(0xBE, _tlv(0x04, user_information))
    return _tlv(tag, content)


def _released(data: bytes, tag: int) -> tuple[int | None, bytes | None]:
    fields = _body(data, tag)
    reason = fields.get(0x80)
    if reason is not None and len(reason) != 1:
        raise RemoteProtocolError(f"release reason {reason.hex()}", expected="one octet")
    information = _inner(fields[0xBE], 0x04) if 0xBE in fields else None
    return (reason[0] if reason is not None else None), information
