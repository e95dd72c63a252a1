"""A fleet: many meters in one process, brought to the present of one injected clock.

Nothing ticks. A meter is advanced when someone looks at it, and all of them day by day when the clock has
passed a day, because a day of load curves is made for all meters at once. Rule never to be broken: what a
meter shows at an instant does not depend on when, or in how many steps, the fleet was advanced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident, send_counter_name
from openami.quantities.clock import Clock
from openami.quantities.errors import QuantityError
from openami.readings.event import EventCode
from openami.security.counters import MemoryCounters, earliest_counter
from openami.security.suites import suite

from .companion.state import CompanionState
from .faults import DeadMeter, DriftingClock, GarbageAnswers, LostReplies, Spike
from .fleet_spec import AreaCurve, FleetSpec, MeterSpec
from .management_core import Meter
from .meter_clock import MeterClock, milliseconds
from .metering_core.energy_register import MeteringCore
from .metering_core.load_flow import DAY_MS, CurveMeteringCore
from .occurrence import Occurrence, Turn
from .supply import Supply, merged, outage_windows

_EVENT_OF = {
    Attack.WRONG_PASSWORD: EventCode.AUTHENTICATION_FAILED,
    Attack.WRONG_PROOF: EventCode.AUTHENTICATION_FAILED,
    Attack.DOWNGRADE: EventCode.AUTHENTICATION_FAILED,
    Attack.WRONG_TAG: EventCode.DECIPHERING_FAILED,
    Attack.REPLAY: EventCode.REPLAY_ATTACK,
    Attack.WRONG_CERTIFICATE: EventCode.AUTHENTICATION_FAILED,
    Attack.UNKNOWN_USER: EventCode.AUTHENTICATION_FAILED,
}


class Attendant(Protocol):
    """Whoever does what a fleet's meters do by themselves: pushes them, at present."""

    def changed(self, meter_id: str) -> None:
        """Settings of a meter changed, or something waits in its outbox."""
        ...

    def moved(self) -> None:
        """The fleet was brought to another present."""
        ...


class Fate(Enum):
    """What becomes of an answer on its way."""

    ARRIVES = "arrives"
    LOST = "lost"
    GARBLED = "garbled"


