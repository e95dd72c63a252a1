"""A client that nobody here wrote manages the certificates of a meter, in a process of its own."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certified import Authority
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup
from openami.protocols.dlms.server.association_policy import secured_management
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.obis import ObisCode
from openami.security.certificate_store import CertificateStore
from openami.security.certificates import Certificate, CertificateKind
from openami.security.meter_keys import MeterKeys
from openami.security.signature import new_private_key
from openami.security.suites import SUITE_1

PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).parent / "peers" / "gurux_certificates.py"
METER, CLIENT = b"OAM\x00\x00\x00\x00\x07", b"GRX00001"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment of peers (.venv-peers)"),
]


async def test_the_gurux_client_manages_certificates() -> None:
    root, keys = Authority(), MeterKeys.random(1)
    incidents: list[Incident] = []
    certificates = CertificateStore(
        METER, [Certificate.from_der(root.der)], lambda: datetime(2026, 11, 1, tzinfo=UTC)
    )
    security = DeviceSecurity(
        METER, keys, None, incidents.append, certificates=certificates, client_titles={1: CLIENT}
    )
    setup = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1)
    device = LogicalDevice([setup], [secured_management()], security)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = ServerSession({7: device})
        while data := await reader.read(65536):
            writer.write(session.receive(data))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pipe = asyncio.subprocess.PIPE
    peer = await asyncio.create_subprocess_exec(str(PYTHON), str(SCRIPT), stdin=pipe, stdout=pipe)
    assert peer.stdin is not None
    assert peer.stdout is not None
    reader, writer = peer.stdout, peer.stdin

    async def step(*words: object) -> Any:
        writer.write(json.dumps(words).encode() + b"\n")
        return json.loads(await reader.readline())

    try:
        plan = {
            "port": server.sockets[0].getsockname()[1],
            "title": CLIENT.hex(),
            "encryption": keys.global_unicast.reveal().hex(),
            "authentication": keys.authentication.reveal().hex(),
        }
        writer.write(json.dumps(plan).encode() + b"\n")
        assert await step("associate") == {"value": None}
        for kind in (CertificateKind.SIGNATURE, CertificateKind.AGREEMENT):
            assert await step("generate", kind.value) == {"value": None}
            asked = (await step("request", kind.value))["value"]
            assert asked["subject"] == f"CN={METER.hex().upper()}"
            request = x509.load_der_x509_csr(bytes.fromhex(asked["der"]))
            public = request.public_key()
            assert isinstance(public, ec.EllipticCurvePublicKey)
            assert security.certificates.private_key(kind) is None
            # Critical it should be; but gurux 1.0.203 cannot read a key usage that is.
            own = root.certify(METER, public, kind, critical=False)
            assert await step("import", own.hex()) == {"value": None}
            used = security.certificates.private_key(kind)
            assert used is not None
            assert used.public_key() == public
            found = (await step("export", 0, kind.value, METER.hex()))["value"]
            assert (found["der"], found["subject"]) == (own.hex(), asked["subject"])
        clients = root.certify(CLIENT, new_private_key(SUITE_1).public_key(), critical=False)
        assert await step("import", clients.hex()) == {"value": None}
        listed = (await step("list"))["value"]
        assert [item[:2] for item in listed] == [[2, 3], [0, 0], [0, 1], [1, 0]]
        assert listed[3][2:] == [
            Certificate.from_der(clients).serial_number.hex(), Certificate.from_der(clients).subject.hex()
        ]  # fmt: skip
        forged = Authority().certify(CLIENT, new_private_key(SUITE_1).public_key(), critical=False)
        assert not incidents
        assert await step("import", forged.hex()) == {"error": "ValueError: error 250"}
        assert [incident.attack for incident in incidents] == [Attack.WRONG_CERTIFICATE]
        assert await step("remove", 1, 0, CLIENT.hex()) == {"value": None}
        assert await step("remove", 1, 0, CLIENT.hex()) == {"error": "ValueError: error 11"}
        assert len((await step("list"))["value"]) == 3
    finally:
        writer.close()
        await peer.wait()
        server.close()
