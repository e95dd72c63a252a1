"""High level security: each side proves that it knows the key, by answering the other's challenge.

    3  MD5(challenge, secret)                    6  SHA-256(secret, titles, challenges)
    4  SHA-1(challenge, secret)                  7  ECDSA over titles and challenges
    5  GMAC over the challenge, with header

IEC 62056-5-3 clause 5.2.2.2; mechanism 2 is the manufacturer's own. Mechanisms 3 and 4 rest on broken hash
functions and are here for meters in the field. Rule of this file: an answer to a challenge that is our own
is never believed (reflection), and challenges are random and of at least eight octets.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.quantities.errors import LocalProtocolError, ProtectionError
from openami.security import signature
from openami.security.secret import Secret
from openami.security.suites import Suite

CHALLENGE_OCTETS = 16
MIN_CHALLENGE, MAX_CHALLENGE = 8, 64


@dataclass(frozen=True, slots=True)
class Exchange:
    """Titles and challenges of one association, as one side sees them.

    Parameters
    ----------
    own_title, peer_title:
        System titles; empty where there are none (mechanisms 3 and 4).
    own_challenge, peer_challenge:
        What we sent, and what they sent.
    """

    own_title: bytes
    peer_title: bytes
    own_challenge: bytes
    peer_challenge: bytes

    def __post_init__(self) -> None:
        if not MIN_CHALLENGE <= len(self.peer_challenge) <= MAX_CHALLENGE:
            raise ProtectionError(
                f"a challenge of {len(self.peer_challenge)} octets",
                expected=f"{MIN_CHALLENGE} .. {MAX_CHALLENGE} octets",
            )
        if self.peer_challenge == self.own_challenge:
            raise ProtectionError("our own challenge came back", expected="a challenge of theirs")

    def check_peer(self) -> None:
        """Raise `ProtectionError` where they call themselves as we do: their answer may be our own."""
        if self.own_title and self.peer_title == self.own_title:
            raise ProtectionError("a peer with our own system title")


class Prover(Protocol):
    """One mechanism with its secrets."""

    def prove(self, exchange: Exchange) -> bytes:
        """Our answer to their challenge."""
        ...

    def verify(self, exchange: Exchange, proof: bytes) -> None:
        """Raise `ProtectionError` where ``proof`` does not answer our challenge."""
        ...


def new_challenge() -> bytes:
    """A challenge of our own."""
    return secrets.token_bytes(CHALLENGE_OCTETS)


class HashProver:
    """Mechanisms 3, 4 and 6: a hash over what only both sides know."""

    __slots__ = ("_mechanism", "_secret")

    def __init__(self, mechanism: Mechanism, secret: Secret) -> None:
        if mechanism not in (Mechanism.HIGH_MD5, Mechanism.HIGH_SHA1, Mechanism.HIGH_SHA256):
            raise LocalProtocolError(f"mechanism {mechanism} is no hash", expected="3, 4 or 6")
        if not len(secret):
            raise LocalProtocolError("an empty secret proves nothing")
        self._mechanism = mechanism
        self._secret = secret

    def prove(self, exchange: Exchange) -> bytes:
        """Our answer to their challenge."""
        return self._digest(
            exchange.own_title, exchange.peer_title, exchange.peer_challenge, exchange.own_challenge
        )

    def verify(self, exchange: Exchange, proof: bytes) -> None:
        """Raise `ProtectionError` where ``proof`` does not answer our challenge."""
        exchange.check_peer()
        expected = self._digest(
            exchange.peer_title, exchange.own_title, exchange.own_challenge, exchange.peer_challenge
        )
        if not hmac.compare_digest(expected, proof):
            raise ProtectionError("the answer to our challenge is wrong")

    def _digest(self, prover: bytes, verifier: bytes, challenge: bytes, other: bytes) -> bytes:
        secret = self._secret.reveal()
        match self._mechanism:
            case Mechanism.HIGH_MD5:
                return hashlib.md5(challenge + secret, usedforsecurity=False).digest()
            case Mechanism.HIGH_SHA1:
                return hashlib.sha1(challenge + secret, usedforsecurity=False).digest()
        return hashlib.sha256(secret + prover + verifier + challenge + other).digest()


class GmacProver:
    """Mechanism 5: GMAC under the global key."""

    __slots__ = ("_cipher",)

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def prove(self, exchange: Exchange) -> bytes:
        """Our answer to their challenge."""
        return self._cipher.prove(exchange.peer_challenge)

    def verify(self, exchange: Exchange, proof: bytes) -> None:
        """Raise `ProtectionError` where ``proof`` does not answer our challenge."""
        self._cipher.verify(exchange.own_challenge, proof)


class EcdsaProver:
    """Mechanism 7: a signature of the suite's curve.

    Parameters
    ----------
    suite:
        Suite 1 or 2.
    own, other:
        Our private and their public signature key.
    """

    __slots__ = ("_other", "_own", "_suite")

    def __init__(
        self, suite: Suite, own: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePublicKey
    ) -> None:
        self._suite = suite
        self._own = own
        self._other = other

    def prove(self, exchange: Exchange) -> bytes:
        """Our answer to their challenge."""
        message = exchange.own_title + exchange.peer_title + exchange.peer_challenge + exchange.own_challenge
        return signature.sign(self._suite, self._own, message)

    def verify(self, exchange: Exchange, proof: bytes) -> None:
        """Raise `ProtectionError` where ``proof`` does not answer our challenge."""
        exchange.check_peer()
        message = exchange.peer_title + exchange.own_title + exchange.own_challenge + exchange.peer_challenge
        signature.verify(self._suite, self._other, message, proof)
