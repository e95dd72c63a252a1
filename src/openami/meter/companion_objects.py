"""The objects of a companion model over one meter of a fleet: one maker a class.

`companion_device` makes them all, in the order of the model, and the device of them. Rule of this file: an
object is what the model's row says (class, version, logical name), or there is none: a class that is not
served is an error when the model is first used, not when a client asks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Final

import openami
from openami.protocols.dlms.axdr import NULL, BitString, Data, Tag, structure
from openami.protocols.dlms.date_time import CosemDateTime
from openami.protocols.dlms.descriptors import CaptureObject
from openami.protocols.dlms.device_security import DeviceSecurity
from openami.protocols.dlms.interface_classes.account import Account
from openami.protocols.dlms.interface_classes.activity_calendar import ActivityCalendar
from openami.protocols.dlms.interface_classes.arbitrator import Arbitrator
from openami.protocols.dlms.interface_classes.charge import Charge
from openami.protocols.dlms.interface_classes.clock_rules import RuledClock
from openami.protocols.dlms.interface_classes.compact_data import CompactData, CompactDataVersion0
from openami.protocols.dlms.interface_classes.credit import Credit
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.data_protection import DataProtection, protectors
from openami.protocols.dlms.interface_classes.demand_register import DemandRegister
from openami.protocols.dlms.interface_classes.dial_up import AutoAnswer, AutoConnect
from openami.protocols.dlms.interface_classes.disconnect_control import DisconnectControl
from openami.protocols.dlms.interface_classes.held_register import HeldExtendedRegister, HeldRegister
from openami.protocols.dlms.interface_classes.image_transfer import ImageMemory, ImageTransfer
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    InterfaceObject,
    type_unmatched,
)
from openami.protocols.dlms.interface_classes.internet_setup import (
    GprsModemSetup,
    Ipv4Setup,
    Ipv6Setup,
    MacAddressSetup,
    PppSetup,
    SmtpSetup,
    TcpUdpSetup,
)
from openami.protocols.dlms.interface_classes.limiter import Limiter
from openami.protocols.dlms.interface_classes.local_ports import (
    HdlcSetup,
    IecLocalPort,
    MbusMasterPort,
    MbusSlavePort,
    ModemConfiguration,
    TwistedPairSetup,
)
from openami.protocols.dlms.interface_classes.mbus import (
    BusQuality,
    MbusClient,
    MbusClientVersion0,
    MbusDiagnostic,
)
from openami.protocols.dlms.interface_classes.network_diagnostic import (
    GsmDiagnostic,
    GsmDiagnosticVersion0,
    GsmDiagnosticVersion1,
)
from openami.protocols.dlms.interface_classes.object_reference import script_runner
from openami.protocols.dlms.interface_classes.parameter_monitor import (
    ParameterMonitor,
    ParameterMonitorVersion1,
)
from openami.protocols.dlms.interface_classes.profile_generic import ProfileGeneric
from openami.protocols.dlms.interface_classes.push_setup import (
    PushSetup,
    PushSetupVersion1,
    PushSetupVersion2,
)
from openami.protocols.dlms.interface_classes.recorded_profile import (
    RecordedProfile,
    RowMemory,
    SnapshotProfile,
)
from openami.protocols.dlms.interface_classes.register import ExtendedRegister
from openami.protocols.dlms.interface_classes.register_activation import RegisterActivation
from openami.protocols.dlms.interface_classes.register_monitor import RegisterMonitor, SensorManager
from openami.protocols.dlms.interface_classes.sap_assignment import SapAssignment
from openami.protocols.dlms.interface_classes.schedule import Schedule
from openami.protocols.dlms.interface_classes.script_table import ScriptTable
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup, SecuritySetupVersion0
from openami.protocols.dlms.interface_classes.single_action_schedule import SingleActionSchedule
from openami.protocols.dlms.interface_classes.special_days import SpecialDays
from openami.protocols.dlms.interface_classes.stored_object import StoredObject
from openami.protocols.dlms.interface_classes.timeline import Timed, Timeline, Watcher
from openami.protocols.dlms.interface_classes.token_gateway import TokenGateway
from openami.protocols.dlms.interface_classes.value_tables import RegisterTable, StatusMapping, UtilityTable
from openami.protocols.dlms.interface_classes.value_types import Anything
from openami.protocols.dlms.results import AccessError, AccessResult
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum, Unit
from openami.readings.event import EventCode
from openami.security.meter_keys import MeterKeys

from .companion_device import CompanionDevice, assembled, begin, timed_of, watchers_of
from .companion_history import (
    CLOCK_EVENTS,
    POWER_EVENTS,
    SECURITY_EVENTS,
    SWITCH_EVENTS,
    EventRows,
    FreezeRows,
    IntervalRows,
    MeterHistory,
    freeze_channel,
    history_column,
    history_columns,
)
from .companion_measured import NOMINAL_V, Measured, RateCounters, fitted
from .companion_model import CompanionModel, ModelObject, companion_model
from .companion_presets import compact_preset, preset, push_preset
from .companion_state import CompanionState, ObjectState
from .companion_surroundings import GasMeterBus, MakerFirmware, VendorTokens, home_network
from .cosem_objects import LOGICAL_DEVICE_NAME as DEVICE_NAME
from .cosem_objects import FleetRelay, logical_device_name
from .fleet import Fleet
from .fleet_spec import MeterSpec

Make = Callable[["_Maker", ModelObject], InterfaceObject]

_EVENT_LOGS: Final[Mapping[str, Mapping[int, frozenset[EventCode] | None]]] = {
    "is15959": {2: POWER_EVENTS, 3: CLOCK_EVENTS, 4: SECURITY_EVENTS, 6: SWITCH_EVENTS},
    "": {0: None, 1: SECURITY_EVENTS, 2: SWITCH_EVENTS, 4: POWER_EVENTS},
}
"""Which of the meter's events a log has, by family of models and group E of its event code; None: all."""
_EVENT_CODES: Final = (0, 0, 96, 11)
_LONG_FAILURES, _FAILURES = ObisCode(0, 0, 96, 7, 9), ObisCode(0, 0, 96, 7, 21)
_SERIAL, _FIRMWARE = ObisCode(0, 0, 96, 1, 0), ObisCode(1, 0, 0, 2, 0)
_COUNTER, _SAP, _CLOCK = ObisCode(0, 0, 43, 1, 0), ObisCode(0, 0, 41, 0, 0), ObisCode(0, 0, 1, 0, 0)
_MAXIMUM = ObisCode(1, 0, 1, 6, 0)
_ACCOUNT, _ACTIVATION = ObisCode(0, 0, 19, 0, 0), ObisCode(0, 0, 14, 0, 0)
_STATUS_WORDS: Final = (ObisCode(0, 0, 96, 10, 1), ObisCode(0, 0, 96, 10, 2))
_STRUCTURES: Final = {
    # DSMR: direct attach, start window, multiplication factor, retries; and the configuration object of P3.
    ObisCode(0, 1, 94, 31, 12): structure(
        Data(Tag.UNSIGNED, 0), Data(Tag.LONG_UNSIGNED, 1), Data(Tag.LONG_UNSIGNED, 1), Data(Tag.UNSIGNED, 3)
    ),
    ObisCode(0, 1, 94, 31, 3): structure(Data(Tag.ENUM, 0), Data(Tag.BIT_STRING, BitString(16, bytes(2)))),
}
_BLANKS: Final[Mapping[Tag, Data]] = {
    Tag.OCTET_STRING: Data(Tag.OCTET_STRING, b""),
    Tag.BIT_STRING: Data(Tag.BIT_STRING, BitString(16, bytes(2))),
    Tag.BOOLEAN: Data(Tag.BOOLEAN, False),
    Tag.ARRAY: Data(Tag.ARRAY, ()),
    Tag.STRUCTURE: Data(Tag.STRUCTURE, ()),
    Tag.NULL_DATA: NULL,
}


