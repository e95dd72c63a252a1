"""xDLMS APDUs in words: services, descriptors, results, data (IEC 62056-5-3), without their protection.

Blocks of long answers are put together as far as they are in the dump. Rule of this file: every service that
the standard has gets its name, the ones that openami does not speak included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from openami.protocols.dlms.apdus.access import ACCESS_REQUEST, ACCESS_RESPONSE
from openami.protocols.dlms.apdus.descriptors import BY_ENTRY, BY_RANGE
from openami.protocols.dlms.apdus.results import AccessResult, ServiceError, StateError
from openami.protocols.dlms.encoding.limits import MAX_REASSEMBLED
from openami.protocols.dlms.interface_classes.class_names import attribute_name, class_name, method_name
from openami.protocols.dlms.layers.data_layers import explain_data, obis_text, octets_text
from openami.protocols.dlms.layers.layer_tree import Cursor, Node, in_hex, walked
from openami.quantities.errors import RemoteProtocolError

_ASSOCIATION, _SECRET_ATTRIBUTE, _SECRET_METHOD = 15, 7, 2
A_SECRET: Final = "a secret of the association"


class LongAnswers:
    """Answers in blocks, put together over the APDUs of a dump.

    Invariant: an answer holds the blocks 1 .. n without a gap, and not more than `MAX_REASSEMBLED` octets.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: dict[int, tuple[int, bytearray]] = {}

    def take(self, invoke: int, block: int, last: bool, octets: bytes) -> bytes | None:
        """Take a block; the whole answer where it was the last one and none is missing."""
        number, pieces = self._pieces.pop(invoke & 0x0F, (0, bytearray()))
        if block == 1:
            number, pieces = 0, bytearray()
        if block != number + 1 or len(pieces) + len(octets) > MAX_REASSEMBLED:
            return None
        pieces += octets
        if last:
            return bytes(pieces)
        self._pieces[invoke & 0x0F] = block, pieces
        return None


def explain_service(cursor: Cursor, answers: LongAnswers) -> bool:
    """Pass one plain xDLMS APDU; False, and nothing is passed, where its tag is none of them."""
    tag = cursor.peek()[0]
    if tag not in _SERVICES:
        return False
    name, explain = _SERVICES[tag]
    kinds = _KINDS.get(tag)
    if kinds is not None:
        kind = cursor.peek(2)[1:]
        name = f"{name}-{kinds.get(kind[0], f'of unknown kind {kind[0]}')}" if kind else name
    with cursor.group(name):
        cursor.number("tag", 1, lambda number: f"{number:#04x}")
        if kinds is not None:
            cursor.number("kind", 1, lambda number: kinds.get(number, "unknown"))
            cursor.number("invoke-id-and-priority", 1, _invoke)
        explain(cursor, answers)
    return True


def _invoke(octet: int) -> str:
    return (
        f"{octet:#04x}: id {octet & 0x0F}, {'high' if octet & 0x80 else 'normal'} priority, "
        f"{'confirmed' if octet & 0x40 else 'unconfirmed'}"
    )


def _long_invoke(number: int) -> str:
    words = [f"id {number & 0xFFFFFF}", "high priority" if number >> 31 else "normal priority"]
    words.append("confirmed" if number >> 30 & 1 else "unconfirmed")
    words += ["break on error"] * (number >> 29 & 1) + ["self-descriptive"] * (number >> 28 & 1)
    return f"{number:#010x}: {', '.join(words)}"


def _stamp(octets: bytes) -> str:
    return octets_text(octets) if octets else "not given"


def access_result_text(code: int) -> str:
    """Name of a result."""
    known = code in AccessResult.__members__.values()
    return f"{code} {AccessResult(code).name.lower().replace('_', '-')}" if known else f"{code} unknown"


# --- parts --------------------------------------------------------------------------------------------


