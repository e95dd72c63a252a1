"""Data protection, class 30 version 0 (IEC 62056-6-2 clause 4.4.9): values protected on their way, not by
the association.

    object_definition     { class_id, logical_name, attribute_index, data_index, restriction }
    protection_parameters array { protection_type enum 0 authentication, 1 encryption, 2 both, 3 signature,
                                  { transaction_id, originator_system_title, recipient_system_title,
                                    other_information, { key_info_type enum, key_info } } }
    required_protection   enum, bits as of a security policy: 4 8 16 request, 32 64 128 response

    get_protected_attributes   { object_list, parameters } -> { parameters, protected octet-string }
    set_protected_attributes   { object_list, parameters, protected octet-string }
    invoke_protected_method    { method, parameters, protected octet-string } -> { parameters, protected }

One layer of AES-GCM under the identified global unicast key is offered (types 0 to 2, key_info_type 0,
key_id 0); what is protected is the encoded structure of the values, behind the security header. Layout
recalled. Rule of this file: nothing is set or run before all of it was verified, and what is required is
never left out.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import ClassVar, Protocol

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag, array, decode, encode, structure
from openami.protocols.dlms.encoding.limits import MAX_PDU
from openami.protocols.dlms.interface_classes.compact_data import NO_RESTRICTION
from openami.protocols.dlms.interface_classes.interface_object import Access, type_unmatched
from openami.protocols.dlms.interface_classes.object_reference import (
    Find,
    find_object,
    read_value,
    reference,
)
from openami.protocols.dlms.interface_classes.stored_object import (
    NO_PRESET,
    State,
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
)
from openami.protocols.dlms.interface_classes.value_types import (
    ENUM,
    INTEGER,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    ListOf,
    Octets,
    enumeration,
    record,
)
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import Protection
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.errors import ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode

_OBJECT = record(LONG_UNSIGNED, LOGICAL_NAME, INTEGER, LONG_UNSIGNED, NO_RESTRICTION)
_OBJECTS = ListOf(_OBJECT, 32)
_METHOD = record(LONG_UNSIGNED, LOGICAL_NAME, INTEGER)
_KEY_INFO = record(enumeration(0), enumeration(0))
_OPTIONS = record(Octets(0, 32), Octets(8, 8), Octets(8, 8), Octets(0, 32), _KEY_INFO)
_PARAMETERS = ListOf(record(enumeration(2), _OPTIONS), 1)
_SEALED = Octets(1, MAX_PDU)
_LEVELS = (
    Protection.AUTHENTICATED,
    Protection.ENCRYPTED,
    Protection.AUTHENTICATED | Protection.ENCRYPTED,
)


class Protector(Protocol):
    """Seals and opens octets for one partner."""

    def seal(self, plain: bytes, protection: Protection) -> bytes:
        """Security header, text and tag."""
        ...

    def open(self, sealed: bytes, protection: Protection) -> bytes:
        """The text; raises `ProtectionError` where it is not protected like that."""
        ...


class DataProtection(StoredObject):
    """Protects values for the partner of an end-to-end relation.

    Parameters
    ----------
    find:
        The objects whose attributes and methods are protected.
    protector:
        Of the system title of a partner; raises `ProtectionError` for one that it does not know.
    own_title:
        System title of the meter.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_find", "_own_title", "_protector")

    class_id: ClassVar[int] = 30
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "protection_buffer", Octets(0, MAX_PDU)),
        StoredAttribute(3, "protection_object_list", _OBJECTS),
        StoredAttribute(4, "protection_parameters_get", _PARAMETERS),
        StoredAttribute(5, "protection_parameters_set", _PARAMETERS),
        StoredAttribute(6, "required_protection", ENUM),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def __init__(
        self,
        logical_name: ObisCode,
        find: Find,
        protector: ProtectorOf,
        own_title: bytes,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._find = find
        self._protector = protector
        self._own_title = own_title

    def current(self, index: int) -> Data:
        """Attribute; the buffer holds the listed values, protected at this moment."""
        if index == 2 and items(super().current(3)) and items(super().current(4)):
            return self._sealed(super().current(3), super().current(4))
        return super().current(index)

    def write(self, index: int, value: Data) -> None:
        """Set an attribute; setting the buffer sets the attributes of the list. Raises `AccessError`."""
        if index != 2:
            return super().write(index, value)
        sealed = self.parameter(value, _SEALED, "protection_buffer")
        self._set(super().current(3), super().current(5), sealed)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """The three methods; raises `AccessError`."""
        match index:
            case 1:
                kind = record(_OBJECTS, _PARAMETERS)
                listed, wanted = items(self.parameter(parameter, kind, "get_protected_attributes"))
                return structure(self._answered(wanted), self._sealed(listed, wanted))
            case 2:
                kind = record(_OBJECTS, _PARAMETERS, _SEALED)
                listed, used, sealed = items(self.parameter(parameter, kind, "set_protected_attributes"))
                self._set(listed, used, sealed)
                return None
            case 3:
                kind = record(_METHOD, _PARAMETERS, _SEALED)
                method, used, sealed = items(self.parameter(parameter, kind, "invoke_protected_method"))
                class_id, name, method_index = items(method)
                (given,) = self._opened(used, sealed, 1)
                found = find_object(self._find, number(class_id), ObisCode.from_bytes(octets(name)))
                if found is self:
                    raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=str(self.logical_name))
                returned = found.invoke(number(method_index), given)
                answer = structure(NULL if returned is None else returned)
                return structure(self._answered(used), self._seal(answer, used))
        return super().invoke(index, parameter)

    def _set(self, listed: Data, used: Data, sealed: Data) -> None:
        sources = [reference(entry) for entry in items(listed)]
        values = self._opened(used, sealed, len(sources))
        targets = []
        for source in sources:
            found = find_object(self._find, source.class_id, source.logical_name)
            if found is self or source.data_index or not found.rule(source.attribute).access & Access.WRITE:
                raise AccessError(AccessResult.READ_WRITE_DENIED, where=str(source.logical_name))
            targets.append((found, source.attribute))
        for (found, attribute), value in zip(targets, values, strict=True):
            found.write(attribute, value)

    def _sealed(self, listed: Data, used: Data) -> Data:
        sources = [reference(entry) for entry in items(listed)]
        if any(source.logical_name == self.logical_name for source in sources):
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=str(self.logical_name))
        return self._seal(structure(*(read_value(self._find, source) for source in sources)), used)

    def _seal(self, values: Data, used: Data) -> Data:
        protection, partner = self._level(used, 5)
        sealed = self._partner(partner).seal(encode(values), protection)
        if len(sealed) > MAX_PDU:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: too long")
        return Data(Tag.OCTET_STRING, sealed)

    def _opened(self, used: Data, sealed: Data, count: int) -> tuple[Data, ...]:
        protection, partner = self._level(used, 2)
        try:
            values = decode(self._partner(partner).open(octets(sealed), protection))
        except ProtectionError as error:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: {error}") from None
        except RemoteProtocolError:
            raise type_unmatched(self.logical_name, sealed) from None
        if values.tag is not Tag.STRUCTURE or len(items(values)) != count:
            raise type_unmatched(self.logical_name, values)
        return items(values)

    def _level(self, used: Data, required_shift: int) -> tuple[Protection, bytes]:
        """Protection of one layer, and the title of the partner; at least what is required."""
        layers = items(used)
        if len(layers) != 1:
            raise AccessError(AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name}: no protection")
        kind, options = items(layers[0])
        protection = _LEVELS[number(kind)]
        required = number(self.current(6)) >> required_shift
        wanted = Protection((required & 0b11) << 4)
        if protection & wanted != wanted or required & 0b100:
            raise AccessError(
                AccessResult.READ_WRITE_DENIED, where=f"{self.logical_name}: required protection"
            )
        _, originator, recipient, *_ = items(options)
        titles = {octets(originator), octets(recipient)} - {self._own_title}
        if len(titles) != 1 or self._own_title not in (octets(originator), octets(recipient)):
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: not between us")
        return protection, titles.pop()

    def _answered(self, used: Data) -> Data:
        """The parameters of what goes back: the meter is the originator."""
        kind, options = items(items(used)[0])
        transaction, *_, other, key = items(options)
        _, partner = self._level(used, 5)
        titles = Data(Tag.OCTET_STRING, self._own_title), Data(Tag.OCTET_STRING, partner)
        return array((structure(kind, structure(transaction, *titles, other, key)),))

    def _partner(self, title: bytes) -> Protector:
        try:
            return self._protector(title)
        except ProtectionError as error:
            raise AccessError(AccessResult.OTHER_REASON, where=f"{self.logical_name}: {error}") from None


class ProtectorOf(Protocol):
    """Finds the protector of a partner."""

    def __call__(self, title: bytes) -> Protector:
        """Protector of a system title; raises `ProtectionError`."""
        ...


class CipherProtector:
    """Seals and opens under the global unicast key, with the counters of the associations.

    What is sealed is a general-glo-ciphering APDU: system title, security header, text and tag.
    """

    __slots__ = ("_cipher",)

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def seal(self, plain: bytes, protection: Protection) -> bytes:
        """The octets protected."""
        return self._cipher.seal(plain, protection, Form.GENERAL_GLOBAL)

    def open(self, sealed: bytes, protection: Protection) -> bytes:
        """The octets; raises `ProtectionError` at less protection, a wrong tag or an old counter."""
        return self._cipher.open(sealed, protection).apdu


def protectors(security: DeviceSecurity, partners: Container[bytes]) -> ProtectorOf:
    """Protectors for the partners that a meter knows, by system title."""

    def of(title: bytes) -> Protector:
        if title not in partners:
            raise ProtectionError("a partner that is not known")
        return CipherProtector(security.cipher(title))

    return of