def companion_device(fleet: Fleet, meter_id: str) -> CompanionDevice:
    """A meter of a fleet as its companion model has it.

    Raises
    ------
    FormatError
        The meter names no model, or one with a class that is not served.
    """
    spec = fleet.meter_spec(meter_id)
    if spec.companion is None:
        raise FormatError(f"meter {meter_id!r} has no companion model")
    return _Maker(fleet, spec, companion_model(spec.companion), fleet.companion_state(meter_id)).device()


class _Maker:
    """Makes the objects of one meter."""

    def __init__(self, fleet: Fleet, spec: MeterSpec, model: CompanionModel, state: CompanionState) -> None:
        self.fleet = fleet
        self.spec = spec
        self.meter_id = spec.meter_id
        self.model = model
        self.state = state
        self.objects: dict[ObisCode, InterfaceObject] = {}
        self.find = self.objects.get
        self.run = script_runner(self.find)
        self.history = MeterHistory(fleet, spec.meter_id)
        self.zone: tzinfo = zone_of(spec.zone)
        self.security: DeviceSecurity | None = fleet.security(spec.meter_id)
        self._timed: list[Timed] = []
        self._watchers: list[Watcher] = []
        start = begin(state, fleet.spec.start, self._clock())
        self.timeline = Timeline(self._clock, start, self._timed, self._watchers)
        self.now = self.timeline.now
        self.rates: RateCounters = RateCounters(
            state.of(_ACTIVATION_COUNTS), self.history.energy_at, 10**spec.digits, self.now
        )
        self.measured = Measured(fleet, spec.meter_id, self.history, model.phases, self.rates, self.now)

    def device(self) -> CompanionDevice:
        """All objects, and the device of them."""
        for item in self.model:
            if item.class_id == 64 and self.security is None:
                continue
            made = _MAKERS.get((item.class_id, item.version))
            if made is None:
                raise FormatError(
                    f"class {item.class_id} version {item.version} is not served",
                    where=f"{self.model.name}, {item.logical_name}",
                )
            self.objects[item.logical_name] = made(self, item)
        activation = self.find(_ACTIVATION)
        if isinstance(activation, RegisterActivation) and self.state.reached is None:
            self.rates.begin(activation.active(), self.timeline.reached)
        self._timed += timed_of(self.objects)
        self._watchers += watchers_of(self.objects)
        password = self.spec.password.encode("ascii")
        return assembled(self.model, self.objects, self.state, self.security, password, self.timeline)

    def _clock(self) -> datetime:
        return self.fleet.meter(self.meter_id).now

    def kept(self, item: ModelObject) -> ObjectState:
        """State of an object."""
        return self.state.of(item.logical_name)

    def preset(self, item: ModelObject) -> Mapping[int, Data]:
        """Factory settings of an object."""
        return preset(self.model, item)

    def special_day(self, day: date) -> int | None:
        """Day profile of a special day."""
        days = self.find(ObisCode(0, 0, 11, 0, 0))
        return days.day_id(day) if isinstance(days, SpecialDays) else None

    # --- classes 1 to 8 -------------------------------------------------------------------------------

    def data(self, item: ModelObject) -> InterfaceObject:
        """A value: the meter's where it has it, else one that is kept."""
        supply = self._supplied(item)
        if supply is not None:
            return DataObject(item.logical_name, supply)
        kept = self.kept(item)
        blank = _BLANKS.get(item.tag) or Data(item.tag, 0)
        if item.tag is Tag.STRUCTURE:
            blank = _STRUCTURES.get(item.logical_name, blank)

        def store(value: Data) -> None:
            if not Anything().admits(value):
                raise type_unmatched(item.logical_name, value)
            kept[2] = value

        return DataObject(item.logical_name, lambda: kept.get(2, blank), store)

    def _supplied(self, item: ModelObject) -> Callable[[], Data] | None:
        name, tag = item.logical_name, item.tag
        if name.groups[:4] == _EVENT_CODES:
            log = self._log(name.e, 1)
            return lambda: fitted(tag, log.last_code())
        texts = {
            DEVICE_NAME: logical_device_name(self.meter_id),
            _SERIAL: self.meter_id.encode("ascii"),
            _FIRMWARE: f"openami {openami.__version__}".encode("ascii"),
        }
        if name == _FIRMWARE:
            kept = self.kept(item)
            return lambda: kept.get(2, Data(Tag.OCTET_STRING, texts[name]))
        if name in texts:
            return lambda: Data(Tag.OCTET_STRING, texts[name])
        if name in _STATUS_WORDS:
            meter = self.fleet.meter
            return lambda: fitted(tag, int(meter(self.meter_id).pending_status) & 0xFF)
        if name in (_FAILURES, _LONG_FAILURES):
            return lambda: fitted(tag, self._failures())
        security = self.security
        if name == _COUNTER and security is not None:
            return lambda: fitted(tag, security.highest_counter)
        return None

    def _failures(self) -> int:
        codes = [code for _, code in self.fleet.meter(self.meter_id).events]
        return codes.count(EventCode.POWER_DOWN)

    def _log(self, log: int, entries: int) -> EventRows:
        family = "is15959" if self.model.name.startswith("is15959") else ""
        codes = _EVENT_LOGS[family].get(log, frozenset())
        return EventRows(self.history, codes, entries)

    def register(self, item: ModelObject) -> InterfaceObject:
        """A register: measured, or a setting."""
        supply = self.measured.supply(item.logical_name, item.tag, item.scaler_unit[0])
        return HeldRegister(item.logical_name, self.kept(item), _register_preset(item), supply)

    def extended_register(self, item: ModelObject) -> InterfaceObject:
        """The maximum demand, or a value of another medium."""
        if item.logical_name != _MAXIMUM:
            return HeldExtendedRegister(item.logical_name, self.kept(item), _register_preset(item))
        meter = self.fleet.meter
        return ExtendedRegister(
            item.logical_name,
            item.tag,
            Quantum(Unit.WATT, item.scaler_unit[0]),
            lambda: meter(self.meter_id).maximum_demand.power_w,
            lambda: Data(Tag.UNSIGNED, 0),
            lambda: CosemDateTime.from_instant(
                datetime.fromtimestamp(meter(self.meter_id).maximum_demand.at_s, UTC), self.zone
            ),
            lambda: meter(self.meter_id).reset_maximum_demand(),
        )

    def demand(self, item: ModelObject) -> InterfaceObject:
        """Average demand of a direction."""
        channel = item.logical_name.c - 1
        return DemandRegister(
            item.logical_name,
            item.tag,
            Quantum(Unit.WATT, item.scaler_unit[0]),
            lambda at: self.history.energy_at(at, channel),
            self.now,
            self.zone,
            10**self.spec.digits,
            lambda: Data(Tag.UNSIGNED, 0),
            self.kept(item),
            self.preset(item),
        )

    def profile(self, item: ModelObject) -> InterfaceObject:
        """A profile: of the meter's own record where that has all columns, else one that records."""
        settable = any(mode is not Access.READ for _, mode in item.access or ())
        rows = None if settable or item.snapshot else self._recorded(item)
        if rows is not None:
            tags = [self._tag_of(source) for source in item.capture]
            return ProfileGeneric(
                item.logical_name,
                history_columns(item.capture, tags),
                rows,
                item.period_s,
                item.entries,
                self.zone,
            )
        memory = self.state.rows.setdefault(item.logical_name, RowMemory())
        made = SnapshotProfile if item.snapshot else RecordedProfile
        return made(
            item.logical_name, self.find, memory, self.now, self.zone, self.kept(item), self.preset(item)
        )

    def _recorded(self, item: ModelObject) -> IntervalRows | FreezeRows | EventRows | None:
        sources = item.capture
        if len(sources) == 2 and sources[1].logical_name.groups[:4] == _EVENT_CODES:
            return self._log(sources[1].logical_name.e, item.entries)
        if item.period_s == self.history.period_s:
            supplies = [history_column(source, self._tag_of(source)) for source in sources]
            if all(supply is not None for supply in supplies):
                return IntervalRows(self.history, [each for each in supplies if each], item.entries)
        if item.period_s == 86_400:
            try:
                channels = [freeze_channel(source) for source in sources]
            except LookupError:
                return None
            return FreezeRows(self.history, channels, item.entries)
        return None

    def _tag_of(self, source: CaptureObject) -> Tag:
        if source.class_id == 8:
            return Tag.OCTET_STRING
        listed = (known.tag for known in self.model if known.logical_name == source.logical_name)
        return next(listed, Tag.DOUBLE_LONG_UNSIGNED)

    def clock(self, item: ModelObject) -> InterfaceObject:
        """The meter's clock."""
        made = RuledClock(
            item.logical_name,
            _TimelineClock(self.fleet, self.meter_id, self.now),
            self.zone,
            self.kept(item),
            measuring_period_s=self.history.period_s,
        )
        self.zone = made.zone
        return made

    # --- the others -----------------------------------------------------------------------------------

    def sap(self, item: ModelObject) -> InterfaceObject:
        """Where this logical device is."""
        return SapAssignment(
            item.logical_name, lambda: [(self.spec.wport, logical_device_name(self.meter_id))]
        )

    def image(self, item: ModelObject) -> InterfaceObject:
        """Firmware of the maker."""
        if self.state.image is None:
            self.state.image = ImageMemory()
        firmware = MakerFirmware(self.fleet.spec.seed, self.state.of(_FIRMWARE))
        return ImageTransfer(
            item.logical_name, self.state.image, firmware, state=self.kept(item), preset=self.preset(item)
        )

    def push(self, item: ModelObject) -> InterfaceObject:
        """A push into the outbox of the meter."""
        drawn = random.Random(f"{self.fleet.spec.seed} {self.meter_id} {item.logical_name}")
        kind = (PushSetup, PushSetupVersion1, PushSetupVersion2)[item.version]
        return kind(
            item.logical_name,
            self.find,
            self.state.deliveries.append,
            self.now,
            self.zone,
            drawn.randrange,
            self.kept(item),
            push_preset(item),
        )

    def security_setup(self, item: ModelObject) -> InterfaceObject:
        """Keys and policy of the meter."""
        if self.security is None:
            raise FormatError("a security setup without keys")
        kind = SecuritySetup if item.version else SecuritySetupVersion0
        return kind(item.logical_name, self.security, 1, b"", self.kept(item), self.preset(item))

    def protection(self, item: ModelObject) -> InterfaceObject:
        """Data protection with the partners whose keys the meter has: at present none besides the client."""
        security = self.security or DeviceSecurity(self.spec.system_title, MeterKeys.random())
        return DataProtection(
            item.logical_name,
            self.find,
            protectors(security, ()),
            security.title,
            self.kept(item),
            self.preset(item),
        )

    def account(self, item: ModelObject) -> InterfaceObject:
        """The account, which opens the contact when the credit is used up."""
        opened = self.state.of(_ACCOUNT_CONTACT)

        def supply(credit: bool) -> None:
            if not credit:
                opened[0] = Data(Tag.BOOLEAN, True)
                self.fleet.disconnect(self.meter_id)
            elif opened.pop(0, None) is not None:
                self.fleet.reconnect(self.meter_id)

        return Account(
            item.logical_name, self.find, supply, self.now, self.zone, self.kept(item), self.preset(item)
        )

    def _account(self) -> Account | None:
        found = self.find(_ACCOUNT)
        return found if isinstance(found, Account) else None

    def credit(self, item: ModelObject) -> InterfaceObject:
        """A credit of the account."""

        def changed() -> None:
            if (account := self._account()) is not None:
                account.refresh()

        return Credit(item.logical_name, changed, self.kept(item), self.preset(item))

    def charge(self, item: ModelObject) -> InterfaceObject:
        """A charge of the account."""

        def take(amount: int) -> None:
            if (account := self._account()) is not None:
                account.take(amount)

        def commodity(source: CaptureObject, at: datetime) -> tuple[int, int] | None:
            name = source.logical_name
            if name.groups[:2] != (1, 0) or name.c not in (1, 2) or (name.d, name.e) != (8, 0):
                return None
            return self.history.energy_at(at, name.c - 1), 0

        def tariff() -> bytes:
            activation = self.find(_ACTIVATION)
            mask = activation.current(4).value if isinstance(activation, RegisterActivation) else b""
            return mask if isinstance(mask, bytes) else b""

        return Charge(
            item.logical_name,
            commodity,
            take,
            self.now,
            self.zone,
            lambda: 0 if (account := self._account()) is None else account.currency_scale,
            lambda: False if (account := self._account()) is None else account.active,
            tariff,
            self.kept(item),
            self.preset(item),
        )

    def tokens(self, item: ModelObject) -> InterfaceObject:
        """Tokens of the vendor."""

        def pay_in(amount: int) -> None:
            if (account := self._account()) is None:
                raise AccessError(AccessResult.OBJECT_UNAVAILABLE, where=str(item.logical_name))
            account.pay_in(amount)

        verifier = VendorTokens(self.fleet.spec.seed, self.meter_id)
        return TokenGateway(item.logical_name, verifier, pay_in, self.now, self.zone, self.kept(item))

    def mbus(self, item: ModelObject) -> InterfaceObject:
        """A gas meter on a channel."""
        value = self.state.of(ObisCode(0, item.logical_name.b, 24, 2, 1))
        bus = GasMeterBus(self.meter_id, item.logical_name.b, self.now, self.zone, value)
        kind = MbusClient if item.version else MbusClientVersion0
        return kind(item.logical_name, bus, self.kept(item), self.preset(item))

    def diagnostic(self, item: ModelObject) -> InterfaceObject:
        """The network that the modem is in."""
        kind = (GsmDiagnosticVersion0, GsmDiagnosticVersion1, GsmDiagnostic)[item.version]
        return kind(item.logical_name, lambda: home_network(self.now()), self.zone)

    def nobody(self, destination: bytes) -> bool:
        """Nobody answers a call of a software meter."""
        return False


