"""Association LN, class 15 version 1 (IEC 62056-6-2 clause 4.4.2): what the associated client sees.

Made for each association, not kept per meter; the encoded object list, the only large part, is shared by all
meters that have the same objects and rights. Rule of this file: the secret is never readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from openami.protocols.dlms.association_policy import AssociationPolicy, Mechanism
from openami.protocols.dlms.axdr import NULL, BitString, Data, Tag, array, encode, structure
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    AttributeRule,
    InterfaceObject,
)
from openami.protocols.dlms.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.quantities.obis import ObisCode

ASSOCIATED = 2
_DLMS_VERSION = 6


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One element of the object list: what it is, and the rights of the client."""

    class_id: int
    version: int
    logical_name: ObisCode
    attributes: tuple[AttributeRule, ...]
    methods: tuple[tuple[int, bool], ...]

    def to_data(self) -> Data:
        """``object_list_element`` with the access rights of version 1."""
        return structure(
            Data(Tag.LONG_UNSIGNED, self.class_id),
            Data(Tag.UNSIGNED, self.version),
            Data(Tag.OCTET_STRING, self.logical_name.to_bytes()),
            structure(
                array(
                    structure(
                        Data(Tag.INTEGER, rule.index),
                        Data(Tag.ENUM, int(rule.access)),
                        array(Data(Tag.INTEGER, number) for number in rule.selectors)
                        if rule.selectors
                        else NULL,
                    )
                    for rule in self.attributes
                ),
                array(
                    structure(Data(Tag.INTEGER, index), Data(Tag.ENUM, int(allowed)))
                    for index, allowed in self.methods
                ),
            ),
        )


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
    """

    client: int
    server: int
    conformance: int
    max_receive: int
    max_send: int


def listed(item: InterfaceObject, policy: AssociationPolicy) -> ListedObject:
    """An object as the client of a policy sees it."""
    may_act = policy.ceiling is Access.READ_WRITE
    return ListedObject(
        item.class_id,
        item.version,
        item.logical_name,
        tuple(
            AttributeRule(rule.index, policy.access(rule.access), rule.selectors)
            for rule in item.attribute_rules()
        ),
        tuple((index, may_act) for index in item.method_rules()),
    )


@lru_cache(maxsize=64)
def _encoded_list(objects: tuple[ListedObject, ...]) -> bytes:
    return encode(array(item.to_data() for item in objects))


class AssociationLn(InterfaceObject):
    """The association that a client is in, always 0-0:40.0.0."""

    __slots__ = ("_context", "_device", "_object_list", "_policy")

    class_id: ClassVar[int] = 15
    version: ClassVar[int] = 1
    rules: ClassVar[tuple[AttributeRule, ...]] = (
        *(AttributeRule(index) for index in range(1, 7)),
        AttributeRule(7, Access.NONE),
        AttributeRule(8),
        AttributeRule(9),
    )

    def __init__(self, device: LogicalDevice, policy: AssociationPolicy, context: AssociationContext) -> None:
        super().__init__(CURRENT_ASSOCIATION)
        self._device = device
        self._policy = policy
        self._context = context
        self._object_list: bytes | None = None

    def value(self, index: int) -> bytes:
        """Encoded attribute."""
        context = self._context
        match index:
            case 2:
                # Made once: a request with list may name this attribute thousands of times.
                if self._object_list is None:
                    seen = (item for item in self._device if self._policy.sees(item.logical_name))
                    self._object_list = _encoded_list(
                        tuple(listed(item, self._policy) for item in (self, *seen))
                    )
                return self._object_list
            case 3:
                return encode(
                    structure(Data(Tag.INTEGER, context.client), Data(Tag.LONG_UNSIGNED, context.server))
                )
            case 4:
                return encode(_object_identifier(1, 1))
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
                return encode(_object_identifier(2, self._policy.mechanism))
            case 8:
                return encode(Data(Tag.ENUM, ASSOCIATED))
            case _:
                return encode(Data(Tag.OCTET_STRING, bytes(6)))


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
