"""The management core: clock, captures, events and relay of a meter, over a metering core it only reads.

The order of things at one instant: the load profile is captured, then the daily freeze, then whatever
happens from that instant on (a failure, a clock set, the relay). Rules of the captures:

- A row is captured at every multiple of the capture period of the meter's own clock; it is stamped with
  that time, the end of its interval, and holds the advance of the register since the row before.
- After the clock was set, the next capture is at the first boundary *after* the new time. Set back over a
  boundary, a stamp occurs twice (add the rows); set forward over several, the rows between are missing and
  the energy is in the next row.
- A row is SHORT when it was measured for less than a period by the meter's oscillator; it is LONG when it
  was measured for more, or when captures are missing between it and the row before.
- Without supply nothing is captured and no energy flows; the first row afterwards is flagged POWER_FAIL.
- A management core that was dead takes the register as it finds it: the energy of the dead time stands in
  the register only, and a first row that does not hold its whole interval is SHORT and DATA_INVALID.
- A freeze is captured when the meter is put into service, and at each local midnight of its own clock.
- A meter that is removed captures the row of the interval it was removed in and the freeze of the next
  midnight, and then stands still; it can still be read.

Rule never to be broken: between two freezes, the rows sum to the difference of the freezes, to the Wh; only
dead time and spikes injected as faults are excepted (`Meter.unrecorded_wh` tells the first).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from openami.quantities.errors import QuantityError
from openami.quantities.obis import ObisCode
from openami.quantities.status import DeviceFlag
from openami.readings.event import EventCode

from .capture_buffer import CaptureBuffer, CapturedRows
from .meter_clock import (
    MeterClock,
    daylight_saving_changes,
    instant_of,
    is_midnight,
    milliseconds,
    next_midnight,
)
from .metering_core.energy_register import MeteringCore
from .occurrence import Occurrence, Turn

EVENT_CAPACITY = 256
_INCIDENT_PAUSE_S = 60
CLOCK_RANGE_MS = (
    milliseconds(datetime(2000, 1, 1, tzinfo=UTC)),
    milliseconds(datetime(2100, 1, 1, tzinfo=UTC)),
)
"""Times the clock can be set to: from the first up to the second."""
_NO_FLAG = int(DeviceFlag.NONE)


@dataclass(frozen=True, slots=True)
class ProfileShape:
    """Capture period in seconds and how much the buffers hold, in days."""

    period_s: int = 900
    profile_days: int = 60
    freeze_days: int = 400

    def __post_init__(self) -> None:
        if self.period_s < 1 or 900 % self.period_s:
            raise QuantityError(f"a capture period of {self.period_s} s", expected="a divisor of 900")
        if self.profile_days < 1 or self.freeze_days < 1:
            raise QuantityError("a profile that holds no day", expected="1 day or more")


@dataclass(frozen=True, slots=True)
class MaximumDemand:
    """The largest mean power of a whole interval since the last reset, and the interval's end."""

    power_w: int = 0
    at_s: int = 0


