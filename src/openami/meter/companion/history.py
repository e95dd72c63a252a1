"""What a companion model shows of the past of a software meter: energy at an instant, and rows of profiles.

The metering core keeps intervals and daily freezes. From the dial and the intervals before it follows what
the dial showed at the end of each; between two ends the energy is taken as evenly spread. Rule of this file:
the history is computed from what the meter recorded, it is never recorded a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from openami.meter.capture_buffer import CapturedRows
from openami.meter.fleet import Fleet
from openami.meter.meter_clock import local_offsets, milliseconds
from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.encoding.axdr import Tag
from openami.protocols.dlms.encoding.date_time import STATUS_DAYLIGHT_SAVING, date_times_of
from openami.protocols.dlms.interface_classes.profile_generic import ProfileColumn, Rows
from openami.quantities.obis import IMPORT_INTERVAL, REGISTER_OF_INTERVAL, ObisCode
from openami.readings.event import EventCode

_INTERVALS = (IMPORT_INTERVAL, ObisCode(1, 0, 2, 29, 0))
_REGISTERS = tuple(REGISTER_OF_INTERVAL[interval] for interval in _INTERVALS)
_APPARENT = {ObisCode(1, 0, 9 + at, group, 0): at for at in (0, 1) for group in (8, 29)}
_INTERVAL_CHANNELS = {name: at for at, name in enumerate(_INTERVALS)} | _APPARENT
_REGISTER_CHANNELS = {name: at for at, name in enumerate(_REGISTERS)} | _APPARENT
"""Channels of energies; a household's power factor is 1, so that its apparent energy is the active one."""
_CLOCK_CLASS, _DATA_CLASS, _REGISTER_CLASS = 8, 1, 3
_REGISTER_GROUP = 8
_STATUS_WORDS = (ObisCode(0, 0, 96, 10, 1), ObisCode(0, 0, 96, 10, 2))

POWER_EVENTS = frozenset({EventCode.POWER_DOWN, EventCode.POWER_UP})
SECURITY_EVENTS = frozenset(
    {
        EventCode.AUTHENTICATION_FAILED,
        EventCode.DECIPHERING_FAILED,
        EventCode.REPLAY_ATTACK,
        EventCode.TERMINAL_COVER_OPEN,
    }
)
SWITCH_EVENTS = frozenset({EventCode.DISCONNECTED, EventCode.RECONNECTED})
CLOCK_EVENTS = frozenset(
    {EventCode.DAYLIGHT_SAVING_CHANGED, EventCode.CLOCK_ADJUSTED_OLD, EventCode.CLOCK_ADJUSTED_NEW}
)


