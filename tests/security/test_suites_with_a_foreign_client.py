"""A client that nobody here wrote associates under suites 0, 1 and 2, in a process of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.obis import ObisCode
from openami.security import signature
from openami.security.meter_keys import MeterKeys
from openami.security.suites import suite

PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).parent / "peers" / "gurux_suites.py"
PASSWORD = b"what both sides know"
VALUE = b"read under this suite"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


async def drive(plan: dict[str, Any], device: LogicalDevice) -> dict[str, Any]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = ServerSession({7: device})
        while data := await reader.read(65536):
            writer.write(session.receive(data))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        plan["port"] = server.sockets[0].getsockname()[1]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            str(PYTHON), str(SCRIPT), stdin=pipe, stdout=pipe, stderr=pipe
        )
        said, failed = await process.communicate(json.dumps(plan).encode())
        assert process.returncode == 0, failed.decode()
        result: dict[str, Any] = json.loads(said.splitlines()[-1])
        return result
    finally:
        server.close()


_NO_P384 = pytest.mark.skip(reason="gurux-dlms 1.0.203 signs with P-256 only")
CELLS = [
    pytest.param(
        number,
        mechanism,
        protection,
        marks=[_NO_P384] if (number, mechanism) == (2, Mechanism.HIGH_ECDSA) else [],
    )
    for number in (0, 1, 2)
    for mechanism in (Mechanism.HIGH_GMAC, Mechanism.HIGH_SHA256, Mechanism.HIGH_ECDSA)
    for protection in (Protection.AUTHENTICATED, AUTHENTICATED_ENCRYPTION)
    if number or mechanism is not Mechanism.HIGH_ECDSA
]


@pytest.mark.parametrize(("number", "mechanism", "protection"), CELLS)
async def test_the_gurux_client_reads_a_value(
    number: int, mechanism: Mechanism, protection: Protection
) -> None:
    keys = MeterKeys.random(number)
    incidents: list[Incident] = []
    plan: dict[str, Any] = {
        "suite": number, "mechanism": int(mechanism), "protection": int(protection), "counter": 100,
        "title": b"GRX00001".hex(), "password": PASSWORD.hex(),
        "encryption": keys.global_unicast.reveal().hex(),
        "authentication": keys.authentication.reveal().hex(),
    }  # fmt: skip
    own, client_keys = None, {}
    if mechanism is Mechanism.HIGH_ECDSA:
        own, client = (signature.new_private_key(suite(number)) for _ in range(2))
        client_keys = {1: client.public_key()}
        octets = suite(number).signature_octets // 2
        plan["private"] = client.private_numbers().private_value.to_bytes(octets, "big").hex()
        plan["public"] = "04" + signature.public_octets(own.public_key()).hex()
    security = DeviceSecurity(b"OAM00001", keys, None, incidents.append, own, client_keys)
    policy = AssociationPolicy(1, mechanism, PASSWORD, protection=protection)
    note = DataObject(ObisCode(0, 0, 96, 1, 0), lambda: Data(Tag.OCTET_STRING, VALUE))
    result = await drive(plan, LogicalDevice([note], [policy], security))
    assert result == {"value": VALUE.hex()}, incidents
    assert not incidents
