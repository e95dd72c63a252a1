"""Association LN, class 15 versions 0 to 3 (IEC 62056-6-2 clause 4.4.2): what a client sees and may do.

    access rights   version 0       enum 0 none, 1 read, 2 write, 3 both; methods: boolean
                    versions 1, 2   the same, and 4, 5, 6 where messages must be authenticated; methods: enum
                                    0 none, 1 allowed, 2 allowed and authenticated
                    version 3       bits: 1 read (method: access), 2 write; request 4 authenticated,
                                    8 encrypted, 16 signed; response 32, 64, 128 (recalled)
    attributes      9 security_setup_reference since version 1; 10 user_list, 11 current_user since 2: who
                    called itself so in the AARQ (calling-AE-invocation-id); a list keeps all others out

The object of the current association is made for each association, those of the others live in the device;
the encoded object list, the only large part, is shared by all meters that have the same objects and rights.
Rule of this file: the secret is never readable, and nobody gives himself more than his policy allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Final

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.initiate import SUPPORTED
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import NULL, BitString, Data, Tag, array, encode, structure
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    AttributeRule,
    InterfaceObject,
    type_unmatched,
)
from openami.protocols.dlms.interface_classes.stored_object import items, number, octets
from openami.protocols.dlms.interface_classes.value_types import (
    LOGICAL_NAME,
    LONG_UNSIGNED,
    UNSIGNED,
    Anything,
    Octets,
    Text,
    ValueType,
    record,
)
from openami.protocols.dlms.protection.security_control import Protection
from openami.protocols.dlms.server.association_policy import Administration, AssociationPolicy
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.quantities.obis import ObisCode

NOT_ASSOCIATED: Final = 0
ASSOCIATED: Final = 2
_DLMS_VERSION = 6
_MOST_USERS = 32
_SECRET = Octets(1, 64)
_LISTED = record(LONG_UNSIGNED, UNSIGNED, LOGICAL_NAME, Anything(4096))
_USER = record(UNSIGNED, Text(32))


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One element of the object list: what it is, and the rights of the client."""

    class_id: int
    version: int
    logical_name: ObisCode
    attributes: tuple[AttributeRule, ...]
    methods: tuple[tuple[int, bool], ...]

    def to_data(self, association_version: int, protection: Protection) -> Data:
        """``object_list_element`` with the access rights of a version of the class."""
        return structure(
            Data(Tag.LONG_UNSIGNED, self.class_id),
            Data(Tag.UNSIGNED, self.version),
            Data(Tag.OCTET_STRING, self.logical_name.to_bytes()),
            structure(
                array(
                    structure(
                        Data(Tag.INTEGER, rule.index),
                        Data(Tag.ENUM, attribute_mode(rule.access, association_version, protection)),
                        array(Data(Tag.INTEGER, chosen) for chosen in rule.selectors)
                        if rule.selectors
                        else NULL,
                    )
                    for rule in self.attributes
                ),
                array(
                    structure(Data(Tag.INTEGER, index), method_mode(allowed, association_version, protection))
                    for index, allowed in self.methods
                ),
            ),
        )


def attribute_mode(access: Access, association_version: int, protection: Protection) -> int:
    """Number that stands for a right to an attribute."""
    if association_version >= 3:
        return int(access) | (_protection_bits(protection) if access else 0)
    authenticated = association_version > 0 and bool(protection & Protection.AUTHENTICATED)
    return int(access) + 3 if access and authenticated else int(access)


def method_mode(allowed: bool, association_version: int, protection: Protection) -> Data:
    """Value that stands for a right to a method."""
    if association_version == 0:
        return Data(Tag.BOOLEAN, allowed)
    if association_version >= 3:
        return Data(Tag.ENUM, 1 | _protection_bits(protection) if allowed else 0)
    return Data(Tag.ENUM, int(allowed) + int(allowed and bool(protection & Protection.AUTHENTICATED)))


def _protection_bits(protection: Protection) -> int:
    authenticated = 4 | 32 if protection & Protection.AUTHENTICATED else 0
    return authenticated | (8 | 64 if protection & Protection.ENCRYPTED else 0)


@dataclass(frozen=True, slots=True)
class AssociationContext:
    """What client and server agreed on.

    Parameters
    ----------
    client, server:
        Their wPorts.
    conformance:
        24 bits as an integer.
    max_receive, max_send:
        PDU sizes of the server and of the client.
    user:
        Which user of the client it is; None where it did not say.
    """

    client: int
    server: int
    conformance: int
    max_receive: int
    max_send: int
    user: int | None = None