def _attribute(cursor: Cursor) -> tuple[int, int]:
    """An attribute descriptor; gives class and attribute."""
    with cursor.group("attribute-descriptor") as label:
        class_id = cursor.number("class", 2, class_name)
        name = cursor.field("logical name", 6, obis_text)
        index = cursor.number("attribute", 1, lambda number: attribute_name(class_id, number), signed=True)
        label.value = f"{obis_text(name)}, attribute {attribute_name(class_id, index)}"
    return class_id, index


def _method(cursor: Cursor) -> tuple[int, int]:
    with cursor.group("method-descriptor") as label:
        class_id = cursor.number("class", 2, class_name)
        name = cursor.field("logical name", 6, obis_text)
        index = cursor.number("method", 1, lambda number: method_name(class_id, number), signed=True)
        label.value = f"{obis_text(name)}, method {method_name(class_id, index)}"
    return class_id, index


def _selection(cursor: Cursor) -> None:
    if cursor.number("selective access", 1, lambda there: "present" if there else "none"):
        _selector(cursor)


def _selected_attribute(cursor: Cursor) -> tuple[int, int]:
    target = _attribute(cursor)
    _selection(cursor)
    return target


def _selector(cursor: Cursor) -> None:
    words = {BY_RANGE: "1 by range", BY_ENTRY: "2 by entry"}
    cursor.number("selector", 1, lambda number: words.get(number, str(number)))
    explain_data(cursor)


def _data_or_result(cursor: Cursor, *, masked: str = "") -> None:
    """``Get-Data-Result``."""
    choice = cursor.number("choice", 1, lambda number: {0: "data", 1: "data-access-result"}.get(number, "?"))
    if choice == 0:
        explain_data(cursor, masked=masked)
    elif choice == 1:
        cursor.number("result", 1, access_result_text)
    else:
        raise RemoteProtocolError(f"choice {choice} of Get-Data-Result", expected="0 or 1")


def _list_of(cursor: Cursor, name: str, item: Callable[[Cursor], object]) -> int:
    count = cursor.length(f"{name}: count")
    if count > cursor.remaining:
        raise RemoteProtocolError(f"{count} elements declared, {cursor.remaining} octets there")
    for _ in range(count):
        item(cursor)
    return count


def _block(cursor: Cursor) -> tuple[bool, int, bytes]:
    last = cursor.number("last-block", 1, lambda number: "true" if number else "false")
    number = cursor.number("block-number", 4)
    return bool(last), number, cursor.octets("raw data", in_hex)


def _together(cursor: Cursor, octets: bytes | None, name: str, walk: Callable[[Cursor], None]) -> None:
    """The whole answer in octets of its own."""
    if octets is not None:
        inside = Cursor(octets)
        walked(inside, walk)
        cursor.nodes.append(
            Node(
                name,
                cursor.position,
                cursor.position,
                f"{len(octets)} octets",
                tuple(inside.nodes),
                octets=octets,
            )
        )


def _whole_value(cursor: Cursor) -> None:
    with cursor.within(cursor.remaining):
        explain_data(cursor)


# --- services -----------------------------------------------------------------------------------------


def _get_request(cursor: Cursor, _: LongAnswers) -> None:
    match cursor.data[cursor.position - 2]:
        case 1:
            _attribute(cursor)
            _selection(cursor)
        case 2:
            cursor.number("block-number", 4)
        case 3:
            _list_of(cursor, "attributes", _selected_attribute)
        case kind:
            raise RemoteProtocolError(f"GET request of kind {kind}", expected="1, 2 or 3")


def _get_response(cursor: Cursor, answers: LongAnswers) -> None:
    match cursor.data[cursor.position - 2]:
        case 1:
            _data_or_result(cursor)
        case 2:
            invoke = cursor.data[cursor.position - 1]
            last = cursor.number("last-block", 1, lambda number: "true" if number else "false")
            block = cursor.number("block-number", 4)
            choice = cursor.number("choice", 1, lambda number: {0: "raw data", 1: "result"}.get(number, "?"))
            if choice == 1:
                cursor.number("result", 1, access_result_text)
            else:
                whole = answers.take(invoke, block, bool(last), cursor.octets("raw data", in_hex))
                _together(cursor, whole, "value of all blocks", _whole_value)
        case 3:
            _list_of(cursor, "results", _data_or_result)
        case kind:
            raise RemoteProtocolError(f"GET response of kind {kind}", expected="1, 2 or 3")