class Fleet:
    """The meters of a `FleetSpec` at the present of a clock.

    Invariant: every meter has been advanced at least to the start of the UTC day of the last `settle`, and
    none beyond the clock.

    Parameters
    ----------
    spec:
        The meters, and what will happen to them.
    clock:
        What time it is.
    cores:
        Metering cores by meter, at the fleet's start, of meters that do not count their load curve: driven
        by waveforms, for example.
    counters_from:
        Where the invocation counters of its meters begin at least: above those of a fleet with the same keys
        that was served before. A simulated clock alone may stand where it stood then.

    Raises
    ------
    QuantityError
        The clock stands before the fleet's start.
    """

    def __init__(
        self,
        spec: FleetSpec,
        clock: Clock,
        cores: Mapping[str, MeteringCore] = MappingProxyType({}),
        counters_from: int = 0,
    ) -> None:
        self.spec = spec
        self._counters_from = counters_from
        self._cores = cores
        self._clock = clock
        self._start_ms = milliseconds(spec.start)
        if milliseconds(clock.now()) < self._start_ms:
            raise QuantityError(f"the fleet starts at {spec.start}, after the present {clock.now()}")
        self._supply = Supply(spec)
        self._meters = {meter.meter_id: self._make(meter) for meter in spec.meters}
        self._specs = {meter.meter_id: meter for meter in spec.meters}
        self._area_meters = {
            meter.curve.area: meter.meter_id for meter in spec.meters if isinstance(meter.curve, AreaCurve)
        }
        self._link_faults: dict[str, list[LostReplies | GarbageAnswers]] = {}
        for fault in spec.faults:
            if isinstance(fault, LostReplies | GarbageAnswers):
                self._link_faults.setdefault(fault.meter_id, []).append(fault)
        self._answers: dict[str, int] = {}
        self._security: dict[str, DeviceSecurity] = {}
        self._companions: dict[str, CompanionState] = {}
        self.attendant: Attendant | None = None
        self._settled_ms = self._present_ms = self._start_ms

    @property
    def meter_ids(self) -> tuple[str, ...]:
        """Serial numbers, in the order of the specification."""
        return tuple(self._meters)

    @property
    def supply(self) -> Supply:
        """What truly flows: the simulator's own knowledge, never served to anyone."""
        return self._supply

    def now(self) -> datetime:
        """The present of the fleet's clock."""
        return self._clock.now()

    def meter(self, meter_id: str) -> Meter:
        """A meter, brought to the present.

        Raises
        ------
        QuantityError
            There is no such meter.
        """
        meter = self._meters.get(meter_id)
        if meter is None:
            raise QuantityError(f"no meter {meter_id!r} in the fleet")
        now_ms = self._present()
        self._settle_days(now_ms)
        meter.advance_to(now_ms)
        return meter

    def meter_spec(self, meter_id: str) -> MeterSpec:
        """Specification of a meter."""
        return self._specs[meter_id]

    def security(self, meter_id: str) -> DeviceSecurity | None:
        """System title, keys and counters of a meter; None where it has no keys.

        Its counters begin at `earliest_counter`, so that a fleet that is started again goes on above what it
        sent before.
        """
        spec = self._specs[meter_id]
        keys = spec.keys
        if keys is None:
            return None
        known = self._security.get(meter_id)
        if known is None:
            title = spec.system_title
            started = max(self._counters_from, earliest_counter(self._clock.now()))
            counters = MemoryCounters({send_counter_name(title): started})

            def observe(incident: Incident) -> None:
                self.meter(meter_id).log_incident(_EVENT_OF[incident.attack])

            known = DeviceSecurity(title, keys.meter_keys(), counters, observe)
            if keys.public_keys is not None:
                keys.public_keys.equip(known, suite(keys.suite), lambda: self.meter(meter_id).now)
            self._security[meter_id] = known
        return known

    def companion_state(self, meter_id: str) -> CompanionState:
        """What a meter with a companion model keeps; it begins with the first client."""
        known = self._companions.get(meter_id)
        if known is None:

            def changed() -> None:
                if self.attendant is not None:
                    self.attendant.changed(meter_id)

            known = self._companions[meter_id] = CompanionState(changed=changed)
        return known

    def settle(self) -> None:
        """Bring every meter to the present."""
        now_ms = self._present()
        self._settle_days(now_ms)
        for meter in self._meters.values():
            meter.advance_to(now_ms)
        if self.attendant is not None:
            self.attendant.moved()

    def disconnect(self, meter_id: str) -> None:
        """Open the load contact of a meter, now."""
        meter = self.meter(meter_id)
        if not meter.disconnected:
            self._settle_area_of(meter_id)
            meter.disconnect()
            self._supply.open_contact(meter_id, meter.position_ms)

    def reconnect(self, meter_id: str) -> None:
        """Close the load contact of a meter, now."""
        meter = self.meter(meter_id)
        if meter.disconnected:
            self._settle_area_of(meter_id)
            meter.reconnect()
            self._supply.close_contact(meter_id, meter.position_ms)

    def fate(self, meter_id: str) -> Fate:
        """What becomes of the next answer of a meter."""
        faults = self._link_faults.get(meter_id)
        if not faults:
            return Fate.ARRIVES
        count = self._answers[meter_id] = self._answers.get(meter_id, -1) + 1
        now = self._clock.now()
        for fault in faults:
            if fault.start <= now < fault.end and count % fault.every == 0:
                return Fate.LOST if isinstance(fault, LostReplies) else Fate.GARBLED
        return Fate.ARRIVES

    def garbage(self, meter_id: str) -> bytes:
        """Random bytes in place of an answer, the same at the same place of the same scenario."""
        text = f"{self.spec.seed} {meter_id} {self._answers.get(meter_id, 0)}"
        digest = hashlib.shake_128(text.encode()).digest(64)
        return digest[1 : 2 + digest[0] % 62]

    def set_clock(self, meter_id: str, instant: datetime) -> None:
        """Set the clock of a meter, now."""
        self.meter(meter_id).set_clock(milliseconds(instant))

    def _present(self) -> int:
        """The clock's present in milliseconds; where the clock was stepped back, time stands still."""
        self._present_ms = max(self._present_ms, milliseconds(self._clock.now()))
        return self._present_ms

    def _settle_area_of(self, meter_id: str) -> None:
        area = self._specs[meter_id].area
        if area in self._area_meters:
            self.meter(self._area_meters[area])

    def _settle_days(self, now_ms: int) -> None:
        """Bring all meters to the start of the present UTC day, a day at a time."""
        day_end = (self._settled_ms // DAY_MS + 1) * DAY_MS
        while day_end <= now_ms:
            for meter in self._meters.values():
                if meter.position_ms < day_end:
                    meter.advance_to(day_end)
            self._settled_ms = day_end
            day_end += DAY_MS

    def _make(self, spec: MeterSpec) -> Meter:
        core = self._cores.get(spec.meter_id) or CurveMeteringCore(
            self._supply.source(spec, self.spec), self._start_ms, spec.digits, spec.starts_at_wh
        )
        clock = MeterClock(self._start_ms, self._start_ms + spec.clock_offset_ms, spec.drift_ppm)
        faults = [fault for fault in self.spec.faults if fault.meter_id == spec.meter_id]
        spikes = [(milliseconds(fault.at), fault.value_wh) for fault in faults if isinstance(fault, Spike)]
        occurrences = _occurrences(spec, self.spec, self._start_ms)
        return Meter(
            spec.meter_id, core, clock, spec.zone, self._start_ms, occurrences, spikes, self.spec.shape
        )


def _occurrences(spec: MeterSpec, fleet: FleetSpec, start_ms: int) -> list[Occurrence]:
    """What will happen to a meter, ascending; only supply failures during its time in service."""
    installed = start_ms if spec.installed_at is None else milliseconds(spec.installed_at)
    removed = None if spec.removed_at is None else milliseconds(spec.removed_at)
    found = []
    if spec.installed_at is not None:
        found.append(Occurrence(installed, Turn.INSTALLED))
    if removed is not None:
        found.append(Occurrence(removed, Turn.REMOVED))
    found += _windows(outage_windows(spec, fleet), Turn.POWER_DOWN, Turn.POWER_UP, installed, removed)
    dead = [
        (milliseconds(fault.start), milliseconds(fault.end))
        for fault in fleet.faults
        if isinstance(fault, DeadMeter) and fault.meter_id == spec.meter_id
    ]
    found += _windows(merged(sorted(dead)), Turn.CORE_DOWN, Turn.CORE_UP, installed, None)
    for fault in fleet.faults:
        if isinstance(fault, DriftingClock) and fault.meter_id == spec.meter_id:
            found.append(Occurrence(milliseconds(fault.start), Turn.DRIFT, fault.drift_ppm))
    order = list(Turn)
    return sorted(found, key=lambda occurrence: (occurrence.at_ms, order.index(occurrence.turn)))


def _windows(
    windows: Iterable[tuple[int, int]], down: Turn, up: Turn, first_ms: int, last_ms: int | None
) -> list[Occurrence]:
    found = []
    for start, end in windows:
        if end <= first_ms or (last_ms is not None and start >= last_ms):
            continue
        found.append(Occurrence(max(start, first_ms), down))
        if last_ms is None or end < last_ms:
            found.append(Occurrence(end, up))
    return found
