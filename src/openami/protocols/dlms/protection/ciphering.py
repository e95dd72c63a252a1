"""Protecting and verifying APDUs between two system titles (IEC 62056-5-3 clause 5.3.3).

    nonce        sender's system title (8), invocation counter (4)
    associated   control octet, authentication key; and the text itself where it is not enciphered

Rule of this file: nothing comes out of `Cipher.open` that was not protected at least as agreed, under a
counter that was never believed before; and a counter is believed only after its tag was verified. What has
no tag may come from anybody: its counter is held against those before it and remembered for this association
alone, so that a forged one cannot lock the sender out for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from openami.protocols.dlms.protection.ciphered_apdu import CipheredApdu, Form
from openami.protocols.dlms.protection.security_control import (
    AUTHENTICATED_ENCRYPTION,
    HEADER_OCTETS,
    Protection,
    SecurityHeader,
)
from openami.quantities.errors import LocalProtocolError, ProtectionError
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.gcm import TAG_OCTETS, Gcm
from openami.security.meter_keys import SYSTEM_TITLE_OCTETS, MeterKeys
from openami.security.secret import Secret

MAX_OVERHEAD = 1 + (1 + SYSTEM_TITLE_OCTETS) + 5 + HEADER_OCTETS + TAG_OCTETS
"""Octets that the longest form adds to an APDU."""

_DEDICATED = "dedicated"


class CounterUsedError(ProtectionError):
    """A counter that was used before; ``expected_counter`` is the lowest that would be believed."""

    def __init__(self, counter: int, expected_counter: int) -> None:
        super().__init__(
            f"invocation counter {counter} was used before", expected=f"{expected_counter} or more"
        )
        self.counter = counter
        self.expected_counter = expected_counter


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified APDU, and how it was protected."""

    apdu: bytes
    header: SecurityHeader
    form: Form


