"""Everything that protects the APDUs of one association, in the order of the layers.

    plain APDU -> glo, ded, general-glo, general-ded (`ciphering`) or general-ciphering -> general-signing

An answer is protected as its request was, in the same transaction. Rule of this file: what is opened has at
least the protection that is required and no form that was not accepted; there is one layer of each kind, and
neither ACSE nor a block transfer inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from openami.protocols.dlms.apdus.acse import AARE, AARQ, RLRE, RLRQ
from openami.protocols.dlms.apdus.general_block import GENERAL_BLOCK_TRANSFER
from openami.protocols.dlms.protection.ciphered_apdu import CIPHERED_TAGS, Form
from openami.protocols.dlms.protection.ciphering import MAX_OVERHEAD, Cipher, CounterUsedError
from openami.protocols.dlms.protection.general_ciphering import (
    GENERAL_CIPHERING,
    AgreementKeys,
    GeneralCipher,
    KeySource,
)
from openami.protocols.dlms.protection.general_header import GeneralHeader
from openami.protocols.dlms.protection.general_signing import GENERAL_SIGNING, Signer
from openami.protocols.dlms.protection.security_control import Protection
from openami.quantities.errors import LocalProtocolError, ProtectionError
from openami.security.counters import MAX_COUNTER

PROTECTED_TAGS: Final = CIPHERED_TAGS | {GENERAL_CIPHERING, GENERAL_SIGNING}
TRANSACTION_OCTETS: Final = 8

_NEVER_INSIDE = frozenset((AARQ, AARE, RLRQ, RLRE, GENERAL_BLOCK_TRANSFER)) | PROTECTED_TAGS
_HEADER = 1 + 3 * (1 + TRANSACTION_OCTETS) + 2
_GENERAL_OVERHEAD = MAX_OVERHEAD + _HEADER + 4 + 4 * 48 + 4
_SIGNING_OVERHEAD = _HEADER + 5 + 2 + 2 * 48


class Signing(Enum):
    """What is said to signed APDUs."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an APDU may and must have.

    Parameters
    ----------
    minimum:
        Protection at least.
    sources:
        Sources of keys of general-ciphering; empty where that form is refused.
    signing:
        Whether it may or must be signed.
    """

    minimum: Protection = Protection.NONE
    sources: frozenset[KeySource] = frozenset()
    signing: Signing = Signing.REFUSED

    @property
    def anything(self) -> bool:
        """True where something is required of an APDU."""
        return bool(self.minimum) or self.signing is Signing.REQUIRED

    @property
    def needs_keys(self) -> bool:
        """True where general-ciphering or signing may come."""
        return bool(self.sources) or self.signing is not Signing.REFUSED

    @property
    def overhead(self) -> int:
        """Octets that protection adds to an APDU at most."""
        ciphered = bool(self.minimum) or self.needs_keys
        ciphering = _GENERAL_OVERHEAD if self.sources else MAX_OVERHEAD if ciphered else 0
        return ciphering + (0 if self.signing is Signing.REFUSED else _SIGNING_OVERHEAD)


@dataclass(frozen=True, slots=True)
class Manner:
    """How an APDU is protected.

    Parameters
    ----------
    level:
        Authenticated, encrypted, both or neither.
    form:
        How it is tagged, where it is ciphered at all and ``source`` is None.
    source:
        Source of the key of general-ciphering; None for the other forms.
    signed:
        True for a signature around it.
    transaction:
        Transaction-id; what an answer repeats.
    """

    level: Protection
    form: Form | None = Form.GLOBAL
    source: KeySource | None = None
    signed: bool = False
    transaction: bytes = b""

    @property
    def plain(self) -> bool:
        """True where nothing protects the APDU."""
        return self.form is None and self.source is None and not self.signed


class MessageProtection:
    """The layers of one association.

    Invariant: the counters of `Cipher`; a transaction-id of a signed APDU is believed once.

    Parameters
    ----------
    cipher:
        Keys, titles and counters.
    agreement:
        Keys for agreed keys.
    signer:
        Signature keys of both sides; None where nothing is signed.
    """

    __slots__ = ("_general", "_signer", "cipher")

    def __init__(
        self, cipher: Cipher, agreement: AgreementKeys | None = None, signer: Signer | None = None
    ) -> None:
        self.cipher = cipher
        self._general = GeneralCipher(cipher, agreement)
        self._signer = signer

    def new_transaction(self) -> bytes:
        """A transaction-id that is higher than all before; it uses up an invocation counter."""
        return self.cipher.send.take().to_bytes(TRANSACTION_OCTETS, "big")

    def seal(self, apdu: bytes, manner: Manner) -> bytes:
        """An APDU in its layers.

        Raises
        ------
        LocalProtocolError
            There are no keys for them.
        SecurityError
            The counters are used up.
        """
        if manner.source is not None:
            apdu = self._general.seal(apdu, manner.level, manner.source, manner.transaction)
        elif manner.form is not None:
            apdu = self.cipher.seal(apdu, manner.level, manner.form)
        if not manner.signed:
            return apdu
        if self._signer is None:
            raise LocalProtocolError("no key to sign with")
        header = GeneralHeader(manner.transaction, self.cipher.own_title, self.cipher.peer_title)
        return self._signer.sign(header, apdu)

    def open(self, data: bytes, accepted: Accepted) -> tuple[bytes, Manner]:
        """The APDU in its layers, and how it was protected.

        Raises
        ------
        CounterUsedError
            Its counter was used before.
        ProtectionError
            It is protected otherwise than is accepted, or wrongly.
        RemoteProtocolError
            It is no APDU.
        """
        signed, transaction = data[:1] == bytes((GENERAL_SIGNING,)), b""
        if signed:
            data, transaction = self._verified(data, accepted)
        elif accepted.signing is Signing.REQUIRED:
            raise ProtectionError("an APDU without a signature", expected="general-signing")
        apdu, manner = self._deciphered(data, accepted, signed, transaction)
        if not manner.plain and apdu[0] in _NEVER_INSIDE:
            raise ProtectionError(f"an APDU {apdu[0]:#04x} inside a protected one")
        return apdu, manner

    def _deciphered(
        self, data: bytes, accepted: Accepted, signed: bool, transaction: bytes
    ) -> tuple[bytes, Manner]:
        """The APDU inside its ciphering, if it has one."""
        tag = data[0] if data else 0
        if tag == GENERAL_CIPHERING:
            if not accepted.sources:
                raise ProtectionError("general-ciphering was not agreed on")
            opened = self._general.open(data, accepted.minimum, accepted.sources)
            if signed and opened.transaction != transaction:
                raise ProtectionError("a signature of another transaction than the content")
            return opened.apdu, Manner(opened.level, None, opened.source, signed, opened.transaction)
        if tag in CIPHERED_TAGS:
            plain = self.cipher.open(data, accepted.minimum)
            return plain.apdu, Manner(plain.header.level, plain.form, None, signed, transaction)
        if accepted.minimum:
            raise ProtectionError(f"an unprotected APDU {tag:#04x}", expected="an APDU protected as agreed")
        return data, Manner(Protection.NONE, None, None, signed, transaction)

    def _verified(self, data: bytes, accepted: Accepted) -> tuple[bytes, bytes]:
        """Content and transaction-id of a signed APDU that was never seen before."""
        if accepted.signing is Signing.REFUSED or self._signer is None:
            raise ProtectionError("general-signing was not agreed on")
        cipher = self.cipher
        message = self._signer.verified(data, cipher.peer_title, cipher.own_title)
        transaction = message.header.transaction
        if len(transaction) != TRANSACTION_OCTETS:
            raise ProtectionError(
                f"a transaction-id of {len(transaction)} octets", expected=f"{TRANSACTION_OCTETS} octets"
            )
        if message.content[0] in CIPHERED_TAGS or message.content[0] == GENERAL_CIPHERING:
            return message.content, transaction  # the invocation counter inside tells a replay
        name = f"{cipher.peer_title.hex()}/{cipher.keys.global_unicast.fingerprint}/signed"
        number = int.from_bytes(transaction, "big")
        if number < (lowest := cipher.received.expected(name)):
            raise CounterUsedError(number, lowest)
        if number > MAX_COUNTER:
            raise ProtectionError(f"transaction-id {number}", expected=f"at most {MAX_COUNTER}")
        cipher.received.believe(name, number)
        return message.content, transaction
