"""General-ciphering (IEC 62056-5-3, tag dd): an APDU under a key that the message itself tells of.

    dd  header  [ 00 identified key: which | 01 wrapped key: kek, key | 02 agreed key: scheme, data ]  text

    identified  global unicast (0) or broadcast (1) key
    wrapped     a key made for this message, under the master key (AES key wrap)
    agreed      01 one-pass C(1e,1s): ephemeral public key, and its signature by the originator
                02 static unified C(0e,2s): nothing; the transaction-id is the nonce

    nonce       originator's title, invocation counter
    associated  control, authentication key, header with lengths; and the APDU where it is not enciphered
    KDF         algorithm, originator's title, [length and value of the transaction-id,] recipient's title

Recalled and held against nothing: gurux-dlms 1.0.203 neither makes nor reads these APDUs (its decoder fails
on its own parameter class). Rule of this file: a counter is believed once, whatever key a message brings, so
a message with its own key cannot be sent again either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.encoding.octets import Reader, encode_octets
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher, protect, unprotect
from openami.protocols.dlms.protection.general_header import GeneralHeader
from openami.protocols.dlms.protection.security_control import Protection, SecurityHeader
from openami.quantities.errors import LocalProtocolError, ProtectionError, RemoteProtocolError
from openami.security import key_wrap, signature
from openami.security.gcm import Gcm
from openami.security.secret import Secret
from openami.security.suites import Suite, suite

GENERAL_CIPHERING: Final = 0xDD
_UNICAST, _BROADCAST = 0, 1
_ONE_PASS, _STATIC = b"\x01", b"\x02"
_MASTER_KEY = 0
_MAX_KEY_DATA = 256


class KeySource(Enum):
    """Where the key of a message comes from."""

    UNICAST = "global unicast key"
    BROADCAST = "global broadcast key"
    WRAPPED = "key wrapped under the master key"
    ONE_PASS = "one-pass Diffie-Hellman C(1e,1s)"
    STATIC = "static unified model C(0e,2s)"


@dataclass(frozen=True, slots=True)
class IdentifiedKey:
    """A key that both sides have: 0 global unicast, 1 global broadcast."""

    key_id: int

    def to_bytes(self) -> bytes:
        """``Key-Info``."""
        return bytes((0, self.key_id))


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key under a key encryption key; 0 is the master key."""

    kek_id: int
    wrapped: bytes

    def to_bytes(self) -> bytes:
        """``Key-Info``."""
        return bytes((1, self.kek_id)) + encode_octets(self.wrapped)


@dataclass(frozen=True, slots=True)
class AgreedKey:
    """A key that both sides derive; the data is what the originator adds to it."""

    scheme: bytes
    data: bytes

    def to_bytes(self) -> bytes:
        """``Key-Info``."""
        return b"\x02" + encode_octets(self.scheme) + encode_octets(self.data)


KeyInfo: TypeAlias = IdentifiedKey | WrappedKey | AgreedKey


@dataclass(frozen=True, slots=True)
class GeneralCiphering:
    """One APDU, not yet deciphered.

    Parameters
    ----------
    header:
        Who says it to whom.
    key:
        Where its key comes from; None for the global unicast key.
    security:
        Suite, protection and counter.
    text:
        Cipher text, with the tag where it is authenticated.
    """

    header: GeneralHeader
    key: KeyInfo | None
    security: SecurityHeader
    text: bytes

    def to_bytes(self) -> bytes:
        """The APDU."""
        key = b"\x00" if self.key is None else b"\x01" + self.key.to_bytes()
        body = encode_octets(self.security.to_bytes() + self.text)
        return bytes((GENERAL_CIPHERING,)) + self.header.to_bytes() + key + body

    @classmethod
    def from_bytes(cls, data: bytes) -> GeneralCiphering:
        """The APDU of its octets; raises `RemoteProtocolError`."""
        reader = Reader(data)
        if reader.u8() != GENERAL_CIPHERING:
            raise RemoteProtocolError(f"tag {data[0]:#04x}", where="byte 0", expected="0xdd")
        header = GeneralHeader.read(reader)
        key = _read_key(reader)
        inner = Reader(reader.octets())
        reader.end()
        return cls(header, key, SecurityHeader.read(inner), inner.rest())


