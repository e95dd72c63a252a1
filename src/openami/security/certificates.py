"""X.509 certificates of DLMS/COSEM (IEC 62056-5-3, RFC 5280): public keys of meters, clients and authorities.

    subject     common name: the system title in 16 hexadecimal digits
    key usage   digitalSignature or keyAgreement, never both; keyCertSign of authorities
    curves      P-256 or P-384; an authority of P-256 does not sign for P-384

What an authority may sign was read in public notes on the Green Book, the rest is recalled. Rule of this
file: what is held up against an anchor is verified whole, at the instant it is asked for: names, signatures,
usage, validity and every critical extension.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from openami.quantities.errors import SecurityError
from openami.security.meter_keys import SYSTEM_TITLE_OCTETS

MAX_CERTIFICATE_OCTETS: Final = 2048
LONGEST_CHAIN: Final = 4
"""Authorities between a certificate and its anchor, the anchor included."""

_CURVES: Final = frozenset(("secp256r1", "secp384r1"))
_HASHES: Final = (hashes.SHA256, hashes.SHA384)
_UNDERSTOOD: Final = frozenset(
    kind.oid
    for kind in (
        x509.KeyUsage, x509.BasicConstraints, x509.ExtendedKeyUsage, x509.SubjectAlternativeName,
    )
)  # fmt: skip
_UNREADABLE: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What the library raises at octets that are no certificate, or one that it does not know."""


class CertificateEntity(Enum):
    """Whose certificate it is; the value is that of ``certificate_entity`` (class 64)."""

    METER = 0
    CLIENT = 1
    AUTHORITY = 2
    OTHER = 3


