"""M-Bus client (class 72, versions 0 and 1) and M-Bus diagnostic (class 77): meters of other media.

IEC 62056-6-2 clauses 4.8.3 and 4.8.6; EN 13757-2 and -3. The object keeps what a client sets and what the
slave said of itself; the bus is injected. The parameter 0 of a method is an integer in older editions of the
Blue Book and unsigned since, and both are taken; a slave that is installed under address 0 gets the address
of its channel. Rule of this file: nothing is asked of a slave that is not installed, and a slave that does
not answer leaves what was known of it untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import ClassVar, Protocol

from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.interface_classes.local_time import stamp
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
    DOUBLE_LONG_UNSIGNED,
    LOGICAL_NAME,
    LONG_UNSIGNED,
    UNSIGNED,
    Anything,
    ListOf,
    Moment,
    Octets,
    Whole,
    enumeration,
    one_of,
    record,
)
from openami.quantities.errors import OpenAmiError
from openami.quantities.obis import ObisCode

_NOTHING = one_of(Whole(Tag.INTEGER, 0, 0), Whole(Tag.UNSIGNED, 0, 0))
_ADDRESS = one_of(Whole(Tag.UNSIGNED, 0, 250), Whole(Tag.INTEGER, 0))
_BLOCKS = ListOf(record(Octets(0, 16), Octets(0, 16)), 32)
_SENT = ListOf(record(Octets(0, 16), Octets(0, 16), Anything(128)), 16)


@dataclass(frozen=True, slots=True)
class SlaveIdentity:
    """What a slave says of itself (EN 13757-3 fixed header).

    Parameters
    ----------
    identification, manufacturer, version, device_type:
        Who it is.
    access_number, status:
        Of the answer.
    configuration:
        Configuration field of the answer.
    """

    identification: int
    manufacturer: int
    version: int
    device_type: int
    access_number: int = 0
    status: int = 0
    configuration: int = 0


class MbusBus(Protocol):
    """The bus with its slaves; every call raises `LinkError` where nobody answers."""

    def install(self, primary_address: int) -> SlaveIdentity:
        """Give the slave that waits for one an address."""
        ...

    def deinstall(self, primary_address: int) -> None:
        """Take its address away."""
        ...

    def capture(self, primary_address: int, blocks: tuple[tuple[bytes, bytes], ...]) -> SlaveIdentity:
        """Read the data blocks (DIB, VIB) of a slave; the meter keeps their values in its registers."""
        ...

    def synchronize(self, primary_address: int) -> None:
        """Set its clock."""
        ...

    def send(self, primary_address: int, blocks: tuple[tuple[bytes, bytes, Data], ...]) -> None:
        """Send it data blocks."""
        ...

    def set_key(self, primary_address: int, key: bytes) -> None:
        """Use a key from now on; empty: none."""
        ...

    def transfer_key(self, primary_address: int, key: bytes) -> None:
        """Hand it a key that was enciphered for it."""
        ...


class MbusClient(StoredObject):
    """A slave of the M-Bus, class version 1.

    ``encryption_key_status``: 0 none, 1 set, 2 transferred, 3 set and transferred, 4 in use.

    Parameters
    ----------
    bus:
        The bus.
    state, preset:
        As of `StoredObject`.
    """

    __slots__ = ("_bus",)

    class_id: ClassVar[int] = 72
    version: ClassVar[int] = 1
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        StoredAttribute(2, "mbus_port_reference", LOGICAL_NAME),
        StoredAttribute(3, "capture_definition", _BLOCKS),
        StoredAttribute(4, "capture_period", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(5, "primary_address", Whole(Tag.UNSIGNED, 0, 250)),
        StoredAttribute(6, "identification_number", DOUBLE_LONG_UNSIGNED),
        StoredAttribute(7, "manufacturer_id", LONG_UNSIGNED),
        StoredAttribute(8, "version", UNSIGNED),
        StoredAttribute(9, "device_type", UNSIGNED),
        read_only(10, "access_number", UNSIGNED),
        read_only(11, "status", UNSIGNED),
        read_only(12, "alarm", UNSIGNED),
        read_only(13, "configuration", LONG_UNSIGNED),
        read_only(14, "encryption_key_status", enumeration(4)),
    )
    methods: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5, 6, 7, 8)

    def __init__(
        self,
        logical_name: ObisCode,
        bus: MbusBus,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._bus = bus

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """The methods of the class; raises `AccessError`, also where the slave does not answer."""
        if index not in self.methods:
            return super().invoke(index, parameter)
        try:
            self._do(index, parameter)
        except AccessError:
            raise
        except OpenAmiError as error:
            raise AccessError(AccessResult.HARDWARE_FAULT, where=f"{self.logical_name}: {error}") from None
        return None

    def due(self, after: datetime, until: datetime) -> datetime | None:
        """The next capture; see `timeline.Timed`."""
        period = number(self.current(4))
        if not period or not number(self.current(5)):
            return None
        ended = (int(after.timestamp()) // period + 1) * period
        return datetime.fromtimestamp(ended, UTC) if ended <= until.timestamp() else None

    def perform(self, at: datetime) -> None:
        """Capture; a slave that does not answer raises `AccessError`."""
        self.invoke(3, Data(Tag.INTEGER, 0))

    def _do(self, index: int, parameter: Data | None) -> None:
        if index == 1:
            wanted = number(self.parameter(parameter, _ADDRESS, "slave_install"))
            if number(self.current(5)):
                raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} has a slave")
            given = wanted or self.logical_name.b or 1
            identity = self._bus.install(given)
            self.keep(5, Data(Tag.UNSIGNED, given))
            self._note(identity)
            return
        if index == 4:
            self.parameter(parameter, _NOTHING, "reset_alarm")
            self.keep(12, Data(Tag.UNSIGNED, 0))
            return
        address = self.current(5)
        primary = number(address)
        if not primary:
            raise AccessError(AccessResult.TEMPORARY_FAILURE, where=f"{self.logical_name} has no slave")
        match index:
            case 2:
                self.parameter(parameter, _NOTHING, "slave_deinstall")
                self._bus.deinstall(primary)
                for gone in (5, 6, 7, 8, 9, 10, 11, 13, 14):
                    self.keep(gone, self.row(gone).type.blank())
            case 3:
                self.parameter(parameter, _NOTHING, "capture")
                blocks = (items(entry) for entry in items(self.current(3)))
                self._note(
                    self._bus.capture(primary, tuple((octets(dib), octets(vib)) for dib, vib in blocks))
                )
            case 5:
                self.parameter(parameter, _NOTHING, "synchronize_clock")
                self._bus.synchronize(primary)
            case 6:
                sent = (items(entry) for entry in items(self.parameter(parameter, _SENT, "data_send")))
                self._bus.send(primary, tuple((octets(dib), octets(vib), data) for dib, vib, data in sent))
            case 7:
                key = octets(self.parameter(parameter, Octets(0, 32), "set_encryption_key"))
                self._bus.set_key(primary, key)
                self._key_status(1 if key else 0)
            case _:
                key = octets(self.parameter(parameter, Octets(16, 64), "transfer_key"))
                self._bus.transfer_key(primary, key)
                self._key_status(number(self.current(14)) | 2 if self.version else 2)

    def _key_status(self, status: int) -> None:
        self._state[14] = Data(Tag.ENUM, status)

    def _note(self, identity: SlaveIdentity) -> None:
        self.keep(6, Data(Tag.DOUBLE_LONG_UNSIGNED, identity.identification))
        self.keep(7, Data(Tag.LONG_UNSIGNED, identity.manufacturer))
        self.keep(8, Data(Tag.UNSIGNED, identity.version))
        self.keep(9, Data(Tag.UNSIGNED, identity.device_type))
        self.keep(10, Data(Tag.UNSIGNED, identity.access_number))
        self.keep(11, Data(Tag.UNSIGNED, identity.status))
        self._state[13] = Data(Tag.LONG_UNSIGNED, identity.configuration)


class MbusClientVersion0(MbusClient):
    """A slave of the M-Bus, class version 0: without configuration and key status.

    DSMR 4 has the last two attributes in this version already; a model that lists them says version 0 and
    is served with them, because a client that does not know them does not ask.
    """

    __slots__ = ()

    version: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class BusQuality:
    """How well a radio slave is heard: counts since the last reset.

    Parameters
    ----------
    signal_strength, channel:
        Of the last frame.
    link_status:
        0 none, 1 normal, 2 temporarily interrupted, 3 permanently interrupted.
    transmissions, received, damaged:
        Frames sent, received with a right and with a wrong checksum.
    """

    signal_strength: int = 0
    channel: int = 0
    link_status: int = 0
    transmissions: int = 0
    received: int = 0
    damaged: int = 0


class MbusDiagnostic(StoredObject):
    """The link to a slave; class 77 version 0.

    Parameters
    ----------
    quality:
        Gives the counts of the link.
    now, zone:
        The meter's clock.
    state, preset:
        As of `StoredObject`; below 1 it keeps the counts at the last reset.
    """

    __slots__ = ("_now", "_quality", "_zone")

    class_id: ClassVar[int] = 77
    version: ClassVar[int] = 0
    table: ClassVar[tuple[StoredAttribute, ...]] = (
        read_only(2, "received_signal_strength", UNSIGNED),
        read_only(3, "channel_id", UNSIGNED),
        read_only(4, "link_status", enumeration(255)),
        read_only(
            5, "broadcast_frames_counter", ListOf(record(UNSIGNED, DOUBLE_LONG_UNSIGNED, Moment()), 32)
        ),
        read_only(6, "transmissions_counter", DOUBLE_LONG_UNSIGNED),
        read_only(7, "FCS_OK_frames_counter", DOUBLE_LONG_UNSIGNED),
        read_only(8, "FCS_NOK_frames_counter", DOUBLE_LONG_UNSIGNED),
        read_only(9, "capture_time", record(UNSIGNED, Moment(Tag.DATE_TIME))),
    )
    methods: ClassVar[tuple[int, ...]] = (1,)

    def __init__(
        self,
        logical_name: ObisCode,
        quality: Callable[[], BusQuality],
        now: Callable[[], datetime],
        zone: tzinfo = UTC,
        state: State | None = None,
        preset: Mapping[int, Data] = NO_PRESET,
    ) -> None:
        super().__init__(logical_name, state, preset)
        self._quality = quality
        self._now = now
        self._zone = zone

    def current(self, index: int) -> Data:
        """Attribute."""
        quality = self._quality()
        counts = (quality.transmissions, quality.received, quality.damaged)
        match index:
            case 2:
                return Data(Tag.UNSIGNED, quality.signal_strength)
            case 3:
                return Data(Tag.UNSIGNED, quality.channel)
            case 4:
                return Data(Tag.ENUM, quality.link_status)
            case 6 | 7 | 8:
                kept = self._state.get(6 - index)
                before = 0 if kept is None else number(kept)
                return Data(Tag.DOUBLE_LONG_UNSIGNED, (counts[index - 6] - before) & 0xFFFF_FFFF)
        return super().current(index)

    def invoke(self, index: int, parameter: Data | None) -> Data | None:
        """``reset``: counts begin at 0 again."""
        if index != 1:
            return super().invoke(index, parameter)
        self.parameter(parameter, _NOTHING, "reset")
        quality = self._quality()
        for place, count in enumerate((quality.transmissions, quality.received, quality.damaged)):
            self._state[-place] = Data(Tag.LONG64, count)
        self.keep(9, structure(Data(Tag.UNSIGNED, 6), stamp(self._now(), self._zone, Tag.DATE_TIME)))
        return None