def _read_key(reader: Reader) -> KeyInfo | None:
    """The optional key information; nothing but its flag says that it is there, so 0 and 1 alone are read."""
    present = reader.u8()
    if not present:
        return None
    if present != 1:
        raise RemoteProtocolError(f"presence {present} of Key-Info", expected="0 or 1")
    choice = reader.u8()
    match choice:
        case 0:
            return IdentifiedKey(reader.u8())
        case 1:
            return WrappedKey(reader.u8(), _bounded(reader))
        case 2:
            return AgreedKey(_bounded(reader), _bounded(reader))
    raise RemoteProtocolError(f"choice {choice} of Key-Info", expected="0, 1 or 2")


def _bounded(reader: Reader) -> bytes:
    octets = reader.octets()
    if len(octets) > _MAX_KEY_DATA:
        raise RemoteProtocolError(f"{len(octets)} octets of key data", expected=f"at most {_MAX_KEY_DATA}")
    return octets


@dataclass(frozen=True, slots=True)
class AgreementKeys:
    """What key agreement needs of both sides; suites 1 and 2.

    Parameters
    ----------
    own:
        Our static key agreement key.
    peer:
        Their static public key agreement key.
    signing:
        Our signature key, for the ephemeral keys that we send.
    peer_signing:
        Their public signature key, for those that we get.
    """

    own: ec.EllipticCurvePrivateKey
    peer: ec.EllipticCurvePublicKey
    signing: ec.EllipticCurvePrivateKey | None = None
    peer_signing: ec.EllipticCurvePublicKey | None = None


@dataclass(frozen=True, slots=True)
class OpenedGeneral:
    """A verified APDU, and how it was protected."""

    apdu: bytes
    transaction: bytes
    level: Protection
    source: KeySource


