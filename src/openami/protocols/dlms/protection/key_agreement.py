"""Agreeing on global keys: the ephemeral unified model C(2e,0s) of Security setup (class 64, key_agreement).

    key_data    ephemeral public key, and the sender's signature over key id and public key

Both sides send one and derive the same key (IEC 62056-5-3 clause 5.3.4.6, NIST SP 800-56A): the client is
party U, the meter party V. That the key id is signed too is recalled. Rule of this file: no key is derived
from a public key whose signature was not verified.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from openami.quantities.errors import ProtectionError
from openami.security import signature
from openami.security.meter_keys import KeyKind
from openami.security.secret import Secret
from openami.security.suites import Suite


class EphemeralOffer:
    """The client's half of one exchange; made for one key and used once.

    Parameters
    ----------
    suite:
        Suite 1 or 2.
    kind:
        The key that is agreed on.
    signing:
        Our signature key.
    """

    __slots__ = ("_ephemeral", "_kind", "_suite", "key_data")

    def __init__(self, suite: Suite, kind: KeyKind, signing: ec.EllipticCurvePrivateKey) -> None:
        self._suite = suite
        self._kind = kind
        self._ephemeral = signature.new_private_key(suite)
        public = signature.public_octets(self._ephemeral.public_key())
        signed = signature.sign(suite, signing, bytes((kind.value,)) + public)
        self.key_data = public + signed

    def agreed(
        self, answer: bytes, meter_key: ec.EllipticCurvePublicKey, client_title: bytes, meter_title: bytes
    ) -> Secret:
        """The key, from the meter's ``key_data``.

        Raises
        ------
        ProtectionError
            The meter did not sign it, or it is no public key of the curve.
        """
        half = self._suite.signature_octets
        if len(answer) != 2 * half:
            raise ProtectionError(f"key data of {len(answer)} octets", expected=f"{2 * half} octets")
        public, signed = answer[:half], answer[half:]
        signature.verify(self._suite, meter_key, bytes((self._kind.value,)) + public, signed)
        other = signature.public_key(self._suite, public)
        return signature.agreed_key(self._suite, self._ephemeral, other, client_title, meter_title)
