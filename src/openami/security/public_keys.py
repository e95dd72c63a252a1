"""Public key cryptography of a utility, as its keyring keeps it: our private keys, what is public of meters.

Our keys are one of a kind: a signature key and a key agreement key for each suite, by which all meters know
us. Of a meter its mechanism, and its certificates or bare public keys, are recorded. Rule never to be broken:
a certificate is held against its dates, its purpose and the meter's system title whenever its key is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from openami.quantities.errors import ProtectionError, SecurityError
from openami.security.certificates import Certificate, CertificateKind
from openami.security.keyring import Keyring
from openami.security.secret import Secret
from openami.security.signature import private_key, public_key
from openami.security.suites import Suite

_MECHANISM: Final = "mechanism"
_NAMES: Final = {CertificateKind.SIGNATURE: "signature", CertificateKind.AGREEMENT: "agreement"}
_GMAC, _ECDSA = 5, 7


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Keys of one side of an association.

    Parameters
    ----------
    signing, peer_signing:
        Our private and their public signature key.
    agreement, peer_agreement:
        Our private and their public key agreement key.
    peer_title:
        System title that their certificates name; None where there are none.
    """

    signing: ec.EllipticCurvePrivateKey | None = None
    peer_signing: ec.EllipticCurvePublicKey | None = None
    agreement: ec.EllipticCurvePrivateKey | None = None
    peer_agreement: ec.EllipticCurvePublicKey | None = None
    peer_title: bytes | None = None


@dataclass(frozen=True, slots=True)
class MeterPublicKeys:
    """What is public of a meter.

    Parameters
    ----------
    mechanism:
        By which its management client proves itself: 5 (GMAC) or 7 (ECDSA).
    signature, agreement:
        Its certificate in DER, or the two coordinates of a bare public key; empty where there is none.

    Raises
    ------
    SecurityError
        Another mechanism, or 7 without a signature key.
    """

    mechanism: int = _GMAC
    signature: bytes = b""
    agreement: bytes = b""

    def __post_init__(self) -> None:
        if self.mechanism not in (_GMAC, _ECDSA):
            raise SecurityError(f"mechanism {self.mechanism}", expected="5 or 7")
        if self.mechanism == _ECDSA and not self.signature:
            raise SecurityError("mechanism 7 without the meter's key", expected="its signature certificate")

    @property
    def signs(self) -> bool:
        """True where the management client proves itself by signatures."""
        return self.mechanism == _ECDSA

    def key(
        self, kind: CertificateKind, suite: Suite, title: bytes | None, now: datetime
    ) -> ec.EllipticCurvePublicKey | None:
        """The meter's public key for a purpose; None where there is none.

        Raises
        ------
        SecurityError
            As `held`; or its certificate is not valid at that instant.
        """
        held = self.held(kind, suite, title)
        if isinstance(held, Certificate):
            held.check_validity(now)
            return held.public_key
        return held

    def held(
        self, kind: CertificateKind, suite: Suite, title: bytes | None
    ) -> Certificate | ec.EllipticCurvePublicKey | None:
        """What is recorded for a purpose, whatever the time: a certificate, a bare key, or None.

        Parameters
        ----------
        title:
            System title of the meter; None where it is not known.

        Raises
        ------
        SecurityError
            It is none of the suite, or its certificate is for something or somebody else.
        """
        octets = self.signature if kind is CertificateKind.SIGNATURE else self.agreement
        if not octets:
            return None
        if suite.curve is None:
            raise SecurityError(f"public keys in suite {suite.number}", expected="suite 1 or 2")
        if len(octets) == suite.signature_octets:
            try:
                return public_key(suite, octets)
            except ProtectionError as error:
                raise SecurityError(error.message, expected=error.expected) from None
        certificate = Certificate.from_der(octets)
        if certificate.kind is not kind or title not in (None, certificate.title) or not certificate.title:
            whose, wanted = certificate.title.hex() or "nobody", "a meter" if title is None else title.hex()
            raise SecurityError(
                f"a certificate of {whose}, for {certificate.kind.name.lower()}",
                expected=f"one of {wanted}, for {kind.name.lower()}",
            )
        if certificate.public_key.curve.name != suite.curve.name:
            raise SecurityError(
                f"a certificate of {certificate.public_key.curve.name}",
                expected=f"{suite.curve.name}, as suite {suite.number} has it",
            )
        return certificate


def put_own_key(
    keyring: Keyring, kind: CertificateKind, suite: Suite, key: ec.EllipticCurvePrivateKey
) -> None:
    """Record our private key for a purpose in a suite; the one before stays as a version."""
    scalar = key.private_numbers().private_value.to_bytes((key.curve.key_size + 7) // 8, "big")
    keyring.put_own(_NAMES[kind], suite.number, Secret(scalar))


def own_key(keyring: Keyring, kind: CertificateKind, suite: Suite) -> ec.EllipticCurvePrivateKey | None:
    """Our private key for a purpose in a suite; None where the keyring has none."""
    if suite.curve is None:
        return None
    scalar = keyring.own(_NAMES[kind], suite.number)
    return None if scalar is None else private_key(suite, scalar)


def put_meter_keys(keyring: Keyring, keys: Mapping[str, MeterPublicKeys]) -> None:
    """Record what is public of meters, all or none; what is there already and the same is left alone."""
    known = meter_keys_of(keyring, keys)
    keyring.put_public(
        {
            meter: {
                _MECHANISM: bytes((new.mechanism,)),
                _NAMES[CertificateKind.SIGNATURE]: new.signature,
                _NAMES[CertificateKind.AGREEMENT]: new.agreement,
            }
            for meter, new in keys.items()
            if known.get(meter) != new
        }
    )


def meter_keys_of(keyring: Keyring, meters: Iterable[str]) -> dict[str, MeterPublicKeys]:
    """What is public of those of many meters of which something was recorded."""
    known = keyring.public_of(meters, (_MECHANISM, *_NAMES.values()))
    return {
        meter: MeterPublicKeys(
            int.from_bytes(parts.get(_MECHANISM, b""), "big") or _GMAC,
            parts.get(_NAMES[CertificateKind.SIGNATURE], b""),
            parts.get(_NAMES[CertificateKind.AGREEMENT], b""),
        )
        for meter, parts in known.items()
    }


def keys_with(
    keyring: Keyring, meter: MeterPublicKeys, suite: Suite, title: bytes | None, now: datetime
) -> PublicKeys:
    """Our keys and a meter's, as far as both sides of a pair are there.

    Raises
    ------
    SecurityError
        As `MeterPublicKeys.key`; or the meter wants signatures and we have no key for them.
    """
    signing, agreement = (own_key(keyring, kind, suite) for kind in _NAMES)
    peer_signing, peer_agreement = (meter.key(kind, suite, title, now) for kind in _NAMES)
    if meter.signs and signing is None:
        raise SecurityError(
            f"the keyring has no signature key of ours for suite {suite.number}",
            expected="`ami dlms keys import-own FILE`",
        )
    if signing is None or peer_signing is None:
        signing = peer_signing = None
    if agreement is None or peer_agreement is None:
        agreement = peer_agreement = None
    return PublicKeys(signing, peer_signing, agreement, peer_agreement, title)
