"""The gurux client, in a process of its own, through blocks of services, general blocks, lists and ACTION."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).parent / "peers" / "gurux_blocks.py"
TEXT = bytes(place % 251 for place in range(700))

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


@pytest.fixture
async def port(meter: Any) -> AsyncIterator[int]:
    device = meter.device()
    small = AssociationPolicy(1, Mechanism.LOW, b"12345678", max_pdu=256)
    devices = {7: device, 8: LogicalDevice(iter(device), [small])}
    tasks: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        session = ServerSession(devices)
        while not session.closed and (data := await reader.read(65536)):
            writer.write(session.receive(data))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tasks:
        if task is not None:
            task.cancel()


async def drive(port: int, server: int, pdu: int, window: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(SCRIPT), "127.0.0.1", str(port), str(server), "1", "12345678", str(pdu),
        str(window),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()[-2000:]
    document: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    assert "failure" not in document, document["failure"]
    return document


def check(found: dict[str, Any], meter: Any) -> None:
    item = next(item for item in meter.device() if item.logical_name.dotted == "1.0.99.1.0.255")
    value: Any = decode_plain(item.read(2))
    rows = [[row[0].hex(), *row[1:]] for row in value]
    assert found["rows"] == rows
    assert found["list"] == [b"hello".hex(), 42]
    assert found["set"] == TEXT.hex()
    assert meter.note == TEXT
    assert meter.resets == 1


@pytest.mark.parametrize("pdu", [64, 256, 65535])
async def test_gurux_in_blocks_of_the_services(port: int, meter: Any, pdu: int) -> None:
    """The meter takes 256 octets, so the value is set in three blocks (`c102`, `c103`)."""
    found = await drive(port, 8, pdu, 0)
    check(found, meter)
    sent, received = found["frames"]
    assert sent == len(received), "one answer to each request"
    assert set(received) == {"c402"} if pdu < 65535 else {"c401"}


@pytest.mark.parametrize("window", [1, 4, 63])
@pytest.mark.parametrize("pdu", [128, 1024])
async def test_gurux_in_general_blocks_of_every_window(port: int, meter: Any, pdu: int, window: int) -> None:
    found = await drive(port, 7, pdu, window)
    check(found, meter)
    sent, received = found["frames"]
    assert {answer[:2] for answer in received} == {"e0"}
    assert sent == 1 + len(range(1, len(received), window)), "the request, and one turn for each window"
