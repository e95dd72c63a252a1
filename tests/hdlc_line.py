"""A line that loses, doubles and garbles frames, seeded; and how an operation is driven over one."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from typing import TypeVar

from openami.protocols.dlms.framing.hdlc_channel import HdlcChannel
from openami.protocols.dlms.framing.hdlc_frame import HdlcDecoder, HdlcFrame

T = TypeVar("T")


class BadLine:
    """Octets in, octets out, frame by frame: lost, doubled, garbled, or as they were.

    Parameters
    ----------
    rate:
        How often each of the three happens to a frame.
    """

    def __init__(self, seed: int, rate: float) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self.lost = self.doubled = self.garbled = 0

    def carry(self, octets: bytes) -> bytes:
        """What arrives of whole frames."""
        arrived = bytearray()
        for event in HdlcDecoder().feed(octets):
            assert isinstance(event, HdlcFrame)
            whole = event.to_bytes()
            draw = self._random.random()
            if draw < self._rate:
                self.lost += 1
            elif draw < 2 * self._rate:
                self.doubled += 1
                arrived += whole + whole
            elif draw < 3 * self._rate:
                self.garbled += 1
                arrived += self._garble(whole)
            else:
                arrived += whole
        return bytes(arrived)

    def _garble(self, octets: bytes) -> bytes:
        garbled = bytearray(octets)
        place = self._random.randrange(len(garbled))
        match self._random.randrange(3):
            case 0:
                garbled[place] ^= 1 << self._random.randrange(8)
            case 1:
                del garbled[place : place + 1 + self._random.randrange(5)]
            case _:
                garbled[place:place] = self._random.randbytes(3)
        return bytes(garbled)


def drive_line(
    operation: Generator[bytes, bytes, T],
    channel: HdlcChannel,
    answer: Callable[[bytes], bytes],
    silence: Callable[[], bytes],
) -> T:
    """Run an operation; where nothing came, both ends notice the silence and the client its time-out."""
    outgoing = next(operation)
    while True:
        arrived = answer(outgoing) if outgoing else b""
        if not arrived:
            arrived = silence()
        if not arrived:
            channel.silence()
        try:
            outgoing = operation.send(arrived)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if not (outgoing or arrived):
            outgoing = channel.timed_out()
            assert outgoing, "the operation waits, and so must the link"
