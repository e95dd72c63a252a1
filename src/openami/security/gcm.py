"""AES-GCM with the 96-bit tag of DLMS/COSEM (NIST SP 800-38D; IEC 62056-5-3 clause 5.3.3).

The library's AEAD makes tags of 16 octets and knows no shorter ones; its slower interface does. Deciphering
is therefore done by enciphering twice with one reused key object: the counter mode is its own inverse, and
the tag that the plain text gives is compared in constant time. Rule of this file: no plain text leaves
before its tag is right.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from openami.quantities.errors import ProtectionError

TAG_OCTETS = 12
_FULL_TAG = 16


class Gcm:
    """AES-GCM under one key."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        """Cipher text and a tag of 12 octets."""
        return self._aead.encrypt(nonce, plain, associated)[: len(plain) + TAG_OCTETS]

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Plain text of a cipher text with its tag.

        Raises
        ------
        ProtectionError
            The tag is another, or there is none.
        """
        length = len(sealed) - TAG_OCTETS
        if length < 0:
            raise ProtectionError(f"{len(sealed)} octets where a tag should be", expected="12 and more")
        plain = self._aead.encrypt(nonce, sealed[:length], None)[:length]
        again = self._aead.encrypt(nonce, plain, associated)
        if not hmac.compare_digest(again[length : length + TAG_OCTETS], sealed[length:]):
            raise ProtectionError("the authentication tag is wrong")
        return plain

    def tag(self, nonce: bytes, associated: bytes) -> bytes:
        """Tag of 12 octets over octets that are not enciphered (GMAC)."""
        return self._aead.encrypt(nonce, b"", associated)[:TAG_OCTETS]

    def verify(self, nonce: bytes, tag: bytes, associated: bytes) -> None:
        """Raise `ProtectionError` where the tag of ``associated`` is another."""
        if not hmac.compare_digest(self.tag(nonce, associated), tag):
            raise ProtectionError("the authentication tag is wrong")

    def crypt(self, nonce: bytes, text: bytes) -> bytes:
        """Encipher or decipher without a tag."""
        return self._aead.encrypt(nonce, text, None)[:-_FULL_TAG]
