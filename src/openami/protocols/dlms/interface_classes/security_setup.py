"""Security setup, class 64 versions 0 and 1 (IEC 62056-6-2 clause 4.4.7): policy, suite, keys, certificates.

    security_policy  version 0  0 nothing, 1 authenticated, 2 encrypted, 3 both
                     version 1  bits of what requests (4, 8, 16) and responses (32, 64, 128) must be:
                                authenticated, encrypted, signed
    key_transfer     array { key_id enum, key_wrapped octet-string }: AES key wrap under the master key
    key_agreement    array { key_id enum, key_data octet-string }: ephemeral public key and signature, ECDH
    certificates     array { entity enum, type enum, serial number, issuer, subject, alternative name }: octet
                     strings, names in DER
    generate_key_pair, generate_certificate_request   type enum; the request is PKCS #10 in DER
    import_certificate                                octet-string, X.509 in DER
    export_certificate, remove_certificate            { 0, { entity, type, system title } } or
                                                      { 1, { serial number, issuer } }

The forms of the certificate methods are those that gurux-dlms 1.0.203 sends; that names are DER is recalled
and fits it. Rule of this file: the policy is only ever strengthened, and to nothing that nobody could meet;
of several keys all are taken or none; what was refused is told to whoever observes the meter's security.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, structure
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
    read_only,
)
from openami.protocols.dlms.interface_classes.value_types import (
    Anything,
    ListOf,
    Octets,
    Whole,
    enumeration,
    one_of,
    record,
)
from openami.protocols.dlms.protection.security_control import Protection
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.quantities.errors import ProtectionError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security.certificate_store import CertificateStore
from openami.security.certificates import (
    MAX_CERTIFICATE_OCTETS,
    Certificate,
    CertificateEntity,
    CertificateKind,
)
from openami.security.key_wrap import unwrap
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.signature import (
    agreed_key,
    new_private_key,
    public_key,
    public_octets,
    sign,
    verify,
)
from openami.security.suites import suite

_KEYS = ListOf(record(enumeration(3), Octets(16, 256)), 4)
_REQUEST_AUTHENTICATED, _REQUEST_ENCRYPTED = 4, 8
_KIND = enumeration(2)
_CERTIFICATE = Octets(1, MAX_CERTIFICATE_OCTETS)
_OF_ENTITY = record(enumeration(0), record(enumeration(3), enumeration(3), Octets(0, 8)))
_OF_NUMBER = record(enumeration(1, 1), record(Octets(1, 32), Octets(1, 512)))
_IDENTIFIED = one_of(_OF_ENTITY, _OF_NUMBER)


class SecuritySetup(StoredObject):
    """Security of a logical device, class version 1.

    Parameters
    ----------
    security:
        Keys and titles of the meter.
    client:
        wPort of the client whose keys these are.
    client_title:
        System title of that client, where ``security`` does not know it; empty where nobody does.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_client", "_client_title", "_security")

    _signatures: ClassVar[int] = 16 | 128
    """Bits of the policy that ask for signatures."""
    class_id: ClassVar[int] = 64
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "security_policy", Whole(Tag.ENUM, 0, 0xFF)),
        read_only(3, "security_suite", enumeration(2)),
        read_only(4, "client_system_title", Octets(0, 8)),
        read_only(5, "server_system_title", Octets(8, 8)),
        read_only(6, "certificates", ListOf(Anything())),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5, 6, 7, 8)

    def __init__(
        self,
        logical_name: ObisCode,
        security: DeviceSecurity,
        client: int,
        client_title: bytes = b"",
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._security = security
        self._client = client
        self._client_title = security.client_titles.get(client, client_title)

    @property
    def requests_must_be(self) -> Protection:
        """Protection that every request needs under the policy in force."""
        policy = number(self.current(2))
        protection = Protection.NONE
        if policy & _REQUEST_AUTHENTICATED:
            protection |= Protection.AUTHENTICATED
        if policy & _REQUEST_ENCRYPTED:
            protection |= Protection.ENCRYPTED
        return protection

    @property
    def signing_required(self) -> bool:
        """True where the policy in force asks for signatures; an answer is signed as its request was."""
        return bool(number(self.current(2)) & self._signatures)

    def current(self, index: int) -> Data:
        """Attribute."""
        match index:
            case 3:
                return Data(Tag.ENUM, self._security.keys.suite_number)
            case 4:
                return Data(Tag.OCTET_STRING, self._client_title)
            case 5:
                return Data(Tag.OCTET_STRING, self._security.title)
            case 6:
                self.row(6)  # version 0 has none
                store = self._security.certificates
                return array(_described(store, item) for item in store.certificates)
        return super().current(index)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """The methods of the class; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        match index:
            case 1:
                self._activate(self.parameter(parameter, self.row(2).type, "security_activate"))
            case 2:
                self._transfer(items(self.parameter(parameter, _KEYS, "key_transfer")))
            case 3:
                return self._agree(items(self.parameter(parameter, _KEYS, "key_agreement")))
            case 4 | 5:
                kind = CertificateKind(number(self.parameter(parameter, _KIND, "key pair")))
                return self._paired(kind, index)
            case 6:
                self._import(octets(self.parameter(parameter, _CERTIFICATE, "import_certificate")))
            case _:
                found = self._found(self.parameter(parameter, _IDENTIFIED, "certificate"))
                if index == 7:
                    return Data(Tag.OCTET_STRING, found.der)
                self._remove(found)
        return None

    def _activate(self, wanted: Data) -> None:
        if not self._stronger(number(self.current(2)), number(wanted)):
            raise AccessError(AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name}: policy")
        if number(wanted) & self._signatures and not self._can_sign:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: no signature keys")
        self.keep(2, wanted)

    @property
    def _can_sign(self) -> bool:
        """True where meter and client have signature keys; else a policy that asks for them locks all out."""
        security = self._security
        known = security.client_key(self._client, self._client_title)
        return security.signing_key is not None and known is not None

    @staticmethod
    def _stronger(before: int, wanted: int) -> bool:
        return wanted & before == before and not wanted & 0b11

    def _transfer(self, wrapped: tuple[Data, ...]) -> None:
        master = self._security.keys.master
        try:
            keys = {KeyKind(number(kind)): unwrap(master, octets(text)) for kind, text in map(items, wrapped)}
        except ProtectionError as error:
            raise self._refused(str(error)) from None
        if len(keys) != len(wrapped):
            raise self._refused("two keys for one purpose")
        self._take(keys)

    def _agree(self, offered: tuple[Data, ...]) -> Data:
        """Keys from an exchange of ephemeral keys, each signed with its id by both sides."""
        own = self._security.signing_key
        other = self._security.client_key(self._client, self._client_title)
        chosen = suite(self._security.keys.suite_number)
        if own is None or other is None or chosen.curve is None or not self._client_title:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: no signature keys")
        agreed: dict[KeyKind, Secret] = {}
        answers = []
        half = chosen.signature_octets
        for kind, data in map(items, offered):
            identifier, exchange = bytes((number(kind),)), octets(data)
            try:
                verify(chosen, other, identifier + exchange[:half], exchange[half:])
                theirs = public_key(chosen, exchange[:half])
            except ProtectionError as error:
                raise self._refused(str(error)) from None
            ephemeral = new_private_key(chosen)
            agreed[KeyKind(number(kind))] = agreed_key(
                chosen, ephemeral, theirs, self._client_title, self._security.title
            )
            mine = public_octets(ephemeral.public_key())
            signed = mine + sign(chosen, own, identifier + mine)
            answers.append(structure(kind, Data(Tag.OCTET_STRING, signed)))
        self._take(agreed)
        return array(answers)

    def _take(self, new: Mapping[KeyKind, Secret]) -> None:
        keys: MeterKeys = self._security.keys
        try:
            for kind, key in new.items():
                keys = keys.with_key(kind, key)
        except SecurityError as error:
            raise self._refused(str(error)) from None
        # One at a time in the order that passed the checks: no two purposes share a key in between.
        for kind, key in new.items():
            self._security.change_key(kind, key)

    # --- certificates ---------------------------------------------------------------------------------

    def _paired(self, kind: CertificateKind, index: int) -> Data | None:
        """``generate_key_pair`` (4), ``generate_certificate_request`` (5)."""
        store = self._security.certificates
        try:
            if index == 5:
                return Data(Tag.OCTET_STRING, store.request(kind))
            store.generate(kind, suite(self._security.keys.suite_number))
        except SecurityError as error:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: {error}") from None
        return None

    def _import(self, der: bytes) -> None:
        try:
            self._security.certificates.take(der, suite(self._security.keys.suite_number))
        except SecurityError as error:
            raise self._refused(str(error), Attack.WRONG_CERTIFICATE) from None

    def _remove(self, found: Certificate) -> None:
        try:
            self._security.certificates.remove(found)
        except SecurityError as error:
            why = f"{self.logical_name}: {error}"
            raise AccessError(AccessResult.READ_WRITE_DENIED, where=why) from None

    def _found(self, identified: Data) -> Certificate:
        """The certificate that a client names."""
        store = self._security.certificates
        choice, named = items(identified)
        for held in store.certificates:
            if number(choice):
                serial, issuer = map(octets, items(named))
                same = (int.from_bytes(serial), issuer) == (int.from_bytes(held.serial_number), held.issuer)
            else:
                entity, kind, title = items(named)
                same = (CertificateEntity(number(entity)), CertificateKind(number(kind)), octets(title)) == (
                    store.entity(held), held.kind, held.title,
                )  # fmt: skip
            if same:
                return held
        raise AccessError(AccessResult.OBJECT_UNAVAILABLE, where=f"{self.logical_name}: no such certificate")

    def _refused(self, why: str, attack: Attack = Attack.WRONG_TAG) -> AccessError:
        what = "a certificate" if attack is Attack.WRONG_CERTIFICATE else "a key"
        self._security.observe(Incident(attack, self._client, f"{what} was refused: {why}"))
        return AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: {why}")


def _described(store: CertificateStore, held: Certificate) -> Data:
    """``certificate_info``."""
    return structure(
        Data(Tag.ENUM, store.entity(held).value),
        Data(Tag.ENUM, held.kind.value),
        *(
            Data(Tag.OCTET_STRING, text)
            for text in (held.serial_number, held.issuer, held.subject, held.alternative_name)
        ),
    )


class SecuritySetupVersion0(SecuritySetup):
    """Security of a logical device, class version 0: policies 0 to 3, no key agreement."""

    __slots__ = ()

    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "security_policy", enumeration(3)),
        *SecuritySetup.table[1:4],
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)
    _signatures: ClassVar[int] = 0

    @property
    def requests_must_be(self) -> Protection:
        """Protection that every request needs under the policy in force."""
        return Protection(number(self.current(2)) << 4)

    @staticmethod
    def _stronger(before: int, wanted: int) -> bool:
        return wanted & before == before