class _TimelineClock:
    """The meter's clock; while something due is done it stands at the instant at which it was due."""

    __slots__ = ("_fleet", "_meter_id", "now")

    def __init__(self, fleet: Fleet, meter_id: str, now: Callable[[], datetime]) -> None:
        self._fleet = fleet
        self._meter_id = meter_id
        self.now = now

    def set_time(self, instant: datetime) -> None:
        """Move the meter's clock."""
        self._fleet.set_clock(self._meter_id, instant)


_ACTIVATION_COUNTS: Final = ObisCode(0, 0, 14, 0, 0, 0)
_ACCOUNT_CONTACT: Final = ObisCode(0, 0, 19, 0, 0, 0)
"""Under these names, which no object has, counts and marks are kept that are no attributes."""


def _register_preset(item: ModelObject) -> dict[int, Data]:
    scaler, unit = item.scaler_unit
    return {
        2: _BLANKS.get(item.tag) or Data(item.tag, 0),
        3: structure(Data(Tag.INTEGER, scaler), Data(Tag.ENUM, unit)),
        4: Data(Tag.UNSIGNED, 0),
    }


def _stored(kind: type[StoredObject]) -> Make:
    """Maker of a class that has only parameters."""
    return lambda maker, item: kind(item.logical_name, maker.kept(item), maker.preset(item))


