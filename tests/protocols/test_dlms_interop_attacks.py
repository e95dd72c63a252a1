"""What a foreign client must not get, and what it gets after a hostile one was there.

Steps 2 and 11 of the plan: wrong secrets, keys and counters of gurux' client are refused as the standard
says and written to the meter's event log; hostile octets leave the meter up for the next association.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dlms_interop_world import (
    DEVICE,
    HIGH,
    LOW,
    PLAIN,
    PYTHON,
    InteropMeter,
    all_right,
    peer_steps,
    plan_of,
    served,
    software_meter,
)
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.framing.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame, control_of
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.readings.event import EventCode

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"
STEPS = ["link", "associate", "view", "release"]
SEALED = {"mechanism": Mechanism.HIGH_GMAC, "protection": AUTHENTICATED_ENCRYPTION}
SECURED = HIGH[AUTHENTICATED_ENCRYPTION]

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


@pytest.fixture
async def meter() -> AsyncIterator[InteropMeter]:
    async with served(software_meter()) as one:
        yield one


async def gurux(meter: InteropMeter, framing: str, client: int, **more: Any) -> dict[str, Any]:
    return await peer_steps("gurux_steps.py", plan_of(meter, framing, client, STEPS, **more))


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_a_wrong_password_is_an_authentication_failure(meter: InteropMeter, framing: str) -> None:
    found = await gurux(meter, framing, LOW, mechanism=Mechanism.LOW, password=b"87654321".hex())
    assert "authentication failure" in found["associate"]["error"].lower()
    assert meter.events()[-1] == EventCode.AUTHENTICATION_FAILED
    all_right(await gurux(meter, framing, LOW, mechanism=Mechanism.LOW), STEPS)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_no_password_where_one_is_needed_is_refused(meter: InteropMeter, framing: str) -> None:
    found = await gurux(meter, framing, LOW)
    assert "Authentication is required" in found["associate"]["error"]


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_a_wrong_gmac_ends_the_association_and_is_logged(meter: InteropMeter, framing: str) -> None:
    client = HIGH[Protection.NONE]
    other = {"authentication_key": bytes(16).hex(), "mechanism": Mechanism.HIGH_GMAC}
    plan = plan_of(meter, framing, client, ["link", "associate"], **other)
    found = await peer_steps("gurux_steps.py", plan)
    assert "error" in found["associate"]
    assert meter.events()[-1] == EventCode.AUTHENTICATION_FAILED
    all_right(await gurux(meter, framing, client, mechanism=Mechanism.HIGH_GMAC, counter=5000), STEPS)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("key", ["encryption_key", "authentication_key"])
async def test_a_wrong_key_is_not_deciphered_and_is_logged(
    meter: InteropMeter, framing: str, key: str
) -> None:
    found = await gurux(meter, framing, SECURED, **SEALED, **{key: bytes(range(16)).hex()})
    assert "error" in found["associate"]
    assert meter.events()[-1] == EventCode.DECIPHERING_FAILED


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
@pytest.mark.parametrize("counter", [999, 1000, 1003])
async def test_a_counter_that_was_used_is_refused_with_the_next_one(
    meter: InteropMeter, framing: str, counter: int
) -> None:
    all_right(await gurux(meter, framing, SECURED, **SEALED, counter=1000), STEPS)
    seen = await exchanged(meter, framing, counter)
    # exception-response: service not allowed (1), invocation counter error (6), the lowest that is taken.
    answers = [octets for octets in seen if b"\xd8\x01\x06" in octets]
    assert len(answers) == 1
    place = answers[0].index(b"\xd8\x01\x06") + 3
    assert int.from_bytes(answers[0][place : place + 4], "big") > 1003
    assert meter.events()[-1] == EventCode.REPLAY_ATTACK
    all_right(await gurux(meter, framing, SECURED, **SEALED, counter=9000), STEPS)


async def exchanged(meter: InteropMeter, framing: str, counter: int) -> list[bytes]:
    """A run of gurux with some counter through a relay that keeps the meter's octets."""
    answers: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upper = await asyncio.open_connection("127.0.0.1", meter.ports[framing])

        async def back() -> None:
            while data := await upper[0].read(65536):
                answers.append(data)
                writer.write(data)

        task = asyncio.create_task(back())
        while data := await reader.read(65536):
            upper[1].write(data)
        task.cancel()
        upper[1].close()
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    plan = plan_of(meter, framing, SECURED, STEPS, **SEALED, counter=counter)
    plan["port"] = server.sockets[0].getsockname()[1]
    found = await peer_steps("gurux_steps.py", plan)
    server.close()
    assert "counter" in found["associate"]["error"]
    return answers


# --- robustness -----------------------------------------------------------------------------------------


@cache
def hostile() -> list[bytes]:
    """Every vector that is not right, and every capture as a request."""
    if not FILE.exists():
        return []
    return [bytes.fromhex(entry["frame_hex"]) for entry in json.loads(FILE.read_text("utf-8"))]


def framed(framing: str, octets: bytes) -> list[bytes]:
    """Octets as they are, and as an APDU in a frame of an associated client."""
    if framing == "wrapper":
        return [octets, Frame(PLAIN, DEVICE, octets[:65_535]).to_bytes()]
    frame = HdlcFrame(
        HdlcAddress(DEVICE), HdlcAddress(PLAIN), control_of(FrameKind.I), b"\xe6\xe6\x00" + octets[:2000]
    )
    snrm = HdlcFrame(HdlcAddress(DEVICE), HdlcAddress(PLAIN), control_of(FrameKind.SNRM))
    return [octets, snrm.to_bytes() + frame.to_bytes()]


@pytest.mark.skipif(not hostile(), reason="no vectors beside the project (shared/data/dlms)")
@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_after_every_vector_as_a_request_the_next_association_works(
    meter: InteropMeter, framing: str
) -> None:
    opening = bytes.fromhex("601da109060760857408050101be10040e01000000065f1f0400007e1fffff")
    rng = random.Random(1)
    for octets in hostile():
        for request in framed(framing, octets):
            reader, writer = await asyncio.open_connection("127.0.0.1", meter.ports[framing])
            writer.write(framed(framing, opening)[1])
            cut = rng.randrange(len(request) + 1)
            writer.write(request[:cut])
            writer.write(request[cut:])
            writer.write_eof()
            await asyncio.wait_for(reader.read(1 << 20), 5)
            writer.close()
    all_right(await gurux(meter, framing, LOW, mechanism=Mechanism.LOW), STEPS)
    all_right(await gurux(meter, framing, SECURED, **SEALED, counter=2000), STEPS)
    cosem = plan_of(meter, framing, PLAIN, ["link", "associate", "release"])
    all_right(await peer_steps("dlms_cosem_steps.py", cosem), ["link", "associate", "release"])


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_connections_that_end_anywhere_leave_the_meter_up(meter: InteropMeter, framing: str) -> None:
    opening = bytes.fromhex("601da109060760857408050101be10040e01000000065f1f0400007e1fffff")
    whole = framed(framing, opening)[1]
    for cut in range(len(whole)):
        _, writer = await asyncio.open_connection("127.0.0.1", meter.ports[framing])
        writer.write(whole[:cut])
        writer.close()
    all_right(await gurux(meter, framing, LOW, mechanism=Mechanism.LOW), STEPS)
