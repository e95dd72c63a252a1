"""Events: what a meter or the head-end noticed at an instant (power failure, clock set, exchange ...)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

import pyarrow as pa

from openami.quantities.errors import QuantityError
from openami.readings.content_id import content_bytes, utc_text

EVENT_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("code", pa.int32(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("evidence_id", pa.string()),
        pa.field("captured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
    ]
)
"""Columns of a stored event."""


class EventCode(IntEnum):
    """Event codes. 1-19 as in the IDIS standard event log [recalled]; 200 is the software meter's own, 1000
    and up are the head-end's."""

    POWER_DOWN = 1
    POWER_UP = 2
    DAYLIGHT_SAVING_CHANGED = 3
    CLOCK_ADJUSTED_OLD = 4
    CLOCK_ADJUSTED_NEW = 5
    CLOCK_INVALID = 6
    BATTERY_LOW = 8
    ERROR_REGISTER_CLEARED = 10
    MEMORY_ERROR = 13
    WATCHDOG = 15
    TERMINAL_COVER_OPEN = 40
    AUTHENTICATION_FAILED = 46
    DECIPHERING_FAILED = 49
    REPLAY_ATTACK = 50
    DISCONNECTED = 60
    RECONNECTED = 61
    PUSH_FAILED = 200
    CLOCK_DIFFERENCE = 1000
    CLOCK_SET = 1001
    READ_FAILED = 1002
    READ_RETRIED = 1003
    IDENTITY_MISMATCH = 1004
    SECURITY_ALARM = 1005


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one meter; ``detail`` is ``key=value`` pairs joined by ``;`` (``seconds=41``)."""

    meter_id: str
    at: datetime
    code: int
    captured_at: datetime
    detail: str = ""
    evidence_id: str | None = None
    seq: int = 0
    event_id: str = field(default="")

    def __post_init__(self) -> None:
        if not 0 <= self.code < 2**31:
            raise QuantityError(f"event code {self.code}", expected="0 .. 2147483647")
        at = utc_text(self.at, "time of an event")
        utc_text(self.captured_at, "capture time")
        if not self.event_id:
            head = content_bytes(self.meter_id, at, self.code, self.detail)
            object.__setattr__(self, "event_id", hashlib.sha256(head).hexdigest()[:24])

    @property
    def facts(self) -> dict[str, str]:
        """The ``key=value`` pairs of `detail`."""
        pairs = (part.partition("=") for part in self.detail.split(";") if part)
        return {key: value for key, _, value in pairs}


def events_to_table(events: Iterable[Event]) -> pa.Table:
    """Events as an Arrow table of `EVENT_SCHEMA`."""
    rows = [
        {
            "event_id": event.event_id,
            "meter_id": event.meter_id,
            "at": event.at,
            "code": event.code,
            "detail": event.detail,
            "evidence_id": event.evidence_id,
            "captured_at": event.captured_at,
            "seq": event.seq,
        }
        for event in events
    ]
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def events_from_table(table: pa.Table) -> Iterator[Event]:
    """Events of a table of `EVENT_SCHEMA`."""
    for row in table.to_pylist():
        yield Event(
            meter_id=row["meter_id"],
            at=row["at"],
            code=row["code"],
            captured_at=row["captured_at"],
            detail=row["detail"] or "",
            evidence_id=row["evidence_id"],
            seq=row["seq"],
            event_id=row["event_id"],
        )
