"""Foreign clients read every attribute of every companion model, as the management client, ciphered."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dlms_interop_world import (
    PYTHON,
    TITLE,
    all_right,
    as_json,
    failed,
    listening,
    peer_steps,
)
from openami.meter.companion.model import companion_names
from openami.meter.companion.objects import companion_device
from openami.meter.cosem_objects import FleetDevices
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.results import AccessError
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.protocols.dlms.encoding.date_time import CosemDateTime
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import QuantityError, RemoteProtocolError
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]

START = datetime(2025, 3, 28, tzinfo=UTC)
WPORT = 16
STEPS = ["link", "associate", "view", "everything", "release"]
OBJECT_LIST = Attribute(15, ObisCode(0, 0, 40, 0, 0), 2)
MOVING = {"0.0.43.1.0.255", "0.0.43.1.1.255", "0.0.43.1.2.255", "0.0.43.1.3.255", "0.0.43.1.8.255"}
"""Invocation counters: they count the run itself."""


def household(model: str) -> tuple[Fleet, FleetDevices]:
    """A meter with a companion model and keys, two and a half days after its start."""
    clock = SimulatedClock(START)
    spec = MeterSpec(
        "M0001",
        WPORT,
        CurveSpec(CurveKind.HOUSEHOLD, "M0001"),
        keys=KeySpec.of_seed(7, "M0001"),
        companion=model,
    )
    fleet = Fleet(FleetSpec(7, START, (spec,)), clock)
    clock.advance(timedelta(days=2, hours=12))
    return fleet, FleetDevices(fleet, 0)


def same(said: Any, truth: Any) -> bool:
    """Equality; the library gives None for what is empty, and its own type for a value of type date-time."""
    if not truth:
        return not said
    if isinstance(truth, str) and len(truth) == 24 and isinstance(said, str) and len(said) != 24:
        stamp = CosemDateTime.from_bytes(bytes.fromhex(truth))
        try:
            return stamp.instant() == datetime.fromisoformat(said)
        except (RemoteProtocolError, QuantityError):
            return True  # it names no instant, which the library cannot say
    return bool(said == truth)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("model", companion_names())
async def test_gurux_reads_every_attribute_of_the_model(model: str, framing: str) -> None:
    fleet, devices = household(model)
    device = companion_device(fleet, "M0001")
    security = fleet.security("M0001")
    assert security is not None
    client = next(
        number
        for number in range(1, 128)
        if (policy := device.policy(number)) is not None
        and policy.mechanism is Mechanism.HIGH_GMAC
        and number in (1, 48)
    )
    policy = device.policy(client)
    assert policy is not None
    session = (
        (lambda: ServerSession(devices)) if framing == "wrapper" else (lambda: HdlcServerSession(devices))
    )
    async with listening(session) as port:
        plan: dict[str, Any] = {
            "host": "127.0.0.1", "port": port, "framing": framing, "client": client, "server": WPORT,
            "mechanism": 5, "protection": 48, "pdu": 1024, "password": None, "title": TITLE.hex(),
            "encryption_key": security.keys.global_unicast.reveal().hex(),
            "authentication_key": security.keys.authentication.reveal().hex(),
            "counter": 10_000, "information": 2030, "window": 1, "steps": STEPS,
        }  # fmt: skip
        found = await peer_steps("gurux_steps.py", plan)
    if "AccessMode3" in str(found["view"]):
        pytest.skip("gurux-dlms for Python reads the access rights of version 3 as one word, not as bits")
    all_right(found, STEPS)
    view, values = found["view"], found["everything"]
    assert len(view) > 30
    wrong = []
    for name, (class_id, version, _, _) in view.items():
        item = device.find(ObisCode.parse(name))
        if item is None:
            continue  # the association itself
        assert (class_id, version) == (item.class_id, item.version), name
        for index, said in values[name].items():
            if not index.isdigit() or name in MOVING:
                continue
            truth = as_json(decode_plain(item.read(int(index))))
            if failed(said) or not same(said, truth):
                wrong.append((name, index, said, truth))
    assert wrong == []


@pytest.mark.parametrize("model", ["smr-5.0-1p", "idis-like-3p", "every-class-3p"])
def test_two_associations_at_once_do_nothing_twice(model: str) -> None:
    """What is due is done once, however many devices are made over the state of one meter."""
    rates = [ObisCode(1, 0, 1, 8, rate) for rate in range(3)]
    seen: list[list[list[int]]] = []
    for count in (1, 3):
        fleet, _ = household(model)
        clock = fleet._clock
        assert isinstance(clock, SimulatedClock)
        devices = [companion_device(fleet, "M0001") for _ in range(count)]
        rows = []
        for _ in range(16):
            clock.advance(timedelta(hours=3))
            for device in devices:
                items = [device.find(code) for code in rates]
                values = [decode_plain(item.read(2)) for item in items if item is not None]
                rows.append(values)
        seen.append(rows[count - 1 :: count])
    assert seen[0] == seen[1]
    assert len(seen[0][0]) == 3


def readable(devices: FleetDevices, client: int, security: ClientSecurity) -> dict[tuple[int, str, int], str]:
    """Every attribute that a client of ours is given, as octets, by class, name and index."""
    session = ServerSession(devices)
    association = Association(WPORT, client, security=security)

    def run(operation: Generator[bytes, bytes, Any]) -> Any:
        outgoing = next(operation)
        while True:
            try:
                outgoing = operation.send(session.receive(outgoing))
            except StopIteration as done:
                return done.value

    run(association.associate())
    found = {}
    for class_id, _, name, (attributes, _) in run(association.get(OBJECT_LIST)):
        for index, *_ in attributes:
            code = ObisCode.from_bytes(name)
            try:
                octets = run(association.get_encoded(Attribute(class_id, code, index)))
            except AccessError:
                continue
            if code.dotted not in MOVING and class_id != 15:
                found[class_id, code.dotted, index] = octets.hex()
    run(association.release())
    return found


@pytest.mark.parametrize("model", companion_names())
async def test_dlms_cosem_reads_every_attribute_of_the_model(model: str) -> None:
    """Octet for octet; also of the models whose rights gurux cannot read."""
    fleet, devices = household(model)
    security = fleet.security("M0001")
    assert security is not None
    device = companion_device(fleet, "M0001")
    client = next(number for number in (1, 48) if device.policy(number) is not None)
    truth = readable(devices, client, ClientSecurity(TITLE, security.keys, counters=MemoryCounters({})))
    assert len(truth) > 200
    async with listening(lambda: ServerSession(devices)) as port:
        plan = {
            "host": "127.0.0.1", "port": port, "framing": "wrapper", "client": client, "server": WPORT,
            "mechanism": 5, "protection": 48, "pdu": 1024, "password": None, "title": TITLE.hex(),
            "encryption_key": security.keys.global_unicast.reveal().hex(),
            "authentication_key": security.keys.authentication.reveal().hex(),
            "counter": 100_000, "steps": ["link", "associate", "values", "release"],
            "arguments": {"jobs": list(truth)},
        }  # fmt: skip
        found = all_right(await peer_steps("dlms_cosem_steps.py", plan), ["associate", "values", "release"])
    wrong = [
        (job, said, octets)
        for (job, octets), said in zip(truth.items(), found["values"], strict=True)
        if said != octets
    ]
    assert wrong == []
