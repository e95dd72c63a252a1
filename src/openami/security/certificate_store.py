"""What a meter keeps of public key cryptography: its key pairs, certificates of others, and whom it trusts.

A new key pair waits beside the one in use until its certificate comes, so that asking for one locks nobody
out. Anchors come with the meter: they are listed and exported, and neither imported nor removed (read in
public notes on the Green Book). Rule of this file: no private key leaves but to be used by the meter itself,
and a certificate of somebody else is worth what its chain to an anchor is worth at the present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from openami.quantities.errors import SecurityError
from openami.security.certificates import (
    Certificate,
    CertificateEntity,
    CertificateKind,
    certificate_request,
    verify_chain,
)
from openami.security.signature import new_private_key
from openami.security.suites import Suite

MOST_CERTIFICATES: Final = 16
"""Certificates that a meter keeps beside its anchors."""
PAIRED: Final = (CertificateKind.SIGNATURE, CertificateKind.AGREEMENT)
"""Kinds of keys that a meter has itself."""


class CertificateStore:
    """Key pairs, certificates and anchors of one meter.

    Invariant: at most one certificate of an entity, kind and title, at most `MOST_CERTIFICATES` in all; what
    is held of others was verified when it came, and is verified again when it is used.

    Parameters
    ----------
    title:
        System title of the meter.
    anchors:
        Certificates that the meter trusts.
    now:
        The meter's present, timezone-aware.
    """

    __slots__ = ("_anchors", "_held", "_now", "_pairs", "_title", "_waiting")

    def __init__(
        self,
        title: bytes,
        anchors: Iterable[Certificate] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._title = title
        self._anchors = tuple(anchors)
        self._now = now
        self._held: list[Certificate] = []
        self._pairs: dict[CertificateKind, ec.EllipticCurvePrivateKey] = {}
        self._waiting: dict[CertificateKind, ec.EllipticCurvePrivateKey] = {}

    # --- keys of the meter ----------------------------------------------------------------------------

    def private_key(self, kind: CertificateKind) -> ec.EllipticCurvePrivateKey | None:
        """The key in use; None where there is none."""
        return self._pairs.get(kind)

    def use(self, kind: CertificateKind, key: ec.EllipticCurvePrivateKey | None) -> None:
        """Take a key into use that came with the meter; None takes it away."""
        if key is None:
            self._pairs.pop(kind, None)
        else:
            self._pairs[kind] = key

    def generate(self, kind: CertificateKind, suite: Suite) -> None:
        """Make a new key pair; it is used from when its certificate is imported.

        Raises
        ------
        SecurityError
            The meter has no keys of the kind, or the suite has no curve.
        """
        if kind not in PAIRED:
            raise SecurityError(f"a key pair for {kind.name.lower()}", expected="signature or agreement")
        self._waiting[kind] = new_private_key(suite)

    def request(self, kind: CertificateKind) -> bytes:
        """Request for a certificate (PKCS #10) of the newest pair; raises `SecurityError` without one."""
        key = self._waiting.get(kind) or self._pairs.get(kind)
        if key is None:
            raise SecurityError(f"no key pair for {kind.name.lower()}", expected="generate_key_pair before")
        return certificate_request(self._title, key)

    # --- certificates ---------------------------------------------------------------------------------

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Everything that may be shown: the anchors, then what was imported, oldest first."""
        return (*self._anchors, *self._held)

    def entity(self, certificate: Certificate) -> CertificateEntity:
        """Whose a certificate is, as this meter sees it."""
        if certificate.authority:
            return CertificateEntity.AUTHORITY
        if certificate.title == self._title:
            return CertificateEntity.METER
        return CertificateEntity.CLIENT if certificate.title else CertificateEntity.OTHER

    def take(self, der: bytes, suite: Suite) -> Certificate:
        """Import a certificate: one of our own keys, or one that an anchor vouches for.

        That of a pair that waits takes the pair into use. A certificate takes the place of an older one of
        the same entity, kind and title.

        Raises
        ------
        SecurityError
            It is none, of another curve, not valid now, of a key that we have not, of nobody, or nobody
            trusted vouches for it; or there is no room.
        """
        new = Certificate.from_der(der)
        entity, now = self.entity(new), self._now()
        if any(anchor.der == new.der for anchor in self._anchors):
            raise SecurityError("an anchor of the meter", expected="certificates of others")
        if entity is CertificateEntity.OTHER:
            raise SecurityError("a certificate of nobody", expected="a system title as its common name")
        if entity is not CertificateEntity.AUTHORITY and not _of_suite(new, suite):
            raise SecurityError("a certificate of another curve", expected=f"that of suite {suite.number}")
        owner = None
        if entity is CertificateEntity.METER:
            new.check_validity(now)
            owner = self._owner(new)
        else:
            verify_chain(new, self._authorities, self._anchors, now)
        kept = [item for item in self._held if not self._replaces(new, item)]
        if len(kept) >= MOST_CERTIFICATES:
            raise SecurityError(f"{len(kept)} certificates", expected=f"at most {MOST_CERTIFICATES}")
        self._held = [*kept, new]
        if owner is not None:
            self._pairs[new.kind] = owner
            self._waiting.pop(new.kind, None)
        return new

    def remove(self, certificate: Certificate) -> None:
        """Forget a certificate that was imported; raises `SecurityError` at an anchor."""
        if certificate not in self._held:
            raise SecurityError("an anchor of the meter", expected="a certificate that was imported")
        self._held.remove(certificate)

    def of_title(self, title: bytes, kind: CertificateKind) -> Certificate | None:
        """The certificate of a system title other than ours; None where there is none."""
        for item in self._held:
            if not item.authority and item.title == title and item.kind is kind:
                return item
        return None

    def public_key(self, title: bytes, kind: CertificateKind) -> ec.EllipticCurvePublicKey:
        """The key of a system title.

        Raises
        ------
        SecurityError
            There is no certificate of it, or it is not worth anything at present.
        """
        found = self.of_title(title, kind)
        if found is None:
            raise SecurityError(f"no certificate of {title.hex()} for {kind.name.lower()}")
        verify_chain(found, self._authorities, self._anchors, self._now())
        return found.public_key

    # --- pieces ---------------------------------------------------------------------------------------

    @property
    def _authorities(self) -> list[Certificate]:
        return [item for item in self._held if item.authority]

    def _owner(self, certificate: Certificate) -> ec.EllipticCurvePrivateKey:
        """Our private key that a certificate speaks of."""
        public = certificate.public_key.public_numbers()
        for pairs in (self._waiting, self._pairs):
            key = pairs.get(certificate.kind)
            if key is not None and key.public_key().public_numbers() == public:
                return key
        raise SecurityError("a certificate of a key that the meter has not", expected="one of its own keys")

    def _replaces(self, new: Certificate, old: Certificate) -> bool:
        if new.authority or old.authority:
            return new.der == old.der
        return (new.title, new.kind) == (old.title, old.kind)


def _of_suite(certificate: Certificate, suite: Suite) -> bool:
    return suite.curve is not None and certificate.public_key.curve.name == suite.curve.name
