"""GSM diagnostic, class 47 versions 0 to 2 (IEC 62056-6-2 clause 4.9.8): what a modem says of its network.

    cell_info  version 0  { cell_ID long-unsigned, location_ID, signal_quality unsigned, ber unsigned }
               from 1     { cell_ID double-long-unsigned, location_ID, signal_quality, ber, mcc, mnc,
                            channel_number double-long-unsigned }

Version 2 knows further states of attachment (LTE); its layout is that of version 1. Rule of this file: all
values of one reading come from one look at the modem's state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import ClassVar

from openami.protocols.dlms.encoding.axdr import Data, Tag, array, encode, structure
from openami.protocols.dlms.interface_classes.interface_object import AttributeRule, InterfaceObject
from openami.protocols.dlms.interface_classes.local_time import stamp
from openami.quantities.obis import ObisCode


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a network: its id and the quality of its signal, 0 .. 31, 99 unknown."""

    cell_id: int
    signal_quality: int = 99


@dataclass(frozen=True, slots=True)
class NetworkState:
    """What the modem knows.

    Parameters
    ----------
    operator:
        Name of the network.
    status:
        0 not registered, 1 home network, 2 searching, 3 denied, 4 unknown, 5 roaming.
    circuit_switched, packet_switched:
        Attachment as the class enumerates it.
    cell, location:
        The cell in use and its area.
    bit_error_rate:
        0 .. 7, 99 unknown.
    mobile_country, mobile_network, channel:
        Codes of the network and its channel; from version 1 of the class.
    adjacent:
        Other cells.
    captured_at:
        When this was seen.
    """

    operator: str = ""
    status: int = 0
    circuit_switched: int = 0
    packet_switched: int = 0
    cell: Cell = Cell(0)
    location: int = 0
    bit_error_rate: int = 99
    mobile_country: int = 0
    mobile_network: int = 0
    channel: int = 0
    adjacent: tuple[Cell, ...] = ()
    captured_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)


class GsmDiagnostic(InterfaceObject):
    """The network of a modem.

    Parameters
    ----------
    modem:
        Gives the state of the network.
    zone:
        Of the capture time.
    """

    __slots__ = ("_modem", "_zone")

    class_id: ClassVar[int] = 47
    version: ClassVar[int] = 2
    rules: ClassVar[tuple[AttributeRule, ...]] = tuple(AttributeRule(index) for index in range(1, 9))

    def __init__(self, logical_name: ObisCode, modem: Callable[[], NetworkState], zone: tzinfo = UTC) -> None:
        super().__init__(logical_name)
        self._modem = modem
        self._zone = zone

    def value(self, index: int) -> bytes:
        """Encoded attribute."""
        return encode(self._current(index, self._modem()))

    def _current(self, index: int, state: NetworkState) -> Data:
        match index:
            case 2:
                return Data(Tag.VISIBLE_STRING, state.operator)
            case 3:
                return Data(Tag.ENUM, state.status)
            case 4:
                return Data(Tag.ENUM, state.circuit_switched)
            case 5:
                return Data(Tag.ENUM, state.packet_switched)
            case 6:
                return self._cell_info(state)
            case 7:
                return array(
                    structure(self._cell_id(cell), Data(Tag.UNSIGNED, cell.signal_quality))
                    for cell in state.adjacent
                )
        return stamp(state.captured_at, self._zone, Tag.DATE_TIME)

    def _cell_id(self, cell: Cell) -> Data:
        if self.version == 0:
            return Data(Tag.LONG_UNSIGNED, cell.cell_id & 0xFFFF)
        return Data(Tag.DOUBLE_LONG_UNSIGNED, cell.cell_id)

    def _cell_info(self, state: NetworkState) -> Data:
        common = (
            self._cell_id(state.cell),
            Data(Tag.LONG_UNSIGNED, state.location),
            Data(Tag.UNSIGNED, state.cell.signal_quality),
            Data(Tag.UNSIGNED, state.bit_error_rate),
        )
        if self.version == 0:
            return structure(*common)
        return structure(
            *common,
            Data(Tag.LONG_UNSIGNED, state.mobile_country),
            Data(Tag.LONG_UNSIGNED, state.mobile_network),
            Data(Tag.DOUBLE_LONG_UNSIGNED, state.channel),
        )


class GsmDiagnosticVersion1(GsmDiagnostic):
    """The network of a modem, class version 1."""

    __slots__ = ()

    version: ClassVar[int] = 1


class GsmDiagnosticVersion0(GsmDiagnostic):
    """The network of a modem, class version 0."""

    __slots__ = ()

    version: ClassVar[int] = 0
