"""A secret that goes over a link, masked in what is recorded of it: also where frames cut it in pieces.

HDLC sends an association request in as many frames as it needs (IEC 62056-46 clause 6.4.4.3.2), says each
again where it was lost, and lets an echo come back. The check of a masked frame is masked too: of a frame
that carries two octets of a secret it would tell both. Rule never to be broken: rather an octet too many is
masked than one too few.
"""

from __future__ import annotations

from openami.protocols.dlms.framing.hdlc_frame import HdlcDecoder, HdlcFrame

_CHECK_AND_FLAG = 3
"""Octets behind the information field of an HDLC frame."""


class SecretMask:
    """Masks one secret.

    Invariant: ``_before`` is the end of the information that the frames carried last, shorter than the
    secret; every frame that held some of it is remembered as it is recorded.

    Parameters
    ----------
    secret:
        Its octets, at least one.
    """

    __slots__ = ("_before", "_recorded", "_secret", "_stars")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._stars = b"*" * len(secret)
        self._before = b""
        self._recorded: dict[bytes, bytes] = {}

    def first(self, octets: bytes) -> bytes | None:
        """What is recorded of octets that may carry some of the secret; None: themselves."""
        frames = [frame for frame in HdlcDecoder().feed(octets) if isinstance(frame, HdlcFrame)]
        if b"".join(frame.to_bytes() for frame in frames) != octets:
            # the wrapper and datagrams carry a request whole
            return octets.replace(self._secret, self._stars) if self._secret in octets else None
        recorded = b"".join(map(self._frame, frames))
        return None if recorded == octets else recorded

    def again(self, octets: bytes) -> bytes | None:
        """What is recorded of octets that carry some of the secret only if it is said again."""
        if octets in self._recorded:
            return self._recorded[octets]
        return self.first(octets) if self._secret in octets else None

    def _frame(self, frame: HdlcFrame) -> bytes:
        whole, information = frame.to_bytes(), frame.information
        if whole in self._recorded:
            return self._recorded[whole]
        text, begin = self._before + information, len(self._before)
        masked = bytearray(text)
        at = text.find(self._secret)
        while at >= 0:
            masked[at : at + len(self._secret)] = self._stars
            at = text.find(self._secret, at + 1)
        for length in range(min(len(text), len(self._secret) - 1), 0, -1):
            if self._secret.startswith(text[-length:]):  # the rest of it may follow
                masked[-length:] = b"*" * length
                break
        if information:
            self._before = text[len(text) - min(len(text), len(self._secret) - 1) :]
        if masked[begin:] == information:
            return whole
        head = whole[: len(whole) - len(information) - _CHECK_AND_FLAG]
        recorded = head + bytes(masked[begin:]) + b"**" + whole[-1:]
        self._recorded[whole] = recorded
        return recorded
