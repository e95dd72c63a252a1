"""Numbered I frames in both directions: segments, windows, acknowledgement, reassembly (IEC 62056-46 6.4).

Both stations do this alike, so it is here once. Numbers count modulo 8; a window is at most 7, so the number
of a frame that is sent again is never the one that is expected next.

Rules of this file: a segment is kept until it is acknowledged; it is taken only when it is the next one.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.framing.llc import LLC_OCTETS
from openami.quantities.errors import RemoteProtocolError

MAX_INFORMATION_UNIT = MAX_PDU + LLC_OCTETS
"""Octets of one LLC message put together from segments."""


class Segment(NamedTuple):
    """A piece of a message, its N(S), and whether more of the message follows."""

    number: int
    octets: bytes
    more: bool


class Outbox:
    """What is to be sent, and what was sent and is not acknowledged.

    Invariant: the first ``sent`` of ``_segments`` were sent, numbered from ``acknowledged`` (V(A)); there are
    at most as many segments as a window has. What is behind them waits uncut: a peer may ask for pieces of a
    few octets, and each turn must cost what it sends, not what waits. ``kept_octets`` counts both.
    """

    __slots__ = ("_begin", "_segments", "_waiting", "acknowledged", "kept_octets", "sent")

    def __init__(self) -> None:
        self._segments: deque[tuple[bytes, bool]] = deque()
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._begin = 0
        self.acknowledged = 0
        self.sent = 0
        self.kept_octets = 0

    def __bool__(self) -> bool:
        return bool(self._segments or self._waiting)

    def put(self, message: bytes, largest: int) -> None:
        """Take a message that goes in segments of at most ``largest`` octets."""
        self._waiting.append((message, largest))
        self.kept_octets += len(message)

    def acknowledge(self, number: int) -> int:
        """Forget what N(R) acknowledges; how many segments that is.

        Raises
        ------
        RemoteProtocolError
            N(R) acknowledges what was never sent.
        """
        count = (number - self.acknowledged) & 7
        if count > self.sent:
            raise RemoteProtocolError(
                f"N(R) {number}",
                expected=f"{self.acknowledged} .. {(self.acknowledged + self.sent) & 7}",
            )
        for _ in range(count):
            self.kept_octets -= len(self._segments.popleft()[0])
        self.acknowledged = number
        self.sent -= count
        return count

    def batch(self, window: int) -> list[Segment]:
        """What goes out now: everything unacknowledged again, and as much more as the window takes."""
        while self._waiting and len(self._segments) < window:
            self._cut()
        batch = [
            Segment((self.acknowledged + place) & 7, *self._segments[place])
            for place in range(min(window, len(self._segments)))
        ]
        self.sent = max(self.sent, len(batch))
        return batch

    def _cut(self) -> None:
        """The next segment of the first message that waits."""
        message, largest = self._waiting[0]
        end = self._begin + largest
        self._segments.append((message[self._begin : end], end < len(message)))
        self._begin = end
        if end >= len(message):
            self._waiting.popleft()
            self._begin = 0

    @property
    def next_number(self) -> int:
        """V(S): N(S) of the next new segment."""
        return (self.acknowledged + self.sent) & 7


class Inbox:
    """What was received of a message.

    Invariant: ``expected`` is V(R), and everything before it was taken once and in order.
    """

    __slots__ = ("_octets", "expected")

    def __init__(self) -> None:
        self._octets = bytearray()
        self.expected = 0

    @property
    def kept_octets(self) -> int:
        """Octets of a message that is not whole."""
        return len(self._octets)

    def take(self, octets: bytes, more: bool) -> bytes | None:
        """Take the expected segment; the message where it is whole now.

        Raises
        ------
        RemoteProtocolError
            The message grows beyond `MAX_INFORMATION_UNIT`.
        """
        self.expected = (self.expected + 1) & 7
        return self.append(octets, more)

    def append(self, octets: bytes, more: bool) -> bytes | None:
        """Take a segment that has no number (UI); raises as `take`."""
        if len(self._octets) + len(octets) > MAX_INFORMATION_UNIT:
            self._octets.clear()
            raise RemoteProtocolError(f"a message of more than {MAX_INFORMATION_UNIT} octets")
        self._octets += octets
        if more:
            return None
        message = bytes(self._octets)
        self._octets.clear()
        return message
