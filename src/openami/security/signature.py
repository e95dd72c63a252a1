"""ECDSA and ECDH as DLMS/COSEM uses them (IEC 62056-5-3 clause 5.3.4; FIPS 186-4, NIST SP 800-56A).

Signatures are ``r || s`` of fixed length, public keys the two coordinates without a prefix. The key
derivation is the single-step function of SP 800-56A with one round of the suite's hash; the identifiers of
algorithms are recalled (2.16.756.5.8.3.n) and were checked against gurux-dlms.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from openami.quantities.errors import ProtectionError, SecurityError
from openami.security.secret import Secret
from openami.security.suites import Suite

_ALGORITHMS = {16: bytes.fromhex("60857405080300"), 32: bytes.fromhex("60857405080301")}
"""Algorithm identifiers of AES-GCM-128 and -256, by octets of the key."""


def _curve(suite: Suite) -> ec.EllipticCurve:
    if suite.curve is None:
        raise SecurityError(f"suite {suite.number} has no signatures", expected="suite 1 or 2")
    return suite.curve


def _hash(suite: Suite) -> hashes.HashAlgorithm:
    if suite.hash_algorithm is None:
        raise SecurityError(f"suite {suite.number} has no hash", expected="suite 1 or 2")
    return suite.hash_algorithm


def new_private_key(suite: Suite) -> ec.EllipticCurvePrivateKey:
    """A fresh key of the suite's curve."""
    return ec.generate_private_key(_curve(suite))


def private_key(suite: Suite, scalar: Secret) -> ec.EllipticCurvePrivateKey:
    """The key of a secret number; raises `SecurityError` where it is none of the curve."""
    try:
        return ec.derive_private_key(int.from_bytes(scalar.reveal(), "big"), _curve(suite))
    except ValueError:
        raise SecurityError(f"no private key of suite {suite.number}") from None


def public_octets(key: ec.EllipticCurvePublicKey) -> bytes:
    """The two coordinates of a public key."""
    numbers = key.public_numbers()
    length = (key.curve.key_size + 7) // 8
    return numbers.x.to_bytes(length, "big") + numbers.y.to_bytes(length, "big")


def public_key(suite: Suite, octets: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of its coordinates; raises `ProtectionError` where they are no point of the curve."""
    curve = _curve(suite)
    if len(octets) != suite.signature_octets:
        raise ProtectionError(
            f"a public key of {len(octets)} octets", expected=f"{suite.signature_octets} octets"
        )
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + octets)
    except ValueError:
        raise ProtectionError("a public key that is no point of the curve") from None


def sign(suite: Suite, key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Signature ``r || s`` of a message."""
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(_hash(suite))))
    length = suite.signature_octets // 2
    return r.to_bytes(length, "big") + s.to_bytes(length, "big")


def verify(suite: Suite, key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> None:
    """Raise `ProtectionError` where the signature is not the key holder's of this message."""
    if len(signature) != suite.signature_octets:
        raise ProtectionError(
            f"a signature of {len(signature)} octets", expected=f"{suite.signature_octets} octets"
        )
    half = suite.signature_octets // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    try:
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(_hash(suite)))
    except InvalidSignature:
        raise ProtectionError("the signature is wrong") from None


def agreed_key(
    suite: Suite,
    own: ec.EllipticCurvePrivateKey,
    other: ec.EllipticCurvePublicKey,
    originator: bytes,
    recipient: bytes,
) -> Secret:
    """Key that both sides derive from a Diffie-Hellman exchange.

    Parameters
    ----------
    suite:
        The suite; its key length is that of the key agreed on.
    own, other:
        Keys of the exchange.
    originator, recipient:
        PartyUInfo and PartyVInfo: system titles, with what the scheme appends to them.
    """
    shared = own.exchange(ec.ECDH(), other)
    information = _ALGORITHMS[suite.key_octets] + originator + recipient
    derived = ConcatKDFHash(_hash(suite), suite.key_octets, information).derive(shared)
    return Secret(derived)
