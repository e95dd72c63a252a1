"""The software meter on loopback TCP, over the wrapper and over HDLC, and clients of others that talk to it.

One household of a simulated fleet, two days old. Its objects are the meter's own; the policies are those of
the matrix: one client number for each way of authentication and protection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from openami.meter.cosem_objects import meter_device
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import household_fleet
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, decode_plain, structure
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.image_transfer import ImageMemory, ImageTransfer, VerifiedImage
from openami.protocols.dlms.interface_classes.interface_object import Access, InterfaceObject
from openami.protocols.dlms.interface_classes.script_table import ScriptTable
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.clock import SimulatedClock
from openami.quantities.obis import ObisCode
from openami.security.meter_keys import MeterKeys
from openami.security.signature import new_private_key, sign, verify
from openami.security.suites import suite

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS = Path(__file__).parent / "protocols" / "peers"
START = datetime(2026, 3, 1, 23, tzinfo=UTC)
PASSWORD = b"12345678"
DEVICE = 17
TITLE = b"PEER0001"

PLAIN, LOW = 17, 32
PUBLIC = 16
NOTE = ObisCode(0, 0, 96, 13, 0)
RELAY = ObisCode(0, 0, 96, 3, 10)
SCRIPTS = ObisCode(0, 0, 10, 0, 106)
IMAGE = ObisCode(0, 0, 44, 0, 0)
SECURITY_SETUP = ObisCode(0, 0, 43, 0, 0)
HIGH = {
    Protection.NONE: 1,
    Protection.AUTHENTICATED: 2,
    Protection.ENCRYPTED: 3,
    AUTHENTICATED_ENCRYPTION: 4,
}
"""Client of high level security 5, by the protection that each of its requests must have."""


HASHED = {
    (mechanism, protection): 40 + int(mechanism) + (10 if protection else 0)
    for mechanism in (Mechanism.HIGH_MD5, Mechanism.HIGH_SHA1, Mechanism.HIGH_SHA256)
    for protection in (Protection.NONE, AUTHENTICATED_ENCRYPTION)
}
"""Client of the mechanisms that hash a secret, by mechanism and protection."""


class Session(Protocol):
    """One connection: octets in, octets out."""

    def receive(self, data: bytes) -> bytes:
        """Octets that answer octets."""
        ...


@dataclass
class InteropMeter:
    """A meter of a fleet, and where it listens."""

    fleet: Fleet
    clock: SimulatedClock
    device: LogicalDevice
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def meter_id(self) -> str:
        """Its serial number."""
        return self.fleet.meter_ids[0]

    @property
    def keys(self) -> MeterKeys:
        """Keys shared with the clients."""
        security = self.device.security
        assert security is not None
        return security.keys

    def item(self, logical_name: str) -> InterfaceObject:
        """An object of the meter."""
        found = next((one for one in self.device if logical_name in names_of(one)), None)
        assert found is not None, logical_name
        return found

    def truth(self) -> dict[str, dict[str, Any]]:
        """Every readable attribute, straight from the objects, as the peers' JSON shows it."""
        return {
            item.logical_name.dotted: {
                str(rule.index): as_json(decode_plain(item.read(rule.index)))
                for rule in item.attribute_rules()
                if rule.access & Access.READ
            }
            for item in self.device
        }

    def events(self) -> list[int]:
        """Codes of the meter's event log."""
        return [int(code) for _, code in self.fleet.meter(self.meter_id).events]


def names_of(item: InterfaceObject) -> tuple[str, str]:
    """The two ways of writing a logical name."""
    return str(item.logical_name), item.logical_name.dotted


def as_json(value: Any) -> Any:
    """A plain value as the peers' JSON shows it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if hasattr(value, "octets"):
        return "".join(f"{octet:08b}" for octet in value.octets)[: value.length]
    return value


class SignedFirmware:
    """Who made the images, and what the meter runs: they end with an ECDSA signature over the rest."""

    def __init__(self) -> None:
        self._maker = new_private_key(suite(1))
        self.active: bytes | None = None

    def image(self, body: bytes) -> bytes:
        """A signed image."""
        return body + sign(suite(1), self._maker, body)

    def verify(self, identifier: bytes, image: bytes) -> VerifiedImage:
        """As `image_transfer.Firmware`."""
        body, signature = image[:-64], image[-64:]
        verify(suite(1), self._maker.public_key(), body, signature)
        return VerifiedImage(identifier, signature)

    def activate(self, identifier: bytes, image: bytes) -> None:
        """As `image_transfer.Firmware`."""
        self.active = image


def controls(meter: LogicalDevice, firmware: SignedFirmware) -> list[InterfaceObject]:
    """What a foreign client may change beside the meter's own objects."""
    security = meter.security
    assert security is not None
    kept = {"note": Data(Tag.OCTET_STRING, b"nothing yet")}

    def scripted(number: int, method: int) -> Data:
        action = structure(
            Data(Tag.ENUM, 2),
            Data(Tag.LONG_UNSIGNED, 70),
            Data(Tag.OCTET_STRING, RELAY.to_bytes()),
            Data(Tag.INTEGER, method),
            Data(Tag.INTEGER, 0),
        )
        return structure(Data(Tag.LONG_UNSIGNED, number), array([action]))

    return [
        DataObject(NOTE, lambda: kept["note"], lambda value: kept.update(note=value)),
        ScriptTable(SCRIPTS, meter.find, preset={2: array([scripted(1, 1), scripted(2, 2)])}),
        ImageTransfer(IMAGE, ImageMemory(), firmware, preset={5: Data(Tag.BOOLEAN, True)}),
        SecuritySetup(SECURITY_SETUP, security, HIGH[AUTHENTICATED_ENCRYPTION], TITLE),
    ]


