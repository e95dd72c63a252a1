"""A small software meter with one object of every interface class, and the shortest way to talk to it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from acting_objects import House
from openami.protocols.dlms.apdus.descriptors import CLOCK, CLOCK_COLUMN, CaptureObject
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.encoding.date_time import CosemDateTime, date_times_of
from openami.protocols.dlms.interface_classes.clock import ClockObject
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState, DisconnectControl
from openami.protocols.dlms.interface_classes.profile_generic import (
    ProfileColumn,
    ProfileGeneric,
    Rows,
    SortMethod,
)
from openami.protocols.dlms.interface_classes.register import ExtendedRegister, Register
from openami.protocols.dlms.interface_classes.sap_assignment import SapAssignment
from openami.protocols.dlms.server.association_policy import management, public
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.obis import ObisCode
from openami.quantities.units import WH, Quantum, Unit

T = TypeVar("T")

BERLIN = ZoneInfo("Europe/Berlin")
PASSWORD = b"12345678"
STATUS_WORD = ObisCode(0, 0, 96, 10, 1)
IMPORT_INTERVAL = ObisCode(1, 0, 1, 29, 0)
LOAD_PROFILE = ObisCode(1, 0, 99, 1, 0)
EVENT_LOG = ObisCode(0, 0, 99, 98, 0)
EVENT_CODE = ObisCode(0, 0, 96, 11, 0)
SERIAL = ObisCode(0, 0, 96, 1, 0)
DEVICE_NAME = ObisCode(0, 0, 42, 0, 0)
SAP = ObisCode(0, 0, 41, 0, 0)
RELAY = ObisCode(0, 0, 96, 3, 10)
NOTE = ObisCode(0, 0, 96, 13, 0)
ENERGY = ObisCode(1, 0, 1, 8, 0)
VOLTAGE = ObisCode(1, 0, 32, 7, 0)
DEMAND = ObisCode(1, 0, 1, 6, 0)

LOAD_COLUMNS = (
    ProfileColumn(CLOCK_COLUMN, Tag.OCTET_STRING),
    ProfileColumn(CaptureObject(1, STATUS_WORD, 2), Tag.LONG_UNSIGNED),
    ProfileColumn(CaptureObject(3, IMPORT_INTERVAL, 2), Tag.DOUBLE_LONG_UNSIGNED),
)
EVENT_COLUMNS = (
    ProfileColumn(CLOCK_COLUMN, Tag.OCTET_STRING),
    ProfileColumn(CaptureObject(1, EVENT_CODE, 2), Tag.UNSIGNED),
)


@dataclass
class TestClock:
    __test__ = False
    instant: datetime = datetime(2025, 1, 3, 10, 15, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def set_time(self, instant: datetime) -> None:
        self.instant = instant


@dataclass
class TestRelay:
    __test__ = False
    where: ControlState = ControlState.CONNECTED

    def state(self) -> ControlState:
        return self.where

    def switch(self, state: ControlState) -> None:
        self.where = state


@dataclass
class ColumnBuffer:
    """Rows of (instant, number, number ...) as a profile buffer; local time is UTC+1."""

    at: np.ndarray
    numbers: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.at)

    def instants(self) -> np.ndarray:
        return self.at

    def columns(self, rows: Rows) -> list[np.ndarray]:
        return [date_times_of(self.at[rows], -60, 0), *(column[rows] for column in self.numbers)]


def quarter_hours(first: str, count: int) -> np.ndarray:
    return np.datetime64(first, "us") + np.arange(1, count + 1) * np.timedelta64(900, "s")


@dataclass
class TestMeter:
    """The meter's state, and its logical device."""

    __test__ = False
    energy: int = 123_456
    note: bytes = b"hello"
    clock: TestClock = field(default_factory=TestClock)
    relay: TestRelay = field(default_factory=TestRelay)
    load: ColumnBuffer = field(
        default_factory=lambda: ColumnBuffer(
            quarter_hours("2025-01-01T23:00", 96 * 3),
            [np.zeros(288, np.int64), np.arange(288, dtype=np.int64) * 7 % 1000],
        )
    )
    events: ColumnBuffer = field(
        default_factory=lambda: ColumnBuffer(
            quarter_hours("2025-01-02T00:00", 5), [np.arange(5, dtype=np.int64)]
        )
    )
    resets: int = 0

    def reset(self) -> None:
        self.resets += 1

    def store_note(self, value: Data) -> None:
        assert isinstance(value.value, bytes)
        self.note = value.value

    def device(self) -> LogicalDevice:
        return LogicalDevice(
            [
                DataObject(DEVICE_NAME, lambda: Data(Tag.OCTET_STRING, b"OAM0000000000007")),
                DataObject(SERIAL, lambda: Data(Tag.OCTET_STRING, b"M-7")),
                DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, self.note), self.store_note),
                DataObject(STATUS_WORD, lambda: Data(Tag.LONG_UNSIGNED, 0)),
                DataObject(EVENT_CODE, lambda: Data(Tag.UNSIGNED, 4)),
                Register(ENERGY, Tag.DOUBLE_LONG_UNSIGNED, WH, lambda: self.energy),
                Register(VOLTAGE, Tag.LONG_UNSIGNED, Quantum(Unit.VOLT, -1), lambda: 2304),
                Register(IMPORT_INTERVAL, Tag.DOUBLE_LONG_UNSIGNED, WH, lambda: 42, self.reset),
                ExtendedRegister(
                    DEMAND,
                    Tag.DOUBLE_LONG_UNSIGNED,
                    Quantum(Unit.WATT),
                    lambda: 3600,
                    lambda: Data(Tag.UNSIGNED, 0),
                    lambda: CosemDateTime.from_instant(datetime(2025, 1, 2, 17, tzinfo=UTC), BERLIN),
                ),
                ProfileGeneric(LOAD_PROFILE, LOAD_COLUMNS, self.load, 900, 3000, BERLIN),
                ProfileGeneric(
                    EVENT_LOG, EVENT_COLUMNS, self.events, 0, 100, BERLIN, SortMethod.LIFO, reset=self.reset
                ),
                ClockObject(CLOCK, self.clock, BERLIN),
                DisconnectControl(RELAY, self.relay, 2),
                SapAssignment(SAP, lambda: [(1, b"OAM0000000000001"), (7, b"OAM0000000000007")]),
            ],
            [public([CLOCK, DEVICE_NAME, SERIAL, SAP]), management(PASSWORD)],
        )


def drive(operation: Generator[bytes, bytes, T], session: ServerSession) -> T:
    """Run a client operation against a server session in memory."""
    outgoing = next(operation)
    while True:
        try:
            outgoing = operation.send(session.receive(outgoing))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


@pytest.fixture
def meter() -> TestMeter:
    return TestMeter()


@pytest.fixture
def session(meter: TestMeter) -> ServerSession:
    return ServerSession({7: meter.device()})


@pytest.fixture
def run(session: ServerSession) -> Callable[[Generator[bytes, bytes, Any]], Any]:
    return lambda operation: drive(operation, session)


@pytest.fixture
def new_meter() -> Callable[[], TestMeter]:
    return TestMeter


@pytest.fixture
def house() -> House:
    return House()
