"""Meters of companion models with public keys: who gets in by them, and what a stronger policy asks for."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest

from answering_meters import answered
from openami.meter.cosem_objects import FleetDevices
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.public_key_spec import PublicKeySpec
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.protection.message_protection import Signing
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import ProtocolError
from openami.quantities.obis import ObisCode
from openami.readings.event import EventCode
from openami.security.counters import MemoryCounters
from openami.security.signature import new_private_key, public_octets
from openami.security.suites import SUITE_1

START = datetime(2026, 11, 1, tzinfo=UTC)
SERIAL, SETUP, CLIENT = ObisCode(0, 0, 96, 1, 0), ObisCode(0, 0, 43, 0, 0), b"OAMHES01"


class World:
    """One meter of a model, made with signature keys."""

    def __init__(self, model: str | None, port: int = 1) -> None:
        self.own, self.meter = new_private_key(SUITE_1), new_private_key(SUITE_1)
        scalar = self.meter.private_numbers().private_value.to_bytes(32, "big").hex()
        client = public_octets(self.own.public_key()).hex()
        public = PublicKeySpec(7, CLIENT.hex(), scalar, client, client=port)
        drawn = KeySpec.of_seed(3, "M1")
        keys = KeySpec(drawn.global_unicast, drawn.authentication, drawn.master, 1, public)
        self.spec = MeterSpec("M1", 16, CurveSpec(CurveKind.HOUSEHOLD, "M1"), keys=keys, companion=model)
        self.fleet = Fleet(FleetSpec(1, START, (self.spec,)), SimulatedClock(START))
        self.port, self.counters = port, MemoryCounters()

    def client(self, **changes: Any) -> Association:
        assert self.spec.keys is not None
        given = {"mechanism": Mechanism.HIGH_ECDSA, "meter_title": self.spec.system_title} | changes
        security = ClientSecurity(
            CLIENT,
            self.spec.keys.meter_keys(),
            signing_key=self.own,
            meter_key=self.meter.public_key(),
            counters=self.counters,
            **given,
        )
        return Association(16, self.port, security=security)

    def run(self, *operations: Generator[bytes, bytes, Any]) -> list[Any]:
        return answered(FleetDevices(self.fleet, 0), *operations)


@pytest.mark.parametrize(("model", "port"), [(None, 1), ("idis-like-1p", 1), ("is15959-like-1p", 48)])
def test_the_management_of_every_model_gets_in_by_signatures_and_not_without(
    model: str | None, port: int
) -> None:
    world = World(model, port)
    name = Attribute(1, ObisCode(0, 0, 42, 0, 0), 2)
    one = world.client()
    assert world.run(one.associate(), one.get(name))[1]
    with pytest.raises(ProtocolError):
        world.run(world.client(mechanism=Mechanism.HIGH_GMAC).associate())
    assert EventCode.AUTHENTICATION_FAILED in [code for _, code in world.fleet.meter("M1").events]


def test_a_stronger_policy_counts_for_a_client_whose_policy_was_changed_before() -> None:
    world = World("every-class-1p")
    first = world.client()
    ann = structure(Data(Tag.UNSIGNED, 5), Data(Tag.VISIBLE_STRING, "Ann"))
    world.run(
        first.associate(),
        first.action(Method(15, CURRENT_ASSOCIATION, 5), ann),
        first.action(Method(15, CURRENT_ASSOCIATION, 6), ann),  # its policy is one that was changed
        first.action(Method(64, SETUP, 1), Data(Tag.ENUM, 4 | 8 | 16)),
        first.release(),
    )
    plain = world.client()
    with pytest.raises(ProtocolError):
        world.run(plain.associate(), plain.get(Attribute(64, SETUP, 2)))
    signed = world.client(signing=Signing.REQUIRED)
    assert world.run(signed.associate(), signed.get(Attribute(64, SETUP, 2)))[1] == 4 | 8 | 16