class CertificateKind(Enum):
    """What its key is for; the value is that of ``certificate_type`` (class 64)."""

    SIGNATURE = 0
    AGREEMENT = 1
    TLS = 2
    OTHER = 3


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that was read; nobody vouches for it yet.

    Parameters
    ----------
    der:
        Its octets.
    kind:
        What its key is for; `CertificateKind.OTHER` of an authority's.
    authority:
        True where it may sign others.
    title:
        System title in the common name of its subject; empty where there is none.
    public_key:
        The key that it speaks of.
    parsed:
        Its parts.
    """

    der: bytes
    kind: CertificateKind
    authority: bool
    title: bytes
    public_key: ec.EllipticCurvePublicKey
    parsed: x509.Certificate

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """The certificate of its octets.

        Raises
        ------
        SecurityError
            It is too long, none, of another kind of key than the suites have, or says of its key what
            excludes each other.
        """
        if len(der) > MAX_CERTIFICATE_OCTETS:
            raise SecurityError(
                f"a certificate of {len(der)} octets", expected=f"at most {MAX_CERTIFICATE_OCTETS}"
            )
        try:
            parsed = x509.load_der_x509_certificate(der)
            key, extensions = parsed.public_key(), parsed.extensions
            names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            hashed = parsed.signature_hash_algorithm
            parsed.issuer.public_bytes()
        except _UNREADABLE:
            raise SecurityError("octets that are no certificate", expected="X.509 in DER") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
            raise SecurityError("a certificate of another kind of key", expected="P-256 or P-384")
        if not isinstance(hashed, _HASHES):
            raise SecurityError("a certificate signed otherwise", expected="ECDSA with SHA-256 or SHA-384")
        for extension in extensions:
            if extension.critical and extension.oid not in _UNDERSTOOD:
                raise SecurityError(f"a critical extension {extension.oid.dotted_string} in a certificate")
        kind, authority = _usage(extensions)
        return cls(bytes(der), kind, authority, _title(names), key, parsed)

    @property
    def serial_number(self) -> bytes:
        """Its number, as the octets of the INTEGER in it."""
        number = self.parsed.serial_number
        return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)

    @property
    def issuer(self) -> bytes:
        """The name of who signed it, in DER."""
        return self.parsed.issuer.public_bytes()

    @property
    def subject(self) -> bytes:
        """The name of whose it is, in DER."""
        return self.parsed.subject.public_bytes()

    @property
    def alternative_name(self) -> bytes:
        """The subject's alternative names (the extension's value in DER); empty without."""
        try:
            found = self.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return b""
        return found.value.public_bytes()

    def check_validity(self, now: datetime) -> None:
        """Raise `SecurityError` where it is not valid at an instant (timezone-aware)."""
        first, last = self.parsed.not_valid_before_utc, self.parsed.not_valid_after_utc
        if not first <= now <= last:
            raise SecurityError(
                f"a certificate that is valid from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC",
                expected=f"one that is valid at {now:%Y-%m-%d %H:%M}",
            )


def verify_chain(
    certificate: Certificate,
    authorities: Iterable[Certificate],
    anchors: Iterable[Certificate],
    now: datetime,
) -> None:
    """Raise `SecurityError` where no chain leads from a certificate to an anchor.

    Parameters
    ----------
    certificate:
        What is held against them.
    authorities:
        Certificates of authorities that may stand between.
    anchors:
        Those that are trusted themselves; of them, too, the validity is checked.
    now:
        The instant at which all of it must be valid.
    """
    between, trusted = tuple(authorities), tuple(anchors)
    present = certificate
    for below in range(LONGEST_CHAIN + 1):
        present.check_validity(now)
        if any(anchor.der == present.der for anchor in trusted):
            return
        signer = next((item for item in trusted if _issued(item, present, below)), None)
        signer = signer or next((item for item in between if _issued(item, present, below)), None)
        if signer is None or signer.der == present.der:
            break
        present = signer
    raise SecurityError(
        "a certificate that no trusted authority vouches for", expected="a chain to an anchor of the meter"
    )


def certificate_request(title: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Request for a certificate (PKCS #10, in DER) of a key for a system title."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title.hex().upper())])
    hashed = hashes.SHA256() if key.curve.key_size <= 256 else hashes.SHA384()
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashed)
    return request.public_bytes(serialization.Encoding.DER)


def _usage(extensions: x509.Extensions) -> tuple[CertificateKind, bool]:
    """What a key is for, and whether it may sign certificates."""
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise SecurityError("a certificate that does not say what its key is for") from None
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        authority = constraints.ca
    except x509.ExtensionNotFound:
        authority = False
    if authority != usage.key_cert_sign:
        raise SecurityError(
            "a certificate that is half an authority's", expected="CA and keyCertSign, or none"
        )
    if authority:
        return CertificateKind.OTHER, True
    try:
        extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        if usage.digital_signature == usage.key_agreement:
            raise SecurityError(
                "a certificate for both purposes or none", expected="digitalSignature or keyAgreement"
            ) from None
        return (CertificateKind.SIGNATURE if usage.digital_signature else CertificateKind.AGREEMENT), False
    return CertificateKind.TLS, False


def _title(names: list[x509.NameAttribute[str | bytes]]) -> bytes:
    """System title of the one common name, where it is sixteen hexadecimal digits."""
    if len(names) != 1 or not isinstance(names[0].value, str):
        return b""
    try:
        title = bytes.fromhex(names[0].value)
    except ValueError:
        return b""
    return title if len(title) == SYSTEM_TITLE_OCTETS and len(names[0].value) == 2 * len(title) else b""


def _issued(signer: Certificate, certificate: Certificate, below: int) -> bool:
    """True where one certificate signed another, with at most ``below`` authorities under it."""
    if not signer.authority or signer.parsed.subject != certificate.parsed.issuer:
        return False
    if signer.public_key.curve.key_size < certificate.public_key.curve.key_size:
        return False
    constraints = signer.parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
    if constraints.path_length is not None and constraints.path_length < below:
        return False
    try:
        certificate.parsed.verify_directly_issued_by(signer.parsed)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