def _found(kind: Callable[..., InterfaceObject]) -> Make:
    """Maker of a class that works with other objects."""
    return lambda maker, item: kind(
        item.logical_name, maker.find, state=maker.kept(item), preset=maker.preset(item)
    )


_MAKERS: Final[Mapping[tuple[int, int], Make]] = {
    (1, 0): _Maker.data,
    (3, 0): _Maker.register,
    (4, 0): _Maker.extended_register,
    (5, 0): _Maker.demand,
    (6, 0): lambda maker, item: RegisterActivation(
        item.logical_name, maker.rates.select, maker.kept(item), maker.preset(item)
    ),
    (7, 1): _Maker.profile,
    (8, 0): _Maker.clock,
    (9, 0): _found(ScriptTable),
    (10, 0): lambda maker, item: Schedule(
        item.logical_name, maker.zone, maker.run, maker.special_day, maker.kept(item), maker.preset(item)
    ),
    (11, 0): _stored(SpecialDays),
    (17, 0): _Maker.sap,
    (18, 0): _Maker.image,
    (19, 1): _stored(IecLocalPort),
    (20, 0): lambda maker, item: ActivityCalendar(
        item.logical_name,
        maker.zone,
        maker.now,
        maker.run,
        maker.special_day,
        maker.kept(item),
        maker.preset(item),
    ),
    (21, 0): lambda maker, item: RegisterMonitor(
        item.logical_name, maker.find, maker.run, maker.kept(item), maker.preset(item)
    ),
    (22, 0): lambda maker, item: SingleActionSchedule(
        item.logical_name, maker.zone, maker.run, maker.kept(item), maker.preset(item)
    ),
    (23, 1): _stored(HdlcSetup),
    (24, 1): _stored(TwistedPairSetup),
    (25, 0): _stored(MbusSlavePort),
    (26, 0): _stored(UtilityTable),
    (27, 1): _stored(ModemConfiguration),
    (28, 2): lambda maker, item: AutoAnswer(
        item.logical_name, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (29, 2): lambda maker, item: AutoConnect(
        item.logical_name, maker.nobody, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (30, 0): _Maker.protection,
    (40, 0): _Maker.push,
    (40, 1): _Maker.push,
    (40, 2): _Maker.push,
    (41, 0): _stored(TcpUdpSetup),
    (42, 0): _stored(Ipv4Setup),
    (43, 0): _stored(MacAddressSetup),
    (44, 0): _stored(PppSetup),
    (45, 0): _stored(GprsModemSetup),
    (46, 0): _stored(SmtpSetup),
    (47, 0): _Maker.diagnostic,
    (47, 1): _Maker.diagnostic,
    (47, 2): _Maker.diagnostic,
    (48, 0): _stored(Ipv6Setup),
    (61, 0): _found(RegisterTable),
    (62, 0): lambda maker, item: CompactDataVersion0(
        item.logical_name, maker.find, maker.kept(item), compact_preset(item)
    ),
    (62, 1): lambda maker, item: CompactData(
        item.logical_name, maker.find, maker.kept(item), compact_preset(item)
    ),
    (63, 0): lambda maker, item: StatusMapping(
        item.logical_name,
        lambda: fitted(Tag.LONG_UNSIGNED, int(maker.fleet.meter(maker.meter_id).pending_status)),
        maker.kept(item),
        maker.preset(item),
    ),
    (64, 0): _Maker.security_setup,
    (64, 1): _Maker.security_setup,
    (65, 0): lambda maker, item: ParameterMonitor(
        item.logical_name, maker.find, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (65, 1): lambda maker, item: ParameterMonitorVersion1(
        item.logical_name, maker.find, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (67, 0): lambda maker, item: SensorManager(
        item.logical_name,
        lambda: fitted(Tag.LONG_UNSIGNED, 10 * NOMINAL_V),
        maker.find,
        maker.run,
        maker.now,
        maker.zone,
        maker.kept(item),
        maker.preset(item),
    ),
    (68, 0): lambda maker, item: Arbitrator(
        item.logical_name, maker.run, maker.kept(item), maker.preset(item)
    ),
    (70, 0): lambda maker, item: DisconnectControl(
        item.logical_name, FleetRelay(maker.fleet, maker.meter_id)
    ),
    (71, 0): lambda maker, item: Limiter(
        item.logical_name,
        maker.find,
        maker.run,
        maker.now,
        maker.zone,
        maker.kept(item),
        maker.preset(item),
    ),
    (72, 0): _Maker.mbus,
    (72, 1): _Maker.mbus,
    (74, 0): _stored(MbusMasterPort),
    (77, 0): lambda maker, item: MbusDiagnostic(
        item.logical_name, BusQuality, maker.now, maker.zone, maker.kept(item), maker.preset(item)
    ),
    (111, 0): _Maker.account,
    (112, 0): _Maker.credit,
    (113, 0): _Maker.charge,
    (115, 0): _Maker.tokens,
}
