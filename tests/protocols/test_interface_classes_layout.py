"""Every interface class: attributes read as their declared types, take what these admit, refuse the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from openami.protocols.dlms.apdus.descriptors import CLOCK, Selector
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import NULL, BitString, Data, Tag, array, decode, encode, structure
from openami.protocols.dlms.interface_classes.account import Account
from openami.protocols.dlms.interface_classes.activity_calendar import ActivityCalendar
from openami.protocols.dlms.interface_classes.arbitrator import Arbitrator
from openami.protocols.dlms.interface_classes.charge import Charge
from openami.protocols.dlms.interface_classes.clock import ClockObject
from openami.protocols.dlms.interface_classes.compact_data import CompactData, CompactDataVersion0
from openami.protocols.dlms.interface_classes.credit import Credit
from openami.protocols.dlms.interface_classes.data_protection import DataProtection, protectors
from openami.protocols.dlms.interface_classes.demand_register import DemandRegister
from openami.protocols.dlms.interface_classes.dial_up import AutoAnswer, AutoConnect
from openami.protocols.dlms.interface_classes.image_transfer import ImageMemory, ImageTransfer, VerifiedImage
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
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
    SlaveIdentity,
)
from openami.protocols.dlms.interface_classes.network_diagnostic import (
    Cell,
    GsmDiagnostic,
    GsmDiagnosticVersion0,
    GsmDiagnosticVersion1,
    NetworkState,
)
from openami.protocols.dlms.interface_classes.parameter_monitor import (
    ParameterMonitor,
    ParameterMonitorVersion1,
)
from openami.protocols.dlms.interface_classes.push_setup import (
    PushSetup,
    PushSetupVersion1,
    PushSetupVersion2,
)
from openami.protocols.dlms.interface_classes.register import Register
from openami.protocols.dlms.interface_classes.register_activation import RegisterActivation
from openami.protocols.dlms.interface_classes.register_monitor import RegisterMonitor, SensorManager
from openami.protocols.dlms.interface_classes.schedule import Schedule
from openami.protocols.dlms.interface_classes.script_table import ScriptTable
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup, SecuritySetupVersion0
from openami.protocols.dlms.interface_classes.single_action_schedule import SingleActionSchedule
from openami.protocols.dlms.interface_classes.special_days import SpecialDays
from openami.protocols.dlms.interface_classes.stored_object import StoredObject
from openami.protocols.dlms.interface_classes.token_gateway import Token, TokenGateway
from openami.protocols.dlms.interface_classes.value_tables import RegisterTable, StatusMapping, UtilityTable
from openami.protocols.dlms.interface_classes.value_types import (
    Anything,
    Bits,
    ListOf,
    Moment,
    Nothing,
    Octets,
    OneOf,
    Record,
    StructureOf,
    Text,
    Truth,
    Utf8,
    ValueType,
    Whole,
)
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.errors import LinkError, ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.quantities.units import WH, Quantum, Unit
from openami.security.meter_keys import MeterKeys

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2025, 3, 29, 22, 7, 30, tzinfo=UTC)
SECURITY = DeviceSecurity(b"OAM\x00\x00\x00\x00\x07", MeterKeys.random(1))


class NoFirmware:
    def verify(self, identifier: bytes, image: bytes) -> VerifiedImage:
        raise ProtectionError("not signed")

    def activate(self, identifier: bytes, image: bytes) -> None:
        raise ProtectionError("not signed")


class NoSlaves:
    def install(self, primary_address: int) -> SlaveIdentity:
        raise LinkError("nobody answers")

    def deinstall(self, primary_address: int) -> None:
        raise LinkError("nobody answers")

    def capture(self, primary_address: int, blocks: tuple[tuple[bytes, bytes], ...]) -> SlaveIdentity:
        raise LinkError("nobody answers")

    def synchronize(self, primary_address: int) -> None:
        raise LinkError("nobody answers")

    def send(self, primary_address: int, blocks: tuple[tuple[bytes, bytes, Data], ...]) -> None:
        raise LinkError("nobody answers")

    def set_key(self, primary_address: int, key: bytes) -> None:
        raise LinkError("nobody answers")

    def transfer_key(self, primary_address: int, key: bytes) -> None:
        raise LinkError("nobody answers")


class NoTokens:
    def verify(self, token: bytes) -> Token:
        raise RemoteProtocolError("no token")


class FrozenClock:
    def now(self) -> datetime:
        return NOW

    def set_time(self, instant: datetime) -> None:
        pass


def world() -> dict[ObisCode, InterfaceObject]:
    """One object of every class of this room, and what they refer to."""
    objects: dict[ObisCode, InterfaceObject] = {}

    def add(item: InterfaceObject) -> None:
        assert item.logical_name not in objects
        objects[item.logical_name] = item

    def name() -> ObisCode:
        return ObisCode(0, 0, 128, len(objects), 0)

    find = objects.get

    def now() -> datetime:
        return NOW

    def run(table: ObisCode, selector: int) -> AccessResult:
        return AccessResult.SUCCESS

    def commodity(source: object, at: datetime) -> tuple[int, int]:
        return 0, 0

    periods = {8: Data(Tag.DOUBLE_LONG_UNSIGNED, 900), 9: Data(Tag.LONG_UNSIGNED, 1)}
    add(Register(ObisCode(1, 0, 1, 8, 0), Tag.DOUBLE_LONG_UNSIGNED, WH, lambda: 12_345))
    add(ClockObject(CLOCK, FrozenClock(), BERLIN))
    add(
        DemandRegister(
            name(), Tag.DOUBLE_LONG_UNSIGNED, Quantum(Unit.WATT), lambda at: 0, now, BERLIN, preset=periods
        )
    )
    add(RegisterActivation(name()))
    add(ScriptTable(name(), find))
    add(Schedule(name(), BERLIN, run))
    add(SpecialDays(name()))
    add(ImageTransfer(name(), ImageMemory(), NoFirmware()))
    add(IecLocalPort(name()))
    add(ActivityCalendar(name(), BERLIN, now, run))
    add(RegisterMonitor(name(), find, run))
    add(SingleActionSchedule(name(), BERLIN, run))
    for plain in (
        HdlcSetup, TwistedPairSetup, MbusSlavePort, UtilityTable, ModemConfiguration, MbusMasterPort,
        TcpUdpSetup, Ipv4Setup, MacAddressSetup, PppSetup, GprsModemSetup, SmtpSetup, Ipv6Setup, Credit,
    ):  # fmt: skip
        add(plain(name()))
    add(AutoAnswer(name(), now, BERLIN))
    add(AutoConnect(name(), lambda destination: False, now, BERLIN))
    add(DataProtection(name(), find, protectors(SECURITY, ()), SECURITY.title))
    for push in (PushSetup, PushSetupVersion1, PushSetupVersion2):
        add(push(name(), find, lambda delivery: None, now, BERLIN))
    state = NetworkState("net", 1, 0, 4, Cell(70_000, 21), 9, 1, 262, 1, 6300, (Cell(5, 3),), NOW)
    for diagnostic in (GsmDiagnosticVersion0, GsmDiagnosticVersion1, GsmDiagnostic):
        add(diagnostic(name(), lambda: state, BERLIN))
    add(RegisterTable(name(), find))
    for compact in (CompactDataVersion0, CompactData):
        add(compact(name(), find))
    add(StatusMapping(name(), lambda: Data(Tag.UNSIGNED, 5)))
    for setup in (SecuritySetupVersion0, SecuritySetup):
        add(setup(name(), SECURITY, 1))
    for monitor in (ParameterMonitor, ParameterMonitorVersion1):
        add(monitor(name(), find, now, BERLIN))
    add(SensorManager(name(), lambda: Data(Tag.LONG_UNSIGNED, 7), find, run, now, BERLIN))
    add(Arbitrator(name(), run))
    add(Limiter(name(), find, run, now, BERLIN))
    for client in (MbusClientVersion0, MbusClient):
        add(client(name(), NoSlaves()))
    add(MbusDiagnostic(name(), lambda: BusQuality(3, 1, 1, 10, 9, 1), now, BERLIN))
    add(Account(name(), find, lambda on: None, now, BERLIN))
    add(Charge(name(), commodity, lambda amount: None, now, BERLIN))
    add(TokenGateway(name(), NoTokens(), lambda amount: None, now, BERLIN))
    return objects


OBJECTS = [item for item in world().values() if item.class_id not in (3, 8)]
STORED = [item for item in OBJECTS if isinstance(item, StoredObject)]


def label(item: InterfaceObject) -> str:
    return f"{item.class_id}v{item.version}"


def test_with_those_that_stood_before_there_are_more_than_forty_classes() -> None:
    before = {1, 3, 4, 7, 8, 15, 17, 70}
    assert len(before | {item.class_id for item in OBJECTS}) == 50


@pytest.mark.parametrize("item", OBJECTS, ids=label)
def test_every_readable_attribute_decodes_to_its_declared_type(item: InterfaceObject) -> None:
    assert [rule.index for rule in item.attribute_rules()] == list(range(1, len(item.attribute_rules()) + 1))
    for rule in item.attribute_rules():
        if not rule.access & Access.READ:
            continue
        value = decode(item.read(rule.index))
        if rule.index == 1:
            assert value == Data(Tag.OCTET_STRING, item.logical_name.to_bytes())
        elif isinstance(item, StoredObject):
            assert item.row(rule.index).type.admits(value), (rule.index, value)
    with pytest.raises(AccessError) as refused:
        item.read(len(item.attribute_rules()) + 1)
    assert refused.value.result is AccessResult.OBJECT_UNDEFINED


def sample(kind: ValueType, draw: random.Random) -> Data:
    """A value that a type admits and that is not blank where that can be."""
    match kind:
        case Whole(tag, least, most):
            low, high = (0 if least is None else least), (100 if most is None else most)
            return Data(tag, draw.randint(max(low, min(1, high)), high))
        case Truth():
            return Data(Tag.BOOLEAN, True)
        case Octets(least, most):
            return Data(Tag.OCTET_STRING, draw.randbytes(min(most, max(least, 3))))
        case Text() | Utf8():
            return Data(kind.blank().tag, "abc")
        case Bits(least, most):
            length = min(most, max(least, 8))
            return Data(
                Tag.BIT_STRING,
                BitString(length, (1 << -length % 8 << length - 1).to_bytes((length + 7) // 8, "big")),
            )
        case Moment(tag):
            return Data(tag, bytes.fromhex("07e9031dff0800000000ffc400"[:24]))
        case ListOf(element, most):
            return array(sample(element, draw) for _ in range(min(1, most)))
        case Record(elements):
            return Data(Tag.STRUCTURE, tuple(sample(element, draw) for element in elements))
        case StructureOf(element, most):
            return structure(*(sample(element, draw) for _ in range(min(1, most))))
        case OneOf(types):
            return sample(types[-1], draw)
        case Nothing():
            return NULL
    assert isinstance(kind, Anything)
    return Data(Tag.UNSIGNED, 9)


def outcome(deed: Callable[[], object]) -> AccessResult:
    try:
        deed()
    except AccessError as refusal:
        return refusal.result
    return AccessResult.SUCCESS


REFUSED = (
    NULL,
    Data(Tag.FLOAT32, 1.0),
    Data(Tag.OCTET_STRING, bytes(70_000)),
    structure(*[NULL] * 9),
    array([Data(Tag.UNSIGNED, 1)] * 3),
    array([NULL] * 2000),
    Data(Tag.LONG64, -1),
    Data(Tag.BIT_STRING, BitString(5000, bytes(625))),
)


@pytest.mark.parametrize("position", range(len(STORED)), ids=[label(item) for item in STORED])
def test_what_is_written_reads_back_and_what_does_not_fit_changes_nothing(position: int) -> None:
    item = [item for item in world().values() if isinstance(item, StoredObject)][position]
    draw = random.Random(4)
    written = 0
    for row in item.table:
        wanted = sample(row.type, draw)
        if item.class_id == 30 and row.index == 2:
            continue  # setting the buffer sets other objects
        before = encode(item.current(row.index)) if row.access & Access.READ else b""
        if not row.access & Access.WRITE:
            with pytest.raises(AccessError) as refused:
                item.write(row.index, wanted)
            assert refused.value.result is AccessResult.READ_WRITE_DENIED
            continue
        for wrong in REFUSED:
            if not row.type.admits(wrong):
                with pytest.raises(AccessError):
                    item.write(row.index, wrong)
        if row.access & Access.READ:
            assert encode(item.current(row.index)) == before
        result = outcome(lambda at=row.index, value=wanted: item.write(at, value))
        assert result is not AccessResult.TYPE_UNMATCHED
        if result is not AccessResult.SUCCESS:
            continue  # what the other attributes forbid
        written += 1
        if row.access & Access.READ:
            assert decode(item.read(row.index)) == wanted
    assert written or not any(row.access & Access.WRITE for row in item.table)


@pytest.mark.parametrize("position", range(len(OBJECTS)), ids=[label(item) for item in OBJECTS])
def test_hostile_parameters_end_in_refusals_and_in_nothing_else(position: int) -> None:
    objects = [item for item in world().values() if item.class_id not in (3, 8)]
    item = objects[position]
    draw = random.Random(position)
    pieces: list[Callable[[], Data]] = [
        lambda: NULL,
        lambda: Data(Tag.INTEGER, 0),
        lambda: Data(Tag.UNSIGNED, draw.randrange(256)),
        lambda: Data(Tag.ENUM, draw.randrange(256)),
        lambda: Data(Tag.BOOLEAN, draw.random() < 0.5),
        lambda: Data(Tag.LONG, draw.randrange(-32768, 32768)),
        lambda: Data(Tag.LONG_UNSIGNED, draw.randrange(65536)),
        lambda: Data(Tag.DOUBLE_LONG, draw.randrange(-(1 << 31), 1 << 31)),
        lambda: Data(Tag.DOUBLE_LONG_UNSIGNED, draw.randrange(1 << 32)),
        lambda: Data(Tag.OCTET_STRING, draw.randbytes(draw.choice((0, 1, 4, 5, 6, 8, 12, 16, 24)))),
        lambda: Data(Tag.OCTET_STRING, draw.choice(objects).logical_name.to_bytes()),
        lambda: Data(Tag.OCTET_STRING, b"\xff" * draw.choice((4, 5, 12))),
        lambda: Data(Tag.BIT_STRING, BitString(7, b"\xfe")),
        lambda: Data(Tag.VISIBLE_STRING, "x"),
    ]

    def value(depth: int) -> Data:
        if depth and draw.random() < 0.6:
            inner = tuple(value(depth - 1) for _ in range(draw.randrange(7)))
            return Data(draw.choice((Tag.ARRAY, Tag.STRUCTURE)), inner)
        return draw.choice(pieces)()

    def near(kind: ValueType) -> Data:
        """Of the right type, now and then with a wrong element in it."""
        if draw.random() < 0.03:
            return value(2)
        match kind:
            case ListOf(element, most):
                return array(near(element) for _ in range(draw.randrange(min(most, 4) + 1)))
            case Record(elements):
                return Data(Tag.STRUCTURE, tuple(near(element) for element in elements))
            case OneOf(types):
                return near(draw.choice(types))
            case Octets(least, most):
                known = draw.choice(objects).logical_name.to_bytes()
                fits = least <= 6 <= most and draw.random() < 0.7
                return Data(
                    Tag.OCTET_STRING, known if fits else draw.randbytes(draw.randint(least, min(most, 40)))
                )
            case Moment(tag):
                return Data(
                    tag,
                    draw.choice(
                        (b"\xff" * 12, draw.randbytes(12), bytes.fromhex("07e9031dff08000000ffc400"))
                    ),
                )
            case Whole(tag, least, most):
                return Data(tag, draw.randint(0 if least is None else least, 100 if most is None else most))
        return sample(kind, draw)

    refusals = 0
    for _ in range(150):
        for index in (*item.method_rules(), 0, -1, 99):
            try:
                item.invoke(index, value(3) if draw.random() < 0.9 else None)
            except AccessError:
                refusals += 1
        for rule in item.attribute_rules():
            kind = (
                item.row(rule.index).type if isinstance(item, StoredObject) and rule.index > 1 else Anything()
            )
            for given in (value(3), near(kind)):
                try:
                    item.write(rule.index, given)
                except AccessError:
                    refusals += 1
            try:
                decode(
                    item.read(
                        rule.index, Selector(draw.randrange(4), value(3)) if draw.random() < 0.3 else None
                    )
                )
            except AccessError:
                refusals += 1
        for deed in ("due", "look", "perform"):
            if (act := getattr(item, deed, None)) is not None:
                try:
                    act(*((NOW, NOW.replace(day=31)) if deed == "due" else (NOW,)))
                except AccessError:
                    refusals += 1
    assert refusals > 100
