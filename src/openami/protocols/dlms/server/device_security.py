"""What a logical device knows of security: system title, keys, counters, and whom it tells of attacks.

One for each meter, shared by all its associations and connections, because the counters of a key are.
Rule of this file: whatever is refused for its protection is told to `observe`, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from cryptography.hazmat.primitives.asymmetric import ec

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.general_ciphering import AgreementKeys
from openami.protocols.dlms.protection.general_signing import Signer
from openami.protocols.dlms.protection.high_level_security import EcdsaProver, GmacProver, HashProver, Prover
from openami.protocols.dlms.protection.message_protection import MessageProtection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.quantities.errors import ProtectionError
from openami.security.counters import CounterStore, MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.suites import suite


class Attack(Enum):
    """What somebody may have tried; logged by the meter."""

    WRONG_PASSWORD = "wrong password"
    WRONG_PROOF = "wrong answer to a challenge"
    WRONG_TAG = "authentication tag or key"
    REPLAY = "invocation counter used before"
    DOWNGRADE = "less protection than agreed"


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
    """

    __slots__ = (
        "_counters", "agreement_key", "client_agreement_keys", "client_keys", "keys", "observe", "received",
        "send", "signing_key", "title",
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
    ) -> None:
        self._counters = MemoryCounters() if counters is None else counters
        self.title = title
        self.keys = keys
        self.send = SendCounter(self._counters, send_counter_name(title))
        self.received = ReceiveCounters(self._counters)
        self.observe = observe
        self.signing_key = signing_key
        self.client_keys = client_keys or {}
        self.agreement_key = agreement_key
        self.client_agreement_keys = client_agreement_keys or {}

    @property
    def highest_counter(self) -> int:
        """The highest counter believed of any client under the present keys; 0 before the first."""
        return max(0, self.received.highest(self.keys.global_unicast.fingerprint) - 1)

    def cipher(self, client_title: bytes) -> Cipher:
        """Both directions with a client."""
        return Cipher(self.keys, self.title, client_title, self.send, self.received)

    def layers(self, client: int, cipher: Cipher) -> MessageProtection:
        """The protection of one association with a client (its wPort)."""
        signing, agreed = self.client_keys.get(client), self.client_agreement_keys.get(client)
        agreement = signer = None
        if self.agreement_key is not None and agreed is not None:
            agreement = AgreementKeys(self.agreement_key, agreed, self.signing_key, signing)
        if self.signing_key is not None and signing is not None:
            signer = Signer(suite(self.keys.suite_number), self.signing_key, signing)
        return MessageProtection(cipher, agreement, signer)

    def prover(self, policy: AssociationPolicy, cipher: Cipher) -> Prover:
        """The mechanism of a policy with this meter's secrets; raises `ProtectionError` without them."""
        match policy.mechanism:
            case Mechanism.HIGH_GMAC:
                return GmacProver(cipher)
            case Mechanism.HIGH_ECDSA:
                other = self.client_keys.get(policy.client)
                if self.signing_key is None or other is None:
                    raise ProtectionError("no signature keys for this client")
                return EcdsaProver(suite(self.keys.suite_number), self.signing_key, other)
        return HashProver(policy.mechanism, Secret(policy.secret))

    def change_key(self, kind: KeyKind, key: Secret) -> None:
        """Take a new key into use; associations that are open go on with the old one."""
        self.keys = self.keys.with_key(kind, key)