def _secret_of(target: tuple[int, int], number: int) -> str:
    return A_SECRET if target == (_ASSOCIATION, number) else ""


def _set_request(cursor: Cursor, _: LongAnswers) -> None:
    targets: list[tuple[int, int]] = []

    def named(inner: Cursor) -> None:
        targets.append(_selected_attribute(inner))

    kind = cursor.data[cursor.position - 2]
    if kind == 1:
        named(cursor)
        explain_data(cursor, masked=_secret_of(targets[0], _SECRET_ATTRIBUTE))
    elif kind == 2:
        named(cursor)
        _block(cursor)
    elif kind == 3:
        _block(cursor)
    elif kind == 4:
        _list_of(cursor, "attributes", named)
        places = iter(targets)
        _list_of(
            cursor,
            "values",
            lambda inner: explain_data(inner, masked=_secret_of(next(places, (0, 0)), _SECRET_ATTRIBUTE)),
        )
    elif kind == 5:
        _list_of(cursor, "attributes", named)
        _block(cursor)
    else:
        raise RemoteProtocolError(f"SET request of kind {kind}", expected="1 .. 5")


def _set_response(cursor: Cursor, _: LongAnswers) -> None:
    match cursor.data[cursor.position - 2]:
        case 1:
            cursor.number("result", 1, access_result_text)
        case 2:
            cursor.number("block-number", 4)
        case 3:
            cursor.number("result", 1, access_result_text)
            cursor.number("block-number", 4)
        case 4:
            _list_of(cursor, "results", lambda inner: inner.number("result", 1, access_result_text))
            cursor.number("block-number", 4)
        case 5:
            _list_of(cursor, "results", lambda inner: inner.number("result", 1, access_result_text))
        case kind:
            raise RemoteProtocolError(f"SET response of kind {kind}", expected="1 .. 5")


def _action_request(cursor: Cursor, _: LongAnswers) -> None:
    def parameter(inner: Cursor, masked: str = "") -> None:
        if inner.number("parameter", 1, lambda there: "present" if there else "none"):
            explain_data(inner, masked=masked)

    match cursor.data[cursor.position - 2]:
        case 1:
            parameter(cursor, _secret_of(_method(cursor), _SECRET_METHOD))
        case 2:
            cursor.number("block-number", 4)
        case 3:
            _list_of(cursor, "methods", _method)
            _list_of(cursor, "parameters", explain_data)
        case 4:
            _method(cursor)
            _block(cursor)
        case 5:
            _list_of(cursor, "methods", _method)
            _block(cursor)
        case 6:
            _block(cursor)
        case kind:
            raise RemoteProtocolError(f"ACTION request of kind {kind}", expected="1 .. 6")


def _action_response(cursor: Cursor, _: LongAnswers) -> None:
    def answered(inner: Cursor) -> None:
        inner.number("result", 1, access_result_text)
        if inner.number("returned", 1, lambda there: "present" if there else "none"):
            _data_or_result(inner)

    match cursor.data[cursor.position - 2]:
        case 1:
            answered(cursor)
        case 2:
            _block(cursor)
        case 3:
            _list_of(cursor, "results", answered)
        case 4:
            cursor.number("block-number", 4)
        case kind:
            raise RemoteProtocolError(f"ACTION response of kind {kind}", expected="1 .. 4")


def _data_notification(cursor: Cursor, _: LongAnswers) -> None:
    cursor.number("long-invoke-id-and-priority", 4, _long_invoke)
    if cursor.peek(2) == b"\x09\x0c":
        cursor.field("superfluous tag", 1, lambda _: "octet-string, as Kaifa meters send it")
    cursor.octets("date-time", _stamp)
    explain_data(cursor)