class MeterHistory:
    """The past of one meter of a fleet.

    Parameters
    ----------
    fleet, meter_id:
        The meter.
    """

    __slots__ = ("_fleet", "_meter_id")

    def __init__(self, fleet: Fleet, meter_id: str) -> None:
        self._fleet = fleet
        self._meter_id = meter_id

    @property
    def zone(self) -> str:
        """IANA zone of the meter."""
        return self._fleet.meter_spec(self._meter_id).zone

    @property
    def period_s(self) -> int:
        """Capture period of the intervals."""
        return self._fleet.spec.shape.period_s

    @property
    def channels(self) -> int:
        """1 for import, 2 with export."""
        return len(self._fleet.meter(self._meter_id).channels)

    def intervals(self) -> CapturedRows:
        """Intervals, oldest first."""
        return self._fleet.meter(self._meter_id).profile.rows()

    def freezes(self) -> CapturedRows:
        """Daily freezes, oldest first."""
        return self._fleet.meter(self._meter_id).freezes.rows()

    def events(self, codes: frozenset[EventCode] | None, entries: int) -> npt.NDArray[np.int64]:
        """The last events of some codes (None: of all): seconds and code, shape (n, 2)."""
        kept = [
            event for event in self._fleet.meter(self._meter_id).events if codes is None or event[1] in codes
        ]
        return np.array(kept[-entries:], np.int64).reshape(min(len(kept), entries), 2)

    def dials_at_ends(self, rows: CapturedRows, channel: int) -> npt.NDArray[np.int64]:
        """What the dial showed at the end of each interval, Wh, shape (n,)."""
        meter = self._fleet.meter(self._meter_id)
        now = meter.core.dials_wh[channel] - meter.interval_wh[channel]
        energies = rows.values[channel]
        later = energies.sum() - energies.cumsum()
        dials: npt.NDArray[np.int64] = (now - later) % meter.core.modulus_wh
        return dials

    def energy_at(self, at: datetime, channel: int = 0) -> int:
        """What the dial showed at an instant of the meter's clock, Wh; the oldest value before that."""
        meter = self._fleet.meter(self._meter_id)
        if channel >= len(meter.channels):
            return 0
        now_ms, at_ms = meter.own_ms, milliseconds(at)
        dial = meter.core.dials_wh[channel]
        if at_ms >= now_ms:
            return dial
        rows = meter.profile.rows()
        running = meter.interval_wh[channel]
        last_ms = 1000 * int(rows.stamp_s[-1]) if len(rows) else now_ms
        if at_ms >= last_ms:
            # Rounded up: what is asked for the present a moment ago is not less than the dial showed then.
            left = running * (now_ms - at_ms) // (now_ms - last_ms)
            return (dial - left) % meter.core.modulus_wh
        at_s = at_ms / 1000
        ends = self.dials_at_ends(rows, channel)
        place = int(np.searchsorted(rows.stamp_s, at_s))
        energy = int(rows.values[channel, place])
        left = energy * (int(rows.stamp_s[place]) - int(at_s)) // self.period_s
        return (int(ends[place]) - min(left, energy)) % meter.core.modulus_wh

    def power_at(self, at: datetime, channel: int) -> int:
        """Mean power of the interval that an instant lies in, W; 0 where it was not recorded."""
        rows = self.intervals()
        place = int(np.searchsorted(rows.stamp_s, at.timestamp(), side="right"))
        if not place < len(rows) or channel >= rows.values.shape[0]:
            return 0
        return int(rows.values[channel, place]) * 3600 // self.period_s


Supply = Callable[[CapturedRows, MeterHistory], npt.NDArray[Any]]


def history_column(source: CaptureObject, tag: Tag) -> Supply | None:
    """How a column follows from the meter's record; None where it does not."""
    if source.class_id == _CLOCK_CLASS and source.attribute == 2:
        return lambda rows, history: stamped(rows.stamp_s, history.zone)
    if source.attribute != 2:
        return None
    if source.class_id == _DATA_CLASS and source.logical_name in _STATUS_WORDS:
        most = 0xFF if tag is Tag.UNSIGNED else 0xFFFF
        return lambda rows, history: rows.status & np.uint16(most)
    if source.class_id != _REGISTER_CLASS:
        return None
    if source.logical_name.d == _REGISTER_GROUP:
        dial = _REGISTER_CHANNELS.get(source.logical_name)
        return None if dial is None else lambda rows, history: _dials(rows, history, dial)
    channel = _INTERVAL_CHANNELS.get(source.logical_name)
    return None if channel is None else lambda rows, history: _energies(rows, history, channel)


def _dials(rows: CapturedRows, history: MeterHistory, channel: int) -> npt.NDArray[np.int64]:
    if channel >= rows.values.shape[0]:
        return np.zeros(len(rows), np.int64)
    return history.dials_at_ends(rows, channel)


def _energies(rows: CapturedRows, history: MeterHistory, channel: int) -> npt.NDArray[np.int64]:
    if channel >= rows.values.shape[0]:
        return np.zeros(len(rows), np.int64)
    energies: npt.NDArray[np.int64] = rows.values[channel]
    return energies


