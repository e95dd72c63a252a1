"""The meter as COSEM objects (IEC 62056-6-2): which objects it has, and where their values come from.

    0-0:42.0.0  logical device name        1-0:1.8.0, 2.8.0    energy registers, Wh
    0-0:96.1.0  serial number              1-0:1.29.0, 2.29.0  energy of the running interval, Wh
    1-0:0.2.0   firmware identifier        1-0:1.7.0, 2.7.0    power, W
    1-0:0.2.8   digest of what is legal    1-0:3.8.0 ... 10.8.0  further channels of the metering core
    0-0:1.0.0   clock                      1-0:1.6.0           maximum demand, W, with its time
    1-0:99.1.0  load profile               0-0:96.10.1         status of the running interval
    1-0:99.2.0  daily freezes              0-0:96.11.0         code of the last event
    0-0:99.98.0 event log                  0-0:96.3.10         disconnect control
    0-0:43.1.0  invocation counter         0-0:43.0.0          security setup, of a meter with keys

Objects are made when a client asks for them and forgotten with its association: an idle meter has none. What
is the same for all meters (columns, policies, the public client's view) exists once. Rule never to be
broken: an object keeps no value; it asks the fleet for the meter at its present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import openami
from openami.protocols.dlms.apdus.descriptors import CLOCK, CLOCK_COLUMN, CaptureObject
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.encoding.date_time import STATUS_DAYLIGHT_SAVING, CosemDateTime, date_times_of
from openami.protocols.dlms.interface_classes.clock import ClockObject
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState, DisconnectControl
from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject
from openami.protocols.dlms.interface_classes.profile_generic import ProfileColumn, ProfileGeneric
from openami.protocols.dlms.interface_classes.register import ExtendedRegister, Register
from openami.protocols.dlms.interface_classes.sap_assignment import SapAssignment
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup
from openami.protocols.dlms.protection.message_protection import Signing
from openami.protocols.dlms.server.association_policy import (
    AssociationPolicy,
    management,
    public,
    secured_management,
)
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.civil_time import zone_of
from openami.quantities.obis import ObisCode, lookup
from openami.quantities.units import Quantum, Unit

from .capture_buffer import CaptureBuffer
from .fleet import Fleet
from .fleet_spec import MANAGEMENT_WPORT, MANUFACTURER, MeterSpec
from .management_core import EVENT_CAPACITY
from .meter_clock import local_offsets
from .metering_core.identification import metering_identity

LOGICAL_DEVICE_NAME = ObisCode(0, 0, 42, 0, 0)
SERIAL_NUMBER = ObisCode(0, 0, 96, 1, 0)
FIRMWARE = ObisCode(1, 0, 0, 2, 0)
LEGAL_SIGNATURE = ObisCode(1, 0, 0, 2, 8)
"""Active firmware signature: SHA-256 of the legally relevant software (IEC 62056-6-1, recalled)."""
LOAD_PROFILE = ObisCode(1, 0, 99, 1, 0)
DAILY_FREEZES = ObisCode(1, 0, 99, 2, 0)
EVENT_LOG = ObisCode(0, 0, 99, 98, 0)
PROFILE_STATUS = ObisCode(0, 0, 96, 10, 1)
EVENT_CODE = ObisCode(0, 0, 96, 11, 0)
RELAY = ObisCode(0, 0, 96, 3, 10)
MAXIMUM_DEMAND = ObisCode(1, 0, 1, 6, 0)
SAP_ASSIGNMENT = ObisCode(0, 0, 41, 0, 0)
SECURITY_SETUP = ObisCode(0, 0, 43, 0, 0)
FRAME_COUNTER = ObisCode(0, 0, 43, 1, 0)
"""The highest invocation counter that the meter believed of a client (recalled: companion specifications)."""

WATT = Quantum(Unit.WATT)
_SHARED_ROWS = 1500
"""Rows of a clock column that is kept for other meters: a day of minutes, a fortnight of quarter-hours."""
_REGISTER_CLASS = 3
_INTERVAL_D = 29
_POWER_D = 7
_DATA_CLASS = 1
_PUBLIC = public(
    (LOGICAL_DEVICE_NAME, SERIAL_NUMBER, FIRMWARE, LEGAL_SIGNATURE, CLOCK, SAP_ASSIGNMENT, FRAME_COUNTER)
)
_SECURED = replace(secured_management(), security_setup=ObisCode(0, 0, 43, 0, 0))
_CLOCK = ProfileColumn(CLOCK_COLUMN, Tag.OCTET_STRING)
_STATUS = ProfileColumn(CaptureObject(_DATA_CLASS, PROFILE_STATUS, 2), Tag.LONG_UNSIGNED)
_EVENT_COLUMNS = (_CLOCK, ProfileColumn(CaptureObject(_DATA_CLASS, EVENT_CODE, 2), Tag.UNSIGNED))


Maker: TypeAlias = Callable[[Fleet, str], InterfaceObject]
"""Makes an object of one meter of a fleet."""


class FleetDevices(Mapping[int, LogicalDevice]):
    """Logical devices behind one TCP port, by wPort: made when asked for.

    wPort 1 is the management device with the list of the others.
    """

    def __init__(self, fleet: Fleet, port_index: int) -> None:
        self._fleet = fleet
        self._meters = {
            spec.wport: spec.meter_id for spec in fleet.spec.meters if spec.port_index == port_index
        }

    def meter_id(self, wport: int) -> str | None:
        """Serial number of the meter at a wPort; None where there is none, and at wPort 1."""
        return self._meters.get(wport)

    def __getitem__(self, wport: int) -> LogicalDevice:
        if wport == MANAGEMENT_WPORT:
            return management_device(self._meters)
        meter_id = self._meters[wport]
        if self._fleet.meter_spec(meter_id).companion is None:
            return meter_device(self._fleet, meter_id)
        from .companion.objects import companion_device  # it needs this module

        return companion_device(self._fleet, meter_id)

    def __iter__(self) -> Iterator[int]:
        yield MANAGEMENT_WPORT
        yield from self._meters

    def __len__(self) -> int:
        return 1 + len(self._meters)


def logical_device_name(meter_id: str) -> bytes:
    """Name of at most 16 octets: the manufacturer and the end of the serial number."""
    return MANUFACTURER + meter_id.encode("ascii")[-13:]


def management_device(meters: Mapping[int, str]) -> LogicalDevice:
    """The device at wPort 1: who is where."""

    def assigned() -> Iterator[tuple[int, bytes]]:
        yield MANAGEMENT_WPORT, MANUFACTURER + b"MANAGEMENT"
        for wport, meter_id in meters.items():
            yield wport, logical_device_name(meter_id)

    objects = (
        _octets(LOGICAL_DEVICE_NAME, MANUFACTURER + b"MANAGEMENT"),
        SapAssignment(SAP_ASSIGNMENT, assigned),
    )
    return LogicalDevice(objects, (_PUBLIC,))


class MeterDevice(LogicalDevice):
    """A meter of a fleet: the objects of its model, each made when it is first asked for.

    A client reads a few of them; what a meter of this model has, and how it is made, is known once.
    Invariant: no object of the meter's own has a name of the model's.

    Parameters
    ----------
    fleet, meter_id:
        The meter.
    model:
        Makers of the objects of its model, in the order of the object list.
    own:
        Further objects.
    policies, security:
        As of `LogicalDevice`.
    """

    __slots__ = ("_fleet", "_made", "_meter_id", "_model")

    def __init__(
        self,
        fleet: Fleet,
        meter_id: str,
        model: Mapping[ObisCode, Maker],
        own: Iterable[InterfaceObject],
        policies: Iterable[AssociationPolicy],
        security: DeviceSecurity | None = None,
    ) -> None:
        super().__init__(own, policies, security)
        self._fleet = fleet
        self._meter_id = meter_id
        self._model = model
        self._made: dict[ObisCode, InterfaceObject] = {}

    def find(self, logical_name: ObisCode) -> InterfaceObject | None:
        """The object of a logical name; None where there is none."""
        found = self._made.get(logical_name)
        if found is None:
            make = self._model.get(logical_name)
            if make is None:
                return super().find(logical_name)
            found = self._made[logical_name] = make(self._fleet, self._meter_id)
        return found

    def __iter__(self) -> Iterator[InterfaceObject]:
        yield from filter(None, map(self.find, self._model))
        yield from super().__iter__()

    def __len__(self) -> int:
        return len(self._model) + super().__len__()


def meter_device(fleet: Fleet, meter_id: str) -> LogicalDevice:
    """One meter of a fleet as a logical device."""
    spec = fleet.meter_spec(meter_id)
    model = _model(fleet.meter(meter_id).channels, register_tag(spec.digits))
    objects: list[InterfaceObject] = []
    security = fleet.security(meter_id)
    if security is None:
        return MeterDevice(fleet, meter_id, model, objects, (_PUBLIC, _management(spec.password)))
    objects.append(
        DataObject(FRAME_COUNTER, lambda: Data(Tag.DOUBLE_LONG_UNSIGNED, security.highest_counter))
    )
    setup = SecuritySetup(
        SECURITY_SETUP, security, MANAGEMENT_WPORT, state=fleet.companion_state(meter_id).of(SECURITY_SETUP)
    )
    objects.append(setup)
    return MeterDevice(fleet, meter_id, model, objects, (_PUBLIC, _secured(spec, setup)), security)


def _secured(spec: MeterSpec, setup: SecuritySetup) -> AssociationPolicy:
    """Policy of the management client of a meter with keys."""
    public_keys = None if spec.keys is None else spec.keys.public_keys
    policy = _SECURED if public_keys is None else public_keys.policy(_SECURED)
    return replace(policy, signing=Signing.REQUIRED) if setup.signing_required else policy


def register_tag(digits: int) -> Tag:
    """Integer type that holds a dial."""
    return Tag.DOUBLE_LONG_UNSIGNED if digits <= 9 else Tag.LONG64_UNSIGNED


@lru_cache(maxsize=64)
def _model(channels: tuple[ObisCode, ...], tag: Tag) -> Mapping[ObisCode, Maker]:
    """What meters with these channels and this type of dials have."""
    intervals, freezes = _interval_columns(channels), _freeze_columns(channels, tag)
    firmware = f"openami {openami.__version__}".encode("ascii")
    model: dict[ObisCode, Maker] = {
        LOGICAL_DEVICE_NAME: lambda _, meter_id: _octets(LOGICAL_DEVICE_NAME, logical_device_name(meter_id)),
        SERIAL_NUMBER: lambda _, meter_id: _octets(SERIAL_NUMBER, meter_id.encode("ascii")),
        FIRMWARE: lambda *_: _octets(FIRMWARE, firmware),
        LEGAL_SIGNATURE: lambda *_: _octets(LEGAL_SIGNATURE, metering_identity().sha256),
        CLOCK: lambda fleet, meter_id: ClockObject(
            CLOCK,
            FleetClock(fleet, meter_id),
            _zone(fleet, meter_id),
            measuring_period_s=fleet.spec.shape.period_s,
        ),
    }
    for channel, code in enumerate(channels):
        model |= _channel_model(channel, code, tag)
    return model | {
        MAXIMUM_DEMAND: _maximum_demand,
        PROFILE_STATUS: lambda fleet, meter_id: DataObject(
            PROFILE_STATUS, lambda: Data(Tag.LONG_UNSIGNED, int(fleet.meter(meter_id).pending_status))
        ),
        EVENT_CODE: lambda fleet, meter_id: DataObject(
            EVENT_CODE, lambda: Data(Tag.UNSIGNED, fleet.meter(meter_id).events[-1][1])
        ),
        RELAY: lambda fleet, meter_id: DisconnectControl(RELAY, FleetRelay(fleet, meter_id)),
        LOAD_PROFILE: lambda fleet, meter_id: ProfileGeneric(
            LOAD_PROFILE,
            intervals,
            _IntervalRows(fleet, meter_id),
            fleet.spec.shape.period_s,
            fleet.meter(meter_id).profile.capacity,
            _zone(fleet, meter_id),
        ),
        DAILY_FREEZES: lambda fleet, meter_id: ProfileGeneric(
            DAILY_FREEZES,
            freezes,
            _FreezeRows(fleet, meter_id),
            86_400,
            fleet.meter(meter_id).freezes.capacity,
            _zone(fleet, meter_id),
        ),
        EVENT_LOG: lambda fleet, meter_id: ProfileGeneric(
            EVENT_LOG,
            _EVENT_COLUMNS,
            _EventRows(fleet, meter_id),
            0,
            EVENT_CAPACITY,
            _zone(fleet, meter_id),
        ),
    }


def _channel_model(channel: int, code: ObisCode, tag: Tag) -> dict[ObisCode, Maker]:
    """Energy register, energy of the running interval and power of a channel."""
    energy, interval, power = Quantum(lookup(code).unit), _interval_of(code), replace(code, d=_POWER_D)
    watts = Quantum(lookup(power).unit)
    return {
        code: lambda fleet, meter_id: Register(
            code, tag, energy, lambda: fleet.meter(meter_id).core.dials_wh[channel]
        ),
        interval: lambda fleet, meter_id: Register(
            interval,
            Tag.DOUBLE_LONG_UNSIGNED,
            energy,
            lambda: fleet.meter(meter_id).interval_wh[channel],
        ),
        power: lambda fleet, meter_id: Register(
            power,
            Tag.DOUBLE_LONG_UNSIGNED,
            watts,
            lambda: fleet.meter(meter_id).core.power_w[channel],
        ),
    }


def _maximum_demand(fleet: Fleet, meter_id: str) -> InterfaceObject:
    zone = _zone(fleet, meter_id)
    return ExtendedRegister(
        MAXIMUM_DEMAND,
        Tag.DOUBLE_LONG_UNSIGNED,
        WATT,
        lambda: fleet.meter(meter_id).maximum_demand.power_w,
        lambda: Data(Tag.LONG_UNSIGNED, 0),
        lambda: CosemDateTime.from_instant(
            datetime.fromtimestamp(fleet.meter(meter_id).maximum_demand.at_s, UTC), zone
        ),
        lambda: fleet.meter(meter_id).reset_maximum_demand(),
    )


def _zone(fleet: Fleet, meter_id: str) -> tzinfo:
    return zone_of(fleet.meter_spec(meter_id).zone)


def _interval_of(register: ObisCode) -> ObisCode:
    return replace(register, d=_INTERVAL_D)


def _octets(logical_name: ObisCode, value: bytes) -> DataObject:
    data = Data(Tag.OCTET_STRING, value)
    return DataObject(logical_name, lambda: data)


@lru_cache(maxsize=65_536)
def _management(password: str) -> AssociationPolicy:
    return management(password.encode("ascii"))


@lru_cache(maxsize=16)
def _interval_columns(channels: tuple[ObisCode, ...]) -> tuple[ProfileColumn, ...]:
    energies = (
        ProfileColumn(CaptureObject(_REGISTER_CLASS, _interval_of(code), 2), Tag.DOUBLE_LONG_UNSIGNED)
        for code in channels
    )
    return (_CLOCK, _STATUS, *energies)


@lru_cache(maxsize=16)
def _freeze_columns(channels: tuple[ObisCode, ...], tag: Tag) -> tuple[ProfileColumn, ...]:
    registers = (ProfileColumn(CaptureObject(_REGISTER_CLASS, code, 2), tag) for code in channels)
    return (_CLOCK, *registers)


# Where the values come from -------------------------------------------------------------------------------


class _OfMeter:
    """Something of one meter of a fleet."""

    __slots__ = ("_fleet", "_meter_id")

    def __init__(self, fleet: Fleet, meter_id: str) -> None:
        self._fleet = fleet
        self._meter_id = meter_id


class FleetClock(_OfMeter):
    """The clock of a meter."""

    __slots__ = ()

    def now(self) -> datetime:
        """Its instant."""
        return self._fleet.meter(self._meter_id).now

    def set_time(self, instant: datetime) -> None:
        """Move it."""
        self._fleet.set_clock(self._meter_id, instant)


class FleetRelay(_OfMeter):
    """The load contact of a meter."""

    __slots__ = ()

    def state(self) -> ControlState:
        """Its state."""
        open_ = self._fleet.meter(self._meter_id).disconnected
        return ControlState.DISCONNECTED if open_ else ControlState.CONNECTED

    def switch(self, state: ControlState) -> None:
        """Close it for `ControlState.CONNECTED`, else open it."""
        if state is ControlState.CONNECTED:
            self._fleet.reconnect(self._meter_id)
        else:
            self._fleet.disconnect(self._meter_id)


class _IntervalRows(_OfMeter):
    __slots__ = ()

    def __len__(self) -> int:
        return len(self._buffer())

    def instants(self) -> npt.NDArray[np.datetime64]:
        return _instants(self._buffer().stamps())

    def columns(self, rows: slice | npt.NDArray[np.intp]) -> Sequence[npt.NDArray[Any]]:
        held = self._buffer().rows(rows)
        return _stamped(held.stamp_s, self._fleet.meter_spec(self._meter_id).zone), held.status, *held.values

    def _buffer(self) -> CaptureBuffer:
        return self._fleet.meter(self._meter_id).profile


class _FreezeRows(_OfMeter):
    __slots__ = ()

    def __len__(self) -> int:
        return len(self._buffer())

    def instants(self) -> npt.NDArray[np.datetime64]:
        return _instants(self._buffer().stamps())

    def columns(self, rows: slice | npt.NDArray[np.intp]) -> Sequence[npt.NDArray[Any]]:
        held = self._buffer().rows(rows)
        return _stamped(held.stamp_s, self._fleet.meter_spec(self._meter_id).zone), *held.values

    def _buffer(self) -> CaptureBuffer:
        return self._fleet.meter(self._meter_id).freezes


class _EventRows(_OfMeter):
    __slots__ = ()

    def __len__(self) -> int:
        return len(self._fleet.meter(self._meter_id).events)

    def instants(self) -> npt.NDArray[np.datetime64]:
        return _instants(self._table()[:, 0])

    def columns(self, rows: slice | npt.NDArray[np.intp]) -> Sequence[npt.NDArray[Any]]:
        table = self._table()[rows]
        return _stamped(table[:, 0], self._fleet.meter_spec(self._meter_id).zone), table[:, 1]

    def _table(self) -> npt.NDArray[np.int64]:
        events = self._fleet.meter(self._meter_id).events
        return np.array(events, np.int64).reshape(len(events), 2)


def _instants(stamp_s: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    instants: npt.NDArray[np.datetime64] = (stamp_s * 1_000_000).view("datetime64[us]")
    return instants


def _stamped(stamp_s: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.uint8]:
    """Clock column: local date-times with deviation and the daylight saving bit, uint8, shape (n, 12)."""
    if stamp_s.size <= _SHARED_ROWS:
        return _shared_date_times(stamp_s.tobytes(), zone)
    return _date_times(stamp_s, zone)


@lru_cache(maxsize=256)
def _shared_date_times(stamps: bytes, zone: str) -> npt.NDArray[np.uint8]:
    """The clock column of all meters of a zone that captured at the same instants, made once."""
    octets = _date_times(np.frombuffer(stamps, np.int64), zone)
    octets.flags.writeable = False
    return octets


def _date_times(stamp_s: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.uint8]:
    minutes, saving = local_offsets(stamp_s, zone)
    status = np.where(saving, STATUS_DAYLIGHT_SAVING, 0)
    return date_times_of(_instants(stamp_s), -minutes, status)
