"""ACCESS (IEC 62056-5-3, Access-Request d9 and Access-Response da): many services in one request.

    d9  long-invoke-id(4) date-time, count, { choice, descriptor [, selection] }, data: count, Data
    da  long-invoke-id(4) date-time, [specifications], data: count, Data, results: count, { choice, result }

    choice  1 get   2 set   3 action   4 get with selection   5 set with selection

    long-invoke-id  bit 31 priority  30 confirmed  29 break on error  28 self-descriptive  23..0 id

The layout was checked against gurux-dlms 1.0.203 (its translator reads requests as written here). Rule of
this file: there are as many data, and in an answer as many results, as specifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final, TypeAlias

from openami.protocols.dlms.apdus.descriptors import Attribute, Method, Selector
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import NULL, Data, decode_at, decode_plain_at, encode
from openami.protocols.dlms.encoding.octets import Reader, encode_length, encode_octets
from openami.quantities.errors import RemoteProtocolError

ACCESS_REQUEST: Final = 0xD9
ACCESS_RESPONSE: Final = 0xDA

LONG_INVOKE_MASK: Final = 0x00FF_FFFF
"""Bits of a long invoke id that number the request."""

_GET, _SET, _ACTION, _GET_SELECTED, _SET_SELECTED = 1, 2, 3, 4, 5


class LongInvoke(IntFlag):
    """Bits of a long invoke id above its number."""

    SELF_DESCRIPTIVE = 1 << 28
    BREAK_ON_ERROR = 1 << 29
    CONFIRMED = 1 << 30
    HIGH_PRIORITY = 1 << 31


@dataclass(frozen=True, slots=True)
class AccessGet:
    """Read an attribute, or the part that the selector names."""

    attribute: Attribute
    selector: Selector | None = None

    @property
    def service(self) -> int:
        """Choice of its result."""
        return _GET

    @property
    def datum(self) -> Data:
        """Its place in the list of data."""
        return NULL

    def to_bytes(self) -> bytes:
        """``Access-Request-Specification``."""
        if self.selector is None:
            return bytes((_GET,)) + self.attribute.to_bytes()
        return bytes((_GET_SELECTED,)) + self.attribute.to_bytes() + self.selector.to_bytes()


@dataclass(frozen=True, slots=True)
class AccessSet:
    """Write an attribute."""

    attribute: Attribute
    value: Data
    selector: Selector | None = None

    @property
    def service(self) -> int:
        """Choice of its result."""
        return _SET

    @property
    def datum(self) -> Data:
        """Its place in the list of data."""
        return self.value

    def to_bytes(self) -> bytes:
        """``Access-Request-Specification``."""
        if self.selector is None:
            return bytes((_SET,)) + self.attribute.to_bytes()
        return bytes((_SET_SELECTED,)) + self.attribute.to_bytes() + self.selector.to_bytes()


@dataclass(frozen=True, slots=True)
class AccessAction:
    """Run a method; null-data where it takes no parameter."""

    method: Method
    parameter: Data = NULL

    @property
    def service(self) -> int:
        """Choice of its result."""
        return _ACTION

    @property
    def datum(self) -> Data:
        """Its place in the list of data."""
        return self.parameter

    def to_bytes(self) -> bytes:
        """``Access-Request-Specification``."""
        return bytes((_ACTION,)) + self.method.to_bytes()


AccessItem: TypeAlias = AccessGet | AccessSet | AccessAction


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Access-Request.

    Parameters
    ----------
    long_invoke:
        Number and `LongInvoke` bits.
    items:
        What is to be done, in order.
    date_time:
        Empty or twelve octets.
    """

    long_invoke: int
    items: tuple[AccessItem, ...]
    date_time: bytes = b""

    def to_bytes(self) -> bytes:
        """The APDU."""
        return (
            bytes((ACCESS_REQUEST,))
            + self.long_invoke.to_bytes(4, "big")
            + encode_octets(self.date_time)
            + specifications(self.items)
            + encode_length(len(self.items))
            + b"".join(encode(item.datum) for item in self.items)
        )


