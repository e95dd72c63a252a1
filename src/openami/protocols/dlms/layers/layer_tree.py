"""The tree that explains octets: what stands where, what it means, and what is wrong with it.

A `Cursor` walks over octets and writes down what it passes. Rule of this file: whatever a walk meets, it ends
in nodes: what cannot be read becomes a fault at its place, inside the part that it belongs to, and the parts
around it stay.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openami.protocols.dlms.encoding.axdr_scalars import length_at
from openami.quantities.errors import RemoteProtocolError

MAX_SHOWN = 64
"""Octets shown in words; longer ones are cut, their place in the dump says where they are."""


@dataclass(frozen=True, slots=True)
class Node:
    """One part of what is explained.

    Parameters
    ----------
    name:
        What it is.
    begin, end:
        Its octets, ``[begin, end)``, in those that the parent counts in.
    value:
        What they say, in words.
    children:
        Its parts.
    fault:
        True where it says what is wrong.
    octets:
        Octets that are not on the wire (deciphered, put together); the children count in them.
    """

    name: str
    begin: int
    end: int
    value: str = ""
    children: tuple[Node, ...] = ()
    fault: bool = False
    octets: bytes = b""

    def document(self) -> dict[str, Any]:
        """The node as JSON."""
        document: dict[str, Any] = {"name": self.name, "begin": self.begin, "end": self.end}
        if self.value:
            document["value"] = self.value
        if self.fault:
            document["fault"] = True
        if self.octets:
            document["octets"] = self.octets.hex()
        if self.children:
            document["children"] = [child.document() for child in self.children]
        return document

    def faults(self) -> Iterator[Node]:
        """Everything that is wrong, in order."""
        if self.fault:
            yield self
        for child in self.children:
            yield from child.faults()

    def find(self, name: str) -> Iterator[Node]:
        """Every part of a name, in order."""
        if self.name == name:
            yield self
        for child in self.children:
            yield from child.find(name)


def in_hex(octets: bytes) -> str:
    """Octets in hexadecimal digits, cut where they are many."""
    if len(octets) <= MAX_SHOWN:
        return octets.hex(" ")
    return f"{octets[:MAX_SHOWN].hex(' ')} ... {len(octets)} octets"


def in_text(octets: bytes) -> str:
    """Octets as quoted text where they are printable ASCII, else in hexadecimal digits."""
    if octets and octets.isascii() and octets.decode("ascii").isprintable():
        text = octets.decode("ascii")
        return f'"{text}"' if len(text) <= MAX_SHOWN else f'"{text[:MAX_SHOWN]}" ... {len(text)} characters'
    return in_hex(octets)


class ToldError(RemoteProtocolError):
    """A fault that has its node already."""


class Label:
    """What a group says, known when its parts are."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = ""


