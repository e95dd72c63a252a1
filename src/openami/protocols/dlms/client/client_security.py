"""How a client protects an association: mechanism, keys, form, and the counters that outlive it.

IEC 62056-5-3 clauses 5.2 and 5.3. Rule of this file: a counter moves forward only. A meter that asks for a
lower one was exchanged, reset or is not that meter, and nobody goes on without a person having looked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import AgreementKeys, KeySource
from openami.protocols.dlms.protection.general_signing import Signer
from openami.protocols.dlms.protection.high_level_security import EcdsaProver, GmacProver, HashProver, Prover
from openami.protocols.dlms.protection.message_protection import Accepted, Manner, MessageProtection, Signing
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.errors import LocalProtocolError, SecurityError
from openami.security.counters import CounterStore, MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys, system_title
from openami.security.secret import Secret
from openami.security.suites import suite

MAX_RECOVERY_JUMP = 1 << 28
"""How far forward a meter may ask our counter to jump at first: a sixteenth of all there are."""

MAX_LATER_JUMP = 1 << 20
"""How far where it was believed once. It knows our counter then, and whoever answers in its place shall not
use up the key: nothing vouches for what is asked."""


@dataclass(frozen=True, slots=True)
class ClientSecurity:
    """What one client needs to associate with one meter.

    Parameters
    ----------
    title:
        Our system title.
    keys:
        Keys shared with the meter; None for mechanisms 3 and 4 without ciphering.
    mechanism:
        Low or high level security.
    protection:
        How requests are protected, and what answers must be at least; `Protection.NONE` for none.
    form:
        How ciphered services are tagged; a dedicated form makes a key for the association.
    secret:
        Password (mechanism 1), or what the hashes of 3, 4 and 6 are made over.
    meter_title:
        System title that the meter must have; None where it is not known.
    signing_key, meter_key:
        Our private and the meter's public signature key (mechanism 7).
    counters:
        Where counters are kept.
    key_source:
        Services go in general-ciphering, under keys from here, and not in ``form``.
    signing:
        `Signing.REQUIRED`: services are signed around their ciphering, and answers must be.
    agreement_key, meter_agreement_key:
        Our private and the meter's public key agreement key (agreed keys of general-ciphering).
    protected_release:
        The RLRQ carries a ciphered InitiateRequest: for meters that ask for it.

    Raises
    ------
    LocalProtocolError
        Something is missing for what is asked.
    """

    title: bytes
    keys: MeterKeys | None = None
    mechanism: Mechanism = Mechanism.HIGH_GMAC
    protection: Protection = AUTHENTICATED_ENCRYPTION
    form: Form = Form.GLOBAL
    secret: Secret | None = None
    meter_title: bytes | None = None
    signing_key: ec.EllipticCurvePrivateKey | None = None
    meter_key: ec.EllipticCurvePublicKey | None = None
    counters: CounterStore = field(default_factory=MemoryCounters)
    key_source: KeySource | None = None
    signing: Signing = Signing.REFUSED
    agreement_key: ec.EllipticCurvePrivateKey | None = None
    meter_agreement_key: ec.EllipticCurvePublicKey | None = None
    protected_release: bool = False

    def __post_init__(self) -> None:
        system_title(self.title)
        if self.keys is None and (self.protection or self.mechanism is Mechanism.HIGH_GMAC):
            raise LocalProtocolError("ciphering or GMAC without keys")
        hashed = (Mechanism.LOW, Mechanism.HIGH_MD5, Mechanism.HIGH_SHA1, Mechanism.HIGH_SHA256)
        if self.secret is None and self.mechanism in hashed:
            raise LocalProtocolError(f"mechanism {int(self.mechanism)} without a secret")
        signs = self.mechanism is Mechanism.HIGH_ECDSA
        if signs and (self.signing_key is None or self.meter_key is None or self.keys is None):
            raise LocalProtocolError("mechanism 7 without signature keys, or without a suite")
        if self.keys is None and self.accepted.needs_keys:
            raise LocalProtocolError("general-ciphering or signing without keys")
        if self.signing is not Signing.REFUSED and (self.signing_key is None or self.meter_key is None):
            raise LocalProtocolError("signing without signature keys")
        agrees = self.key_source in (KeySource.ONE_PASS, KeySource.STATIC)
        if agrees and (self.agreement_key is None or self.meter_agreement_key is None):
            raise LocalProtocolError("key agreement without key agreement keys")
        if self.mechanism is Mechanism.HIGH:
            raise LocalProtocolError("mechanism 2 is the manufacturer's own", expected="0, 1 or 3 .. 7")

    def cipher(self) -> Cipher | None:
        """Both directions with the meter; None without keys."""
        if self.keys is None:
            return None
        name = send_counter_name(self.title, self.keys)
        return Cipher(
            self.keys,
            self.title,
            self.meter_title or b"",
            SendCounter(self.counters, name),
            ReceiveCounters(self.counters),
        )

    @property
    def accepted(self) -> Accepted:
        """What answers may and must have."""
        sources = frozenset() if self.key_source is None else frozenset((self.key_source,))
        return Accepted(self.protection, sources, self.signing)

    @property
    def manner(self) -> Manner:
        """How requests are protected."""
        ciphered = self.protection and self.key_source is None
        form = self.form if ciphered else None
        return Manner(self.protection, form, self.key_source, self.signing is Signing.REQUIRED)

    @property
    def manner_of_proof(self) -> Manner:
        """How our answer to the meter's challenge is protected: never under the dedicated key.

        Not read in the standard: the server of Gurux's C library takes the dedicated key into use
        after that answer only, and refuses it before.
        """
        if self.manner.form is Form.DEDICATED:
            return replace(self.manner, form=Form.GLOBAL)
        if self.manner.form is Form.GENERAL_DEDICATED:
            return replace(self.manner, form=Form.GENERAL_GLOBAL)
        return self.manner

    def layers(self, cipher: Cipher) -> MessageProtection:
        """The protection of one association."""
        keys, own, other = cipher.keys, self.agreement_key, self.meter_agreement_key
        agreement = signer = None
        if own is not None and other is not None:
            agreement = AgreementKeys(own, other, self.signing_key, self.meter_key)
        if self.signing_key is not None and self.meter_key is not None:
            signer = Signer(suite(keys.suite_number), self.signing_key, self.meter_key)
        return MessageProtection(cipher, agreement, signer)

    def prover(self, cipher: Cipher | None) -> Prover:
        """The mechanism of high level security."""
        if self.mechanism is Mechanism.HIGH_GMAC and cipher is not None:
            return GmacProver(cipher)
        keys, own, other = self.keys, self.signing_key, self.meter_key
        if (
            self.mechanism is Mechanism.HIGH_ECDSA
            and own is not None
            and other is not None
            and keys is not None
        ):
            return EcdsaProver(suite(keys.suite_number), own, other)
        if self.secret is None:
            raise LocalProtocolError(f"mechanism {int(self.mechanism)} without a secret")
        return HashProver(self.mechanism, self.secret)


def send_counter_name(title: bytes, keys: MeterKeys) -> str:
    """Under which name the counter of what a client sends with some keys is kept."""
    return f"{title.hex()}/{keys.global_unicast.fingerprint}/send"


def longest_jump(cipher: Cipher) -> int:
    """How far forward the other side may ask our counter to jump."""
    name = cipher.counter_name(Form.GLOBAL, AUTHENTICATED_ENCRYPTION)
    return MAX_LATER_JUMP if cipher.received.expected(name) else MAX_RECOVERY_JUMP


def recover_counter(send: SendCounter, asked: int, longest: int = MAX_RECOVERY_JUMP) -> None:
    """Go on from the counter that a meter asks for.

    Raises
    ------
    SecurityError
        It lies behind ours, or further ahead than ``longest``.
    """
    if asked - send.value > longest:
        raise SecurityError(
            f"a meter asked our invocation counter to jump from {send.value} to {asked}",
            expected=f"a jump of at most {longest}",
        )
    send.advance(asked)