def listed(item: InterfaceObject, policy: AssociationPolicy) -> ListedObject:
    """An object as the client of a policy sees it."""
    return ListedObject(
        item.class_id,
        item.version,
        item.logical_name,
        tuple(
            AttributeRule(
                rule.index, policy.granted(item.logical_name, rule.index, rule.access), rule.selectors
            )
            for rule in item.attribute_rules()
        ),
        tuple((index, policy.may_invoke(item.logical_name, index)) for index in item.method_rules()),
    )


@lru_cache(maxsize=256)
def _encoded_list(
    objects: tuple[ListedObject, ...], association_version: int, protection: Protection
) -> bytes:
    return encode(array(item.to_data(association_version, protection) for item in objects))


class AssociationLn(InterfaceObject):
    """An association with one client, class version 1.

    Parameters
    ----------
    device:
        The logical device.
    policy:
        What the client may do; where the device has changed it since, the device's counts.
    context:
        What was agreed on; None for an association that is not the one in use.
    logical_name:
        0-0:40.0.0 for the association in use, else the name of its own.
    """

    __slots__ = ("_context", "_device", "_object_list", "_policy")

    class_id: ClassVar[int] = 15
    version: ClassVar[int] = 1
    last_attribute: ClassVar[int] = 9

    def __init__(
        self,
        device: LogicalDevice,
        policy: AssociationPolicy,
        context: AssociationContext | None,
        logical_name: ObisCode = CURRENT_ASSOCIATION,
    ) -> None:
        super().__init__(logical_name)
        self._device = device
        self._policy = policy
        self._context = context
        self._object_list: bytes | None = None

    @property
    def policy(self) -> AssociationPolicy:
        """What the client may do at present."""
        return self._device.policy(self._policy.client) or self._policy

    def attribute_rules(self) -> tuple[AttributeRule, ...]:
        """Attributes of the version; the secret of low level security may be set where that is allowed."""
        settable = self._policy.mechanism is Mechanism.LOW and self._administers(Administration.SECRET)
        return tuple(
            AttributeRule(index, Access.READ if index != 7 else Access.WRITE if settable else Access.NONE)
            for index in range(1, self.last_attribute + 1)
        )

    def method_rules(self) -> tuple[int, ...]:
        """Methods that the mechanism and the policy leave."""
        offered: list[int] = []
        if self._policy.mechanism.high:
            offered.append(1)
            if self._administers(Administration.SECRET):
                offered.append(2)
        if self._administers(Administration.OBJECTS):
            offered += (3, 4)
        if self.last_attribute >= 10 and self._administers(Administration.USERS):
            offered += (5, 6)
        return tuple(offered)

    def value(self, index: int) -> bytes:
        """Encoded attribute."""
        policy = self.policy
        context = self._context or AssociationContext(
            policy.client, 0, int(SUPPORTED), policy.max_pdu, MAX_PDU
        )
        match index:
            case 2:
                # Made once: a request with list may name this attribute thousands of times.
                if self._object_list is None:
                    seen = (item for item in self._device if policy.sees(item.logical_name))
                    self._object_list = _encoded_list(
                        tuple(listed(item, policy) for item in (self, *seen)), self.version, policy.protection
                    )
                return self._object_list
            case 3:
                return encode(
                    structure(Data(Tag.INTEGER, context.client), Data(Tag.LONG_UNSIGNED, context.server))
                )
            case 4:
                return encode(_object_identifier(1, 3 if policy.protection else 1))
            case 5:
                return encode(
                    structure(
                        Data(Tag.BIT_STRING, BitString(24, context.conformance.to_bytes(3, "big"))),
                        Data(Tag.LONG_UNSIGNED, context.max_receive),
                        Data(Tag.LONG_UNSIGNED, context.max_send),
                        Data(Tag.UNSIGNED, _DLMS_VERSION),
                        Data(Tag.INTEGER, 0),
                        Data(Tag.OCTET_STRING, b""),
                    )
                )
            case 6:
                return encode(_object_identifier(2, policy.mechanism))
            case 8:
                return encode(Data(Tag.ENUM, NOT_ASSOCIATED if self._context is None else ASSOCIATED))
            case 10:
                return encode(array(_user(*user) for user in policy.users))
            case 11:
                user = context.user or 0
                return encode(_user(user, dict(policy.users).get(user, "")))
            case _:
                reference = policy.security_setup
                return encode(Data(Tag.OCTET_STRING, bytes(6) if reference is None else reference.to_bytes()))

    def write(self, index: int, value: Data) -> None:
        """Set the secret of low level security; raises `AccessError`."""
        if index != 7 or not self.rule(7).access & Access.WRITE:
            return super().write(index, value)
        self._replace(replace(self.policy, secret=octets(self._checked(value, _SECRET))))

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """The methods that `method_rules` names; ``reply_to_HLS_authentication`` only while associating."""
        if index not in self.method_rules():
            return super().invoke(index, parameter)
        policy = self.policy
        match index:
            case 1:
                raise AccessError(AccessResult.TEMPORARY_FAILURE, where="no challenge is open")
            case 2:
                self._replace(self._with_secret(policy, parameter))
            case 3 | 4:
                self._replace(self._with_objects(policy, index == 3, self._checked(parameter, _LISTED)))
            case _:
                user, name = items(self._checked(parameter, _USER))
                users = tuple(known for known in policy.users if known[0] != number(user))
                if index == 5:
                    users = (*users, (number(user), str(name.value)))
                elif users == policy.users:
                    raise AccessError(AccessResult.OBJECT_UNDEFINED, where="no such user")
                if len(users) > _MOST_USERS:
                    raise AccessError(AccessResult.TEMPORARY_FAILURE, where="the user list is full")
                self._replace(replace(policy, users=users))
        return None

    def _administers(self, what: Administration) -> bool:
        return bool(self._policy.administers & what)

    def _checked(self, value: Data | None, kind: ValueType) -> Data:
        if value is None or not kind.admits(value):
            raise type_unmatched(self.logical_name, value)
        return value

    def _replace(self, policy: AssociationPolicy) -> None:
        self._device.replace_policy(policy)
        self._object_list = None

    def _with_secret(self, policy: AssociationPolicy, parameter: Data | None) -> AssociationPolicy:
        """``change_HLS_secret``: of the mechanisms that hash one, and only where nobody can read along."""
        hashed = (Mechanism.HIGH_MD5, Mechanism.HIGH_SHA1, Mechanism.HIGH_SHA256)
        if policy.mechanism not in hashed or not policy.protection & Protection.ENCRYPTED:
            raise AccessError(AccessResult.READ_WRITE_DENIED, where="change_HLS_secret")
        return replace(policy, secret=octets(self._checked(parameter, _SECRET)))

    def _with_objects(self, policy: AssociationPolicy, added: bool, element: Data) -> AssociationPolicy:
        """``add_object``, ``remove_object``: the client sees an object of the device, or no more."""
        class_id, _, name, _ = items(element)
        logical_name = ObisCode.from_bytes(octets(name))
        found = self._device.find(logical_name)
        if found is None or found.class_id != number(class_id):
            raise AccessError(AccessResult.OBJECT_UNDEFINED, where=str(logical_name))
        seen = frozenset(item.logical_name for item in self._device if policy.sees(item.logical_name))
        changed = seen | {logical_name} if added else seen - {logical_name}
        return replace(policy, objects=changed)


