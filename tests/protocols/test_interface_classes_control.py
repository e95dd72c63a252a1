"""Objects that act: image transfer, monitors, limiter, arbitrator, push, compact data, tables."""

from __future__ import annotations

import random
from datetime import timedelta

from acting_objects import (
    BERLIN,
    ENERGY,
    NOTE,
    NOTHING,
    NOW,
    POWER,
    SERIAL,
    House,
    capture,
    double,
    long_unsigned,
    octets,
    refused,
    script,
    value_definition,
)
from openami.protocols.dlms.apdus.descriptors import Selector
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import (
    BitString,
    Data,
    Tag,
    array,
    decode_plain,
    encode,
    structure,
)
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.interface_classes.arbitrator import Arbitrator
from openami.protocols.dlms.interface_classes.compact_data import CompactData
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState
from openami.protocols.dlms.interface_classes.image_transfer import (
    ImageMemory,
    ImageStatus,
    ImageTransfer,
    VerifiedImage,
)
from openami.protocols.dlms.interface_classes.limiter import Limiter
from openami.protocols.dlms.interface_classes.parameter_monitor import (
    ParameterMonitor,
    ParameterMonitorVersion1,
)
from openami.protocols.dlms.interface_classes.push_setup import Delivery, PushSetup, PushSetupVersion2
from openami.protocols.dlms.interface_classes.register import Register
from openami.protocols.dlms.interface_classes.register_monitor import RegisterMonitor
from openami.protocols.dlms.interface_classes.value_tables import RegisterTable, StatusMapping, UtilityTable
from openami.quantities.obis import ObisCode
from openami.quantities.units import WH
from openami.security.signature import (
    new_private_key,
    sign,
    verify,
)
from openami.security.suites import SUITE_1

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
    house.where = ControlState.DISCONNECTED
    judge.invoke(1, structure(Data(Tag.UNSIGNED, 3), bits("01")))  # asked again: decided and run again
    assert (decode_plain(judge.read(6)), house.where) == (2, ControlState.CONNECTED)
    judge.write(4, array(array(long_unsigned(weight) for weight in row) for row in ((5, 5), (3, 3), (2, 2))))
    judge.invoke(1, structure(Data(Tag.UNSIGNED, 2), bits("01")))  # 5 against 5: nobody's is the largest
    assert (decode_plain(judge.read(6)), house.where) == (2, ControlState.CONNECTED)
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
    assert monitor.read(8) == bytes.fromhex("0202 09056f74686572 09034d2d37")  # a structure, as in ed. 16
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

    template = capture(62, compact.logical_name, 4)
    wrong = listed(capture(3, ENERGY), template)
    assert refused(compact.write, 3, wrong) is AccessResult.SCOPE_OF_ACCESS_VIOLATED
    compact.write(3, listed(template, capture(3, ENERGY), capture(1, SERIAL), capture(3, POWER, 3)))
    compact.write(4, Data(Tag.UNSIGNED, 9))
    assert decode_plain(compact.read(2)) == b""
    compact.invoke(2, NOTHING)
    buffer, description = decode_plain(compact.read(2)), decode_plain(compact.read(5))
    assert isinstance(buffer, bytes)
    assert isinstance(description, bytes)
    # template 9; double-long-unsigned 123456; octet-string of 3; integer 0, enum 27 (W)
    assert buffer == bytes.fromhex("09 0001e240 03 4d2d37 00 1b")
    assert description == bytes.fromhex("0204 11 06 09 0202 0f 16")
    whole = b"\x13" + description + bytes((len(buffer),)) + buffer
    assert decode_plain(whole) == [(9, 123_456, b"M-7", (0, 27))]
    house.power = 7
    compact.write(6, Data(Tag.ENUM, 1))
    compact.write(3, listed(template, capture(3, POWER)))
    assert decode_plain(compact.read(2)) == b"\x09\x00\x07"
    compact.write(3, listed(template, capture(62, compact.logical_name)))
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
    assert table.read(4) == bytes.fromhex("0202 0f00 161e")  # the registers' own: Wh
    table.invoke(1, NOTHING)
    assert decode_plain(table.read(2)) == []
    table.invoke(2, NOTHING)
    table.write(3, table.current(3))
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
    assert mapping.entries() == (45, 47)  # the leading bit is the first, and the most significant
    mapping.write(
        3, structure(Data(Tag.UNSIGNED, 1), array(long_unsigned(entry) for entry in range(9, 1, -1)))
    )
    assert mapping.entries() == (4, 2)
    words = (
        Data(Tag.LONG_UNSIGNED, 0x8001),
        Data(Tag.BIT_STRING, BitString(16, b"\x80\x01")),
        Data(Tag.OCTET_STRING, b"\x80\x01"),
    )
    for word in words:
        same = StatusMapping(ObisCode(0, 0, 96, 5, 0), lambda word=word: word)
        same.write(3, structure(Data(Tag.UNSIGNED, 1), long_unsigned(1)))
        assert same.entries() == (1, 16)
