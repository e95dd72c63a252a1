"""Private keys, public keys and certificates of elliptic curves in files: PEM or DER (RFC 7468, 5958, 5280).

Rule of this file: a private key that others may read is refused, as a store key is, and no error repeats what
stood in a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from openami.quantities.errors import SecurityError
from openami.security.certificates import Certificate
from openami.security.secret import Secret
from openami.security.suites import Suite

MAX_FILE_OCTETS: Final = 65_536
_PEM: Final = b"-----BEGIN "


def private_key_file(
    file: Path, suite: Suite, passphrase: Callable[[], Secret | None]
) -> ec.EllipticCurvePrivateKey:
    """The private key in a file.

    Parameters
    ----------
    file:
        PEM or DER; PKCS #8 or SEC 1.
    suite:
        Suite 1 or 2, whose curve it must have.
    passphrase:
        Asked where the key is encrypted; None where nobody knows one.

    Raises
    ------
    SecurityError
        It cannot be read, others may read it, it is no such key, or the passphrase is wrong.
    """
    content = _content(file, forbidden=0o077)
    load = serialization.load_der_private_key
    if content.lstrip().startswith(_PEM):
        load = serialization.load_pem_private_key
    try:
        try:
            key = load(content, None)
        except TypeError:  # it is encrypted
            given = passphrase()
            if given is None:
                raise SecurityError("an encrypted key", where=str(file), expected="its passphrase") from None
            key = load(content, given.reveal())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecurityError(
            "no private key, or another passphrase", where=str(file), expected="PEM or DER of an EC key"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SecurityError("another kind of key", where=str(file), expected="one of an elliptic curve")
    _check_curve(key.curve, suite, file)
    return key


def public_key_file(file: Path, suite: Suite) -> tuple[ec.EllipticCurvePublicKey, Certificate | None]:
    """The public key in a file, and the certificate that it came with (None for a bare key).

    Raises
    ------
    SecurityError
        It cannot be read, or is no such key or certificate.
    """
    content = _content(file)
    try:
        certificate: Certificate | None = certificate_of(content)
    except SecurityError:
        certificate = None
    if certificate is not None:
        _check_curve(certificate.public_key.curve, suite, file)
        return certificate.public_key, certificate
    load = serialization.load_der_public_key
    if content.lstrip().startswith(_PEM):
        load = serialization.load_pem_public_key
    try:
        key = load(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecurityError(
            "neither a public key nor a certificate of the suites", where=str(file), expected="PEM or DER"
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise SecurityError("another kind of key", where=str(file), expected="one of an elliptic curve")
    _check_curve(key.curve, suite, file)
    return key, None


def certificate_file(file: Path) -> Certificate:
    """The certificate in a file; raises `SecurityError`."""
    try:
        return certificate_of(_content(file))
    except SecurityError as error:
        raise SecurityError(error.message, where=str(file), expected=error.expected) from None


def certificate_of(content: bytes) -> Certificate:
    """The certificate of PEM or DER; raises `SecurityError`."""
    if not content.lstrip().startswith(_PEM):
        return Certificate.from_der(content)
    try:
        parsed = x509.load_pem_x509_certificate(content)
    except ValueError:
        raise SecurityError("octets that are no certificate", expected="X.509 in PEM or DER") from None
    return Certificate.from_der(parsed.public_bytes(serialization.Encoding.DER))


def _content(file: Path, forbidden: int = 0) -> bytes:
    try:
        with file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & forbidden:
                raise SecurityError("others may read the private key", where=str(file), expected="mode 0600")
            content = stream.read(MAX_FILE_OCTETS + 1)
    except OSError as error:
        raise SecurityError(f"cannot be read: {error.strerror or error}", where=str(file)) from None
    if len(content) > MAX_FILE_OCTETS:
        raise SecurityError("a file that is too long", where=str(file), expected=f"{MAX_FILE_OCTETS} octets")
    return content


def _check_curve(curve: ec.EllipticCurve, suite: Suite, file: Path) -> None:
    if suite.curve is None:
        raise SecurityError(f"suite {suite.number} has no signatures", where="--suite", expected="1 or 2")
    if curve.name != suite.curve.name:
        raise SecurityError(
            f"a key of {curve.name}",
            where=str(file),
            expected=f"{suite.curve.name}, as suite {suite.number} has it",
        )
