"""What a logical device knows of security: title, keys, counters, certificates, and whom it tells of attacks.

One for each meter, shared by all its associations and connections, because the counters of a key are. Public
keys of a client are those of its imported certificate or, while there is none of its system title, those that
came with the meter. Rule of this file: whatever is refused for its protection is told to `observe`, once; a
certificate counts for the client alone whose wPort the meter was told to have its title.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import AgreementKeys
from openami.protocols.dlms.protection.general_signing import Signer
from openami.protocols.dlms.protection.high_level_security import EcdsaProver, GmacProver, HashProver, Prover
from openami.protocols.dlms.protection.message_protection import MessageProtection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.quantities.errors import ProtectionError, SecurityError
from openami.security.certificate_store import CertificateStore
from openami.security.certificates import CertificateKind
from openami.security.counters import CounterStore, MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite

NO_TITLES: Final[Mapping[int, bytes]] = MappingProxyType({})


class Attack(Enum):
    """What somebody may have tried; logged by the meter."""

    WRONG_PASSWORD = "wrong password"
    WRONG_PROOF = "wrong answer to a challenge"
    WRONG_TAG = "authentication tag or key"
    REPLAY = "invocation counter used before"
    DOWNGRADE = "less protection than agreed"
    WRONG_CERTIFICATE = "certificate or key of a stranger"
    UNKNOWN_USER = "user that is not on the list"


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that was refused.

    Parameters
    ----------
    attack:
        What it looks like.
    client:
        wPort that it came from.
    detail:
        What was wrong, in words; never a secret.
    """

    attack: Attack
    client: int
    detail: str


def send_counter_name(title: bytes) -> str:
    """Under which name the counter of what a meter sends is kept."""
    return f"{title.hex()}/send"


def nobody(incident: Incident) -> None:
    """Take notice of nothing."""


class DeviceSecurity:
    """Security of one meter.

    Invariant: `send` is the only source of counters under the global keys.

    Parameters
    ----------
    title:
        System title of the meter.
    keys:
        Its symmetric keys.
    counters:
        Where counters are kept; in memory when left out.
    observe:
        Told of everything that is refused.
    signing_key:
        Private signature key, for mechanism 7.
    client_keys:
        Public signature keys of clients, by wPort.
    agreement_key:
        Private key agreement key, for agreed keys of general-ciphering.
    client_agreement_keys:
        Public key agreement keys of clients, by wPort.
    certificates:
        Key pairs, certificates and anchors; without anchors when left out.
    client_titles:
        System titles of clients, by wPort: whose certificates count for it.
    """

    __slots__ = (
        "_counters", "certificates", "client_agreement_keys", "client_keys", "client_titles", "keys",
        "observe", "received", "send", "title",
    )  # fmt: skip

    def __init__(
        self,
        title: bytes,
        keys: MeterKeys,
        counters: CounterStore | None = None,
        observe: Callable[[Incident], None] = nobody,
        signing_key: ec.EllipticCurvePrivateKey | None = None,
        client_keys: dict[int, ec.EllipticCurvePublicKey] | None = None,
        agreement_key: ec.EllipticCurvePrivateKey | None = None,
        client_agreement_keys: dict[int, ec.EllipticCurvePublicKey] | None = None,
        certificates: CertificateStore | None = None,
        client_titles: Mapping[int, bytes] = NO_TITLES,
    ) -> None:
        self._counters = MemoryCounters() if counters is None else counters
        self.title = title
        self.keys = keys
        self.send = SendCounter(self._counters, send_counter_name(title))
        self.received = ReceiveCounters(self._counters)
        self.observe = observe
        self.certificates = CertificateStore(title) if certificates is None else certificates
        self.client_keys = client_keys or {}
        self.client_agreement_keys = client_agreement_keys or {}
        self.client_titles = client_titles
        if signing_key is not None:
            self.signing_key = signing_key
        if agreement_key is not None:
            self.agreement_key = agreement_key

    @property
    def signing_key(self) -> ec.EllipticCurvePrivateKey | None:
        """Private signature key in use."""
        return self.certificates.private_key(CertificateKind.SIGNATURE)

    @signing_key.setter
    def signing_key(self, key: ec.EllipticCurvePrivateKey | None) -> None:
        self.certificates.use(CertificateKind.SIGNATURE, key)

    @property
    def agreement_key(self) -> ec.EllipticCurvePrivateKey | None:
        """Private key agreement key in use."""
        return self.certificates.private_key(CertificateKind.AGREEMENT)

    @agreement_key.setter
    def agreement_key(self, key: ec.EllipticCurvePrivateKey | None) -> None:
        self.certificates.use(CertificateKind.AGREEMENT, key)

    def client_key(
        self, client: int, title: bytes, kind: CertificateKind = CertificateKind.SIGNATURE
    ) -> ec.EllipticCurvePublicKey | None:
        """Public key of a client (its wPort) that calls itself ``title``; None where it has none.

        A client with a certificate has no other key: one that expired is not replaced by what came before.
        """
        if title and self.client_titles.get(client) == title and self.certificates.of_title(title, kind):
            try:
                return self.certificates.public_key(title, kind)
            except SecurityError as error:
                self.observe(Incident(Attack.WRONG_CERTIFICATE, client, str(error)))
                return None
        known = self.client_keys if kind is CertificateKind.SIGNATURE else self.client_agreement_keys
        return known.get(client)

    @property
    def highest_counter(self) -> int:
        """The highest counter believed of any client under the present keys; 0 before the first."""
        return max(0, self.received.highest(self.keys.global_unicast.fingerprint) - 1)

    def cipher(self, client_title: bytes) -> Cipher:
        """Both directions with a client."""
        return Cipher(self.keys, self.title, client_title, self.send, self.received)

    def layers(self, client: int, cipher: Cipher) -> MessageProtection:
        """The protection of one association with a client (its wPort)."""
        agreement = signer = None
        own, agreeing = self.signing_key, self.agreement_key
        signing = None if own is None else self.client_key(client, cipher.peer_title)
        if agreeing is not None:
            agreed = self.client_key(client, cipher.peer_title, CertificateKind.AGREEMENT)
            if agreed is not None:
                agreement = AgreementKeys(agreeing, agreed, own, signing)
        if own is not None and signing is not None:
            signer = Signer(suite(self.keys.suite_number), own, signing)
        return MessageProtection(cipher, agreement, signer)

    def prover(self, policy: AssociationPolicy, cipher: Cipher) -> Prover:
        """The mechanism of a policy with this meter's secrets; raises `ProtectionError` without them."""
        match policy.mechanism:
            case Mechanism.HIGH_GMAC:
                return GmacProver(cipher)
            case Mechanism.HIGH_ECDSA:
                other = self.client_key(policy.client, cipher.peer_title)
                if self.signing_key is None or other is None:
                    raise ProtectionError("no signature keys for this client")
                return EcdsaProver(suite(self.keys.suite_number), self.signing_key, other)
        return HashProver(policy.mechanism, Secret(policy.secret))

    def change_key(self, kind: KeyKind, key: Secret) -> None:
        """Take a new key into use; associations that are open go on with the old one."""
        self.keys = self.keys.with_key(kind, key)
