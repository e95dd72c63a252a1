"""How a client gets in where a meter wants it otherwise: no AARQ, another counter, another HDLC line."""

from __future__ import annotations

from typing import Any

import pytest

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_meter import Meter, Opening, Transport
from openami.protocols.dlms.apdus.acse import AARQ, RLRQ
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, PUBLIC_CLIENT, Mechanism
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcDecoder, HdlcFrame
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from served_meters import Line, served_datagrams, served_stream

NOTE = ObisCode(0, 0, 96, 13, 0)
TITLE, METER = b"OAMHES01", b"OAM00007"
PRE_ESTABLISHED = 102
QUICK = LinkSettings(1.0, 1.0, 1)


def note() -> DataObject:
    return DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, b"a note " * 40))


def open_device() -> LogicalDevice:
    return LogicalDevice([note()], [AssociationPolicy(PRE_ESTABLISHED, pre_established=True)])


def without_asking(port: int, **how: Any) -> Meter:
    return Meter(
        "127.0.0.1", port, server=7, client=PRE_ESTABLISHED, settings=QUICK,
        opening=Opening.PRE_ESTABLISHED, **how,
    )  # fmt: skip


@pytest.mark.parametrize("transport", list(Transport))
async def test_a_pre_established_association_is_used_and_neither_asked_for_nor_released(
    transport: Transport,
) -> None:
    devices, line = {7: open_device()}, Line()
    if transport is Transport.UDP:
        serving = served_datagrams(devices, line)
    else:
        session = ServerSession if transport is Transport.TCP else HdlcServerSession
        serving = served_stream(lambda: session(devices), line)
    async with serving as port, without_asking(port, transport=transport) as meter:
        assert (await meter.read(NOTE)).raw == b"a note " * 40
        (one, other) = await meter.read_many([NOTE, NOTE])
        assert one == other
    assert not [apdu for apdu in apdus_of(line, transport) if apdu[0] in (AARQ, RLRQ)]
    if transport is Transport.HDLC:
        assert frames_of(line)[-1].kind is FrameKind.DISC


def frames_of(line: Line) -> list[HdlcFrame]:
    frames = HdlcDecoder().feed(b"".join(line.requests))
    return [frame for frame in frames if isinstance(frame, HdlcFrame)]


def apdus_of(line: Line, transport: Transport) -> list[bytes]:
    if transport is not Transport.HDLC:
        return [request[8:] for request in line.requests]
    return [frame.information[3:] for frame in frames_of(line) if frame.kind is FrameKind.I]


@pytest.mark.parametrize(
    "secret",
    [
        {"password": Secret(b"00000000")},
        {"security": ClientSecurity(TITLE, MeterKeys.random())},
        {"user": 5},
    ],
)
def test_nobody_is_proven_where_nothing_is_asked(secret: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="pre-established"):
        without_asking(1, **secret)


@pytest.mark.parametrize(("information", "window"), [(32, 1), (64, 7), (2030, 1)])
async def test_an_hdlc_line_is_proposed_as_it_was_told_and_kept_to(information: int, window: int) -> None:
    asked = HdlcParameters.of(information, window)
    line, devices = Line(), {7: open_device()}
    async with (
        served_stream(lambda: HdlcServerSession(devices), line) as port,
        without_asking(port, transport=Transport.HDLC, hdlc=asked) as meter,
    ):
        assert (await meter.read(NOTE)).raw == b"a note " * 40
    snrm, *others = frames_of(line)
    assert (snrm.kind, HdlcParameters.from_bytes(snrm.information)) == (FrameKind.SNRM, asked)
    assert max(len(frame.information) for frame in others) <= information


# --- the counter of another security setup ---------------------------------------------------------------


BELIEVED = 7_000


def keyed_device(keys: MeterKeys, **shown: int) -> LogicalDevice:
    """A meter that shows counters as 0-0:43.1.e; what it believes itself is far below them."""
    security = DeviceSecurity(METER, keys, MemoryCounters(), lambda incident: None)

    def counter(number: str, value: int) -> DataObject:
        place = ObisCode(0, 0, 43, 1, int(number.removeprefix("e")))
        return DataObject(place, lambda: Data(Tag.DOUBLE_LONG_UNSIGNED, value))

    policies = [
        AssociationPolicy(PUBLIC_CLIENT),
        AssociationPolicy(MANAGEMENT_CLIENT, Mechanism.HIGH_GMAC, protection=AUTHENTICATED_ENCRYPTION),
    ]
    return LogicalDevice([note(), *(counter(*item) for item in shown.items())], policies, security)


@pytest.mark.parametrize(
    ("shown", "named", "begins"),
    [
        ({"e0": 300, "e1": BELIEVED}, ObisCode(0, 0, 43, 1, 1), BELIEVED + 1),
        ({"e0": 300, "e1": BELIEVED}, None, 301),
        ({"e2": BELIEVED}, None, BELIEVED + 1),
        ({"e1": BELIEVED, "e2": 300}, None, 0),
        ({"e1": BELIEVED}, ObisCode(0, 0, 43, 1, 3), 0),
        ({}, None, 0),
    ],
    ids=["named", "default", "only one", "several", "another named", "none"],
)
async def test_the_counter_is_taken_from_the_object_named_or_the_only_one_there_is(
    shown: dict[str, int], named: ObisCode | None, begins: int
) -> None:
    keys, counters = MeterKeys.random(), MemoryCounters()
    security = ClientSecurity(TITLE, keys, counters=counters)
    async with (
        served_stream(lambda: ServerSession({7: keyed_device(keys, **shown)})) as port,
        Meter("127.0.0.1", port, server=7, security=security, settings=QUICK, counter_object=named) as meter,
    ):
        assert (await meter.read(NOTE, class_id=1)).raw == b"a note " * 40
    assert begins < counters.load(send_counter_name(TITLE, keys)) <= begins + 100