def _event_notification(cursor: Cursor, _: LongAnswers) -> None:
    if cursor.number("time", 1, lambda there: "present" if there else "absent"):
        cursor.octets("date-time", _stamp)
    _attribute(cursor)
    explain_data(cursor)


def _exception(cursor: Cursor, _: LongAnswers) -> None:
    def named(kind: type[StateError | ServiceError]) -> Callable[[int], str]:
        return lambda number: (
            kind(number).name.lower().replace("_", "-")
            if number in kind.__members__.values()
            else f"{number} unknown"
        )

    cursor.number("state-error", 1, named(StateError))
    error = cursor.number("service-error", 1, named(ServiceError))
    if error == ServiceError.INVOCATION_COUNTER_ERROR and cursor.remaining:
        cursor.number("invocation-counter", 4, lambda number: f"{number}: the lowest that would be believed")


def _specification(cursor: Cursor) -> None:
    """What one part of an ACCESS asks for."""
    words = {1: "get", 2: "set", 3: "action", 4: "get with selection", 5: "set with selection"}
    choice = cursor.number("service", 1, lambda number: words.get(number, "unknown"))
    if choice == 3:
        _method(cursor)
    elif choice in words:
        _attribute(cursor)
        if choice > 3:
            _selector(cursor)
    else:
        raise RemoteProtocolError(f"service {choice} of an ACCESS request", expected="1 .. 5")


def _access_request(cursor: Cursor, _: LongAnswers) -> None:
    cursor.number("long-invoke-id-and-priority", 4, _long_invoke)
    cursor.octets("date-time", _stamp)
    _list_of(cursor, "specifications", _specification)
    _list_of(cursor, "data", explain_data)


def _access_response(cursor: Cursor, _: LongAnswers) -> None:
    def result(inner: Cursor) -> None:
        words = {1: "get", 2: "set", 3: "action"}
        inner.number("service", 1, lambda number: words.get(number, "unknown"))
        inner.number("result", 1, access_result_text)

    cursor.number("long-invoke-id-and-priority", 4, _long_invoke)
    cursor.octets("date-time", _stamp)
    if cursor.number("specifications", 1, lambda there: "repeated" if there else "not repeated"):
        _list_of(cursor, "specifications", _specification)
    _list_of(cursor, "data", explain_data)
    _list_of(cursor, "results", result)


_KINDS: Final = {
    0xC0: {1: "normal", 2: "next", 3: "with-list"},
    0xC4: {1: "normal", 2: "with-datablock", 3: "with-list"},
    0xC1: {1: "normal", 2: "with-first-datablock", 3: "with-datablock", 4: "with-list",
           5: "with-list-and-first-datablock"},
    0xC5: {1: "normal", 2: "datablock", 3: "last-datablock", 4: "last-datablock-with-list", 5: "with-list"},
    0xC3: {1: "normal", 2: "next-pblock", 3: "with-list", 4: "with-first-pblock",
           5: "with-list-and-first-pblock", 6: "with-pblock"},
    0xC7: {1: "normal", 2: "with-pblock", 3: "with-list", 4: "next-pblock"},
}  # fmt: skip
_SERVICES: Final[dict[int, tuple[str, Callable[[Cursor, LongAnswers], None]]]] = {
    0xC0: ("get-request", _get_request),
    0xC1: ("set-request", _set_request),
    0xC2: ("event-notification", _event_notification),
    0xC3: ("action-request", _action_request),
    0xC4: ("get-response", _get_response),
    0xC5: ("set-response", _set_response),
    0xC7: ("action-response", _action_response),
    0x0F: ("data-notification", _data_notification),
    0xD8: ("exception-response", _exception),
    ACCESS_REQUEST: ("access-request", _access_request),
    ACCESS_RESPONSE: ("access-response", _access_response),
}
SERVICE_TAGS: Final = frozenset(_SERVICES)
