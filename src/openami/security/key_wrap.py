"""AES key wrap (RFC 3394): how a key travels under a master key."""

from __future__ import annotations

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from openami.quantities.errors import ProtectionError
from openami.security.secret import Secret


def wrap(master: Secret, key: Secret) -> bytes:
    """The key under the master key: eight octets longer."""
    return aes_key_wrap(master.reveal(), key.reveal())


def unwrap(master: Secret, wrapped: bytes) -> Secret:
    """The key; raises `ProtectionError` where it was wrapped under another master key, or damaged."""
    try:
        return Secret(aes_key_unwrap(master.reveal(), wrapped))
    except (InvalidUnwrap, ValueError):
        raise ProtectionError("a key that was not wrapped under this master key") from None
