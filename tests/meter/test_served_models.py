"""Every companion model over every link: its clients get in with what they are said to need, and no less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from openami.cli.dlms_models import clients_of
from openami.headend.dlms_meter import Meter, Transport
from openami.meter.companion.model import CompanionModel, companion_model, companion_names
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec, household_fleet
from openami.meter.line_server import LineServer
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.public_key_spec import PublicKeySpec
from openami.meter.tcp_server import FleetServer
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.get import GetRequest
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.framing.wrapper import Frame
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError, ProtocolError
from openami.quantities.obis import ObisCode
from openami.security.secret import Secret

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
PASSWORD = "00000000"
ENERGY = "1-0:1.8.0"
EVERYTHING = "everything"


def fleet_of(model: str | None, keyed: bool, *, days: int = 1, zone: str = "Europe/Berlin") -> Fleet:
    """Two meters of a model behind two ports."""
    meters = tuple(
        MeterSpec(
            name,
            16 + index,
            CurveSpec(CurveKind.HOUSEHOLD, name, zone),
            zone,
            port_index=index,
            keys=KeySpec.of_seed(5, name) if keyed else None,
            companion=model,
        )
        for index, name in enumerate(("M0001", "M0002"))
    )
    clock = SimulatedClock(START)
    fleet = Fleet(FleetSpec(5, START, meters), clock)
    clock.advance(timedelta(days=days))
    return fleet


@asynccontextmanager
async def served(fleet: Fleet, transport: Transport) -> AsyncIterator[list[int]]:
    """The fleet on a link; its ports."""
    if transport is Transport.TCP:
        server = FleetServer(fleet)
        yield await server.start("127.0.0.1")
        await server.close()
        return
    lines = LineServer(fleet)
    start = lines.start_hdlc if transport is Transport.HDLC else lines.start_udp
    yield await start("127.0.0.1")
    await lines.close()


def client_of(fleet: Fleet, meter: str, client: int, needs: object) -> dict[str, object]:
    """How a client gets in with what it is said to need."""
    keys = fleet.meter_spec(meter).keys
    if needs == "keys":
        assert keys is not None
        return {"client": client, "security": ClientSecurity(b"OAMHES01", keys.meter_keys())}
    return {"client": client, "password": Secret(PASSWORD.encode()) if needs == "password" else None}


@pytest.mark.parametrize("model", companion_names())
async def test_each_model_is_read_over_each_link_at_each_port(model: str) -> None:
    keyed = model.endswith("3p")
    fleet = fleet_of(model, keyed)
    (whole,) = (row for row in clients_of(companion_model(model), keyed) if row["sees"] == EVERYTHING)
    for transport in Transport:
        async with served(fleet, transport) as ports:
            assert len(set(ports)) == 2
            for index, name in enumerate(("M0001", "M0002")):
                access = client_of(fleet, name, int(str(whole["client"])), whole["needs"])
                async with Meter(
                    "127.0.0.1",
                    ports[index],
                    server=16 + index,
                    transport=transport,
                    **access,  # type: ignore[arg-type]
                ) as meter:
                    energy = await meter.read(ENERGY, class_id=3)
                assert energy.value == Decimal(fleet.meter(name).core.dials_wh[0])
                assert energy.unit == "Wh"


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("model", [None, "smr-5.0-3p", "idis-like-1p", "is15959-like-3p"])
async def test_each_client_gets_in_with_what_it_needs_and_with_nothing_less(
    model: str | None, keyed: bool
) -> None:
    fleet = fleet_of(model, keyed)
    rows = clients_of(None if model is None else companion_model(model), keyed)
    assert {row["needs"] for row in rows} >= {"nothing", "keys" if keyed else "password"}
    async with served(fleet, Transport.TCP) as ports:
        for row in rows:
            client = int(str(row["client"]))
            if row["needs"] == "no association":
                assert model is not None
                shown = row["sees"] == "the push setups"
                await _served_without_association(ports[0], client, companion_model(model), shown)
                continue
            access = client_of(fleet, "M0001", client, row["needs"])
            async with Meter("127.0.0.1", ports[0], server=16, **access) as meter:  # type: ignore[arg-type]
                names = {item.logical_name for item in await meter.objects()}
            assert (ObisCode.parse(ENERGY) in names) == str(row["sees"]).startswith("everything")
            if row["needs"] != "nothing":
                with pytest.raises(ProtocolError):
                    await Meter("127.0.0.1", ports[0], server=16, client=client).open()


async def _served_without_association(port: int, client: int, model: CompanionModel, sees: bool) -> None:
    """The push setup is shown or denied, the energy denied, to a client that never associated."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    push = model.of_class(40)[0].logical_name
    undefined = bytes.fromhex("c401c10104")
    for class_id, name, shown in ((40, push, sees), (3, ObisCode.parse(ENERGY), False)):
        asked = GetRequest(0xC1, Attribute(class_id, name, 1)).to_bytes()
        writer.write(Frame(client, 16, asked).to_bytes())
        head = await reader.readexactly(8)
        answer = await reader.readexactly(int.from_bytes(head[6:], "big"))
        assert answer == (bytes.fromhex("c401c1000906") + name.to_bytes() if shown else undefined)
    writer.close()


def test_a_client_that_signs_is_listed_with_its_mechanism() -> None:
    for model, client in ((None, 1), ("idis-like-1p", 1), ("is15959-like-1p", 48)):
        keys = PublicKeySpec(7, signing="01" * 32, client_signing="04" * 65, client=client)
        rows = clients_of(None if model is None else companion_model(model), True, keys)
        assert {row["client"]: row["mechanism"] for row in rows}[client] == 7
        assert [row["client"] for row in rows if row["mechanism"] == 7] == [client]


async def test_five_ports_are_listened_on_or_none() -> None:
    clock = SimulatedClock(START)
    fleet = Fleet(household_fleet(10, seed=1, start=START, per_port=2, secured=False), clock)
    for transport in (Transport.HDLC, Transport.UDP):
        async with served(fleet, transport) as ports:
            assert len(set(ports)) == 5
            meter = Meter("127.0.0.1", ports[4], server=17, password=Secret(b"00000000"), transport=transport)
            async with meter:
                assert (await meter.read("0-0:96.1.0")).text == "H000010"
            if transport is Transport.HDLC:
                other = LineServer(fleet)
                with pytest.raises(LinkError, match="cannot listen"):
                    await other.start_hdlc("127.0.0.1", ports[0])
                await other.close()


async def test_the_thousandth_meter_of_a_line_has_an_address() -> None:
    clock = SimulatedClock(START)
    fleet = Fleet(household_fleet(1000, seed=1, start=START, secured=False), clock)
    async with served(fleet, Transport.HDLC) as (port,):
        meter = Meter(
            "127.0.0.1", port, server=1015, physical=1, password=Secret(b"00000000"), transport=Transport.HDLC
        )
        async with meter:
            assert (await meter.read("0-0:96.1.0")).text == "H001000"