class AssociationLnVersion0(AssociationLn):
    """An association with one client, class version 0."""

    __slots__ = ()

    version: ClassVar[int] = 0
    last_attribute: ClassVar[int] = 8


class AssociationLnVersion2(AssociationLn):
    """An association with one client, class version 2: with users."""

    __slots__ = ()

    version: ClassVar[int] = 2
    last_attribute: ClassVar[int] = 11


class AssociationLnVersion3(AssociationLnVersion2):
    """An association with one client, class version 3: rights say how messages must be protected."""

    __slots__ = ()

    version: ClassVar[int] = 3


_VERSIONS: Final = (AssociationLnVersion0, AssociationLn, AssociationLnVersion2, AssociationLnVersion3)


def association_object(
    device: LogicalDevice,
    policy: AssociationPolicy,
    context: AssociationContext | None = None,
    logical_name: ObisCode = CURRENT_ASSOCIATION,
) -> AssociationLn:
    """The association object in the version of the policy."""
    return _VERSIONS[policy.association_version](device, policy, context, logical_name)


def association_objects(device: LogicalDevice, names: Iterable[tuple[ObisCode, int]]) -> list[AssociationLn]:
    """Objects of the associations with clients, by name and wPort: what management sees of the others."""
    made = []
    for logical_name, client in names:
        policy = device.policy(client)
        if policy is not None:
            made.append(association_object(device, policy, None, logical_name))
    return made


def _user(user: int, name: str) -> Data:
    return structure(Data(Tag.UNSIGNED, user), Data(Tag.VISIBLE_STRING, name))


def _object_identifier(branch: int, last: int | Mechanism) -> Data:
    """Name below joint-iso-ccitt(2) country(16) 756 identified-organization(5) dlms-ua(8)."""
    return structure(
        Data(Tag.UNSIGNED, 2),
        Data(Tag.UNSIGNED, 16),
        Data(Tag.LONG_UNSIGNED, 756),
        Data(Tag.UNSIGNED, 5),
        Data(Tag.UNSIGNED, 8),
        Data(Tag.UNSIGNED, branch),
        Data(Tag.UNSIGNED, int(last)),
    )
