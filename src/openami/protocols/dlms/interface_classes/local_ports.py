"""Set-up of the ports of a meter: IEC local port (19), HDLC (23), twisted pair (24), M-Bus slave port (25),
modem configuration (27) and M-Bus master port (74) (IEC 62056-6-2 clauses 4.7.1 to 4.7.6 and 4.8.5).

Speeds are enumerations: 0 = 300, 1 = 600, 2 = 1200, 3 = 2400, 4 = 4800, 5 = 9600, 6 = 19200, 7 = 38400,
8 = 57600, 9 = 115200 baud. What is set is handed to whoever drives the port (``applied``). Rule of this
file: a port is never set to what its driver cannot do, and no password is ever read.
"""

from __future__ import annotations

from typing import ClassVar, Final

from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.interface_classes.stored_object import (
    StoredAttribute,
    StoredObject,
    number,
    read_only,
    secret,
)
from openami.protocols.dlms.interface_classes.value_types import (
    INTEGER,
    LONG_UNSIGNED,
    UNSIGNED,
    ListOf,
    Octets,
    Whole,
    enumeration,
    record,
)

BAUD: Final = (300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200)
_SPEED = enumeration(len(BAUD) - 1)
_WINDOW = Whole(Tag.UNSIGNED, 1, 7)
_INFORMATION = Whole(Tag.LONG_UNSIGNED, 32, 2030)


class IecLocalPort(StoredObject):
    """The optical port and what it says in IEC 62056-21; class 19 version 1."""

    __slots__ = ()

    class_id: ClassVar[int] = 19
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "default_mode", enumeration(2)),
        StoredAttribute(3, "default_baud", _SPEED),
        StoredAttribute(4, "prop_baud", _SPEED),
        StoredAttribute(5, "response_time", enumeration(1)),
        StoredAttribute(6, "device_addr", Octets(0, 32)),
        secret(7, "pass_p1", Octets(0, 32)),
        secret(8, "pass_p2", Octets(0, 32)),
        secret(9, "pass_w5", Octets(0, 32)),
    )

    @property
    def response_time_ms(self) -> int:
        """How long the meter waits before it answers: 20 or 200 ms."""
        return (20, 200)[number(self.current(5))]

    @property
    def proposed_baud(self) -> int:
        """Speed after the sign-on."""
        return BAUD[number(self.current(4))]


class HdlcSetup(StoredObject):
    """A channel that uses the data link layer of IEC 62056-46; class 23 version 1."""

    __slots__ = ()

    class_id: ClassVar[int] = 23
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "comm_speed", _SPEED),
        StoredAttribute(3, "window_size_transmit", _WINDOW),
        StoredAttribute(4, "window_size_receive", _WINDOW),
        StoredAttribute(5, "max_info_field_length_transmit", _INFORMATION),
        StoredAttribute(6, "max_info_field_length_receive", _INFORMATION),
        StoredAttribute(7, "inter_octet_time_out", Whole(Tag.LONG_UNSIGNED, 20, 6000)),
        StoredAttribute(8, "inactivity_time_out", LONG_UNSIGNED),
        StoredAttribute(9, "device_address", Whole(Tag.LONG_UNSIGNED, 0, 0x3FFF)),
    )

    def link_parameters(self) -> HdlcParameters:
        """What the link proposes and accepts in its negotiation."""
        transmit_window, receive_window, transmit, receive = (
            number(self.current(index)) for index in (3, 4, 5, 6)
        )
        return HdlcParameters(transmit, receive, transmit_window, receive_window)

    @property
    def inactivity_time_out_s(self) -> int | None:
        """Seconds without a frame after which the link is given up; None for never."""
        return number(self.current(8)) or None


class TwistedPairSetup(StoredObject):
    """A station on an IEC 62056-31 bus; class 24 version 1."""

    __slots__ = ()

    class_id: ClassVar[int] = 24
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "mode", enumeration(255)),
        StoredAttribute(3, "speed", _SPEED),
        StoredAttribute(4, "primary_address_list", ListOf(UNSIGNED, 16)),
        StoredAttribute(5, "tabi_list", ListOf(INTEGER, 16)),
    )


class MbusSlavePort(StoredObject):
    """The meter as a slave of an M-Bus (EN 13757-2); class 25 version 0.

    The address state (4) says whether an address was given: it follows the address (5), 0 being none.
    """

    __slots__ = ()

    class_id: ClassVar[int] = 25
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "default_baud", _SPEED),
        StoredAttribute(3, "avail_baud", _SPEED),
        read_only(4, "addr_state", enumeration(1)),
        StoredAttribute(5, "bus_address", Whole(Tag.UNSIGNED, 0, 250)),
    )

    def current(self, index: int) -> Data:
        """Attribute."""
        if index == 4:
            return Data(Tag.ENUM, int(number(self.current(5)) > 0))
        return super().current(index)


class ModemConfiguration(StoredObject):
    """How a modem is initialised and what it answers; class 27 version 1."""

    __slots__ = ()

    class_id: ClassVar[int] = 27
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "comm_speed", _SPEED),
        StoredAttribute(
            3, "initialization_string", ListOf(record(Octets(0, 64), Octets(0, 64), LONG_UNSIGNED), 32)
        ),
        StoredAttribute(4, "modem_profile", ListOf(Octets(0, 64), 32)),
    )


class MbusMasterPort(StoredObject):
    """The port to the meters of other media; class 74 version 0."""

    __slots__ = ()

    class_id: ClassVar[int] = 74
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (StoredAttribute(2, "comm_speed", _SPEED),)