class Cursor:
    """A place in octets, and the nodes of what lies before it.

    Invariant: ``position <= end <= len(data)``; a read beyond the end raises `RemoteProtocolError`.
    """

    __slots__ = ("_bounded", "data", "end", "nodes", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end
        self.nodes: list[Node] = []
        self._bounded: tuple[int, int, bytes] | None = None

    @property
    def remaining(self) -> int:
        """Octets not passed yet."""
        return self.end - self.position

    def peek(self, count: int = 1) -> bytes:
        """The next octets, as many as there are."""
        return self.data[self.position : min(self.position + count, self.end)]

    def bounded(self) -> tuple[bytes, int]:
        """Octets up to the end and none behind it, and the place where they begin.

        For decoders that know no end but that of their octets: a length that points beyond a frame must not
        make them read the frames behind it, again and again. Cut once for each `within`.
        """
        if self.end == len(self.data):
            return self.data, 0
        known = self._bounded
        if known is None or known[1] != self.end or known[0] > self.position:
            known = self._bounded = self.position, self.end, self.data[self.position : self.end]
        return known[2], known[0]

    def skip(self, count: int) -> bytes:
        """Pass octets without a node."""
        if not 0 <= count <= self.remaining:
            raise RemoteProtocolError(f"{count} octets declared, {self.remaining} there")
        begin, self.position = self.position, self.position + count
        return self.data[begin : self.position]

    def field(self, name: str, count: int, say: Callable[[bytes], str] = in_hex) -> bytes:
        """Pass octets of a field."""
        begin = self.position
        octets = self.skip(count)
        self.nodes.append(Node(name, begin, self.position, say(octets)))
        return octets

    def number(self, name: str, count: int, say: Callable[[int], str] = str, *, signed: bool = False) -> int:
        """Pass a number, big-endian."""
        begin = self.position
        number = int.from_bytes(self.skip(count), "big", signed=signed)
        self.nodes.append(Node(name, begin, self.position, say(number)))
        return number

    def length(self, name: str = "") -> int:
        """Pass a length or count; without a name it has no node."""
        begin = self.position
        try:
            length, position = length_at(self.data, begin)
        except IndexError:
            raise RemoteProtocolError("no length where one should be") from None
        self.skip(position - begin)
        if name:
            self.nodes.append(Node(name, begin, position, str(length)))
        return length

    def octets(self, name: str, say: Callable[[bytes], str] = in_hex) -> bytes:
        """Pass an octet string with its length."""
        begin = self.position
        octets = self.skip(self.length())
        self.nodes.append(Node(name, begin, self.position, say(octets) or "empty"))
        return octets

    def note(self, name: str, value: str = "", *, begin: int | None = None) -> None:
        """A node of what was passed since ``begin``; of no octets without it."""
        self.nodes.append(Node(name, self.position if begin is None else begin, self.position, value))

    def fault(self, message: str, *, begin: int | None = None) -> None:
        """A fault at this place, or of the octets since ``begin``."""
        place = self.position if begin is None else begin
        self.nodes.append(Node("fault", place, self.position, message, fault=True))

    @contextmanager
    def group(self, name: str) -> Iterator[Label]:
        """What is passed inside becomes the children of one node."""
        outer, self.nodes = self.nodes, []
        begin = self.position
        label = Label(name)
        try:
            yield label
        except (RemoteProtocolError, IndexError, struct.error) as error:
            self.tell(error)
            raise ToldError("told") from None
        finally:
            inner, self.nodes = self.nodes, outer
            self.nodes.append(Node(label.name, begin, self.position, label.value, tuple(inner)))

    @contextmanager
    def within(self, count: int) -> Iterator[None]:
        """The next ``count`` octets are all there is; a fault in them, or a rest of them, stays inside."""
        if count > self.remaining:
            raise RemoteProtocolError(f"{count} octets declared, {self.remaining} there")
        outer, self.end = self.end, self.position + count
        try:
            yield
            if self.remaining:
                begin = self.position
                self.fault(
                    f"{self.remaining} octets too many: {in_hex(self.skip(self.remaining))}", begin=begin
                )
        except (RemoteProtocolError, IndexError, struct.error) as error:
            # What is wrong inside ends there: what stands behind has a place of its own.
            self.tell(error)
            self.position = self.end
        finally:
            self.end = outer

    def tell(self, error: Exception) -> None:
        """Write down an error, once."""
        if isinstance(error, ToldError):
            return
        message = (
            error.message if isinstance(error, RemoteProtocolError) else "ends before its declared length"
        )
        expected = (
            f" (expected: {error.expected})"
            if isinstance(error, RemoteProtocolError) and error.expected
            else ""
        )
        rest = f"; {self.remaining} octets are left" if self.remaining else ""
        self.nodes.append(Node("fault", self.position, self.end, f"{message}{expected}{rest}", fault=True))


def walked(cursor: Cursor, walk: Callable[[Cursor], None]) -> bool:
    """Run a walk to its end or its fault; True where it met none."""
    try:
        walk(cursor)
    except (RemoteProtocolError, IndexError, struct.error) as error:
        cursor.tell(error)
        return False
    return True
