"""Certificates for tests: an authority, and what it signs for system titles."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from openami.security.certificates import CertificateKind

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(**given: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{key: given.get(key, False) for key in names})


def hashed(key: ec.EllipticCurvePrivateKey) -> hashes.HashAlgorithm:
    return hashes.SHA384() if key.curve.key_size > 256 else hashes.SHA256()


class Authority:
    """One that signs certificates; of itself, or below another."""

    def __init__(
        self,
        text: str = "Root of the tests",
        curve: ec.EllipticCurve | None = None,
        above: Authority | None = None,
        path_length: int | None = None,
    ) -> None:
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.name = name(text)
        signer = above or self
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(FIRST)
            .not_valid_after(LAST)
            .add_extension(x509.BasicConstraints(True, path_length), critical=True)
            .add_extension(usage(key_cert_sign=True), critical=True)
            .sign(signer.key, hashed(signer.key))
        )

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(DER)

    def certify(
        self,
        subject: bytes | str,
        key: ec.EllipticCurvePublicKey,
        kind: CertificateKind = CertificateKind.SIGNATURE,
        *,
        first: datetime = FIRST,
        last: datetime = LAST,
        extra: x509.ExtensionType | None = None,
        critical: bool = True,
    ) -> bytes:
        """A certificate in DER for a system title, or a name."""
        text = subject.hex().upper() if isinstance(subject, bytes) else subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(text))
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(first)
            .not_valid_after(last)
            .add_extension(
                usage(
                    digital_signature=kind is CertificateKind.SIGNATURE,
                    key_agreement=kind is CertificateKind.AGREEMENT,
                ),
                critical,
            )
        )
        if extra is not None:
            builder = builder.add_extension(extra, critical=True)
        return builder.sign(self.key, hashed(self.key)).public_bytes(DER)


def write_private(file: Path, key: ec.EllipticCurvePrivateKey, passphrase: str | None = None) -> Path:
    """A private key as PKCS #8 in PEM, for its owner alone."""
    sealed: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        sealed = serialization.BestAvailableEncryption(passphrase.encode())
    file.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, sealed))
    file.chmod(0o600)
    return file


def write_public(file: Path, key: ec.EllipticCurvePublicKey) -> Path:
    """A public key in PEM."""
    file.write_bytes(key.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return file
