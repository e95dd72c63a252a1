"""Objects of communication: ports, addresses, calls, diagnostics, slaves on a bus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from acting_objects import (
    BERLIN,
    NOTHING,
    NOW,
    House,
    double,
    long_unsigned,
    octets,
    refused,
)
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import (
    Data,
    Tag,
    array,
    decode,
    decode_plain,
    encode,
    structure,
)
from openami.protocols.dlms.interface_classes.dial_up import AutoAnswer, AutoConnect
from openami.protocols.dlms.interface_classes.internet_setup import Ipv4Setup
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
from openami.protocols.dlms.interface_classes.timeline import Timeline
from openami.quantities.errors import LinkError
from openami.quantities.obis import ObisCode


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
    # Blue Book 10 has integer(0), 12 and later unsigned(0); under address 0 the meter chooses.
    client.invoke(1, Data(Tag.UNSIGNED, 0))
    assert client.read(5) == bytes.fromhex("1101")
    for nothing in (Data(Tag.INTEGER, 0), Data(Tag.UNSIGNED, 0)):
        for method in (3, 4, 5):
            client.invoke(method, nothing)
    assert refused(client.invoke, 2, Data(Tag.UNSIGNED, 1)) is AccessResult.TYPE_UNMATCHED
    client.invoke(2, Data(Tag.UNSIGNED, 0))
    assert client.read(5) == bytes.fromhex("1100")
    quality = BusQuality(9, 1, 1, 10, 8, 2)
    diagnostic = MbusDiagnostic(ObisCode(0, 1, 24, 9, 0), lambda: quality, lambda: NOW)
    diagnostic.invoke(1, NOTHING)
    quality = BusQuality(9, 1, 1, 15, 11, 4)
    assert [decode_plain(diagnostic.read(index)) for index in (6, 7, 8)] == [5, 3, 2]
