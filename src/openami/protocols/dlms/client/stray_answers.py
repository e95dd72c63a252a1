"""Answers that nobody awaits: late ones and doubles, as datagrams bring them (IEC 62056-47, UDP).

An answer is told by its kind and its invoke id; by what it says, where it was heard before; by its counter,
where it is ciphered. An exception-response has none of these: one that comes late refuses the request that is
under way, unless it is about a counter that we are past. Rule of this file: what is passed over is bounded,
and on a transport that keeps the order nothing is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, TypeAlias

from openami.protocols.dlms.apdus.access import AccessResponse
from openami.protocols.dlms.apdus.acse import AssociationResponse, ReleaseResponse
from openami.protocols.dlms.apdus.apdu import Apdu, ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.initiate import ConfirmedServiceError
from openami.protocols.dlms.apdus.notification import DataNotification, EventNotification
from openami.protocols.dlms.protection.ciphering import Cipher, CounterUsedError
from openami.quantities.errors import RemoteProtocolError

MAX_STRAYS: Final = 64
"""Answers to others than the request under way that are passed over until it is answered."""

REMEMBERED: Final = 8
"""Answers that are known again: fewer than there are invoke ids (16), so none is taken for one before."""

REMEMBERED_BLOCKS: Final = 64
"""Blocks of the last transfer that are known again."""

Awaited: TypeAlias = Callable[[Apdu], bool]
"""Whether an APDU can be the answer to what was asked."""


def answers_association(answer: Apdu) -> bool:
    """What may answer an AARQ."""
    return isinstance(answer, AssociationResponse | ExceptionResponse | ConfirmedServiceError)


def answers_release(answer: Apdu) -> bool:
    """What may answer an RLRQ."""
    return isinstance(answer, ReleaseResponse | ExceptionResponse)


def invoke_of(answer: Apdu) -> int | None:
    """Invoke id and priority of an answer, the long one of ACCESS; None where it has none."""
    if isinstance(answer, AccessResponse):
        return answer.long_invoke
    found: int | None = getattr(answer, "invoke", None)
    return found


def answers_request(invoke: int, cipher: Cipher | None) -> Awaited:
    """What may answer a confirmed request, which is about to be protected.

    A counter that we are past was refused to a double of a message of ours.
    """
    next_counter = 0 if cipher is None else cipher.send.value

    def answers(answer: Apdu) -> bool:
        if isinstance(answer, ExceptionResponse):
            return answer.invocation_counter is None or answer.invocation_counter > next_counter + 1
        return isinstance(answer, ConfirmedServiceError) or invoke_of(answer) == invoke

    return answers


class OrderedAnswers:
    """On a transport that keeps the order: whatever comes is the answer, or an error."""

    __slots__ = ()

    def begin(self) -> None:
        """Something new is asked."""

    def came_before(self, apdu: bytes) -> bool:
        """Never: nothing comes twice."""
        return False

    block_came_before = came_before

    def read(self, received: bytes, verified: Callable[[bytes], bytes], awaited: Awaited) -> Apdu | None:
        """The APDU in what was received; raises as ``verified``, which takes its protection off."""
        return decode_apdu(verified(received))


class StrayAnswers(OrderedAnswers):
    """On a transport that doubles and delays: what was heard lately is known again.

    Invariant: a bounded number of digests is kept. In an exchange at most `MAX_STRAYS` are passed over.
    """

    __slots__ = ("_answers", "_blocks", "_heard_blocks", "_passed")

    def __init__(self) -> None:
        self._answers: deque[bytes] = deque(maxlen=2 * REMEMBERED)  # ciphered and plain
        self._blocks: frozenset[bytes] = frozenset()
        self._heard_blocks: deque[bytes] = deque(maxlen=REMEMBERED_BLOCKS)
        self._passed = 0

    def begin(self) -> None:
        """Something new is asked."""
        self._passed = 0
        if self._heard_blocks:
            self._blocks = frozenset(self._heard_blocks)
            self._heard_blocks.clear()

    def came_before(self, apdu: bytes) -> bool:
        """True for one of the last answers; it is counted."""
        known = _digest(apdu) in self._answers
        if known:
            self._pass_over()
        return known

    def block_came_before(self, apdu: bytes) -> bool:
        """True for a block of the transfer before, while none of the present one was heard; it is counted.

        Later ones are left to the transfer: two transfers of one value differ in their first block only.
        """
        digest = _digest(apdu)
        if not self._heard_blocks and digest in self._blocks:
            self._pass_over()
            return True
        self._heard_blocks.append(digest)
        return False

    def read(self, received: bytes, verified: Callable[[bytes], bytes], awaited: Awaited) -> Apdu | None:
        """As `OrderedAnswers.read`; None for what nobody awaits.

        Raises
        ------
        RemoteProtocolError
            Too much of that came. Else as ``verified``.
        """
        try:
            plain = verified(received)
        except CounterUsedError:
            self._pass_over()
            return None
        if self.came_before(plain):
            return None
        read = decode_apdu(plain)
        if isinstance(read, DataNotification | EventNotification):
            return read
        if not awaited(read):
            self._pass_over()
            return None
        if invoke_of(read) is not None:
            self._answers += (_digest(received), _digest(plain))
        return read

    def _pass_over(self) -> None:
        self._passed += 1
        if self._passed > MAX_STRAYS:
            raise RemoteProtocolError(f"{self._passed} answers to none of our requests")


def _digest(apdu: bytes) -> bytes:
    return blake2b(apdu, digest_size=16).digest()