@dataclass(frozen=True, slots=True)
class AccessResponse:
    """Access-Response.

    Parameters
    ----------
    long_invoke:
        That of the request.
    data:
        Encoded data, one for each specification; null-data where there are none.
    results:
        Service (1 get, 2 set, 3 action) and result, one for each specification.
    date_time:
        Empty or twelve octets.
    specification:
        The encoded specifications of the request where it asked for a self-descriptive answer.
    """

    long_invoke: int
    data: tuple[bytes, ...]
    results: tuple[tuple[int, AccessResult], ...]
    date_time: bytes = b""
    specification: bytes | None = None

    def to_bytes(self) -> bytes:
        """The APDU."""
        described = b"\x00" if self.specification is None else b"\x01" + self.specification
        return (
            bytes((ACCESS_RESPONSE,))
            + self.long_invoke.to_bytes(4, "big")
            + encode_octets(self.date_time)
            + described
            + encode_length(len(self.data))
            + b"".join(self.data)
            + encode_length(len(self.results))
            + b"".join(bytes(pair) for pair in self.results)
        )


def specifications(items: tuple[AccessItem, ...]) -> bytes:
    """The counted sequence of specifications."""
    return encode_length(len(items)) + b"".join(item.to_bytes() for item in items)


def read_request(reader: Reader) -> AccessRequest:
    """The ACCESS request behind its tag."""
    long_invoke, date_time = reader.u32(), _date_time(reader)
    named = [_specification(reader) for _ in range(reader.count())]
    if not named:
        raise RemoteProtocolError("ACCESS with an empty list")
    count = reader.count()
    if count != len(named):
        raise RemoteProtocolError(f"{count} data for {len(named)} specifications")
    items: list[AccessItem] = []
    for service, target, selector in named:
        datum, reader.position = decode_at(reader.data, reader.position)
        if isinstance(target, Method):
            items.append(AccessAction(target, datum))
        elif service == _SET:
            items.append(AccessSet(target, datum, selector))
        else:
            items.append(AccessGet(target, selector))
    reader.end()
    return AccessRequest(long_invoke, tuple(items), date_time)


def read_response(reader: Reader) -> AccessResponse:
    """The ACCESS response behind its tag; each datum is checked."""
    long_invoke, date_time = reader.u32(), _date_time(reader)
    specification: bytes | None = None
    if reader.presence():
        start = reader.position
        for _ in range(reader.count()):
            _specification(reader)
        specification = reader.data[start : reader.position]
    data: list[bytes] = []
    for _ in range(reader.count()):
        start = reader.position
        _, reader.position = decode_plain_at(reader.data, start)
        data.append(reader.data[start : reader.position])
    results: list[tuple[int, AccessResult]] = []
    for _ in range(reader.count()):
        service = reader.u8()
        if service not in (_GET, _SET, _ACTION):
            raise RemoteProtocolError(f"choice {service} of a result", expected="1, 2 or 3")
        results.append((service, AccessResult.received(reader.u8())))
    reader.end()
    if len(data) != len(results):
        raise RemoteProtocolError(f"{len(data)} data for {len(results)} results")
    return AccessResponse(long_invoke, tuple(data), tuple(results), date_time, specification)


def _specification(reader: Reader) -> tuple[int, Attribute | Method, Selector | None]:
    choice = reader.u8()
    match choice:
        case 1 | 2:
            return choice, Attribute.read(reader), None
        case 3:
            return _ACTION, Method.read(reader), None
        case 4 | 5:
            attribute = Attribute.read(reader)
            service = _GET if choice == _GET_SELECTED else _SET
            return service, attribute, Selector.read(reader)
    raise RemoteProtocolError(f"choice {choice} of a specification", expected="1 .. 5")


def _date_time(reader: Reader) -> bytes:
    date_time = reader.octets()
    if len(date_time) not in (0, 12):
        raise RemoteProtocolError(f"date-time of {len(date_time)} octets", expected="0 or 12")
    return date_time
