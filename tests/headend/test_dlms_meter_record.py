"""What a meter's client keeps and sends: a record that does not grow, numbers that are not cut to fit."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from openami.headend.dlms_meter import Meter
from openami.headend.tcp_link import TcpLink
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.driver import RecordedFrame
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode
from openami.security.secret import Secret
from served_meters import served_fleet

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
PASSWORD = Secret(b"00000000")
IMPORT = "1.0.1.8.0.255"


def home(keys: KeySpec | None = None) -> FleetSpec:
    meter = MeterSpec("PV-0001", 16, CurveSpec(CurveKind.HOUSEHOLD, "UP"), keys=keys)
    return FleetSpec(3, START, (meter,))


def keyed() -> FleetSpec:
    return home(KeySpec.of_seed(1, "PV-0001"))


def secured(spec: MeterSpec) -> ClientSecurity:
    assert spec.keys is not None
    return ClientSecurity(b"TESTHES1", spec.keys.meter_keys(), meter_title=spec.system_title)


async def test_what_is_kept_for_the_record_does_not_grow_with_what_was_said() -> None:
    """A link remembers the frames that held the password, and nothing of those that came after."""
    async with (
        served_fleet(home()) as (_, _, port),
        Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter,
    ):
        for _ in range(20):
            await meter.read(IMPORT, class_id=3)
        link = meter._connection._link
        assert isinstance(link, TcpLink)
        assert len(link._secrets) == 1
    async with served_fleet(keyed()) as (server, _, port):
        security = secured(server.fleet.meter_spec("PV-0001"))
        async with Meter("127.0.0.1", port, server=16, security=security) as meter:
            await meter.read(IMPORT, class_id=3)
            assert meter._connection.association.take_opened() == {}


async def test_frames_that_are_watched_can_be_read() -> None:
    seen: list[RecordedFrame] = []
    async with served_fleet(keyed()) as (server, _, port):
        security = secured(server.fleet.meter_spec("PV-0001"))
        async with Meter("127.0.0.1", port, server=16, security=security, on_frame=seen.append) as meter:
            seen.clear()
            await meter.get(Attribute(1, ObisCode.parse("0-0:96.1.0"), 2))
    request, answer = seen[:2]
    assert request.octets[8:] == bytes.fromhex("c001c2000100006001 00ff0200".replace(" ", ""))
    assert answer.octets.endswith(b"PV-0001")
    assert b"PV-0001" not in answer.wire


@pytest.mark.parametrize("number", [-129, 128, 257, 258])
async def test_a_number_that_does_not_fit_is_refused_and_never_another_one(number: int) -> None:
    """257 in one octet is 1: of the relay, to disconnect."""
    async with (
        served_fleet(home()) as (_, _, port),
        Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter,
    ):
        with pytest.raises(LocalProtocolError, match=r"0-0:96\.3\.10"):
            await meter.action("0-0:96.3.10", number, Data(Tag.INTEGER, 0))
        with pytest.raises(LocalProtocolError, match=r"0-0:1\.0\.0"):
            await meter.set("0-0:1.0.0", Data(Tag.INTEGER, 0), number)
        assert (await meter.read("0-0:96.3.10")).raw is True


@pytest.mark.parametrize("class_id", [-1, 65_536])
async def test_a_class_that_does_not_fit_is_refused(class_id: int) -> None:
    async with (
        served_fleet(home()) as (_, _, port),
        Meter("127.0.0.1", port, server=16, password=PASSWORD) as meter,
    ):
        with pytest.raises(LocalProtocolError, match=r"a class 0 \.\. 65535"):
            await meter.read(IMPORT, class_id=class_id)
        assert (await meter.read(IMPORT, class_id=3)).unit == "Wh"
