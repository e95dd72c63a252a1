"""Public key cryptography on the command line: whose files hold which keys, for both ends of an association.

Rule of this file: a passphrase comes from the environment or a prompt, never from the command line; a
certificate is held against its dates, its system title and, where there is one, its authority, before its key
is used.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.quantities.errors import FormatError, SecurityError
from openami.security.certificates import Certificate, CertificateKind, verify_chain
from openami.security.key_files import certificate_file, private_key_file, public_key_file
from openami.security.public_keys import PublicKeys
from openami.security.secret import Secret
from openami.security.signature import public_octets
from openami.security.suites import Suite, suite
from openami.workspace.meter_access import HEAD_END_TITLE

if TYPE_CHECKING:
    from openami.meter.public_key_spec import PublicKeySpec

PASSPHRASE_VARIABLE: Final = "OPENAMI_DLMS_PASSPHRASE"
GENERAL_CIPHERING: Final = "general-ciphering"
KEY_SOURCES: Final = {
    "global": KeySource.UNICAST,
    "broadcast": KeySource.BROADCAST,
    "wrapped": KeySource.WRAPPED,
    "one-pass": KeySource.ONE_PASS,
    "static": KeySource.STATIC,
}

SigningKeyOption = Annotated[
    Path | None, typer.Option("--signing-key", help="Own private signature key, PEM or DER.")
]
AgreementKeyOption = Annotated[
    Path | None, typer.Option("--agreement-key", help="Own private key agreement key, PEM or DER.")
]
TrustOption = Annotated[
    Path | None, typer.Option("--trust", help="Certificate of the authority that vouches for the other side.")
]


@dataclass(frozen=True, slots=True)
class PublicKeyFiles:
    """Where the keys of one side are.

    Parameters
    ----------
    signing_key, agreement_key:
        Our private keys.
    peer_certificate, peer_agreement_certificate:
        Their certificates, or bare public keys.
    peer_option, peer_agreement_option:
        What the options for them are called, for errors.
    trust:
        Certificate of the authority that must have signed theirs; None: whoever handed them in vouches.
    """

    signing_key: Path | None
    peer_certificate: Path | None
    agreement_key: Path | None
    peer_agreement_certificate: Path | None
    peer_option: str
    peer_agreement_option: str
    trust: Path | None = None

    @property
    def given(self) -> bool:
        """True where any of them is there."""
        files = (self.signing_key, self.peer_certificate, self.agreement_key, self.peer_agreement_certificate)
        return any(file is not None for file in files)

    def read(self, suite: Suite) -> PublicKeys:
        """The keys.

        Raises
        ------
        SecurityError
            A file cannot be used; one of a pair is missing; certificates of two titles; nobody trusted
            vouches for one.
        """
        _both(self.signing_key, self.peer_certificate, "--signing-key", self.peer_option)
        _both(
            self.agreement_key,
            self.peer_agreement_certificate,
            "--agreement-key",
            self.peer_agreement_option,
        )
        authority = None if self.trust is None else certificate_file(self.trust)
        found = [
            peer_key(file, suite, kind, authority)
            for file, kind in (
                (self.peer_certificate, CertificateKind.SIGNATURE),
                (self.peer_agreement_certificate, CertificateKind.AGREEMENT),
            )
        ]
        titles = {certificate.title for _, certificate in found if certificate is not None}
        if len(titles) > 1:
            raise SecurityError(
                "certificates of two system titles",
                where=self.peer_agreement_option,
                expected=" or ".join(sorted(title.hex() for title in titles)),
            )
        return PublicKeys(
            _private(self.signing_key, suite),
            found[0][0],
            _private(self.agreement_key, suite),
            found[1][0],
            titles.pop() if titles else None,
        )


def peer_key(
    file: Path | None, suite: Suite, kind: CertificateKind, authority: Certificate | None
) -> tuple[ec.EllipticCurvePublicKey | None, Certificate | None]:
    """The other side's public key for a purpose, and its certificate, held against an authority.

    Raises
    ------
    SecurityError
        It cannot be used, is for something else, or nobody trusted vouches for it.
    """
    if file is None:
        return None, None
    key, certificate = public_key_file(file, suite)
    if certificate is None and authority is not None:
        raise SecurityError("a bare key that nobody vouches for", where=str(file), expected="a certificate")
    if certificate is not None:
        if certificate.kind is not kind or not certificate.title:
            raise SecurityError(
                "a certificate of somebody or something else",
                where=str(file),
                expected=f"one for {kind.name.lower()} with a system title as its common name",
            )
        now = datetime.now(UTC)
        try:
            certificate.check_validity(now)
            if authority is not None:
                verify_chain(certificate, (), (authority,), now)
        except SecurityError as error:
            raise SecurityError(error.message, where=str(file), expected=error.expected) from None
    return key, certificate


def key_source(form: str, source: str | None) -> KeySource | None:
    """Source of the keys of general-ciphering; None for other forms; raises `FormatError`."""
    if form != GENERAL_CIPHERING:
        if source is not None:
            raise FormatError(
                f"a key source for {form}", where="--key-source", expected=f"--form {GENERAL_CIPHERING}"
            )
        return None
    try:
        return KEY_SOURCES[source or "global"]
    except KeyError:
        raise FormatError(
            f"key source {source!r}", where="--key-source", expected=", ".join(KEY_SOURCES)
        ) from None


def public_key_spec(
    files: PublicKeyFiles, mechanism: int, suite_number: int, anchor: Path | None
) -> PublicKeySpec | None:
    """The keys of a simulated meter and its client; None where there are none and the mechanism is 5.

    Parameters
    ----------
    anchor:
        Certificate of an authority that the meter trusts; None for none.

    Raises
    ------
    SecurityError
        As `PublicKeyFiles.read`; or the mechanism wants keys that are not there.
    """
    from openami.meter.public_key_spec import PublicKeySpec  # not for every command that reads a meter

    given = (
        files.signing_key, files.peer_certificate, files.agreement_key, files.peer_agreement_certificate,
        anchor,
    )  # fmt: skip
    if mechanism == Mechanism.HIGH_GMAC and not any(given):
        return None
    if mechanism == Mechanism.HIGH_ECDSA and files.signing_key is None:
        raise SecurityError(
            "mechanism 7 without keys", where="--signing-key", expected=f"it and {files.peer_option}"
        )
    keys = files.read(suite(suite_number))
    anchors = () if anchor is None else (certificate_file(anchor).der.hex(),)
    return PublicKeySpec(
        mechanism,
        (keys.peer_title or HEAD_END_TITLE).hex(),
        _scalar(keys.signing),
        _coordinates(keys.peer_signing),
        _scalar(keys.agreement),
        _coordinates(keys.peer_agreement),
        anchors,
    )


def _scalar(key: ec.EllipticCurvePrivateKey | None) -> str | None:
    if key is None:
        return None
    return key.private_numbers().private_value.to_bytes((key.curve.key_size + 7) // 8, "big").hex()


def _coordinates(key: ec.EllipticCurvePublicKey | None) -> str | None:
    return None if key is None else public_octets(key).hex()


def _both(own: Path | None, other: Path | None, own_name: str, other_name: str) -> None:
    if (own is None) != (other is None):
        missing = own_name if own is None else other_name
        raise SecurityError("one key of two", where=missing, expected=f"both {own_name} and {other_name}")


def _private(file: Path | None, suite: Suite) -> ec.EllipticCurvePrivateKey | None:
    return None if file is None else private_key_file(file, suite, lambda: passphrase_of(file))


def passphrase_of(file: Path) -> Secret | None:
    """Of the environment, or of whoever sits at the terminal."""
    text = os.environ.get(PASSPHRASE_VARIABLE)
    if text is None and sys.stdin.isatty():
        text = typer.prompt(f"passphrase of {file}", hide_input=True, err=True)
    return None if text is None else Secret(text.encode("utf-8"))
