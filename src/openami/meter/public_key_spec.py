"""Public key cryptography of a simulated meter as data: its private keys, its client's public ones, anchors.

Hexadecimal text throughout, so that it goes into a fleet file. Rule never to be broken: the private keys of a
simulated meter are for trying out; no meter that measures anything is made from a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, Mechanism
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.message_protection import Signing
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.errors import ProtectionError, SecurityError
from openami.security.certificate_store import CertificateStore
from openami.security.certificates import Certificate
from openami.security.meter_keys import system_title
from openami.security.secret import Secret
from openami.security.signature import private_key, public_key, public_octets
from openami.security.suites import Suite

_MECHANISMS: Final = (Mechanism.HIGH_GMAC, Mechanism.HIGH_ECDSA)


@dataclass(frozen=True, slots=True)
class PublicKeySpec:
    """How the management client of a meter with keys proves itself and protects services, beside the usual.

    Parameters
    ----------
    mechanism:
        5 (GMAC) or 7 (ECDSA).
    client_title:
        System title of the management client, whose certificates count; empty: nobody's.
    signing, agreement:
        The meter's private keys (scalars).
    client_signing, client_agreement:
        The client's public keys (both coordinates), until it has certificates.
    anchors:
        Certificates that the meter trusts, in DER.
    client:
        wPort of the management client.
    """

    mechanism: int = 5
    client_title: str = ""
    signing: str | None = field(default=None, repr=False)
    client_signing: str | None = None
    agreement: str | None = field(default=None, repr=False)
    client_agreement: str | None = None
    anchors: tuple[str, ...] = ()
    client: int = MANAGEMENT_CLIENT

    def __post_init__(self) -> None:
        if self.mechanism not in _MECHANISMS:
            raise SecurityError(f"mechanism {self.mechanism}", expected="5 or 7")
        if self.client_title:
            system_title(_octets(self.client_title, "client_title"))
        if self.mechanism == Mechanism.HIGH_ECDSA and not (
            self.signing and (self.client_signing or self.client_title)
        ):
            raise SecurityError(
                "mechanism 7 without signature keys",
                expected="signing, and client_signing or client_title with anchors",
            )
        for anchor in self.anchors:
            Certificate.from_der(_octets(anchor, "anchors"))

    def policy(self, usual: AssociationPolicy) -> AssociationPolicy:
        """The policy of the management client: its mechanism, and the forms that there are keys for."""
        return _policy(self, usual)

    def published(self, suite: Suite) -> tuple[bytes, bytes]:
        """The meter's public signature and key agreement key (both coordinates); empty without.

        Raises
        ------
        SecurityError
            A key is none of the suite.
        """
        keys = [_private(text, suite) for text in (self.signing, self.agreement)]
        signature, agreement = (b"" if key is None else public_octets(key.public_key()) for key in keys)
        return signature, agreement

    def equip(self, security: DeviceSecurity, suite: Suite, now: Callable[[], datetime]) -> None:
        """Give a meter its keys and anchors.

        Raises
        ------
        SecurityError
            A key is none of the suite.
        """
        anchors = (Certificate.from_der(_octets(anchor, "anchors")) for anchor in self.anchors)
        security.certificates = CertificateStore(security.title, anchors, now)
        security.signing_key = _private(self.signing, suite)
        security.agreement_key = _private(self.agreement, suite)
        if self.client_signing is not None:
            security.client_keys = {self.client: _public(self.client_signing, suite)}
        if self.client_agreement is not None:
            security.client_agreement_keys = {self.client: _public(self.client_agreement, suite)}
        if self.client_title:
            security.client_titles = {self.client: bytes.fromhex(self.client_title)}


@lru_cache(maxsize=256)
def _policy(spec: PublicKeySpec, usual: AssociationPolicy) -> AssociationPolicy:
    sources = {KeySource.UNICAST, KeySource.WRAPPED}
    if spec.agreement is not None:
        sources |= {KeySource.ONE_PASS, KeySource.STATIC} if spec.signing else {KeySource.STATIC}
    return replace(
        usual,
        mechanism=Mechanism(spec.mechanism),
        key_sources=frozenset(sources),
        signing=usual.signing if spec.signing is None else Signing.ACCEPTED,
    )


def _octets(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise SecurityError(f"{what} that is no hexadecimal number", expected="pairs of 0-9 a-f") from None


def _private(text: str | None, suite: Suite) -> ec.EllipticCurvePrivateKey | None:
    return None if text is None else private_key(suite, Secret.from_hex(text))


def _public(text: str, suite: Suite) -> ec.EllipticCurvePublicKey:
    try:
        return public_key(suite, _octets(text, "a public key"))
    except ProtectionError as error:
        raise SecurityError(error.message, expected=error.expected) from None
