"""What every COSEM object has: class, version, logical name, attributes and methods with their access.

An object holds no values of its own: a meter core hands in callables that supply them, so that one set of
classes serves any meter, and an idle meter costs little. Rule of this file: what a client asks can only end
in an encoded value or in `AccessError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from openami.protocols.dlms.apdus.descriptors import Selector
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.quantities.obis import ObisCode


class Access(IntEnum):
    """Access mode of an attribute (association LN version 1)."""

    NONE = 0
    READ = 1
    WRITE = 2
    READ_WRITE = 3


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """An attribute of an interface class: number, access at most, selective access it knows."""

    index: int
    access: Access = Access.READ
    selectors: tuple[int, ...] = ()


class InterfaceObject(ABC):
    """An object of an interface class.

    Parameters
    ----------
    logical_name:
        Its OBIS code, attribute 1.
    """

    __slots__ = ("logical_name",)

    class_id: ClassVar[int]
    version: ClassVar[int]
    rules: ClassVar[tuple[AttributeRule, ...]]
    methods: ClassVar[tuple[int, ...]] = ()

    def __init__(self, logical_name: ObisCode) -> None:
        self.logical_name = logical_name

    def attribute_rules(self) -> tuple[AttributeRule, ...]:
        """Attributes of this object; an object may offer less access than its class."""
        return self.rules

    def method_rules(self) -> tuple[int, ...]:
        """Numbers of the methods that this object offers."""
        return self.methods

    def rule(self, index: int) -> AttributeRule:
        """Rule of an attribute.

        Raises
        ------
        AccessError
            The class has no such attribute.
        """
        for rule in self.attribute_rules():
            if rule.index == index:
                return rule
        raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name} attribute {index}")

    def read(self, index: int, selector: Selector | None = None) -> bytes:
        """Encoded value of an attribute.

        Raises
        ------
        AccessError
            There is no such attribute, or nothing that the selector could select.
        """
        rule = self.rule(index)
        if selector is not None:
            if selector.number not in rule.selectors:
                raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=str(self.logical_name))
            return self.select(index, selector)
        if index == 1:
            return encode(Data(Tag.OCTET_STRING, self.logical_name.to_bytes()))
        return self.value(index)

    @abstractmethod
    def value(self, index: int) -> bytes:
        """Encoded value of attribute ``index`` >= 2, which the class has."""

    def select(self, index: int, selector: Selector) -> bytes:
        """Encoded part of an attribute that the selector names."""
        raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=str(self.logical_name))

    def write(self, index: int, value: Data) -> None:
        """Set an attribute.

        Raises
        ------
        AccessError
            The attribute cannot be written, or not with this value.
        """
        raise AccessError(AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name} attribute {index}")

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """Run a method; gives what it returns.

        Raises
        ------
        AccessError
            There is no such method, or it cannot run with this parameter.
        """
        raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{self.logical_name} method {index}")


def type_unmatched(where: object, value: Data | None) -> AccessError:
    """Refusal of a value of the wrong type."""
    return AccessError(
        AccessResult.TYPE_UNMATCHED, where=f"{where}: {value.tag.name if value is not None else 'nothing'}"
    )
