"""Makes objects of a companion model over one meter of a fleet: measured values, registers, profiles, clock.

Rule of this file: an object is what the model's row says (class, version, logical name), or there is none; a
class that is not served is an error when the model is first used, not when a client asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

import openami
from openami.meter.cosem_objects import LOGICAL_DEVICE_NAME as DEVICE_NAME
from openami.meter.cosem_objects import logical_device_name
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import MeterSpec
from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.encoding.axdr import NULL, BitString, Data, Tag, structure
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.interface_classes.clock_rules import RuledClock
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.demand_register import DemandRegister
from openami.protocols.dlms.interface_classes.held_register import HeldExtendedRegister, HeldRegister
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
    InterfaceObject,
    type_unmatched,
)
from openami.protocols.dlms.interface_classes.object_reference import script_runner
from openami.protocols.dlms.interface_classes.profile_generic import ProfileGeneric
from openami.protocols.dlms.interface_classes.recorded_profile import (
    RecordedProfile,
    RowMemory,
    SnapshotProfile,
)
from openami.protocols.dlms.interface_classes.register import ExtendedRegister
from openami.protocols.dlms.interface_classes.register_activation import RegisterActivation
from openami.protocols.dlms.interface_classes.special_days import SpecialDays
from openami.protocols.dlms.interface_classes.timeline import Timed, Timeline, Watcher
from openami.protocols.dlms.interface_classes.value_types import Anything
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.civil_time import zone_of
from openami.quantities.errors import FormatError
from openami.quantities.obis import ObisCode
from openami.quantities.units import Quantum, Unit
from openami.readings.event import EventCode

from .device import CompanionDevice, assembled, begin, timed_of, watchers_of
from .history import (
    CLOCK_EVENTS,
    POWER_EVENTS,
    SECURITY_EVENTS,
    SWITCH_EVENTS,
    EventRows,
    FreezeRows,
    IntervalRows,
    MeterHistory,
    Supply,
    freeze_channel,
    history_column,
    history_columns,
)
from .measured import Measured, RateCounters, fitted
from .model import CompanionModel, ModelObject
from .presets import preset
from .state import CompanionState, ObjectState

Make = Callable[["ObjectMaker", ModelObject], InterfaceObject]

_EVENT_LOGS: Final[Mapping[str, Mapping[int, frozenset[EventCode] | None]]] = {
    "is15959": {2: POWER_EVENTS, 3: CLOCK_EVENTS, 4: SECURITY_EVENTS, 6: SWITCH_EVENTS},
    "": {0: None, 1: SECURITY_EVENTS, 2: SWITCH_EVENTS, 4: POWER_EVENTS},
}
"""Which of the meter's events a log has, by family of models and group E of its event code; None: all."""
_EVENT_CODES: Final = (0, 0, 96, 11)
_LONG_FAILURES, _FAILURES = ObisCode(0, 0, 96, 7, 9), ObisCode(0, 0, 96, 7, 21)
_SERIAL, _FIRMWARE = ObisCode(0, 0, 96, 1, 0), ObisCode(1, 0, 0, 2, 0)
_COUNTER = ObisCode(0, 0, 43, 1, 0)
_MAXIMA: Final = {ObisCode(1, 0, 1, 6, 0): Unit.WATT, ObisCode(1, 0, 9, 6, 0): Unit.VA}
"""Maximum demand, active and apparent: the same at power factor 1."""
_POWER_ON = ObisCode(0, 0, 94, 91, 14)
_ACTIVATION = ObisCode(0, 0, 14, 0, 0)
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


ACTIVATION_COUNTS: Final = ObisCode(0, 0, 14, 0, 0, 0)
ACCOUNT_CONTACT: Final = ObisCode(0, 0, 19, 0, 0, 0)
"""Under these names, which no object has, counts and marks are kept that are no attributes."""


