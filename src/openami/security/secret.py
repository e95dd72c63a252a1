"""Secret octets that do not show themselves.

A `Secret` is bytes in a coat: its ``repr`` and ``str`` show a length, it compares in constant time, and it
cannot be pickled or formatted by accident. Rule of this file: the octets leave only through ``reveal()``; of
a password not even a fingerprint is shown, because whoever has one tries all the passwords there are.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NoReturn

from openami.quantities.errors import SecurityError


class Secret:
    """Octets of a key or a password.

    Examples
    --------
    >>> Secret(bytes(16))
    Secret(16 octets)
    >>> Secret(b"a") == Secret(b"a")
    True
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = bytes(octets)

    @classmethod
    def random(cls, length: int) -> Secret:
        """``length`` octets of the system's random generator."""
        return cls(secrets.token_bytes(length))

    @classmethod
    def from_hex(cls, text: str, *, length: int | None = None) -> Secret:
        """Octets written in hexadecimal digits; raises `SecurityError` without repeating them."""
        try:
            octets = bytes.fromhex(text)
        except ValueError:
            raise SecurityError("a key that is no hexadecimal number", expected="pairs of 0-9 a-f") from None
        if length is not None and len(octets) != length:
            raise SecurityError(f"a key of {len(octets)} octets", expected=f"{length} octets")
        return cls(octets)

    def reveal(self) -> bytes:
        """The octets."""
        return self._octets

    @property
    def fingerprint(self) -> str:
        """Eight digits by which two people can tell whether they have the same key; never of a password."""
        return hashlib.sha256(self._octets).hexdigest()[:8]

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash((Secret, self._octets))

    def __repr__(self) -> str:
        return f"Secret({len(self._octets)} octets)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