class IntervalRows:
    """Rows of a load profile whose period is the meter's own; the newest ``entries``."""

    __slots__ = ("_entries", "_history", "_supplies")

    def __init__(self, history: MeterHistory, supplies: Sequence[Supply], entries: int) -> None:
        self._history = history
        self._supplies = supplies
        self._entries = entries

    def __len__(self) -> int:
        return min(len(self._history.intervals()), self._entries)

    def instants(self) -> npt.NDArray[np.datetime64]:
        """Capture instants."""
        return _instants(self._history.intervals().stamp_s[-self._entries :])

    def columns(self, rows: Rows) -> Sequence[npt.NDArray[Any]]:
        """Columns of the rows named."""
        held = self._history.intervals()
        return [supply(held, self._history)[-self._entries :][rows] for supply in self._supplies]


class FreezeRows:
    """Rows of a daily profile: dials at local midnights; the newest ``entries``."""

    __slots__ = ("_channels", "_entries", "_history")

    def __init__(self, history: MeterHistory, channels: Sequence[int | None], entries: int) -> None:
        self._history = history
        self._channels = channels
        self._entries = entries

    def __len__(self) -> int:
        return min(len(self._history.freezes()), self._entries)

    def instants(self) -> npt.NDArray[np.datetime64]:
        """Capture instants."""
        return _instants(self._history.freezes().stamp_s[-self._entries :])

    def columns(self, rows: Rows) -> Sequence[npt.NDArray[Any]]:
        """Columns of the rows named: -1 the clock, None the status, else a dial."""
        held = self._history.freezes()
        chosen: list[npt.NDArray[Any]] = []
        for channel in self._channels:
            if channel is None:
                column: npt.NDArray[Any] = held.status
            elif channel < 0:
                column = stamped(held.stamp_s, self._history.zone)
            elif channel < held.values.shape[0]:
                column = held.values[channel]
            else:
                column = np.zeros(len(held), np.int64)
            chosen.append(column[-self._entries :][rows])
        return chosen


def freeze_channel(source: CaptureObject) -> int | None:
    """Column of a `FreezeRows`; raises `LookupError` where the freezes do not have it."""
    if source.class_id == _CLOCK_CLASS:
        return -1
    if source.class_id == _DATA_CLASS and source.logical_name in _STATUS_WORDS:
        return None
    if source.class_id == _REGISTER_CLASS and source.attribute == 2:
        return _REGISTER_CHANNELS[source.logical_name]
    raise LookupError(str(source))


class EventRows:
    """Rows of an event log: the meter's events of some codes."""

    __slots__ = ("_codes", "_entries", "_history")

    def __init__(self, history: MeterHistory, codes: frozenset[EventCode] | None, entries: int) -> None:
        self._history = history
        self._codes = codes
        self._entries = entries

    def __len__(self) -> int:
        return len(self._table())

    def instants(self) -> npt.NDArray[np.datetime64]:
        """When they happened."""
        return _instants(self._table()[:, 0])

    def columns(self, rows: Rows) -> Sequence[npt.NDArray[Any]]:
        """Clock and code."""
        table = self._table()[rows]
        return stamped(table[:, 0], self._history.zone), table[:, 1]

    def last_code(self) -> int:
        """Code of the last event; 0 before the first."""
        table = self._table()
        return int(table[-1, 1]) if len(table) else 0

    def _table(self) -> npt.NDArray[np.int64]:
        return self._history.events(self._codes, self._entries)


def history_columns(capture: Sequence[CaptureObject], tags: Sequence[Tag]) -> tuple[ProfileColumn, ...]:
    """Columns of a profile with their types on the wire."""
    return tuple(ProfileColumn(source, tag) for source, tag in zip(capture, tags, strict=True))


def _instants(stamp_s: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    instants: npt.NDArray[np.datetime64] = (stamp_s * 1_000_000).view("datetime64[us]")
    return instants


def stamped(stamp_s: npt.NDArray[np.int64], zone: str) -> npt.NDArray[np.uint8]:
    """Clock column: local date-times with deviation and the daylight saving bit, uint8, shape (n, 12)."""
    minutes, saving = local_offsets(stamp_s, zone)
    status = np.where(saving, STATUS_DAYLIGHT_SAVING, 0)
    return date_times_of(_instants(stamp_s), -minutes, status)