class ObjectMaker:
    """Makes the objects of one meter; `objects` fills up in the order of the model.

    Parameters
    ----------
    fleet, spec:
        The meter.
    model:
        Its companion model.
    state:
        What it keeps.
    """

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
        self.timeline = Timeline(self._clock, start, self._timed, self._watchers, self._supply_failures)
        self.now = self.timeline.now
        self.rates: RateCounters = RateCounters(
            state.of(ACTIVATION_COUNTS), self.history.energy_at, 10**spec.digits, self.now
        )
        self.measured = Measured(fleet, spec.meter_id, self.history, model.phases, self.rates, self.now)

    def device(self, makers: Mapping[tuple[int, int], Make]) -> CompanionDevice:
        """All objects, and the device of them.

        Raises
        ------
        FormatError
            The model has a class that no maker is for.
        """
        for item in self.model:
            if item.class_id == 64 and self.security is None:
                continue
            made = makers.get((item.class_id, item.version))
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
        public_keys = None if self.spec.keys is None else self.spec.keys.public_keys
        return assembled(
            self.model, self.objects, self.state, self.security, password, self.timeline, public_keys
        )

    def _clock(self) -> datetime:
        return self.fleet.meter(self.meter_id).now

    def _supply_failures(self, after: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """Failures of the supply that ended in ``(after, until]``, as the event log has them."""
        first_s, last_s = after.timestamp(), until.timestamp()
        down_s: int | None = None
        found = []
        for at_s, code in self.fleet.meter(self.meter_id).events:
            if code == EventCode.POWER_DOWN:
                down_s = at_s
            elif code == EventCode.POWER_UP and down_s is not None:
                if first_s < at_s <= last_s and down_s < at_s:
                    found.append((datetime.fromtimestamp(down_s, UTC), datetime.fromtimestamp(at_s, UTC)))
                down_s = None
        return found

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
        if item.logical_name == _POWER_ON:
            return HeldRegister(
                item.logical_name,
                self.kept(item),
                _register_preset(item),
                lambda: fitted(item.tag, self._powered_min()),
            )
        return HeldRegister(item.logical_name, self.kept(item), _register_preset(item), supply)

    def _powered_min(self) -> int:
        """Minutes since the meter's start during which there was supply, as far as its event log goes."""
        start, now = self.fleet.spec.start, self.now()
        failed = (restored - down for down, restored in self._supply_failures(start, now))
        return max(0, int((now - start - sum(failed, timedelta())).total_seconds()) // 60)

    def extended_register(self, item: ModelObject) -> InterfaceObject:
        """The maximum demand, or a value of another medium."""
        unit = _MAXIMA.get(item.logical_name)
        if unit is None:
            return HeldExtendedRegister(item.logical_name, self.kept(item), _register_preset(item))
        meter = self.fleet.meter
        return ExtendedRegister(
            item.logical_name,
            item.tag,
            Quantum(unit, item.scaler_unit[0]),
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
            supplies = [self._interval_column(source) for source in sources]
            if all(supply is not None for supply in supplies):
                return IntervalRows(self.history, [each for each in supplies if each], item.entries)
        if item.period_s == 86_400:
            try:
                channels = [freeze_channel(source) for source in sources]
            except LookupError:
                return None
            return FreezeRows(self.history, channels, item.entries)
        return None

    def _interval_column(self, source: CaptureObject) -> Supply | None:
        """Column of a load profile from the meter's record; None where it has no such column."""
        column = history_column(source, self._tag_of(source))
        if column is not None or (source.class_id, source.attribute) != (3, 2):
            return column
        scaler, _ = _scalers(self.model).get(source.logical_name, (0, 255))
        return self.measured.interval_average(source.logical_name, scaler)

    def _tag_of(self, source: CaptureObject) -> Tag:
        if source.class_id == 8:
            return Tag.OCTET_STRING
        return _tags(self.model).get(source.logical_name, Tag.DOUBLE_LONG_UNSIGNED)

    def clock(self, item: ModelObject) -> InterfaceObject:
        """The meter's clock."""
        made = RuledClock(
            item.logical_name,
            _TimelineClock(self.fleet, self.meter_id, self.timeline),
            self.zone,
            self.kept(item),
            measuring_period_s=self.history.period_s,
        )
        self.zone = made.zone
        return made


class _TimelineClock:
    """The meter's clock; while something due is done it stands at the instant at which it was due."""

    __slots__ = ("_fleet", "_meter_id", "_timeline", "now")

    def __init__(self, fleet: Fleet, meter_id: str, timeline: Timeline) -> None:
        self._fleet = fleet
        self._meter_id = meter_id
        self._timeline = timeline
        self.now = timeline.now

    def set_time(self, instant: datetime) -> None:
        """Move the meter's clock, and the timeline with it."""
        self._fleet.set_clock(self._meter_id, instant)
        self._timeline.clock_set(instant)


@lru_cache(maxsize=64)
def _tags(model: CompanionModel) -> dict[ObisCode, Tag]:
    """Types of the values of a model's objects."""
    return {item.logical_name: item.tag for item in model}


@lru_cache(maxsize=64)
def _scalers(model: CompanionModel) -> dict[ObisCode, tuple[int, int]]:
    """Scalers and units of a model's registers."""
    return {item.logical_name: item.scaler_unit for item in model}


@lru_cache(maxsize=4096)
def _register_preset(item: ModelObject) -> dict[int, Data]:
    scaler, unit = item.scaler_unit
    return {
        2: _BLANKS.get(item.tag) or Data(item.tag, 0),
        3: structure(Data(Tag.INTEGER, scaler), Data(Tag.ENUM, unit)),
        4: Data(Tag.UNSIGNED, 0),
    }
