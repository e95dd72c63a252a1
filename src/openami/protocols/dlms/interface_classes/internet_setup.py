"""Set-up of the internet access of a meter (IEC 62056-6-2 clause 4.9): TCP-UDP (41), IPv4 (42), MAC address
(43), PPP (44), GPRS modem (45), SMTP (46), IPv6 (48).

Parameters as the class tables have them; what is set is handed to whoever drives the interface (``applied``).
Rule of this file: PINs and passwords are written and never read.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import ClassVar, Final

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, array
from openami.protocols.dlms.interface_classes.stored_object import (
    StoredAttribute,
    StoredObject,
    items,
    number,
    octets,
    secret,
)
from openami.protocols.dlms.interface_classes.value_types import (
    DOUBLE_LONG_UNSIGNED,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    UNSIGNED,
    Anything,
    ListOf,
    Octets,
    Truth,
    Whole,
    enumeration,
    one_of,
    record,
)

_MOST_ADDRESSES: Final = 16
_IPV6 = Octets(16, 16)
_OPTIONS = ListOf(record(UNSIGNED, UNSIGNED, Octets()), 16)
_PPP_OPTIONS = ListOf(record(UNSIGNED, UNSIGNED, Anything(64)), 16)
_QUALITY = record(*[UNSIGNED] * 5)


class TcpUdpSetup(StoredObject):
    """TCP or UDP under the COSEM application; class 41 version 0."""

    __slots__ = ()

    class_id: ClassVar[int] = 41
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "TCP-UDP_port", LONG_UNSIGNED),
        StoredAttribute(3, "IP_reference", LOGICAL_NAME),
        StoredAttribute(4, "MSS", Whole(Tag.LONG_UNSIGNED, 40, 65_535)),
        StoredAttribute(5, "nb_of_sim_conn", Whole(Tag.UNSIGNED, 1, 255)),
        StoredAttribute(6, "inactivity_time_out", LONG_UNSIGNED),
    )

    @property
    def inactivity_time_out_s(self) -> int | None:
        """Seconds after which an idle connection is closed; None for never."""
        return number(self.current(6)) or None


class Ipv4Setup(StoredObject):
    """An IPv4 interface; class 42 version 0.

    Methods: 1 ``add_mc_IP_address``, 2 ``delete_mc_IP_address``, 3 ``get_nbof_mc_IP_addresses``.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 42
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "DL_reference", LOGICAL_NAME),
        StoredAttribute(3, "IP_address", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(4, "multicast_IP_address", ListOf(DOUBLE_LONG_UNSIGNED, _MOST_ADDRESSES)),
        StoredAttribute(5, "IP_options", _OPTIONS),
        StoredAttribute(6, "subnet_mask", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(7, "gateway_IP_address", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(8, "use_DHCP_flag", Truth()),
        StoredAttribute(9, "primary_DNS_address", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(10, "secondary_DNS_address", DOUBLE_LONG_UNSIGNED),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3)

    @property
    def address(self) -> IPv4Address:
        """The interface's address."""
        return IPv4Address(number(self.current(3)))

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """The methods of multicast addresses; raises `AccessError`."""
        addresses = items(self.current(4))
        match index:
            case 1:
                added = self.parameter(parameter, DOUBLE_LONG_UNSIGNED, "add_mc_IP_address")
                if not IPv4Address(number(added)).is_multicast:
                    raise AccessError(
                        AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: no multicast"
                    )
                self.keep(4, _added(self, addresses, added))
            case 2:
                gone = self.parameter(parameter, DOUBLE_LONG_UNSIGNED, "delete_mc_IP_address")
                self.keep(4, _removed(self, addresses, gone))
            case 3:
                return Data(Tag.LONG_UNSIGNED, len(addresses))
            case _:
                return super().invoke(index, parameter)
        return None


class MacAddressSetup(StoredObject):
    """The address of an interface on its medium; class 43 version 0."""

    __slots__ = ()

    class_id: ClassVar[int] = 43
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (StoredAttribute(2, "MAC_address", Octets(0, 8)),)


class PppSetup(StoredObject):
    """A point-to-point link; class 44 version 0."""

    __slots__ = ()

    class_id: ClassVar[int] = 44
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "PHY_reference", LOGICAL_NAME),
        StoredAttribute(3, "LCP_options", _PPP_OPTIONS),
        StoredAttribute(4, "IPCP_options", _PPP_OPTIONS),
        secret(5, "PPP_authentication", one_of(record(), record(Octets(0, 64), Octets(0, 64)))),
    )


class GprsModemSetup(StoredObject):
    """Access point and quality of service of a GPRS modem; class 45 version 0."""

    __slots__ = ()

    class_id: ClassVar[int] = 45
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "APN", Octets(0, 100)),
        secret(3, "PIN_code", LONG_UNSIGNED),
        StoredAttribute(4, "quality_of_service", record(_QUALITY, _QUALITY)),
    )


