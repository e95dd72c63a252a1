"""What is recorded of a conversation, and shown by --trace, never holds a secret, whatever carries it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openami.headend.dlms_conversation import LinkSettings
from openami.headend.dlms_meter import Meter, Transport
from openami.headend.key_rotation import Outcome, rotate
from openami.meter.cosem_objects import FleetDevices
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT, Mechanism
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.protocols.dlms.framing.hdlc_parameters import HdlcParameters
from openami.protocols.dlms.protection.security_control import Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.hdlc_server import HdlcServerSession
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.protocols.driver import RecordedFrame
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import ProtocolError
from openami.security.counters import MemoryCounters
from openami.security.key_wrap import wrap
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.workspace.meter_access import open_keyring
from served_meters import Line, served_stream

START = datetime(2026, 3, 9, 23, tzinfo=UTC)
PASSWORD = "correct horse battery staple and sixty-four octets of it, truly!"
SETTINGS = LinkSettings(2.0, 2.0, 0)
LINES = {
    "wrapper": (Transport.TCP, None),
    "hdlc": (Transport.HDLC, None),
    "hdlc, short frames": (Transport.HDLC, HdlcParameters.of(32)),
}


@dataclass
class Traced:
    """A served meter, what went over its line, and what was recorded of that."""

    port: int
    line: Line
    fleet: Fleet | None = None
    frames: list[RecordedFrame] = field(default_factory=list)

    def meter(self, line: str, **how: object) -> Meter:
        transport, parameters = LINES[line]
        return Meter(
            "127.0.0.1", self.port, server=16, transport=transport, hdlc=parameters, settings=SETTINGS,
            on_frame=self.frames.append, **how,  # type: ignore[arg-type]
        )  # fmt: skip

    @property
    def recorded(self) -> bytes:
        return b"".join(frame.octets + frame.wire for frame in self.frames)

    def holds_none(self, *secrets: bytes) -> None:
        """No secret, and no eight octets of one, in what was recorded."""
        recorded = self.recorded
        assert len(self.frames) > 4
        for secret in secrets:
            pieces = [secret[at : at + 8] for at in range(max(1, len(secret) - 7))]
            assert not [piece for piece in pieces if piece in recorded]


@asynccontextmanager
async def traced(line: str, keys: KeySpec | None = None) -> AsyncIterator[Traced]:
    curve = CurveSpec(CurveKind.HOUSEHOLD, "M1")
    spec = MeterSpec("M1", 16, curve, password=PASSWORD, keys=keys)
    fleet = Fleet(FleetSpec(1, START, (spec,)), SimulatedClock(START))
    devices, noted = FleetDevices(fleet, 0), Line()
    session = ServerSession if LINES[line][0] is Transport.TCP else HdlcServerSession
    async with served_stream(lambda: session(devices), noted) as port:
        yield Traced(port, noted, fleet)


@pytest.mark.parametrize("line", LINES)
async def test_a_password_is_masked_whether_it_is_right_or_wrong(line: str) -> None:
    wrong = PASSWORD[::-1]
    async with traced(line) as here:
        async with here.meter(line, password=Secret(PASSWORD.encode())) as meter:
            assert (await meter.read("0-0:96.1.0", class_id=1)).text == "M1"
        with pytest.raises(ProtocolError):
            await here.meter(line, password=Secret(wrong.encode())).open()
        went = b"".join(here.line.requests)
        assert PASSWORD[:8].encode() in went  # it did go
        here.holds_none(PASSWORD.encode(), wrong.encode())


async def test_the_check_of_a_frame_does_not_tell_what_is_masked_in_it() -> None:
    async with traced("hdlc, short frames") as here:
        async with here.meter("hdlc, short frames", password=Secret(PASSWORD.encode())):
            pass
        masked = [frame.wire for frame in here.frames if b"*" in frame.wire]
        assert len(masked) > 2
        assert {wire[-3:] for wire in masked} == {b"**\x7e"}


@pytest.mark.parametrize("line", LINES)
async def test_of_a_key_transfer_only_wrapped_keys_are_recorded(line: str, tmp_path: Path) -> None:
    spec = KeySpec.of_seed(1, "M1")
    async with traced(line, spec) as here:
        old = spec.meter_keys()
        assert here.fleet is not None
        security = here.fleet.security("M1")
        assert security is not None
        with open_keyring(tmp_path) as keyring:
            keyring.put({"M1": MeterCredentials(None, old, security.title)})

            def reach(keys: MeterKeys) -> Meter:
                keyring.reserve(send_counter_name(b"OAMHES01", keys), 0, 1000)
                return here.meter(line, security=ClientSecurity(b"OAMHES01", keys, counters=keyring))

            done = await rotate(keyring, "M1", reach, tuple(KeyKind))
        assert done.outcome is Outcome.ROTATED
        new = security.keys
        keys = [key.reveal() for which in (old, new) for key in map(which.key, KeyKind) if key is not None]
        assert len(keys) == 7
        here.holds_none(*keys)
        if line == "wrapper":  # where the record shows deciphered APDUs, the wrapped ones are there
            assert wrap(old.master, new.authentication) in here.recorded


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("mechanism", [Mechanism.HIGH_MD5, Mechanism.HIGH_SHA1, Mechanism.HIGH_SHA256])
async def test_proofs_of_high_level_security_are_recorded_and_what_they_prove_is_not(
    line: str, mechanism: Mechanism
) -> None:
    secret = Secret(b"a secret of the association")
    policy = AssociationPolicy(MANAGEMENT_CLIENT, mechanism, secret.reveal())
    counters = MemoryCounters()
    security = DeviceSecurity(b"OAM00001", MeterKeys.random(), counters, lambda incident: None)
    device = LogicalDevice([], [policy], security)
    session = ServerSession if LINES[line][0] is Transport.TCP else HdlcServerSession
    noted = Line()
    async with served_stream(lambda: session({16: device}), noted) as port:
        here = Traced(port, noted)
        proves = ClientSecurity(b"OAMHES01", None, mechanism, Protection.NONE, secret=secret)
        async with here.meter(line, security=proves):
            pass
        here.holds_none(secret.reveal())
