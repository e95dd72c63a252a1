"""General-signing (IEC 62056-5-3, tag df): an APDU, plain or ciphered, with the originator's ECDSA signature.

    df  header  content (octet string)  signature (octet string: r, s of P-256 or P-384)

The signature is made over the header and the content as they are encoded, lengths included: recalled, and so
in a public description of the Green Book (figure 85); Gurux' Java library leaves the length of the content
out, and gurux-dlms 1.0.203 has no general-signing. Rule of this file: nothing comes out that the holder of
the key did not sign for us, and no transaction-id of theirs is believed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.encoding.octets import Reader, encode_octets
from openami.protocols.dlms.protection.general_header import GeneralHeader
from openami.quantities.errors import ProtectionError, RemoteProtocolError
from openami.security import signature
from openami.security.suites import Suite

GENERAL_SIGNING: Final = 0xDF


@dataclass(frozen=True, slots=True)
class GeneralSigning:
    """One signed APDU, not yet verified."""

    header: GeneralHeader
    content: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The octets that the signature is made over."""
        return self.header.to_bytes() + encode_octets(self.content)

    def to_bytes(self) -> bytes:
        """The APDU."""
        return bytes((GENERAL_SIGNING,)) + self.signed + encode_octets(self.signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> GeneralSigning:
        """The APDU of its octets; raises `RemoteProtocolError`."""
        reader = Reader(data)
        if reader.u8() != GENERAL_SIGNING:
            raise RemoteProtocolError(f"tag {data[0]:#04x}", where="byte 0", expected="0xdf")
        message = cls(GeneralHeader.read(reader), reader.octets(), reader.octets())
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Signer:
    """Signatures of both directions.

    Parameters
    ----------
    suite:
        Suite 1 or 2.
    own, peer:
        Our private and their public signature key.
    """

    suite: Suite
    own: ec.EllipticCurvePrivateKey
    peer: ec.EllipticCurvePublicKey

    def sign(self, header: GeneralHeader, content: bytes) -> bytes:
        """An APDU with our signature."""
        message = GeneralSigning(header, content, b"")
        signed = signature.sign(self.suite, self.own, message.signed)
        return GeneralSigning(header, content, signed).to_bytes()

    def verified(self, data: bytes, originator: bytes, recipient: bytes) -> GeneralSigning:
        """A message of theirs to us.

        Raises
        ------
        ProtectionError
            It is of somebody else, to somebody else, or the signature is wrong.
        RemoteProtocolError
            It is no such APDU.
        """
        message = GeneralSigning.from_bytes(data)
        header = message.header
        if header.originator != originator or header.recipient not in (b"", recipient):
            raise ProtectionError(
                f"an APDU of {header.originator.hex()} to {header.recipient.hex()}",
                expected=f"of {originator.hex()} to {recipient.hex()}",
            )
        signature.verify(self.suite, self.peer, message.signed, message.signature)
        if not message.content:
            raise ProtectionError("a signed APDU of no octets")
        return message