class SmtpSetup(StoredObject):
    """How the meter sends mail; class 46 version 0."""

    __slots__ = ()

    class_id: ClassVar[int] = 46
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "server_port", LONG_UNSIGNED),
        StoredAttribute(3, "user_name", Octets(0, 64)),
        secret(4, "login_password", Octets(0, 64)),
        StoredAttribute(5, "server_address", Octets(0, 128)),
        StoredAttribute(6, "sender_address", Octets(0, 128)),
    )


class Ipv6Setup(StoredObject):
    """An IPv6 interface; class 48 version 0.

    Methods: 1 ``add_IPv6_address``, 2 ``remove_IPv6_address``, of a kind (0 unicast, 1 multicast, 2 gateway)
    and sixteen octets.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 48
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "DL_reference", LOGICAL_NAME),
        StoredAttribute(3, "address_config_mode", enumeration(3)),
        StoredAttribute(4, "unicast_IPv6_addresses", ListOf(_IPV6, _MOST_ADDRESSES)),
        StoredAttribute(5, "multicast_IPv6_addresses", ListOf(_IPV6, _MOST_ADDRESSES)),
        StoredAttribute(6, "gateway_IPv6_addresses", ListOf(_IPV6, _MOST_ADDRESSES)),
        StoredAttribute(7, "primary_DNS_address", _IPV6),
        StoredAttribute(8, "secondary_DNS_address", _IPV6),
        StoredAttribute(9, "traffic_class", Whole(Tag.UNSIGNED, 0, 63)),
        StoredAttribute(
            10, "neighbor_discovery_setup", ListOf(record(UNSIGNED, LONG_UNSIGNED, DOUBLE_LONG_UNSIGNED), 16)
        ),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """The methods; raises `AccessError`."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        kind, address = items(self.parameter(parameter, record(enumeration(2), _IPV6), "IPv6 address"))
        attribute = 4 + number(kind)
        if index == 1:
            if number(kind) == 1 and octets(address)[0] != 0xFF:
                raise AccessError(
                    AccessResult.SCOPE_OF_ACCESS_VIOLATED, where=f"{self.logical_name}: no multicast"
                )
            self.keep(attribute, _added(self, items(self.current(attribute)), address))
        else:
            self.keep(attribute, _removed(self, items(self.current(attribute)), address))
        return None


def _added(to: StoredObject, addresses: tuple[Data, ...], address: Data) -> Data:
    if address in addresses:
        return array(addresses)
    if len(addresses) == _MOST_ADDRESSES:
        raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{to.logical_name} is full")
    return array((*addresses, address))


def _removed(of: StoredObject, addresses: tuple[Data, ...], address: Data) -> Data:
    if address not in addresses:
        raise AccessError(AccessResult.OBJECT_UNDEFINED, where=f"{of.logical_name}: no such address")
    return array(known for known in addresses if known != address)
