"""Objects that act: image transfer, monitors, limiter, arbitrator, push, compact data, keys, protection."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from openami.protocols.dlms.axdr import (
    BitString,
    Data,
    Tag,
    array,
    decode,
    decode_plain,
    encode,
    structure,
)
from openami.protocols.dlms.ciphered_apdu import Form
from openami.protocols.dlms.ciphering import Cipher
from openami.protocols.dlms.date_time import CosemDateTime
from openami.protocols.dlms.descriptors import Selector
from openami.protocols.dlms.device_security import DeviceSecurity, Incident
from openami.protocols.dlms.interface_classes.arbitrator import Arbitrator
from openami.protocols.dlms.interface_classes.compact_data import CompactData
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.data_protection import DataProtection, protectors
from openami.protocols.dlms.interface_classes.dial_up import AutoAnswer, AutoConnect
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState, DisconnectControl
from openami.protocols.dlms.interface_classes.image_transfer import (
    ImageMemory,
    ImageStatus,
    ImageTransfer,
    VerifiedImage,
)
from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject
from openami.protocols.dlms.interface_classes.internet_setup import Ipv4Setup
from openami.protocols.dlms.interface_classes.limiter import Limiter
from openami.protocols.dlms.interface_classes.local_ports import HdlcSetup, MbusSlavePort
from openami.protocols.dlms.interface_classes.mbus import (
    BusQuality,
    MbusClient,
    MbusDiagnostic,
    SlaveIdentity,
)
from openami.protocols.dlms.interface_classes.network_diagnostic import (
    Cell,
    GsmDiagnostic,
    GsmDiagnosticVersion0,
    NetworkState,
)
from openami.protocols.dlms.interface_classes.object_reference import script_runner
from openami.protocols.dlms.interface_classes.parameter_monitor import (
    ParameterMonitor,
    ParameterMonitorVersion1,
)
from openami.protocols.dlms.interface_classes.push_setup import Delivery, PushSetup, PushSetupVersion2
from openami.protocols.dlms.interface_classes.register import Register
from openami.protocols.dlms.interface_classes.register_monitor import RegisterMonitor
from openami.protocols.dlms.interface_classes.script_table import ScriptTable
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup, SecuritySetupVersion0
from openami.protocols.dlms.interface_classes.timeline import Timeline
from openami.protocols.dlms.interface_classes.value_tables import RegisterTable, StatusMapping, UtilityTable
from openami.protocols.dlms.results import AccessError, AccessResult
from openami.protocols.dlms.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.quantities.errors import LinkError
from openami.quantities.obis import ObisCode
from openami.quantities.units import WH, Quantum, Unit
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.key_wrap import wrap
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.signature import (
    agreed_key,
    new_private_key,
    public_key,
    public_octets,
    sign,
    verify,
)
from openami.security.suites import SUITE_1

BERLIN = ZoneInfo("Europe/Berlin")
NOTHING = Data(Tag.INTEGER, 0)
NOW = datetime(2025, 7, 1, 12, tzinfo=UTC)
ENERGY, POWER = ObisCode(1, 0, 1, 8, 0), ObisCode(1, 0, 1, 7, 0)
RELAY, SCRIPTS = ObisCode(0, 0, 96, 3, 10), ObisCode(0, 0, 10, 0, 106)
NOTE, SERIAL = ObisCode(0, 0, 96, 13, 0), ObisCode(0, 0, 96, 1, 0)


def octets(value: bytes) -> Data:
    return Data(Tag.OCTET_STRING, value)


def long_unsigned(value: int) -> Data:
    return Data(Tag.LONG_UNSIGNED, value)


def double(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG_UNSIGNED, value)


def script(selector: int) -> Data:
    return structure(octets(SCRIPTS.to_bytes()), long_unsigned(selector))


def value_definition(class_id: int, name: ObisCode, attribute: int = 2) -> Data:
    return structure(long_unsigned(class_id), octets(name.to_bytes()), Data(Tag.INTEGER, attribute))


def capture(class_id: int, name: ObisCode, attribute: int = 2, element: int = 0) -> Data:
    return structure(
        long_unsigned(class_id), octets(name.to_bytes()), Data(Tag.INTEGER, attribute), long_unsigned(element)
    )


def refused(deed: object, *arguments: object) -> AccessResult:
    with pytest.raises(AccessError) as caught:
        deed(*arguments)  # type: ignore[operator]
    return caught.value.result


class House:
    """A meter with an energy, a power, a relay, a note and scripts that open (1) and close (2) the relay."""

    def __init__(self) -> None:
        self.instant = NOW
        self.power = 0
        self.where = ControlState.CONNECTED
        self.switched = 0
        self.note = b"hello"
        self.objects: dict[ObisCode, InterfaceObject] = {}
        self.run = script_runner(self.objects.get)
        self.add(Register(ENERGY, Tag.DOUBLE_LONG_UNSIGNED, WH, lambda: 123_456))
        self.add(Register(POWER, Tag.LONG_UNSIGNED, Quantum(Unit.WATT), lambda: self.power))
        self.add(DataObject(NOTE, lambda: octets(self.note), self.store_note))
        self.add(DataObject(SERIAL, lambda: octets(b"M-7")))
        self.add(DisconnectControl(RELAY, self))
        scripts = ScriptTable(SCRIPTS, self.objects.get)
        actions = (
            structure(
                Data(Tag.ENUM, 2),
                long_unsigned(70),
                octets(RELAY.to_bytes()),
                Data(Tag.INTEGER, method),
                NOTHING,
            )
            for method in (1, 2)
        )
        scripts.write(
            2,
            array(
                structure(long_unsigned(number), array([action])) for number, action in enumerate(actions, 1)
            ),
        )
        self.add(scripts)

    def add(self, item: InterfaceObject) -> None:
        self.objects[item.logical_name] = item

    def find(self, name: ObisCode) -> InterfaceObject | None:
        return self.objects.get(name)

    def now(self) -> datetime:
        return self.instant

    def state(self) -> ControlState:
        return self.where

    def switch(self, state: ControlState) -> None:
        self.switched += state is not self.where
        self.where = state

    def store_note(self, value: Data) -> None:
        assert isinstance(value.value, bytes)
        self.note = value.value


@pytest.fixture
def house() -> House:
    return House()


# --- image transfer -------------------------------------------------------------------------------------


class SignedFirmware:
    """Images end with an ECDSA signature over what comes before."""

    def __init__(self) -> None:
        self.maker = new_private_key(SUITE_1)
        self.active: bytes | None = None

    def image(self, body: bytes) -> bytes:
        return body + sign(SUITE_1, self.maker, body)

    def verify(self, identifier: bytes, image: bytes) -> VerifiedImage:
        body, signature = image[:-64], image[-64:]
        verify(SUITE_1, self.maker.public_key(), body, signature)
        return VerifiedImage(identifier, signature)

    def activate(self, identifier: bytes, image: bytes) -> None:
        self.active = image


def initiate(size: int) -> Data:
    return structure(octets(b"fw-2.0"), double(size))


def block(number: int, image: bytes, size: int = 512) -> Data:
    return structure(double(number), octets(image[number * size : (number + 1) * size]))


def test_an_image_with_lost_blocks_over_two_objects_arrives_bit_exact_and_is_activated() -> None:
    firmware, memory = SignedFirmware(), ImageMemory()
    image = firmware.image(random.Random(1).randbytes(200_001))
    name = ObisCode(0, 0, 44, 0, 0)
    transfer = ImageTransfer(name, memory, firmware)
    assert refused(transfer.invoke, 1, initiate(len(image))) is AccessResult.READ_WRITE_DENIED
    state: dict[int, Data] = {}
    transfer = ImageTransfer(name, memory, firmware, state=state)
    transfer.write(5, Data(Tag.BOOLEAN, True))
    transfer.invoke(1, initiate(len(image)))
    count = -(-len(image) // 512)
    lost = {number for number in range(count) if number % 10 == 3}
    order = list(range(count))
    random.Random(2).shuffle(order)
    for number in order[: count // 2]:
        if number not in lost:
            transfer.invoke(2, block(number, image))
    transfer = ImageTransfer(name, memory, firmware, state=state)  # the connection was lost, the meter not
    for number in order[count // 2 :]:
        if number not in lost:
            transfer.invoke(2, block(number, image))
    assert decode_plain(transfer.read(4)) == 3
    bitmap = decode_plain(transfer.read(3))
    assert isinstance(bitmap, BitString)
    assert bitmap.length == count
    missing = {n for n in range(count) if not bitmap.octets[n // 8] & 0x80 >> n % 8}
    assert missing == lost
    assert refused(transfer.invoke, 3, NOTHING) is AccessResult.TEMPORARY_FAILURE
    for number in sorted(missing):
        transfer.invoke(2, block(number, image))
        transfer.invoke(2, block(number, image))  # again: harmless
    assert refused(transfer.invoke, 4, NOTHING) is AccessResult.TEMPORARY_FAILURE
    transfer.invoke(3, NOTHING)
    assert decode_plain(transfer.read(6)) == ImageStatus.VERIFIED
    assert decode_plain(transfer.read(7)) == [(len(image), b"fw-2.0", image[-64:])]
    transfer.invoke(4, NOTHING)
    assert firmware.active == image
    assert decode_plain(transfer.read(6)) == ImageStatus.ACTIVATED


def test_an_image_with_a_wrong_signature_or_a_changed_octet_is_never_activated() -> None:
    firmware, memory = SignedFirmware(), ImageMemory()
    good = firmware.image(bytes(range(256)) * 8)
    transfer = ImageTransfer(ObisCode(0, 0, 44, 0, 0), memory, firmware, preset={5: Data(Tag.BOOLEAN, True)})
    for place in (0, 1000, len(good) - 1):
        image = good[:place] + bytes((good[place] ^ 1,)) + good[place + 1 :]
        transfer.invoke(1, initiate(len(image)))
        for number in range(-(-len(image) // 512)):
            transfer.invoke(2, block(number, image))
        assert refused(transfer.invoke, 3, NOTHING) is AccessResult.OTHER_REASON
        assert decode_plain(transfer.read(6)) == ImageStatus.VERIFICATION_FAILED
        assert refused(transfer.invoke, 4, NOTHING) is AccessResult.TEMPORARY_FAILURE
        assert decode_plain(transfer.read(7)) == []
    assert firmware.active is None


def test_blocks_that_do_not_belong_to_the_image_are_refused() -> None:
    transfer = ImageTransfer(
        ObisCode(0, 0, 44, 0, 0), ImageMemory(), SignedFirmware(), 2000, preset={5: Data(Tag.BOOLEAN, True)}
    )
    assert refused(transfer.invoke, 2, block(0, bytes(512))) is AccessResult.TEMPORARY_FAILURE
    assert refused(transfer.invoke, 1, initiate(2001)) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    assert refused(transfer.invoke, 1, initiate(0)) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    transfer.invoke(1, initiate(1000))
    assert refused(transfer.invoke, 2, block(0, bytes(511))) is AccessResult.TYPE_UNMATCHED
    assert (
        refused(transfer.invoke, 2, structure(double(2), octets(b"")))
        is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    )
    transfer.invoke(2, block(0, bytes(512)))
    other = structure(double(0), octets(b"\1" * 512))
    assert refused(transfer.invoke, 2, other) is AccessResult.OTHER_REASON


# --- monitors and limiter -------------------------------------------------------------------------------


def test_thresholds_trigger_once_in_each_direction(house: House) -> None:
    monitor = RegisterMonitor(ObisCode(0, 0, 16, 0, 1), house.find, house.run)
    monitor.write(2, array([long_unsigned(1000)]))
    monitor.write(3, value_definition(3, POWER))
    monitor.write(4, array([structure(script(1), script(2))]))
    seen = []
    for house.power in (1500, 900, 1000, 1001, 1500, 1000, 0, 2000):
        monitor.look(NOW)
        seen.append(house.where is ControlState.CONNECTED)
    # The first look finds out where the value is; only crossings act.
    assert seen == [True, True, True, False, False, True, True, False]
    assert house.switched == 3


def limiter(house: House, **changed: Data) -> Limiter:
    preset = {
        2: value_definition(3, POWER),
        4: long_unsigned(3000),
        5: long_unsigned(1000),
        6: double(60),
        7: double(120),
        11: structure(script(1), script(2)),
    }
    for key, value in changed.items():
        preset[int(key[1:])] = value
    return Limiter(ObisCode(0, 0, 17, 0, 0), house.find, house.run, house.now, BERLIN, preset=preset)


def test_the_limiter_cuts_off_after_its_time_and_reconnects_after_the_other(house: House) -> None:
    guard = limiter(house)
    powers = {0: 2999, 30: 3001, 60: 2000, 90: 3500, 120: 3500, 149: 3500, 150: 3500, 200: 0, 319: 0, 320: 0}
    seen = []
    for second, house.power in powers.items():
        house.instant = NOW + timedelta(seconds=second)
        guard.look(house.instant)
        seen.append((second, house.where.name))
    off = [second for second, name in seen if name == "DISCONNECTED"]
    assert off == [150, 200, 319]
    assert house.switched == 2


def test_an_emergency_profile_limits_to_its_threshold_for_its_duration(house: House) -> None:
    activation = octets(CosemDateTime.from_instant(NOW, BERLIN).to_bytes())
    guard = limiter(
        house,
        a8=structure(long_unsigned(7), activation, double(600)),
        a9=array([long_unsigned(3), long_unsigned(7)]),
        a6=double(0),
    )
    house.power = 2000
    house.instant = NOW - timedelta(seconds=1)
    assert decode_plain(guard.read(3)) == 3000
    guard.look(house.instant)
    assert house.where is ControlState.CONNECTED
    house.instant = NOW
    assert decode_plain(guard.read(10)) is True
    assert decode_plain(guard.read(3)) == 1000
    guard.look(house.instant)
    assert house.where is ControlState.DISCONNECTED
    house.instant = NOW + timedelta(seconds=600)
    assert decode_plain(guard.read(10)) is False
    guard.write(9, array([long_unsigned(3)]))
    house.instant = NOW
    assert decode_plain(guard.read(10)) is False
    assert refused(guard.write, 4, double(5)) is AccessResult.TYPE_UNMATCHED


def test_the_arbitrator_weighs_requests_within_permissions(house: House) -> None:
    def bits(value: str) -> Data:
        return Data(Tag.BIT_STRING, BitString(len(value), bytes((int(value.ljust(8, "0"), 2),))))

    judge = Arbitrator(ObisCode(0, 0, 96, 3, 20), house.run)
    judge.write(2, array([script(1), script(2)]))
    judge.write(3, array([bits("10"), bits("11"), bits("01")]))
    judge.write(4, array(array(long_unsigned(weight) for weight in row) for row in ((5, 5), (3, 4), (2, 9))))
    judge.invoke(1, structure(Data(Tag.UNSIGNED, 1), bits("11")))  # actor 1 may not ask for action 2
    assert house.where is ControlState.DISCONNECTED
    assert decode_plain(judge.read(6)) == 1
    judge.invoke(1, structure(Data(Tag.UNSIGNED, 2), bits("01")))  # 5 against 4
    assert decode_plain(judge.read(6)) == 1
    judge.invoke(1, structure(Data(Tag.UNSIGNED, 3), bits("01")))  # 5 against 13
    assert (decode_plain(judge.read(6)), house.where) == (2, ControlState.CONNECTED)
    assert (
        refused(judge.invoke, 1, structure(Data(Tag.UNSIGNED, 4), bits("01")))
        is AccessResult.READ_WRITE_DENIED
    )
    judge.invoke(2, NOTHING)
    assert decode_plain(judge.read(6)) == 0


def test_a_changed_parameter_is_noted_and_the_digest_tells_it(house: House) -> None:
    monitor = ParameterMonitorVersion1(ObisCode(0, 0, 16, 2, 0), house.find, house.now, BERLIN)
    monitor.invoke(1, value_definition(1, NOTE))
    monitor.invoke(1, value_definition(1, SERIAL))
    before = monitor.read(7)
    house.note = b"other"
    monitor.changed(1, NOTE, 2)
    monitor.changed(3, ENERGY, 3)
    assert decode_plain(monitor.read(2)) == (1, NOTE.to_bytes(), 2, b"other")
    assert monitor.read(7) != before
    assert decode_plain(monitor.read(8)) == [b"other", b"M-7"]
    monitor.invoke(2, value_definition(1, NOTE))
    assert refused(monitor.invoke, 2, value_definition(1, NOTE)) is AccessResult.OBJECT_UNDEFINED
    assert ParameterMonitor.version == 0


# --- push, compact data, tables -------------------------------------------------------------------------


def push_setup(house: House, sent: list[Delivery], kind: type[PushSetup] = PushSetup) -> PushSetup:
    setup = kind(
        ObisCode(0, 0, 25, 9, 0), house.find, sent.append, house.now, BERLIN, lambda below: below - 1
    )
    setup.write(3, structure(Data(Tag.ENUM, 0), octets(b"127.0.0.1:4059"), Data(Tag.ENUM, 0)))
    setup.write(5, long_unsigned(30))
    setup.write(6, Data(Tag.UNSIGNED, 3))
    return setup


def test_a_push_carries_its_list_and_when_it_is_tried(house: House) -> None:
    sent: list[Delivery] = []
    setup = push_setup(house, sent)
    setup.write(2, array([capture(3, ENERGY), capture(1, SERIAL), capture(3, ENERGY, 3, 2)]))
    setup.write(7, long_unsigned(60))
    setup.invoke(1, NOTHING)
    (delivery,) = sent
    assert decode_plain(encode(delivery.body)) == (123_456, b"M-7", 30)
    assert delivery.destination == b"127.0.0.1:4059"
    assert delivery.attempts_s == (29, 89, 149, 209)
    closed = octets(CosemDateTime.from_instant(NOW - timedelta(hours=2), BERLIN).to_bytes())
    ended = octets(CosemDateTime.from_instant(NOW - timedelta(hours=1), BERLIN).to_bytes())
    setup.write(4, array([structure(closed, ended)]))
    assert refused(setup.invoke, 1, NOTHING) is AccessResult.TEMPORARY_FAILURE
    setup.write(4, array(()))
    setup.write(2, array([capture(3, ENERGY), capture(3, ObisCode(1, 0, 99, 99, 99))]))
    assert refused(setup.invoke, 1, NOTHING) is AccessResult.OBJECT_UNDEFINED
    assert len(sent) == 1


def test_delays_of_version_2_grow_up_to_their_limit(house: House) -> None:
    sent: list[Delivery] = []
    setup = push_setup(house, sent, PushSetupVersion2)
    setup.write(7, structure(long_unsigned(10), long_unsigned(250), long_unsigned(60)))
    setup.write(5, long_unsigned(0))
    setup.write(6, Data(Tag.UNSIGNED, 5))
    setup.invoke(1, NOTHING)
    # 10, 25, 62 -> 60, 60, 60
    assert sent[0].attempts_s == (0, 10, 35, 95, 155, 215)


def test_compact_data_is_what_a_compact_array_would_be(house: House) -> None:
    compact = CompactData(ObisCode(0, 0, 66, 0, 1), house.find)
    house.add(compact)
    unrestricted = structure(Data(Tag.ENUM, 0), Data(Tag.NULL_DATA, None))

    def listed(*sources: Data) -> Data:
        return array(Data(Tag.STRUCTURE, (*source.value, unrestricted)) for source in sources)  # type: ignore[misc]

    compact.write(3, listed(capture(3, ENERGY), capture(1, SERIAL), capture(3, POWER, 3)))
    compact.write(4, Data(Tag.UNSIGNED, 9))
    assert decode_plain(compact.read(2)) == b""
    compact.invoke(2, NOTHING)
    buffer, description = decode_plain(compact.read(2)), decode_plain(compact.read(5))
    assert isinstance(buffer, bytes)
    assert isinstance(description, bytes)
    # double-long-unsigned 123456; octet-string of 3; integer 0, enum 27 (W)
    assert buffer == bytes.fromhex("0001e240 03 4d2d37 00 1b")
    assert description == bytes.fromhex("0203 06 09 0202 0f 16")
    whole = b"\x13" + description + bytes((len(buffer),)) + buffer
    assert decode_plain(whole) == [(123_456, b"M-7", (0, 27))]
    house.power = 7
    compact.write(6, Data(Tag.ENUM, 1))
    compact.write(3, listed(capture(3, POWER)))
    assert decode_plain(compact.read(2)) == b"\x00\x07"
    compact.write(3, listed(capture(62, compact.logical_name)))
    assert refused(compact.read, 2) is AccessResult.TEMPORARY_FAILURE


def test_tables_of_registers_octets_and_status_bits(house: House) -> None:
    for rate in (1, 2):
        name = ObisCode(1, 0, 1, 8, rate)
        house.add(Register(name, Tag.DOUBLE_LONG_UNSIGNED, WH, lambda rate=rate: 1000 * rate))
    table = RegisterTable(ObisCode(1, 0, 1, 8, 255), house.find)
    groups = array(Data(Tag.UNSIGNED, group) for group in (0, 1, 2, 3))
    table.write(
        3,
        structure(long_unsigned(3), octets(ENERGY.to_bytes()), groups, Data(Tag.INTEGER, 2)),
    )
    table.invoke(2, NOTHING)
    assert decode_plain(table.read(2)) == [123_456, 1000, 2000, None]
    table.invoke(1, NOTHING)
    assert decode_plain(table.read(2)) == []

    utility = UtilityTable(ObisCode(0, 0, 65, 0, 0))
    utility.write(4, octets(bytes(range(100))))
    assert decode_plain(utility.read(3)) == 100
    offset = structure(double(10), long_unsigned(5))
    assert decode_plain(utility.read(4, Selector(1, offset))) == bytes(range(10, 15))
    beyond = Selector(1, structure(double(98), long_unsigned(3)))
    assert refused(utility.read, 4, beyond) is AccessResult.SCOPE_OF_ACCESS_VIOLATED

    mapping = StatusMapping(ObisCode(0, 0, 96, 5, 0), lambda: Data(Tag.UNSIGNED, 0b101))
    mapping.write(3, structure(Data(Tag.UNSIGNED, 1), long_unsigned(40)))
    assert mapping.entries() == (40, 42)
    mapping.write(3, structure(Data(Tag.UNSIGNED, 1), array(long_unsigned(entry) for entry in (9, 8, 7))))
    assert mapping.entries() == (9, 7)


# --- communication --------------------------------------------------------------------------------------


def test_ports_hand_their_parameters_to_the_link() -> None:
    applied: list[tuple[int, object]] = []
    setup = HdlcSetup(
        ObisCode(0, 0, 22, 0, 0), applied=lambda index, value: applied.append((index, value.value))
    )
    for index, value in ((3, 7), (4, 1)):
        setup.write(index, Data(Tag.UNSIGNED, value))
    for index, value in ((5, 512), (6, 2030)):
        setup.write(index, long_unsigned(value))
    assert applied == [(3, 7), (4, 1), (5, 512), (6, 2030)]
    link = setup.link_parameters()
    assert (link.transmit, link.receive, link.window_transmit, link.window_receive) == (512, 2030, 7, 1)
    for index, wrong in ((3, Data(Tag.UNSIGNED, 8)), (5, long_unsigned(2031)), (9, long_unsigned(0x4000))):
        assert refused(setup.write, index, wrong) is AccessResult.TYPE_UNMATCHED
    slave = MbusSlavePort(ObisCode(0, 0, 20, 1, 0))
    assert decode_plain(slave.read(4)) == 0
    slave.write(5, Data(Tag.UNSIGNED, 3))
    assert decode_plain(slave.read(4)) == 1


def test_multicast_addresses_come_and_go() -> None:
    setup = Ipv4Setup(ObisCode(0, 0, 25, 1, 0))
    group = double(0xE000_0001)
    setup.invoke(1, group)
    setup.invoke(1, group)
    assert decode_plain(encode(setup.invoke(3, NOTHING) or NOTHING)) == 1
    assert refused(setup.invoke, 1, double(0x7F00_0001)) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    setup.invoke(2, group)
    assert refused(setup.invoke, 2, group) is AccessResult.OBJECT_UNDEFINED


def test_calls_are_taken_and_made_in_their_windows(house: House) -> None:
    answer = AutoAnswer(ObisCode(0, 0, 2, 2, 0), house.now, BERLIN)
    night = octets(b"\xff" * 5 + bytes((22, 0, 0, 0)) + b"\x80\x00\xff")
    morning = octets(b"\xff" * 5 + bytes((6, 0, 0, 0)) + b"\x80\x00\xff")
    answer.write(3, array([structure(night, morning)]))
    answer.write(6, structure(Data(Tag.UNSIGNED, 2), Data(Tag.UNSIGNED, 0)))
    answer.write(7, array([structure(octets(b"4711"), Data(Tag.ENUM, 0))]))
    answer.write(5, Data(Tag.UNSIGNED, 2))
    assert not answer.answers(b"+494711", 5)
    house.instant = datetime(2025, 7, 1, 21, tzinfo=UTC)
    assert [answer.answers(*call) for call in ((b"+494711", 1), (b"+490815", 3), (b"+494711", 2))] == [
        False, False, True,
    ]  # fmt: skip
    assert decode_plain(answer.read(4)) == 1
    assert answer.answers(b"4711", 2)
    assert decode_plain(answer.read(4)) == 2
    assert not answer.answers(b"4711", 9)

    dialled: list[bytes] = []
    connect = AutoConnect(ObisCode(0, 0, 2, 1, 0), lambda to: (dialled.append(to), to == b"b")[1], house.now)
    connect.write(3, Data(Tag.UNSIGNED, 1))
    connect.write(6, array([octets(b"a"), octets(b"b"), octets(b"c")]))
    connect.invoke(1, NOTHING)
    connect.write(6, array([octets(b"a")]))
    assert refused(connect.invoke, 1, NOTHING) is AccessResult.TEMPORARY_FAILURE
    assert dialled == [b"a", b"b", b"a", b"a"]


def test_versions_of_the_diagnostic_differ_in_their_cells() -> None:
    state = NetworkState("net", 1, 0, 4, Cell(70_000, 21), 9, 1, 262, 1, 6300, (Cell(5, 3),), NOW)
    old = GsmDiagnosticVersion0(ObisCode(0, 0, 25, 6, 0), lambda: state)
    new = GsmDiagnostic(ObisCode(0, 0, 25, 6, 0), lambda: state)
    assert decode_plain(old.read(6)) == (70_000 & 0xFFFF, 9, 21, 1)
    assert decode_plain(new.read(6)) == (70_000, 9, 21, 1, 262, 1, 6300)
    assert decode(new.read(6)).value[0].tag is Tag.DOUBLE_LONG_UNSIGNED  # type: ignore[index,union-attr]


class OneSlave:
    def __init__(self) -> None:
        self.address: int | None = None
        self.there = True
        self.calls: list[object] = []

    def _call(self, *what: object) -> None:
        if not self.there:
            raise LinkError("nobody answers")
        self.calls.append(what)

    def install(self, primary_address: int) -> SlaveIdentity:
        self._call("install", primary_address)
        return SlaveIdentity(12_345_678, 0x0C24, 7, 3, 1, 0, 0x0500)

    def deinstall(self, primary_address: int) -> None:
        self._call("deinstall", primary_address)

    def capture(self, primary_address: int, blocks: tuple[tuple[bytes, bytes], ...]) -> SlaveIdentity:
        self._call("capture", primary_address, blocks)
        return SlaveIdentity(12_345_678, 0x0C24, 7, 3, len(self.calls), 4, 0x0500)

    def synchronize(self, primary_address: int) -> None:
        self._call("synchronize", primary_address)

    def send(self, primary_address: int, blocks: tuple[tuple[bytes, bytes, Data], ...]) -> None:
        self._call("send", primary_address, blocks)

    def set_key(self, primary_address: int, key: bytes) -> None:
        self._call("set_key", primary_address, len(key))

    def transfer_key(self, primary_address: int, key: bytes) -> None:
        self._call("transfer_key", primary_address, len(key))


def test_a_slave_is_installed_captured_by_its_period_and_removed() -> None:
    bus = OneSlave()
    client = MbusClient(ObisCode(0, 1, 24, 1, 0), bus)
    client.write(3, array([structure(octets(b"\x04"), octets(b"\x13"))]))
    assert refused(client.invoke, 3, NOTHING) is AccessResult.TEMPORARY_FAILURE
    client.invoke(1, Data(Tag.UNSIGNED, 5))
    assert [decode_plain(client.read(index)) for index in range(5, 10)] == [5, 12_345_678, 0x0C24, 7, 3]
    client.write(4, double(3600))
    present = NOW + timedelta(minutes=30)
    timeline = Timeline(lambda: present, NOW, (client,))
    timeline.settle()
    assert len(bus.calls) == 1
    present = NOW + timedelta(hours=3)
    timeline.settle()
    assert bus.calls[1:] == [("capture", 5, ((b"\x04", b"\x13"),))] * 3
    bus.there = False
    assert refused(client.invoke, 3, NOTHING) is AccessResult.HARDWARE_FAULT
    bus.there = True
    client.invoke(7, octets(bytes(16)))
    client.invoke(8, octets(bytes(16)))
    assert decode_plain(client.read(14)) == 3
    client.invoke(2, NOTHING)
    assert decode_plain(client.read(6)) == 0
    quality = BusQuality(9, 1, 1, 10, 8, 2)
    diagnostic = MbusDiagnostic(ObisCode(0, 1, 24, 9, 0), lambda: quality, lambda: NOW)
    diagnostic.invoke(1, NOTHING)
    quality = BusQuality(9, 1, 1, 15, 11, 4)
    assert [decode_plain(diagnostic.read(index)) for index in (6, 7, 8)] == [5, 3, 2]


# --- security -------------------------------------------------------------------------------------------

CLIENT, METER = b"OAMHES01", b"OAM\x00\x00\x00\x00\x07"


def secured(suite: int = 0) -> tuple[DeviceSecurity, list[Incident]]:
    incidents: list[Incident] = []
    return DeviceSecurity(METER, MeterKeys.random(suite), observe=incidents.append), incidents


def test_keys_are_transferred_all_or_none() -> None:
    security, incidents = secured()
    setup = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1, CLIENT)
    before = security.keys
    unicast, authentication = Secret.random(16), Secret.random(16)

    def transfer(*pairs: tuple[KeyKind, bytes]) -> Data:
        return array(structure(Data(Tag.ENUM, kind.value), octets(text)) for kind, text in pairs)

    good = (KeyKind.GLOBAL_UNICAST, wrap(before.master, unicast))
    bad = wrap(before.authentication, authentication)
    for second in (bad, b"\0" * 24, wrap(before.master, unicast), wrap(before.master, Secret.random(24))):
        pair = (KeyKind.AUTHENTICATION, second)
        assert refused(setup.invoke, 2, transfer(good, pair)) is AccessResult.OTHER_REASON
        assert security.keys == before
    assert len(incidents) == 4
    setup.invoke(2, transfer(good, (KeyKind.AUTHENTICATION, wrap(before.master, authentication))))
    assert security.keys.global_unicast == unicast
    assert security.keys.authentication == authentication
    assert security.keys.master == before.master


def test_the_policy_is_only_ever_strengthened() -> None:
    security, _ = secured()
    old = SecuritySetupVersion0(ObisCode(0, 0, 43, 0, 0), security, 1)
    assert old.requests_must_be == Protection.NONE
    old.invoke(1, Data(Tag.ENUM, 1))
    assert old.requests_must_be == Protection.AUTHENTICATED
    for weaker in (0, 2):
        assert refused(old.invoke, 1, Data(Tag.ENUM, weaker)) is AccessResult.READ_WRITE_DENIED
    old.invoke(1, Data(Tag.ENUM, 3))
    assert old.requests_must_be == AUTHENTICATED_ENCRYPTION
    new = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1)
    new.invoke(1, Data(Tag.ENUM, 4 | 8 | 32))
    assert new.requests_must_be == AUTHENTICATED_ENCRYPTION
    assert refused(new.invoke, 1, Data(Tag.ENUM, 4 | 8)) is AccessResult.READ_WRITE_DENIED
    assert refused(new.invoke, 1, Data(Tag.ENUM, 1)) is AccessResult.READ_WRITE_DENIED


def test_a_key_is_agreed_on_and_known_to_both_and_forgeries_are_refused() -> None:
    security, incidents = secured(1)
    client_key, meter_key = new_private_key(SUITE_1), new_private_key(SUITE_1)
    setup = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1, CLIENT)
    ephemeral = new_private_key(SUITE_1)
    mine = public_octets(ephemeral.public_key())
    offered = array([structure(Data(Tag.ENUM, 0), octets(mine + sign(SUITE_1, client_key, b"\0" + mine)))])
    assert refused(setup.invoke, 3, offered) is AccessResult.OTHER_REASON
    security.signing_key = meter_key
    security.client_keys = {1: client_key.public_key()}
    forged = array([structure(Data(Tag.ENUM, 2), octets(mine + sign(SUITE_1, client_key, b"\0" + mine)))])
    assert refused(setup.invoke, 3, forged) is AccessResult.OTHER_REASON
    assert incidents
    answer = setup.invoke(3, offered)
    assert answer is not None
    ((key_id, exchange),) = decode_plain(encode(answer))  # type: ignore[misc]
    assert key_id == 0
    verify(SUITE_1, meter_key.public_key(), b"\0" + exchange[:64], exchange[64:])
    agreed = agreed_key(SUITE_1, ephemeral, public_key(SUITE_1, exchange[:64]), CLIENT, METER)
    assert security.keys.global_unicast == agreed


def test_values_are_protected_beside_the_association_and_set_only_when_verified(house: House) -> None:
    security, _ = secured()
    protection = DataProtection(ObisCode(0, 0, 43, 2, 0), house.find, protectors(security, {CLIENT}), METER)
    protection.write(6, Data(Tag.ENUM, 4 | 8 | 32 | 64))
    counters = MemoryCounters()
    cipher = Cipher(security.keys, CLIENT, METER, SendCounter(counters, "c"), ReceiveCounters(counters))

    def parameters(kind: int, title: bytes = CLIENT) -> Data:
        key = structure(Data(Tag.ENUM, 0), Data(Tag.ENUM, 0))
        options = structure(octets(b"t1"), octets(title), octets(METER), octets(b""), key)
        return array([structure(Data(Tag.ENUM, kind), options)])

    unrestricted = structure(Data(Tag.ENUM, 0), Data(Tag.NULL_DATA, None))

    def listed(class_id: int, name: ObisCode) -> Data:
        return array([Data(Tag.STRUCTURE, (*capture(class_id, name).value, unrestricted))])  # type: ignore[misc]

    answer = protection.invoke(1, structure(listed(3, ENERGY), parameters(2)))
    assert answer is not None
    (used, sealed) = decode_plain(encode(answer))  # type: ignore[misc]
    assert used[0][1][1:3] == (METER, CLIENT)  # type: ignore[index]
    opened = cipher.open(sealed, AUTHENTICATED_ENCRYPTION)  # type: ignore[arg-type]
    assert decode_plain(opened.apdu) == (123_456,)
    assert (
        refused(protection.invoke, 1, structure(listed(3, ENERGY), parameters(0)))
        is AccessResult.READ_WRITE_DENIED
    )
    stranger = structure(listed(3, ENERGY), parameters(2, b"OAMHES02"))
    assert refused(protection.invoke, 1, stranger) is AccessResult.OTHER_REASON
    new = CipherSide(cipher).seal(encode(structure(octets(b"set"))))
    damaged = new[:-1] + bytes((new[-1] ^ 1,))
    request = (listed(1, NOTE), parameters(2))
    assert refused(protection.invoke, 2, structure(*request, octets(damaged))) is AccessResult.OTHER_REASON
    assert house.note == b"hello"
    protection.invoke(2, structure(*request, octets(new)))
    assert house.note == b"set"
    assert (
        refused(protection.invoke, 2, structure(*request, octets(new))) is AccessResult.OTHER_REASON
    )  # replay
    run = structure(
        value_definition(70, RELAY, 1),
        parameters(2),
        octets(CipherSide(cipher).seal(encode(structure(NOTHING)))),
    )
    assert protection.invoke(3, run) is not None
    assert house.where is ControlState.DISCONNECTED


class CipherSide:
    """The client's side of data protection."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def seal(self, plain: bytes) -> bytes:
        return self._cipher.seal(plain, AUTHENTICATED_ENCRYPTION, Form.GENERAL_GLOBAL)


def test_refusals_of_keys_never_show_them() -> None:
    security, incidents = secured()
    setup = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1, CLIENT)
    text = wrap(security.keys.authentication, Secret(b"0123456789abcdef"))
    with pytest.raises(AccessError) as caught:
        setup.invoke(2, array([structure(Data(Tag.ENUM, 0), octets(text))]))
    shown = f"{caught.value} {incidents} {security.keys}"
    for secret in (security.keys.master, security.keys.authentication, security.keys.global_unicast):
        assert secret.reveal().hex() not in shown
