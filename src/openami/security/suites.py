"""The three security suites of DLMS/COSEM (IEC 62056-5-3 clause 5.3, table of suites).

suite  cipher       key wrap     signature            key agreement  hash
0      AES-GCM-128  AES-128 KW   -                    -              -
1      AES-GCM-128  AES-128 KW   ECDSA P-256          ECDH P-256     SHA-256
2      AES-GCM-256  AES-256 KW   ECDSA P-384          ECDH P-384     SHA-384
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from openami.quantities.errors import SecurityError


@dataclass(frozen=True, slots=True)
class Suite:
    """One security suite.

    Parameters
    ----------
    number:
        Its id, 0 to 2.
    key_octets:
        Length of the symmetric keys.
    curve, hash_algorithm:
        Of signatures and key agreement; None where the suite has none.
    """

    number: int
    key_octets: int
    curve: ec.EllipticCurve | None = None
    hash_algorithm: hashes.HashAlgorithm | None = None

    @property
    def signature_octets(self) -> int:
        """Octets of a signature ``r || s``; 0 without signatures."""
        return 0 if self.curve is None else 2 * ((self.curve.key_size + 7) // 8)


SUITE_0 = Suite(0, 16)
SUITE_1 = Suite(1, 16, ec.SECP256R1(), hashes.SHA256())
SUITE_2 = Suite(2, 32, ec.SECP384R1(), hashes.SHA384())
SUITES: tuple[Suite, ...] = (SUITE_0, SUITE_1, SUITE_2)


def suite(number: int) -> Suite:
    """The suite of an id; raises `SecurityError` where there is none."""
    if not 0 <= number < len(SUITES):
        raise SecurityError(f"security suite {number}", expected="0, 1 or 2")
    return SUITES[number]
