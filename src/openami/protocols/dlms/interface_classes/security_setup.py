"""Security setup, class 64 versions 0 and 1 (IEC 62056-6-2 clause 4.4.7): policy, suite and keys.

    security_policy  version 0  0 nothing, 1 authenticated, 2 encrypted, 3 both
                     version 1  bits of what requests (4, 8, 16) and responses (32, 64, 128) must be:
                                authenticated, encrypted, signed
    key_transfer     array { key_id enum, key_wrapped octet-string }: AES key wrap under the master key
    key_agreement    array { key_id enum, key_data octet-string }: ephemeral public key and signature, ECDH

Rule of this file: the policy is only ever strengthened; of several keys all are taken or none; a key that
was refused is told to whoever observes the meter's security.
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
    record,
)
from openami.protocols.dlms.protection.security_control import Protection
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.quantities.errors import ProtectionError, SecurityError
from openami.quantities.obis import ObisCode
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


class SecuritySetup(StoredObject):
    """Security of a logical device, class version 1.

    Parameters
    ----------
    security:
        Keys and titles of the meter.
    client:
        wPort of the client whose keys these are.
    client_title:
        System title of that client; empty where it is not known.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_client", "_client_title", "_security")

    class_id: ClassVar[int] = 64
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "security_policy", Whole(Tag.ENUM, 0, 0xFF)),
        read_only(3, "security_suite", enumeration(2)),
        read_only(4, "client_system_title", Octets(0, 8)),
        read_only(5, "server_system_title", Octets(8, 8)),
        read_only(6, "certificates", ListOf(Anything())),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3)

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
        self._client_title = client_title

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

    def current(self, index: int) -> Data:
        """Attribute."""
        match index:
            case 3:
                return Data(Tag.ENUM, self._security.keys.suite_number)
            case 4:
                return Data(Tag.OCTET_STRING, self._client_title)
            case 5:
                return Data(Tag.OCTET_STRING, self._security.title)
        return super().current(index)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``security_activate``, ``key_transfer``, ``key_agreement``; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        match index:
            case 1:
                wanted = self.parameter(parameter, self.row(2).type, "security_activate")
                if not self._stronger(number(self.current(2)), number(wanted)):
                    raise AccessError(AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name}: policy")
                self.keep(2, wanted)
            case 2:
                self._transfer(items(self.parameter(parameter, _KEYS, "key_transfer")))
            case _:
                return self._agree(items(self.parameter(parameter, _KEYS, "key_agreement")))
        return None

    @staticmethod
    def _stronger(before: int, wanted: int) -> bool:
        return wanted & before == before and not wanted & 0b11

    def _transfer(self, wrapped: tuple[Data, ...]) -> None:
        master = self._security.keys.master
        try:
            keys = {KeyKind(number(kind)): unwrap(master, octets(text)) for kind, text in map(items, wrapped)}
        except ProtectionError as error:
            raise self._refused(str(error)) from None
        self._take(keys)

    def _agree(self, offered: tuple[Data, ...]) -> Data:
        """Keys from an exchange of ephemeral keys, each signed with its id by both sides."""
        own, other = self._security.signing_key, self._security.client_keys.get(self._client)
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

    def _refused(self, why: str) -> AccessError:
        self._security.observe(Incident(Attack.WRONG_TAG, self._client, f"a key was refused: {why}"))
        return AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: {why}")


class SecuritySetupVersion0(SecuritySetup):
    """Security of a logical device, class version 0: policies 0 to 3, no key agreement."""

    __slots__ = ()

    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "security_policy", enumeration(3)),
        *SecuritySetup.table[1:4],
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    @property
    def requests_must_be(self) -> Protection:
        """Protection that every request needs under the policy in force."""
        return Protection(number(self.current(2)) << 4)

    @staticmethod
    def _stronger(before: int, wanted: int) -> bool:
        return wanted & before == before
