"""The association view as typed values: which objects a client sees, and what it may do with each.

``object_list`` is attribute 2 of Association LN (IEC 62056-6-2 class 15). Versions 0 to 2 of the class write
a right as one of a few numbers, version 3 as bits (recalled); the list says itself which version it is, in
its element for the current association. Rule of this file: a list that is not understood is refused whole,
so that no object is missing from one that was accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag

from openami.protocols.dlms.encoding.axdr import Plain
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.quantities.obis import ObisCode

ASSOCIATION_LN = 15
_BIT_MASKS_SINCE = 3


class Right(IntFlag):
    """What a client may do with an attribute or a method, and how the messages must be protected."""

    NONE = 0
    READ = 1
    WRITE = 2
    AUTHENTICATED_REQUEST = 4
    ENCRYPTED_REQUEST = 8
    SIGNED_REQUEST = 16
    AUTHENTICATED_RESPONSE = 32
    ENCRYPTED_RESPONSE = 64
    SIGNED_RESPONSE = 128

    @property
    def text(self) -> str:
        """``r``, ``w``, ``rw`` or ``-``, and ``+`` where messages must be protected."""
        letters = ("r" if self & Right.READ else "") + ("w" if self & Right.WRITE else "")
        return (letters or "-") + ("+" if self & ~(Right.READ | Right.WRITE) else "")


_AUTHENTICATED = Right.AUTHENTICATED_REQUEST | Right.AUTHENTICATED_RESPONSE
_ATTRIBUTE_MODES = (
    Right.NONE,
    Right.READ,
    Right.WRITE,
    Right.READ | Right.WRITE,
    Right.READ | _AUTHENTICATED,
    Right.WRITE | _AUTHENTICATED,
    Right.READ | Right.WRITE | _AUTHENTICATED,
)


@dataclass(frozen=True, slots=True)
class AttributeRight:
    """An attribute, what may be done with it, and the selective access that it knows."""

    index: int
    right: Right
    selectors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MethodRight:
    """A method, and how it may be called; `Right.NONE` where it may not."""

    index: int
    allowed: bool
    right: Right = Right.NONE


@dataclass(frozen=True, slots=True)
class MeterObject:
    """One element of the list.

    Parameters
    ----------
    class_id, version:
        Interface class.
    logical_name:
        Its OBIS code.
    attributes, methods:
        What this client may do.
    """

    class_id: int
    version: int
    logical_name: ObisCode
    attributes: tuple[AttributeRight, ...] = ()
    methods: tuple[MethodRight, ...] = ()

    def right(self, index: int) -> Right:
        """Right to an attribute; `Right.NONE` where the list does not name it."""
        return next((item.right for item in self.attributes if item.index == index), Right.NONE)


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The objects that a client sees, in the meter's order."""

    objects: tuple[MeterObject, ...]

    def __iter__(self) -> Iterator[MeterObject]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    def find(self, logical_name: ObisCode, class_id: int | None = None) -> MeterObject:
        """The object of a logical name, and of a class where several have the name.

        Raises
        ------
        LocalProtocolError
            There is none, or more than one.
        """
        found = [
            item
            for item in self.objects
            if item.logical_name == logical_name and class_id in (None, item.class_id)
        ]
        if len(found) != 1:
            kinds = ", ".join(str(item.class_id) for item in found)
            raise LocalProtocolError(
                f"the meter has no object {logical_name} that this client sees"
                if not found
                else f"{logical_name} names objects of the classes {kinds}",
                expected="an object of its list (`ami dlms objects`)" if not found else "a class",
            )
        return found[0]


def object_list(value: Plain) -> ObjectList:
    """The list of a decoded ``object_list``.

    Raises
    ------
    RemoteProtocolError
        It is no array of elements, or an element has no class, version, name and rights.
    """
    if not isinstance(value, list):
        raise RemoteProtocolError("the object list is no array", expected="array of object_list_element")
    heads = [_head(item, number) for number, item in enumerate(value, 1)]
    bits = any(
        class_id == ASSOCIATION_LN and version >= _BIT_MASKS_SINCE for class_id, version, _, _ in heads
    )
    return ObjectList(
        tuple(
            MeterObject(class_id, version, name, *_rights(rights, bits, f"object {name}"))
            for class_id, version, name, rights in heads
        )
    )


def _head(item: Plain, number: int) -> tuple[int, int, ObisCode, Plain]:
    match item:
        case (int(class_id), int(version), bytes(name), rights) if len(name) == 6:
            return class_id, version, ObisCode.from_bytes(name), rights
    raise RemoteProtocolError("no class, version, name and rights", where=f"object {number} of the list")


def _rights(
    rights: Plain, bits: bool, where: str
) -> tuple[tuple[AttributeRight, ...], tuple[MethodRight, ...]]:
    match rights:
        case (list(attributes), list(methods)):
            return (
                tuple(_attribute(item, bits, where) for item in attributes),
                tuple(_method(item, bits, where) for item in methods),
            )
    raise RemoteProtocolError("access rights of no attributes and methods", where=where)


def _attribute(item: Plain, bits: bool, where: str) -> AttributeRight:
    match item:
        case (int(index), int(mode), selectors):
            right = Right(mode & 0xFF) if bits else _mode(mode, where)
            return AttributeRight(index, right, _selectors(selectors, where))
        case (int(index), int(mode)):
            return AttributeRight(index, Right(mode & 0xFF) if bits else _mode(mode, where))
    raise RemoteProtocolError(f"access right {item!r} of an attribute", where=where)


def _mode(mode: int, where: str) -> Right:
    if not 0 <= mode < len(_ATTRIBUTE_MODES):
        raise RemoteProtocolError(f"access mode {mode}", where=where, expected="0 .. 6")
    return _ATTRIBUTE_MODES[mode]


def _selectors(value: Plain, where: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if isinstance(value, list):
        numbers = tuple(number for number in value if isinstance(number, int))
        if len(numbers) == len(value):
            return numbers
    raise RemoteProtocolError(
        f"selectors {value!r}", where=where, expected="null-data or an array of numbers"
    )


def _method(item: Plain, bits: bool, where: str) -> MethodRight:
    match item:
        case (int(index), int(mode), *_):
            if bits:
                # Bit 0 is access; the bits of protection are those of attributes.
                return MethodRight(index, bool(mode & 1), Right(mode & 0xFC))
            return MethodRight(index, bool(mode), _AUTHENTICATED if mode > 1 else Right.NONE)
    raise RemoteProtocolError(f"access right {item!r} of a method", where=where)


def readable(objects: Sequence[MeterObject] | ObjectList) -> list[tuple[MeterObject, int]]:
    """Objects and the numbers of their attributes that the client may read, in order."""
    return [
        (item, attribute.index)
        for item in objects
        for attribute in item.attributes
        if attribute.right & Right.READ and attribute.index > 0
    ]
