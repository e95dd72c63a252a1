"""Clients nobody here wrote, each in a process of its own, against the server over a real TCP socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.apdus.descriptors import by_entry
from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS = Path(__file__).parent / "peers"
DAY = ("2025-01-02T00:00:00+01:00", "2025-01-03T00:00:00+01:00")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


@pytest.fixture
async def port(meter: Any) -> AsyncIterator[int]:
    everything_for_all = AssociationPolicy(17, ceiling=Access.READ_WRITE)
    plain_device = meter.device()
    devices = {
        7: plain_device,
        8: LogicalDevice(iter(plain_device), [everything_for_all]),
    }
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


async def drive_peer(script: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(PEERS / script), "127.0.0.1", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()[-2000:]
    document = json.loads(out.decode().splitlines()[-1])
    assert "failure" not in document, document["failure"]
    return document  # type: ignore[no-any-return]


def as_json(value: Any) -> Any:
    """A plain value as the peers' JSON shows it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if hasattr(value, "octets"):
        return "".join(f"{octet:08b}" for octet in value.octets)[: value.length]
    return value


def local_truth(meter: Any, policy_client: int) -> dict[str, dict[str, Any]]:
    """Every readable attribute of every visible object, straight from the objects, without the wire."""
    device = meter.device()
    policy = device.policy(policy_client)
    return {
        item.logical_name.dotted: {
            str(rule.index): as_json(decode_plain(item.read(rule.index))) for rule in item.attribute_rules()
        }
        for item in device
        if policy.sees(item.logical_name)
    }


@pytest.mark.parametrize("pdu", [128, 1024, 65535])
async def test_gurux_with_password_reads_every_attribute_value_for_value(
    port: int, meter: Any, pdu: int
) -> None:
    truth = local_truth(meter, 1)
    found = await drive_peer("gurux_client.py", str(port), "7", "1", "12345678", str(pdu), *DAY)
    objects = found["objects"]
    assert set(objects) == {*truth, "0.0.40.0.0.255"}
    for name, values in truth.items():
        assert objects[name]["values"] == values, name
    view = objects["0.0.40.0.0.255"]["values"]
    assert view["3"] == [1, 7]
    assert view["4"] == [2, 16, 756, 5, 8, 1, 1]
    assert view["6"] == [2, 16, 756, 5, 8, 2, 1]
    assert "7" not in view, "the secret must not be readable"
    assert found["list"] == [123_456, 2304, 42]
    assert found["written"] == b"from gurux".hex()
    assert found["relay"] == 0


async def test_gurux_reads_a_day_of_load_profile_by_range_and_rows_by_entry(port: int, meter: Any) -> None:
    found = await drive_peer("gurux_client.py", str(port), "7", "1", "12345678", "1024", *DAY)
    item = next(item for item in meter.device() if item.logical_name.dotted == "1.0.99.1.0.255")
    rows = as_json(decode_plain(item.read(2)))
    # The first row of the meter is 2025-01-02 00:15 local; the range takes both of its ends.
    assert found["profile"]["range"] == rows[:96]
    assert found["profile"]["range"][-1][0] == "07e901030500000000ffc400"
    assert found["profile"]["entry"] == rows[2:6]


async def test_gurux_as_public_client_sees_the_public_objects_only(port: int, meter: Any) -> None:
    truth = local_truth(meter, 16)
    found = await drive_peer("gurux_client.py", str(port), "7", "16", "-", "1024", *DAY)
    assert set(found["objects"]) == {*truth, "0.0.40.0.0.255"}
    for name, values in truth.items():
        assert found["objects"][name]["values"] == values, name


async def test_gurux_with_a_wrong_password_is_refused(port: int) -> None:
    with pytest.raises(AssertionError, match=r"(?i)authentication"):
        await drive_peer("gurux_client.py", str(port), "7", "1", "87654321", "1024", *DAY)


@pytest.mark.parametrize("pdu", [128, 1024, 65535])
async def test_dlms_cosem_reads_writes_and_acts(port: int, meter: Any, pdu: int) -> None:
    device = meter.device()
    jobs = [
        (item.class_id, item.logical_name.dotted, rule.index)
        for item in device
        for rule in item.attribute_rules()
    ]
    found = await drive_peer("dlms_cosem_client.py", str(port), "8", "17", str(pdu), *DAY, json.dumps(jobs))
    truth = [item.read(rule.index).hex() for item in meter.device() for rule in item.attribute_rules()]
    # What was written and switched at the end of the run differs: the note and the relay.
    changed = {"0.0.96.13.0.255", "0.0.96.3.10.255"}
    for job, value, expected in zip(jobs, found["values"], truth, strict=True):
        if job[1] not in changed:
            assert value == expected, job
    profile = next(item for item in device if item.logical_name.dotted == "1.0.99.1.0.255")
    assert found["range"] == profile.read(2, by_entry(1, 96)).hex()
    assert meter.note == b"abc"
    assert meter.relay.state().name == "DISCONNECTED"