class GeneralCipher:
    """General-ciphering in both directions between us and one other system title.

    Invariant: as `Cipher`, whose counters it uses: one send counter for all keys, and for each source of
    keys the counter of the last message believed.

    Parameters
    ----------
    cipher:
        Titles, keys and counters.
    agreement:
        Keys for agreed keys; None where there are none.
    """

    __slots__ = ("_agreement", "_cipher")

    def __init__(self, cipher: Cipher, agreement: AgreementKeys | None = None) -> None:
        self._cipher = cipher
        self._agreement = agreement

    @property
    def _suite(self) -> Suite:
        return suite(self._cipher.keys.suite_number)

    def seal(self, apdu: bytes, protection: Protection, source: KeySource, transaction: bytes) -> bytes:
        """A plain APDU as a ciphered one.

        Raises
        ------
        LocalProtocolError
            There are no keys for the source.
        SecurityError
            The counters are used up.
        """
        cipher = self._cipher
        header = GeneralHeader(transaction, cipher.own_title, cipher.peer_title)
        info, key = self._new_key(source, header)
        security = SecurityHeader(cipher.keys.suite_number, protection, cipher.send.take())
        text = protect(
            Gcm(key.reveal()), self._nonce(header, security), security, self._associated(header), apdu
        )
        return GeneralCiphering(header, info, security, text).to_bytes()

    def open(self, data: bytes, minimum: Protection, sources: frozenset[KeySource]) -> OpenedGeneral:
        """The APDU inside a ciphered one.

        Parameters
        ----------
        data:
            The ciphered APDU.
        minimum:
            Protection it must have at least.
        sources:
            Where its key may come from.

        Raises
        ------
        CounterUsedError
            Its counter was used before.
        ProtectionError
            It is less protected than agreed, of another suite or sender, under a key from elsewhere, or its
            tag or signature is wrong.
        RemoteProtocolError
            It is no such APDU.
        """
        message = GeneralCiphering.from_bytes(data)
        cipher, header, security = self._cipher, message.header, message.security
        if security.suite != cipher.keys.suite_number:
            raise ProtectionError(f"suite {security.suite}", expected=f"suite {cipher.keys.suite_number}")
        if security.level & minimum != minimum or security.protection & ~security.level:
            raise ProtectionError(
                f"protection {security.control.hex()}", expected=f"at least {int(minimum):02x}, no more bits"
            )
        if header.originator != cipher.peer_title:
            raise ProtectionError(f"an APDU of {header.originator.hex()}", expected=cipher.peer_title.hex())
        if header.recipient not in (b"", cipher.own_title):
            raise ProtectionError(f"an APDU to {header.recipient.hex()}", expected=cipher.own_title.hex())
        source = _source(message.key)
        if source not in sources:
            raise ProtectionError(f"a {source.value}", expected="a key as agreed")
        name = self._counter_name(source)
        cipher.check_peer()
        cipher.refuse_used(name, security)
        gcm = Gcm(self._key_of(message.key, header).reveal())
        apdu = unprotect(gcm, self._nonce(header, security), security, self._associated(header), message.text)
        if not apdu:
            raise ProtectionError("a ciphered APDU of no octets")
        cipher.remember(name, security)
        return OpenedGeneral(apdu, header.transaction, security.level, source)

    # --- pieces ---------------------------------------------------------------------------------------

    def _counter_name(self, source: KeySource) -> str:
        cipher = self._cipher
        if source is KeySource.UNICAST:
            return cipher.counter_name(Form.GLOBAL, Protection.NONE)
        if source is KeySource.BROADCAST:
            return cipher.counter_name(Form.GLOBAL, Protection.BROADCAST)
        return f"{cipher.peer_title.hex()}/{cipher.keys.global_unicast.fingerprint}/{source.name.lower()}"

    def _associated(self, header: GeneralHeader) -> bytes:
        return self._cipher.keys.authentication.reveal() + header.to_bytes()

    @staticmethod
    def _nonce(header: GeneralHeader, security: SecurityHeader) -> bytes:
        return header.originator + security.counter.to_bytes(4, "big")

    def _new_key(self, source: KeySource, header: GeneralHeader) -> tuple[KeyInfo, Secret]:
        """A key for a message of ours, and how the other side gets it."""
        keys = self._cipher.keys
        match source:
            case KeySource.UNICAST:
                return IdentifiedKey(_UNICAST), keys.global_unicast
            case KeySource.BROADCAST if keys.global_broadcast is not None:
                return IdentifiedKey(_BROADCAST), keys.global_broadcast
            case KeySource.WRAPPED:
                key = Secret.random(self._suite.key_octets)
                return WrappedKey(_MASTER_KEY, key_wrap.wrap(keys.master, key)), key
        agreement = self._agreement
        if agreement is None or source is KeySource.BROADCAST:
            raise LocalProtocolError(f"no keys for a {source.value}")
        if source is KeySource.STATIC:
            return AgreedKey(_STATIC, b""), self._static(agreement, header)
        if agreement.signing is None:
            raise LocalProtocolError("no signature key for ephemeral keys")
        ephemeral = signature.new_private_key(self._suite)
        public = signature.public_octets(ephemeral.public_key())
        signed = public + signature.sign(self._suite, agreement.signing, public)
        return AgreedKey(_ONE_PASS, signed), self._one_pass(ephemeral, agreement.peer, header)

    def _key_of(self, info: KeyInfo | None, header: GeneralHeader) -> Secret:
        """The key of a message of theirs."""
        keys, agreement, scheme = self._cipher.keys, self._agreement, self._suite
        match info:
            case None | IdentifiedKey(key_id=0):
                return keys.global_unicast
            case IdentifiedKey() if keys.global_broadcast is not None:
                return keys.global_broadcast
            case WrappedKey():
                key = key_wrap.unwrap(keys.master, info.wrapped)
                if len(key) != scheme.key_octets:
                    raise ProtectionError(
                        f"a key of {len(key)} octets", expected=f"{scheme.key_octets} octets"
                    )
                return key
        if not isinstance(info, AgreedKey) or agreement is None or scheme.curve is None:
            raise ProtectionError("a key that we have not")
        if info.scheme == _STATIC:
            return self._static(agreement, header)
        if agreement.peer_signing is None:
            raise ProtectionError("no signature key to check an ephemeral key with")
        half = scheme.signature_octets
        signature.verify(scheme, agreement.peer_signing, info.data[:half], info.data[half:])
        return self._one_pass(agreement.own, signature.public_key(scheme, info.data[:half]), header)

    def _static(self, agreement: AgreementKeys, header: GeneralHeader) -> Secret:
        nonce = encode_octets(header.transaction)
        recipient = header.recipient or self._cipher.own_title
        return signature.agreed_key(
            self._suite, agreement.own, agreement.peer, header.originator + nonce, recipient
        )

    def _one_pass(
        self, own: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePublicKey, header: GeneralHeader
    ) -> Secret:
        recipient = header.recipient or self._cipher.own_title
        return signature.agreed_key(self._suite, own, other, header.originator, recipient)


def _source(info: KeyInfo | None) -> KeySource:
    """What a message says of its key; raises `ProtectionError` where there is no such key."""
    match info:
        case None | IdentifiedKey(key_id=0):
            return KeySource.UNICAST
        case IdentifiedKey(key_id=1):
            return KeySource.BROADCAST
        case WrappedKey(kek_id=0):
            return KeySource.WRAPPED
        case AgreedKey(scheme=b"\x01"):
            return KeySource.ONE_PASS
        case AgreedKey(scheme=b"\x02", data=b""):
            return KeySource.STATIC
    raise ProtectionError("key information of no known kind")
