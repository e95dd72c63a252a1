"""A client nobody here wrote, in a process of its own, against the meter over HDLC on a TCP connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
DRIVER = Path(__file__).parent / "peers" / "gurux_client.py"
DAY = ("2025-01-02T00:00:00+01:00", "2025-01-03T00:00:00+01:00")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


@pytest.fixture
async def line(meter: Any) -> AsyncIterator[tuple[int, list[HdlcServerSession]]]:
    """A port behind which the meter answers, and the sessions that were opened on it."""
    tasks: list[asyncio.Task[None] | None] = []
    sessions: list[HdlcServerSession] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        sessions.append(HdlcServerSession({7: meter.device()}, 17))
        while data := await reader.read(65536):
            writer.write(sessions[-1].receive(data))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], sessions
    server.close()
    for task in tasks:
        if task is not None:
            task.cancel()


async def gurux(port: int, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(DRIVER), "127.0.0.1", str(port), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()[-2000:]
    document = json.loads(out.decode().splitlines()[-1])
    assert "failure" not in document, document["failure"]
    return document  # type: ignore[no-any-return]


def as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def local_truth(meter: Any, client: int) -> dict[str, dict[str, Any]]:
    """Every readable attribute of every visible object, straight from the objects, without the wire."""
    device = meter.device()
    policy = device.policy(client)
    return {
        item.logical_name.dotted: {
            str(rule.index): as_json(decode_plain(item.read(rule.index))) for rule in item.attribute_rules()
        }
        for item in device
        if policy.sees(item.logical_name)
    }


# Where a window brings several frames, gurux 1.0.203 fails by itself (UnboundLocalError 'ReceiverFrame') or
# waits for ever behind the second one; with fields of 2030 octets and blocks of 1024 one frame is enough.
@pytest.mark.parametrize(
    ("information", "window", "physical", "pdu"),
    [(128, 1, "-", 65535), (128, 1, "17", 1024), (2030, 1, "17", 65535), (2030, 7, "17", 1024)],
)
async def test_gurux_over_hdlc_reads_every_attribute_value_for_value(
    line: tuple[int, list[HdlcServerSession]],
    meter: Any,
    information: int,
    window: int,
    physical: str,
    pdu: int,
) -> None:
    port, sessions = line
    truth = local_truth(meter, 1)
    proposed = (str(information), str(window), physical)
    found = await gurux(port, "7", "1", "12345678", str(pdu), *DAY, *proposed)
    assert found["limits"] == [information, information, window, window]
    assert set(found["objects"]) == {*truth, "0.0.40.0.0.255"}
    for name, values in truth.items():
        assert found["objects"][name]["values"] == values, name
    assert found["list"] == [123_456, 2304, 42]
    assert found["written"] == b"from gurux".hex()
    assert found["relay"] == 0
    (session,) = sessions
    assert session.bad_frames == 0
    assert session.kept_octets == 0


async def test_gurux_over_hdlc_as_public_client(
    line: tuple[int, list[HdlcServerSession]], meter: Any
) -> None:
    truth = local_truth(meter, 16)
    found = await gurux(line[0], "7", "16", "-", "1024", *DAY, "128", "1", "17")
    assert set(found["objects"]) == {*truth, "0.0.40.0.0.255"}
    for name, values in truth.items():
        assert found["objects"][name]["values"] == values, name


async def test_gurux_with_a_wrong_password_is_refused_over_hdlc_too(
    line: tuple[int, list[HdlcServerSession]],
) -> None:
    with pytest.raises(AssertionError, match=r"(?i)authentication"):
        await gurux(line[0], "7", "1", "87654321", "1024", *DAY, "128", "1", "-")
