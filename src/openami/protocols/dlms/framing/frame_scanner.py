"""Finding frames in octets of a line, whatever else the line carries: shared by HDLC and M-Bus.

Both delimit a frame by a start octet, a declared length and an end octet, and both protect it by a checksum;
a line loses, doubles and garbles octets, and a meter may be in the middle of a frame when we begin to listen.

Rules of this file. A frame is an event only when its last octet is there and its checksums are right. Octets
that are no frame give one error for the whole stretch, told when the stretch is over (the next good frame, or
the end); a frame whose length is trustworthy and whose checksum is wrong gives an error of its own, at once.
Which events come does not depend on how the stream was cut. Inside everything that is refused the search goes
on, so a good frame behind a cut one comes through; since a frame is bounded, so is what one octet can cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from openami.quantities.errors import RemoteProtocolError

F = TypeVar("F")

Judgement: TypeAlias = tuple[F | str | None, int]
"""What stands at a start octet:

    (frame, end)    a good frame; the search goes on at ``end``
    (None, end)     to be decided when the octets before ``end`` are there
    (reason, end)   no frame; where ``end`` is behind the start octet, the frame's extent is trusted
    ("", end)       fill between frames: nothing to tell, the search goes on at ``end``; where that is the
                    start octet itself, it is the last one there, and may yet begin a frame
"""


class FrameScanner(Generic[F]):
    """The octets that are not decided yet, and what is wrong with those before them.

    Invariant: what is buffered begins with a start octet that may still become a frame, or is empty; so it is
    never longer than one frame and the piece fed last.

    Parameters
    ----------
    start:
        The octet that every frame begins with.
    judge:
        Says what stands at a start octet; called with the octets and its place in them.
    """

    __slots__ = ("_buffer", "_judge", "_lost", "_needed", "_offset", "_reason", "_reported", "_start")

    def __init__(self, start: int, judge: Callable[[bytes, int], Judgement[F]]) -> None:
        self._start = start
        self._judge = judge
        self._buffer = b""
        self._needed = 0
        self._offset = 0
        self._reason = ""
        self._lost = 0
        self._reported = 0

    @property
    def pending(self) -> bytes:
        """Octets of a frame that is not whole yet."""
        return self._buffer

    def feed(self, data: bytes) -> list[F | RemoteProtocolError]:
        """Frames and errors that ``data`` completes."""
        octets = self._buffer + data if self._buffer else data
        if len(octets) < self._needed:
            self._buffer = octets
            return []
        return self._scan(octets, "")

    def silence(self, what: str) -> list[F | RemoteProtocolError]:
        """Nothing more belongs to what is buffered; ``what`` says why. Good frames in it come out."""
        events = self._scan(self._buffer, what)
        self._tell(events)
        return events

    def _scan(self, octets: bytes, over: str) -> list[F | RemoteProtocolError]:
        events: list[F | RemoteProtocolError] = []
        start, judge, size = self._start, self._judge, len(octets)
        position = self._needed = 0
        while position < size:
            if octets[position] != start:
                begin = octets.find(start, position)
                begin = size if begin < 0 else begin
                self._lose(position, begin, "octets outside a frame")
                position = begin
                continue
            found, end = judge(octets, position)
            if found is None:
                if not over:
                    self._needed = end - position
                    break
                self._lose(position, position + 1, f"{over} {size - position} octets into a frame")
                position += 1
            elif not isinstance(found, str):
                if self._reason:
                    self._tell(events)
                events.append(found)
                position = end
            elif not found:
                if end == position:
                    break
                position = end
            elif end == position:
                self._lose(position, position + 1, found)
                position += 1
            else:
                if self._offset + position >= self._reported:
                    self._tell(events)
                    events.append(RemoteProtocolError(found, where=f"octet {self._offset + position}"))
                    self._reported = self._offset + end
                position += 1
        self._buffer = octets[position:]
        self._offset += position
        return events

    def _lose(self, begin: int, end: int, reason: str) -> None:
        """Octets that are no frame; those of a frame that was refused as a whole are told already."""
        begin = max(self._offset + begin, self._reported)
        if begin < self._offset + end:
            self._reason = self._reason or f"{reason} at octet {begin}"
            self._lost += self._offset + end - begin

    def _tell(self, events: list[F | RemoteProtocolError]) -> None:
        if self._reason:
            events.append(RemoteProtocolError(f"{self._lost} octets are no frame: {self._reason}"))
            self._reason, self._lost = "", 0