def software_meter(firmware: SignedFirmware | None = None) -> InteropMeter:
    """A meter that has measured for two days; with ``firmware`` it also has what can be changed."""
    clock = SimulatedClock(START)
    spec = household_fleet(1, seed=1, start=START)
    fleet = Fleet(spec, clock)
    clock.advance(timedelta(days=2, minutes=37))
    own = meter_device(fleet, fleet.meter_ids[0])
    policies = [
        AssociationPolicy(PUBLIC, ceiling=Access.READ, objects=frozenset([ObisCode.parse("0-0:96.1.0")])),
        AssociationPolicy(PLAIN),
        AssociationPolicy(LOW, Mechanism.LOW, PASSWORD),
    ]
    policies += [
        AssociationPolicy(client, Mechanism.HIGH_GMAC, protection=protection)
        for protection, client in HIGH.items()
    ]
    policies += [
        AssociationPolicy(client, mechanism, PASSWORD, protection=protection)
        for (mechanism, protection), client in HASHED.items()
    ]
    more = [] if firmware is None else controls(own, firmware)
    names = {item.logical_name for item in more}
    kept = [item for item in own if item.logical_name not in names]
    return InteropMeter(fleet, clock, LogicalDevice([*kept, *more], policies, own.security))


@contextlib.asynccontextmanager
async def listening(session: Callable[[], Session], *, seen: list[bytes] | None = None) -> AsyncIterator[int]:
    """A port of the loopback where each connection is a session of its own."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        one = session()
        with contextlib.suppress(ConnectionError):
            while not getattr(one, "closed", False) and (data := await reader.read(65536)):
                if seen is not None:
                    seen.append(data)
                writer.write(one.receive(data))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()


@contextlib.asynccontextmanager
async def served(
    meter: InteropMeter, *, seen: list[bytes] | None = None, parameters: HdlcParameters | None = None
) -> AsyncIterator[InteropMeter]:
    """The meter on a port for each framing."""
    devices = {DEVICE: meter.device}
    async with (
        listening(lambda: ServerSession(devices), seen=seen) as wrapper,
        listening(lambda: HdlcServerSession(devices, None, parameters), seen=seen) as hdlc,
    ):
        meter.ports = {"wrapper": wrapper, "hdlc": hdlc}
        yield meter


def plan_of(
    meter: InteropMeter,
    framing: str,
    client: int,
    steps: Sequence[str],
    *,
    mechanism: Mechanism = Mechanism.NONE,
    protection: Protection = Protection.NONE,
    pdu: int = 65535,
    information: int = 2030,
    window: int = 1,
    **more: Any,
) -> dict[str, Any]:
    """What a peer is told; ``more`` replaces single parts of it."""
    keys = meter.keys
    return {
        "host": "127.0.0.1", "port": meter.ports[framing], "framing": framing, "client": client,
        "server": DEVICE, "mechanism": int(mechanism), "protection": int(protection), "pdu": pdu,
        "password": PASSWORD.hex() if mechanism is Mechanism.LOW else None, "title": TITLE.hex(),
        "encryption_key": keys.global_unicast.reveal().hex(),
        "authentication_key": keys.authentication.reveal().hex(),
        "counter": 1000, "information": information, "window": window, "steps": list(steps),
    } | more  # fmt: skip


async def peer_steps(script: str, plan: dict[str, Any]) -> dict[str, Any]:
    """What a peer found: result by step; a step that failed gives ``{"error": text}``."""
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(PEERS / script),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(json.dumps(plan).encode()), 120)
    assert process.returncode == 0, err.decode()[-2000:]
    steps: dict[str, Any] = json.loads(out.decode().splitlines()[-1])["steps"]
    return steps


def failed(result: object) -> bool:
    """True where a step ended with an error."""
    return isinstance(result, dict) and set(result) == {"error"}


def all_right(steps: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The steps, none of which failed or was left out."""
    assert [name for name in wanted if name not in steps or failed(steps[name])] == [], {
        name: result for name, result in steps.items() if failed(result)
    }
    return steps