class Cipher:
    """The two directions between us and one other system title.

    Invariant: the send counter only grows; the receive counter is that of the last message believed. Nobody
    is believed who has no system title of eight octets, or ours (what we sent ourselves would come back).

    Parameters
    ----------
    keys:
        Keys shared with the other side.
    own_title, peer_title:
        System titles, eight octets.
    send, received:
        Counters; of one key they are shared by all associations that use it.
    dedicated:
        Key of this association for the dedicated forms.
    """

    __slots__ = (
        "_authentication",
        "_broadcast",
        "_dedicated",
        "_dedicated_name",
        "_global",
        "_global_name",
        "_passing",
        "keys",
        "own_title",
        "peer_title",
        "received",
        "send",
    )

    def __init__(
        self,
        keys: MeterKeys,
        own_title: bytes,
        peer_title: bytes,
        send: SendCounter,
        received: ReceiveCounters,
        dedicated: Secret | None = None,
    ) -> None:
        self.keys = keys
        self.own_title = own_title
        self.peer_title = peer_title
        self.send = send
        self.received = received
        self._passing = ReceiveCounters(MemoryCounters())
        self._authentication = keys.authentication.reveal()
        self._global = Gcm(keys.global_unicast.reveal())
        self._global_name = keys.global_unicast.fingerprint
        self._broadcast = None if keys.global_broadcast is None else Gcm(keys.global_broadcast.reveal())
        self._dedicated: Gcm | None = None
        self._dedicated_name = ""
        if dedicated is not None:
            self.use_dedicated(dedicated)

    def use_dedicated(self, key: Secret) -> None:
        """Take the dedicated key of the association into use; raises `ProtectionError` at a wrong length."""
        if len(key) != len(self.keys.global_unicast):
            raise ProtectionError(
                f"a dedicated key of {len(key)} octets", expected=f"{len(self.keys.global_unicast)} octets"
            )
        self._dedicated = Gcm(key.reveal())
        self._dedicated_name = key.fingerprint

    # --- whole APDUs ----------------------------------------------------------------------------------

    def seal(
        self, apdu: bytes, protection: Protection = AUTHENTICATED_ENCRYPTION, form: Form = Form.GLOBAL
    ) -> bytes:
        """A plain APDU as a ciphered one.

        Raises
        ------
        SecurityError
            The counters of the key are used up.
        LocalProtocolError
            The form has no tag for the service, or there is no key for it.
        """
        header = SecurityHeader(self.keys.suite_number, protection, self.send.take())
        key = self._key(form, protection)
        if key is None:
            raise LocalProtocolError(f"no key for {form.value} with control {header.control.hex()}")
        title = self.own_title if form in (Form.GENERAL_GLOBAL, Form.GENERAL_DEDICATED) else None
        return CipheredApdu(form, apdu[0], title, header, self._seal(key, header, apdu)).to_bytes()

    def open(self, data: bytes, minimum: Protection = Protection.NONE) -> Opened:
        """The APDU inside a ciphered one.

        Parameters
        ----------
        data:
            The ciphered APDU.
        minimum:
            Protection it must have at least.

        Raises
        ------
        CounterUsedError
            Its counter was used before.
        ProtectionError
            It is less protected than agreed, of another suite or sender, under the key that many meters
            share, or its tag is wrong.
        RemoteProtocolError
            It is no ciphered APDU.
        """
        ciphered = CipheredApdu.from_bytes(data)
        header = ciphered.header
        if header.suite != self.keys.suite_number:
            raise ProtectionError(f"suite {header.suite}", expected=f"suite {self.keys.suite_number}")
        if not header.level.covers(minimum):
            raise ProtectionError(
                f"protection {header.control.hex()}", expected=f"at least {int(minimum):02x}"
            )
        if header.protection.covers(Protection.COMPRESSED):
            raise ProtectionError("a compressed APDU", expected="no compression")
        if ciphered.title and ciphered.title != self.peer_title:
            raise ProtectionError(f"an APDU of {ciphered.title.hex()}", expected=self.peer_title.hex())
        if header.protection.covers(Protection.BROADCAST):
            # Whoever has one meter of a group open has this key: it tells nobody from anybody.
            raise ProtectionError("an APDU under the broadcast key", expected="a key of us two")
        self.check_peer()
        key = self._key(ciphered.form, header.protection)
        if key is None:
            raise ProtectionError(f"no key for {ciphered.form.value} with control {header.control.hex()}")
        name = self.counter_name(ciphered.form, header.protection)
        self.refuse_used(name, header)
        apdu = self._open(key, header, ciphered.text)
        if not apdu:
            raise ProtectionError("a ciphered APDU of no octets")
        if ciphered.service is not None and apdu[0] != ciphered.service:
            raise ProtectionError(f"service {apdu[0]:#04x} inside", expected=f"{ciphered.service:#04x}")
        self.remember(name, header)
        return Opened(apdu, header, ciphered.form)

    # --- proofs of high level security ----------------------------------------------------------------

    def prove(self, challenge: bytes) -> bytes:
        """Answer to a challenge: header and GMAC (mechanism 5)."""
        header = SecurityHeader(self.keys.suite_number, Protection.AUTHENTICATED, self.send.take())
        tag = self._global.tag(self._nonce(self.own_title, header), self._associated(header) + challenge)
        return header.to_bytes() + tag

    def verify(self, challenge: bytes, proof: bytes) -> None:
        """Raise `ProtectionError` where ``proof`` does not answer our challenge (mechanism 5).

        The challenge is fresh, so an old counter is no replay: the APDU that carries the proof has a later
        one, and it was believed before.
        """
        if len(proof) != HEADER_OCTETS + TAG_OCTETS:
            raise ProtectionError(f"a proof of {len(proof)} octets", expected="17 octets")
        header = SecurityHeader(
            proof[0] & 0x0F, Protection(proof[0] & 0xF0), int.from_bytes(proof[1:5], "big")
        )
        if header.suite != self.keys.suite_number or header.protection is not Protection.AUTHENTICATED:
            raise ProtectionError(f"a proof with control {header.control.hex()}")
        self.check_peer()
        nonce = self._nonce(self.peer_title, header)
        self._global.verify(nonce, proof[HEADER_OCTETS:], self._associated(header) + challenge)
        name = self.counter_name(Form.GLOBAL, header.protection)
        if header.counter >= self.received.expected(name):
            self.received.believe(name, header.counter)

    # --- pieces ---------------------------------------------------------------------------------------

    def counter_name(self, form: Form, protection: Protection) -> str:
        """Under which name the counter of the other side's messages is kept."""
        if form.dedicated:
            return f"{self.peer_title.hex()}/{self._dedicated_name}/{_DEDICATED}"
        shared = self.keys.global_broadcast if protection.covers(Protection.BROADCAST) else None
        if shared is not None:
            return f"{self.peer_title.hex()}/{shared.fingerprint}/broadcast"
        return f"{self.peer_title.hex()}/{self._global_name}/unicast"

    def check_peer(self) -> None:
        """Raise `ProtectionError` where the other side has no system title, or ours."""
        if len(self.peer_title) != SYSTEM_TITLE_OCTETS:
            raise ProtectionError(
                f"a peer with a system title of {len(self.peer_title)} octets",
                expected=f"{SYSTEM_TITLE_OCTETS} octets",
            )
        if self.peer_title == self.own_title:
            raise ProtectionError("a peer with our own system title")

    def refuse_used(self, name: str, header: SecurityHeader) -> None:
        """Raise `CounterUsedError` where the counter of a message was used before."""
        expected = max(self.received.expected(name), self._passing.expected(name))
        if header.counter < expected:
            raise CounterUsedError(header.counter, expected)

    def remember(self, name: str, header: SecurityHeader) -> None:
        """Remember the counter of a message that was opened: durably where its tag vouched for it.

        That of a dedicated key dies with its association, and so does its counter.
        """
        vouched = header.level.covers(Protection.AUTHENTICATED) and not name.endswith(_DEDICATED)
        (self.received if vouched else self._passing).believe(name, header.counter)

    def _key(self, form: Form, protection: Protection) -> Gcm | None:
        if form.dedicated:
            return self._dedicated
        return self._broadcast if protection.covers(Protection.BROADCAST) else self._global

    def _associated(self, header: SecurityHeader) -> bytes:
        return header.control + self._authentication

    @staticmethod
    def _nonce(title: bytes, header: SecurityHeader) -> bytes:
        return title + header.counter.to_bytes(4, "big")

    def _seal(self, key: Gcm, header: SecurityHeader, apdu: bytes) -> bytes:
        return protect(key, self._nonce(self.own_title, header), header, self._authentication, apdu)

    def _open(self, key: Gcm, header: SecurityHeader, text: bytes) -> bytes:
        return unprotect(key, self._nonce(self.peer_title, header), header, self._authentication, text)


def protect(key: Gcm, nonce: bytes, header: SecurityHeader, associated: bytes, apdu: bytes) -> bytes:
    """Text of a plain APDU at the level of its header; ``associated`` is what follows the control octet."""
    associated = header.control + associated
    match header.level:
        case Protection.AUTHENTICATED:
            return apdu + key.tag(nonce, associated + apdu)
        case Protection.ENCRYPTED:
            return key.crypt(nonce, apdu)
        case Protection.NONE:
            return apdu
    return key.seal(nonce, apdu, associated)


def unprotect(key: Gcm, nonce: bytes, header: SecurityHeader, associated: bytes, text: bytes) -> bytes:
    """The plain APDU of a text; raises `ProtectionError` where its tag is wrong."""
    associated = header.control + associated
    match header.level:
        case Protection.AUTHENTICATED:
            apdu, tag = text[:-TAG_OCTETS], text[-TAG_OCTETS:]
            key.verify(nonce, tag, associated + apdu)
            return apdu
        case Protection.ENCRYPTED:
            return key.crypt(nonce, text)
        case Protection.NONE:
            return text
    return key.open(nonce, text, associated)
