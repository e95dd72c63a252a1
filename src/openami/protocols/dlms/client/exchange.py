"""What the operations of a client stand on: one confirmed exchange, and what it needs to know of the peer.

`Exchange` is implemented by `association.Association`; `get_service`, `set_service`, `action_service` and
`access_service` are generator functions over it. Rule of these files: an answer is believed only where its
kind, its invoke id and its block number are those of the request.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, TypeAlias, TypeVar

from openami.protocols.dlms.apdus.apdu import Apdu
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.initiate import Conformance
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError

T = TypeVar("T")
A = TypeVar("A")
Operation: TypeAlias = Generator[bytes, bytes, T]
"""Yields bytes to send (``b""``: only needs more), is sent bytes received, returns its result."""

BLOCK_HEADER = 13
"""Octets of a block of a request besides its data and what it names: kind, last, number, length."""


class Exchange(Protocol):
    """One confirmed service after the other, over an association."""

    @property
    def agreed(self) -> Conformance:
        """Services agreed on."""
        ...

    @property
    def largest_request(self) -> int:
        """Octets of a request before it is protected; longer ones go in blocks of their service."""
        ...

    @property
    def max_reassembled(self) -> int:
        """Octets of the longest answer put together from blocks."""
        ...

    def next_invoke(self) -> int:
        """Invoke id and priority of the next request."""
        ...

    def next_long_invoke(self) -> int:
        """The same with 24 bits, for ACCESS; without its bits."""
        ...

    def request(self, apdu: bytes, invoke: int) -> Operation[Apdu]:
        """The answer that carries the invoke id.

        Raises
        ------
        LocalProtocolError
            The request is longer than the server takes; nothing was sent.
        ServiceRefusedError
            An exception-response.
        RemoteProtocolError
            Anything else.
        """
        ...


def expected(answer: Apdu, kind: type[A]) -> A:
    """The answer, where it is of a kind."""
    if not isinstance(answer, kind):
        raise RemoteProtocolError(f"{type(answer).__name__} as answer", expected=kind.__name__)
    return answer


def accepted(result: AccessResult, named: Attribute | Method) -> None:
    """Raise `AccessError` where a result is no success."""
    if result is not AccessResult.SUCCESS:
        raise AccessError(result, where=str(named))


def need(exchange: Exchange, service: Conformance, what: str) -> None:
    """Raise `LocalProtocolError` where a service was not agreed on."""
    if service & ~exchange.agreed:
        missing = " and ".join((name.name or "").lower() for name in service & ~exchange.agreed)
        raise LocalProtocolError(what, expected=f"a server that agreed on {missing}")


def pieces(encoded: bytes, first: int, further: int) -> list[bytes]:
    """Octets cut into a first piece and further ones.

    Raises
    ------
    LocalProtocolError
        A block cannot hold a single octet.
    """
    if first < 1 or further < 1:
        raise LocalProtocolError(
            f"a value of {len(encoded)} octets in blocks of {min(first, further)}", expected="a larger PDU"
        )
    cut = [encoded[:first]]
    cut += (encoded[start : start + further] for start in range(first, len(encoded), further))
    return cut


class Reassembly:
    """Pieces of an answer, in order.

    Invariant: block numbers are 1, 2, 3 ...; at most ``max_octets`` are kept.

    Parameters
    ----------
    max_octets:
        Octets of the longest answer.
    """

    __slots__ = ("_max_octets", "_pieces", "number")

    def __init__(self, max_octets: int) -> None:
        self._max_octets = max_octets
        self._pieces = bytearray()
        self.number = 0

    def take(self, number: int, data: bytes) -> None:
        """Append a block; raises `RemoteProtocolError` where it is not the next, or too long."""
        if number != self.number + 1:
            raise RemoteProtocolError(f"block {number}", expected=f"block {self.number + 1}")
        self.number = number
        self._pieces += data
        if len(self._pieces) > self._max_octets:
            raise RemoteProtocolError(
                "the answer grows too long", expected=f"at most {self._max_octets} octets"
            )

    def whole(self) -> bytes:
        """All pieces."""
        return bytes(self._pieces)
