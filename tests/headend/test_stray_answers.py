"""Datagrams that are lost, doubled and late between a client and a meter: what is read is right, or not read.

Where requests are lost or doubled the answers fit into one datagram: a meter ends a transfer whose block is
asked for twice (data-block-number-invalid), and its association where an AARQ comes twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_meter import Meter, Transport
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.get import GetResponse
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.client.stray_answers import MAX_STRAYS
from openami.protocols.dlms.encoding.axdr import Data, Tag, encode
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.errors import LinkError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from served_meters import served_datagrams

PASSWORD = Secret(b"00000000")
KEYS = MeterKeys.random()
LONG, COUNT, ABSENT = ObisCode(0, 0, 96, 13, 0), ObisCode(0, 0, 96, 15, 0), ObisCode(0, 0, 96, 15, 1)
TEXT = bytes(range(256)) * 4

Way = Callable[[bytes], list[bytes]]
"""What comes out of a network for a datagram that goes in."""


def device() -> LogicalDevice:
    """A count that is another whenever it is read, and a long value; with a password and with keys."""
    count = 0

    def counted() -> Data:
        nonlocal count
        count += 1
        return Data(Tag.DOUBLE_LONG_UNSIGNED, count)

    objects = [DataObject(COUNT, counted), DataObject(LONG, lambda: Data(Tag.OCTET_STRING, TEXT))]
    policies = [
        AssociationPolicy(MANAGEMENT_CLIENT, Mechanism.LOW, PASSWORD.reveal()),
        AssociationPolicy(2, Mechanism.HIGH_GMAC, protection=AUTHENTICATED_ENCRYPTION),
    ]
    security = DeviceSecurity(b"OAM00007", KEYS, MemoryCounters(), lambda incident: None)
    return LogicalDevice(objects, policies, security)


class _Side(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes, Any], None]) -> None:
        self.heard = heard

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard(data, addr)


@asynccontextmanager
async def network(there: Way, back: Way) -> AsyncIterator[int]:
    """A port from which datagrams go to a meter and back, as the ways have it."""
    loop, client = asyncio.get_running_loop(), None

    def from_client(data: bytes, address: Any) -> None:
        nonlocal client
        client = address
        for datagram in there(data):
            far.sendto(datagram)

    def from_meter(data: bytes, _: Any) -> None:
        for datagram in back(data):
            near.sendto(datagram, client)

    async with served_datagrams({7: device()}) as port:
        near, _ = await loop.create_datagram_endpoint(lambda: _Side(from_client), local_addr=("127.0.0.1", 0))
        far, _ = await loop.create_datagram_endpoint(
            lambda: _Side(from_meter), remote_addr=("127.0.0.1", port)
        )
        try:
            yield near.get_extra_info("sockname")[1]
        finally:
            near.close()
            far.close()


def meter_at(port: int, *, keyed: bool, repeats: int = 3, max_pdu: int = 65535, window: int = 0) -> Meter:
    security = ClientSecurity(b"OAMHES01", KEYS, meter_title=b"OAM00007") if keyed else None
    return Meter(
        "127.0.0.1", port, server=7, client=2 if keyed else 1, password=None if keyed else PASSWORD,
        security=security, transport=Transport.UDP, settings=LinkSettings(1.0, 0.1, repeats),
        max_pdu=max_pdu, window=window,
    )  # fmt: skip


def straight(datagram: bytes) -> list[bytes]:
    return [datagram]


def doubled(datagram: bytes) -> list[bytes]:
    return [datagram, datagram]


def doubled_when_open(number: int = 6) -> Way:
    """Doubled once the association stands; before it the public client may be asked for a counter."""
    gone = 0

    def way(datagram: bytes) -> list[bytes]:
        nonlocal gone
        gone += 1
        return [datagram] * (1 if gone < number else 2)

    return way


def late(distance: int) -> Way:
    """Each datagram comes in time, and once more when ``distance`` others have gone."""
    waiting: list[bytes] = []

    def way(datagram: bytes) -> list[bytes]:
        waiting.append(datagram)
        old = [waiting.pop(0)] if len(waiting) > distance else []
        return [*old, datagram]

    return way


def behind() -> Way:
    """Behind each datagram come the three before it, once more."""
    gone: list[bytes] = []

    def way(datagram: bytes) -> list[bytes]:
        gone.append(datagram)
        return [datagram, *gone[-4:-1]]

    return way


async def read_all(meter: Meter) -> None:
    """Everything twenty times: more than there are invoke ids."""
    last = 0
    for _ in range(20):
        count = (await meter.read(COUNT, class_id=1)).raw
        assert isinstance(count, int)
        assert count > last  # never an answer of before
        last = count
    assert (await meter.read(LONG, class_id=1)).raw == TEXT
    for _ in range(3):
        with pytest.raises(AccessError):
            await meter.get(Attribute(1, ABSENT, 2))
    assert (await meter.read(LONG, class_id=1)).raw == TEXT


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize(
    ("there", "back"),
    [
        (lambda: straight, lambda: doubled),
        (doubled_when_open, lambda: doubled),
        (lambda: straight, lambda: late(1)),
        (lambda: straight, lambda: late(3)),
        (lambda: straight, lambda: late(7)),
        (lambda: straight, behind),
    ],
    ids=["answers doubled", "all doubled", "late", "late by three", "late by seven", "behind"],
)
async def test_answers_that_come_twice_or_late_are_passed_over(
    there: Callable[[], Way], back: Callable[[], Way], keyed: bool
) -> None:
    max_pdu = 65535 if there is doubled_when_open else 128
    async with (
        network(there(), back()) as port,
        meter_at(port, keyed=keyed, max_pdu=max_pdu) as meter,
    ):
        await read_all(meter)


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_over_a_bad_network_what_is_read_is_right(seed: int, keyed: bool) -> None:
    """A tenth is lost, a third comes twice, a fifth late; the association itself is not asked for twice."""
    draw, open_yet = random.Random(seed), False
    kept: list[bytes] = []

    def bad(datagram: bytes) -> list[bytes]:
        if not open_yet:
            return [datagram, datagram]
        fate = draw.random()
        if fate < 0.1:
            return []
        if fate < 0.3:
            kept.append(datagram)
            return [] if len(kept) > 1 else [datagram]
        old, kept[:] = list(kept), []
        return [datagram, *old] if fate < 0.7 else [datagram, datagram]

    async with network(straight, bad) as port, meter_at(port, keyed=keyed, repeats=6) as meter:
        open_yet = True
        await read_all(meter)
        open_yet = False


async def test_a_window_of_blocks_is_read_over_a_doubling_network() -> None:
    async with (
        network(straight, doubled) as port,
        meter_at(port, keyed=False, max_pdu=128, window=4) as meter,
    ):
        for _ in range(3):
            assert (await meter.read(LONG, class_id=1)).raw == TEXT


def stranger(number: int) -> bytes:
    """An answer to a request that nobody made, with a value of its own."""
    value = encode(Data(Tag.DOUBLE_LONG_UNSIGNED, number))
    return Frame(7, MANAGEMENT_CLIENT, GetResponse(0xCF, value).to_bytes()).to_bytes()


@pytest.mark.parametrize(
    ("strays", "error"), [(MAX_STRAYS, LinkError), (MAX_STRAYS + 1, RemoteProtocolError)]
)
async def test_too_many_answers_to_nothing_end_the_association(strays: int, error: type[Exception]) -> None:
    """As many as are borne: the answer stays away. One more: whoever sends them breaks the protocol."""
    flood = False

    def back(datagram: bytes) -> list[bytes]:
        return [datagram]

    def there(datagram: bytes) -> list[bytes]:
        return [] if flood else [datagram]

    async with network(there, back) as port, meter_at(port, keyed=False, repeats=0) as meter:
        flood = True
        link = meter._connection._link
        asking = asyncio.ensure_future(meter.get(Attribute(1, COUNT, 2)))
        await asyncio.sleep(0)
        for number in range(strays):
            link.datagram_received(stranger(number), None)  # type: ignore[union-attr]
            await asyncio.sleep(0)
        with pytest.raises(error):
            await asking