class Meter:
    """One meter in service: its state at the instant it was last advanced to.

    Invariant: rows and freezes are those of the module's rules, whatever the steps in which
    `advance_to` was called.

    Parameters
    ----------
    meter_id:
        Serial number.
    core:
        The metering core, at ``start_ms``.
    clock:
        The clock as it runs at first.
    zone:
        IANA zone whose civil time the meter keeps.
    start_ms:
        True instant from which the meter exists, milliseconds of UTC since 1970.
    occurrences:
        What will happen to it, ascending. Without a `Turn.INSTALLED` it is in service at once.
    spikes:
        Instants (ms) and values (Wh) of rows shown wrong.
    shape:
        Capture period and capacities.
    """

    __slots__ = (
        "_baseline_wh", "_carried_ms", "_clock", "_core", "_core_up", "_demand", "_disconnected",
        "_events", "_freezes", "_in_service", "_last_stamp_ms", "_mark_ms", "_next_midnight_ms", "_next_ms",
        "_occurrences", "_pending", "_period_ms", "_position_ms", "_powered", "_profile", "_restarted",
        "_retired", "_rows_left", "_spikes", "_unrecorded_wh", "meter_id", "zone",
    )  # fmt: skip

    def __init__(
        self,
        meter_id: str,
        core: MeteringCore,
        clock: MeterClock,
        zone: str,
        start_ms: int,
        occurrences: Sequence[Occurrence] = (),
        spikes: Sequence[tuple[int, int]] = (),
        shape: ProfileShape = ProfileShape(),
    ) -> None:
        self.meter_id = meter_id
        self.zone = zone
        self._core = core
        self._clock = clock
        self._position_ms = start_ms
        self._occurrences = deque(occurrences)
        self._spikes = tuple(spikes)
        self._period_ms = shape.period_s * 1000
        channels = len(core.channels)
        self._profile = CaptureBuffer(channels, shape.profile_days * 86_400 // shape.period_s, np.int32)
        self._freezes = CaptureBuffer(channels, shape.freeze_days, np.int64)
        self._events: deque[tuple[int, int]] = deque(maxlen=EVENT_CAPACITY)
        self._demand = MaximumDemand()
        self._baseline_wh = core.dials_wh
        self._unrecorded_wh = [0] * channels
        self._pending = _NO_FLAG
        self._carried_ms = 0
        self._mark_ms: int | None = None
        self._last_stamp_ms: int | None = None
        self._rows_left: int | None = None
        self._next_ms = 0
        self._next_midnight_ms = 0
        self._powered = True
        self._core_up = True
        self._in_service = False
        self._disconnected = False
        self._restarted = False
        self._retired = False
        if not any(occurrence.turn is Turn.INSTALLED for occurrence in self._occurrences):
            self._install()

    # What it shows -------------------------------------------------------------------------------------

    @property
    def core(self) -> MeteringCore:
        """The metering core, to be read."""
        return self._core

    @property
    def channels(self) -> tuple[ObisCode, ...]:
        """Cumulative registers of the meter."""
        return self._core.channels

    @property
    def position_ms(self) -> int:
        """True instant reached."""
        return self._position_ms

    @property
    def own_ms(self) -> int:
        """The meter's clock, milliseconds of UTC as it believes."""
        return self._clock.own(self._position_ms)

    @property
    def now(self) -> datetime:
        """The meter's clock as a UTC instant."""
        return instant_of(self.own_ms)

    @property
    def drift_ppm(self) -> int:
        """Present rate error of the clock."""
        return self._clock.drift_ppm

    @property
    def period_s(self) -> int:
        """Capture period of the load profile."""
        return self._period_ms // 1000

    @property
    def profile(self) -> CaptureBuffer:
        """Load profile: Wh of each interval."""
        return self._profile

    @property
    def freezes(self) -> CaptureBuffer:
        """Daily freezes: dials in Wh."""
        return self._freezes

    @property
    def events(self) -> tuple[tuple[int, int], ...]:
        """Event log, oldest first: seconds of the meter's clock, code."""
        return tuple(self._events)

    @property
    def maximum_demand(self) -> MaximumDemand:
        """Largest demand since the last reset."""
        return self._demand

    @property
    def disconnected(self) -> bool:
        """True when the load contact is open."""
        return self._disconnected

    @property
    def answers(self) -> bool:
        """True when the meter can be talked to: installed, and supplied or on the bench, and its core up."""
        if not self._core_up:
            return False
        return self._powered if self._in_service else self._rows_left is not None

    @property
    def unrecorded_wh(self) -> tuple[int, ...]:
        """Energy that is in the registers and in no row, by channel: what flowed in dead time."""
        return tuple(self._unrecorded_wh)

    @property
    def nbytes(self) -> int:
        """Memory of the buffers, in bytes."""
        return self._profile.nbytes + self._freezes.nbytes

    def rows_stamped(self, first: datetime, last: datetime) -> CapturedRows:
        """Load profile rows stamped in ``[first, last]``."""
        return self._profile.rows().stamped(milliseconds(first) // 1000, milliseconds(last) // 1000)

    # What is done to it ----------------------------------------------------------------------------------

    def advance_to(self, instant_ms: int) -> None:
        """Live on to a true instant; captures due at that very instant included.

        Raises
        ------
        QuantityError
            The instant lies before the one reached.
        """
        if instant_ms < self._position_ms:
            raise QuantityError(f"meter {self.meter_id} was asked to go back in time")
        while self._occurrences and self._occurrences[0].at_ms <= instant_ms:
            occurrence = self._occurrences.popleft()
            self._live_to(max(occurrence.at_ms, self._position_ms))
            self._turn(occurrence)
        self._live_to(instant_ms)

    def set_clock(self, own_ms: int) -> None:
        """Set the clock, now.

        Raises
        ------
        QuantityError
            A time the meter cannot keep.
        """
        if not CLOCK_RANGE_MS[0] <= own_ms < CLOCK_RANGE_MS[1]:
            raise QuantityError(f"the clock cannot be set to {own_ms} ms", expected="a time of 2000 to 2099")
        old_ms = self.own_ms
        self._log(EventCode.CLOCK_ADJUSTED_OLD, old_ms)
        self._stop_measuring_interval()
        self._clock = self._clock.set_to(self._position_ms, own_ms)
        self._pending |= DeviceFlag.CLOCK_SET
        self._schedule()
        self._start_measuring_interval()
        self._log(EventCode.CLOCK_ADJUSTED_NEW, own_ms)

    def disconnect(self) -> None:
        """Open the load contact, now."""
        if not self._disconnected:
            self._disconnected = True
            self._core.disconnect()
            self._pending |= DeviceFlag.DISCONNECTED
            self._log(EventCode.DISCONNECTED, self.own_ms)

    def reconnect(self) -> None:
        """Close the load contact, now."""
        if self._disconnected:
            self._disconnected = False
            self._core.connect()
            self._log(EventCode.RECONNECTED, self.own_ms)

    @property
    def interval_wh(self) -> tuple[int, ...]:
        """Energy of the interval that is being measured, so far, by channel."""
        modulus = self._core.modulus_wh
        return tuple(
            (now - at) % modulus for now, at in zip(self._core.dials_wh, self._baseline_wh, strict=True)
        )

    @property
    def pending_status(self) -> DeviceFlag:
        """Flags that the next row will have, short and long apart."""
        return DeviceFlag(self._pending)

    def reset_maximum_demand(self) -> None:
        """Start a new demand period."""
        self._demand = MaximumDemand()

    # How time passes -------------------------------------------------------------------------------------

    @property
    def _captures(self) -> bool:
        return self._powered and self._core_up and (self._in_service or self._rows_left is not None)

    def _live_to(self, instant_ms: int) -> None:
        """Pass time in which nothing happens from outside."""
        if instant_ms == self._position_ms:
            return
        before_ms = self.own_ms
        self._position_ms = instant_ms
        own_ms = self._clock.own(instant_ms)
        if self._retired or not self._captures or own_ms < self._next_ms:
            self._core.run_to(np.array([instant_ms], np.int64))
        else:
            stamps = np.arange(self._next_ms, own_ms + 1, self._period_ms, dtype=np.int64)
            instants = np.empty(stamps.size + 1, np.int64)
            instants[:-1] = self._clock.reached(stamps)
            instants[-1] = instant_ms
            dials = self._core.run_to(instants)
            self._capture(stamps, instants[:-1], dials[:, :-1])
        if self._captures:
            for change_ms in daylight_saving_changes(before_ms, own_ms, self.zone):
                self._log(EventCode.DAYLIGHT_SAVING_CHANGED, change_ms)

    def _capture(
        self, stamps: npt.NDArray[np.int64], instants: npt.NDArray[np.int64], dials: npt.NDArray[np.int64]
    ) -> None:
        """Capture rows and freezes at stamps (n,), reached at true instants (n,), dials (channels, n)."""
        modulus = self._core.modulus_wh
        advance = np.empty_like(dials)
        advance[:, 0] = dials[:, 0] - self._baseline_wh
        np.subtract(dials[:, 1:], dials[:, :-1], out=advance[:, 1:])
        advance %= modulus
        status = np.zeros(stamps.size, np.uint16)
        status[0] = self._first_status(int(stamps[0]))
        if self._disconnected:
            status |= np.uint16(DeviceFlag.DISCONNECTED)
        rows = stamps.size
        if self._rows_left is not None:
            rows = min(rows, self._rows_left)
            self._rows_left -= rows
        shown = self._spiked(instants, advance) if self._spikes else advance
        self._profile.extend(stamps[:rows] // 1000, status[:rows], shown[:, :rows])
        self._note_demand(stamps, shown, status)
        while self._next_midnight_ms <= stamps[-1] and not self._retired:
            index = (self._next_midnight_ms - int(stamps[0])) // self._period_ms
            self._freeze(self._next_midnight_ms, dials[:, index : index + 1])
            self._next_midnight_ms = next_midnight(self._next_midnight_ms, self.zone)
            self._retired = self._rows_left is not None
        self._baseline_wh = tuple(int(dial) for dial in dials[:, -1])
        self._last_stamp_ms = self._mark_ms = int(stamps[-1])
        self._next_ms = self._last_stamp_ms + self._period_ms
        self._carried_ms = 0
        self._pending = int(DeviceFlag.DISCONNECTED) if self._disconnected else _NO_FLAG
        self._restarted = False

    def _first_status(self, stamp_ms: int) -> int:
        """Flags of the next row: what happened since the last, and whether it is short or long."""
        status = self._pending
        measured = self._carried_ms + (0 if self._mark_ms is None else stamp_ms - self._mark_ms)
        skipped = self._last_stamp_ms is not None and stamp_ms - self._last_stamp_ms > self._period_ms
        if skipped or measured > self._period_ms:
            return int(status | DeviceFlag.LONG_INTERVAL)
        if measured < self._period_ms:
            status |= DeviceFlag.SHORT_INTERVAL
            if self._restarted:
                status |= DeviceFlag.DATA_INVALID
        return int(status)

    def _spiked(
        self, instants: npt.NDArray[np.int64], advance: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The rows as they are shown: those whose interval holds a spike are replaced."""
        shown = advance
        period = self._period_ms
        for at_ms, value_wh in self._spikes:
            index = int(instants.searchsorted(at_ms, side="right"))
            if index < instants.size and at_ms >= instants[index] - period:
                shown = shown.copy()
                shown[0, index] = value_wh
        return shown

    def _note_demand(
        self, stamps: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], status: npt.NDArray[np.uint16]
    ) -> None:
        imported = rows[0]
        if status[0] & DeviceFlag.LONG_INTERVAL:
            imported = imported.copy()
            imported[0] = 0
        top = int(imported.argmax())
        power = int(imported[top]) * 3_600_000 // self._period_ms
        if power > self._demand.power_w:
            self._demand = MaximumDemand(power, int(stamps[top]) // 1000)

    def _freeze(self, own_ms: int, dials: npt.NDArray[np.int64]) -> None:
        self._freezes.extend(np.array([own_ms // 1000], np.int64), np.zeros(1, np.uint16), dials)

    def _log(self, code: EventCode, own_ms: int) -> None:
        self._events.append((own_ms // 1000, int(code)))

    def log_incident(self, code: EventCode) -> None:
        """Log that somebody tried to get in; of one kind at most one entry a minute.

        Without that limit whoever sends rubbish could push everything else out of the log.
        """
        own_s = self.own_ms // 1000
        for at_s, logged in reversed(self._events):
            if at_s <= own_s - _INCIDENT_PAUSE_S:
                break
            if logged == code:
                return
        self._log(code, self.own_ms)

    # What happens from outside ---------------------------------------------------------------------------

    def _turn(self, occurrence: Occurrence) -> None:
        match occurrence.turn:
            case Turn.POWER_DOWN:
                self._stop_measuring_interval()
                if self._captures:
                    self._log(EventCode.POWER_DOWN, self.own_ms)
                self._powered = False
            case Turn.POWER_UP:
                self._powered = True
                if self._captures:
                    self._pending |= DeviceFlag.POWER_FAIL
                    self._log(EventCode.POWER_UP, self.own_ms)
                    self._schedule()
                    self._start_measuring_interval()
            case Turn.CORE_DOWN:
                self._core_up = False
            case Turn.CORE_UP:
                self._core_up = True
                self._restart()
            case Turn.DRIFT:
                self._clock = self._clock.drifting(self._position_ms, occurrence.value)
            case Turn.INSTALLED:
                self._install()
            case Turn.REMOVED:
                self._remove()

    def _install(self) -> None:
        """Put the meter into service: it counts from its start value, which is its first freeze."""
        self._in_service = True
        self._baseline_wh = self._core.dials_wh
        self._log(EventCode.POWER_UP, self.own_ms)
        self._freeze(self.own_ms, np.array(self._baseline_wh, np.int64)[:, np.newaxis])
        self._schedule()
        self._start_measuring_interval()

    def _remove(self) -> None:
        """Take the meter out of service, onto the bench; its closing captures are still to come."""
        if self._captures:
            self._log(EventCode.POWER_DOWN, self.own_ms)
        self._stop_measuring_interval()
        self._pending |= DeviceFlag.POWER_FAIL
        self._in_service = False
        self._powered = True
        self._schedule()
        just_captured = self._last_stamp_ms == self.own_ms
        self._rows_left = 0 if just_captured else 1
        self._retired = just_captured and is_midnight(self.own_ms, self.zone)

    def _restart(self) -> None:
        """Come up after dead time: the place in the profile is lost, the registers are right."""
        present = self._core.dials_wh
        for channel, (before, now) in enumerate(zip(self._baseline_wh, present, strict=True)):
            self._unrecorded_wh[channel] += (now - before) % self._core.modulus_wh
        self._baseline_wh = present
        self._last_stamp_ms = self._mark_ms = None
        self._carried_ms = 0
        self._pending = int(DeviceFlag.DISCONNECTED) if self._disconnected else _NO_FLAG
        self._restarted = True
        if self._in_service and self._powered:
            self._log(EventCode.POWER_UP, self.own_ms)
            self._schedule()
            self._start_measuring_interval()
            if is_midnight(self.own_ms, self.zone):
                self._freeze(self.own_ms, np.array(present, np.int64)[:, np.newaxis])

    def _schedule(self) -> None:
        """Next capture and next freeze: the first boundaries after the present own time."""
        own_ms = self.own_ms
        self._next_ms = (own_ms // self._period_ms + 1) * self._period_ms
        self._next_midnight_ms = next_midnight(own_ms, self.zone)

    def _stop_measuring_interval(self) -> None:
        if self._mark_ms is not None:
            self._carried_ms += self.own_ms - self._mark_ms
            self._mark_ms = None

    def _start_measuring_interval(self) -> None:
        if self._captures:
            self._mark_ms = self.own_ms
