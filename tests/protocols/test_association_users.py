"""Users of a client: who they say they are, whom a list lets in, and what the association shows of them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from answering_meters import answered
from openami.protocols.dlms.apdus.acse import AssociationRequest
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.results import AssociationError, Diagnostic
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.server.association_policy import (
    Administration,
    AssociationPolicy,
    management,
    secured_management,
)
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.quantities.errors import LocalProtocolError, RemoteProtocolError
from openami.security.counters import MemoryCounters
from openami.security.meter_keys import MeterKeys

PASSWORD = b"12345678"
USERS = ((5, "Ann"), (200, "Bo"))


def device(
    users: tuple[tuple[int, str], ...] = (), security: DeviceSecurity | None = None, version: int = 2
) -> LogicalDevice:
    base = management(PASSWORD) if security is None else secured_management()
    policy: AssociationPolicy = replace(
        base, users=users, association_version=version, administers=Administration.USERS
    )
    return LogicalDevice([], [policy], security)


def client(user: int | None, password: bytes = PASSWORD) -> Association:
    return Association(7, 1, password, user=user)


def current_user(one: Association) -> Generator[bytes, bytes, Any]:
    return one.get(Attribute(15, CURRENT_ASSOCIATION, 11))


def test_a_number_travels_as_those_of_a_foreign_client_do() -> None:
    # AARQ of gurux-dlms 1.0.203 with userId 5, and with 200, which it writes in one octet
    foreign = "6022a109060760857405080101a903020105be10040e01000000065f1f0400401e5dffff"
    read = AssociationRequest.from_bytes(bytes.fromhex(foreign))
    assert read.user == 5
    assert read.to_bytes().hex() == foreign
    one_octet = foreign.replace("a903020105", "a9030201c8")
    assert AssociationRequest.from_bytes(bytes.fromhex(one_octet)).user == 200
    written = AssociationRequest(b"\x01", user=200).to_bytes()
    assert bytes.fromhex("a904020200c8") in written
    assert AssociationRequest.from_bytes(written).user == 200
    for bad in ("a903040105", "a903020205", "a903020305"):  # no INTEGER, and two that are cut
        with pytest.raises(RemoteProtocolError):
            AssociationRequest.from_bytes(bytes.fromhex(foreign.replace("a903020105", bad)))
    with pytest.raises(RemoteProtocolError, match="user"):
        AssociationRequest.from_bytes(AssociationRequest(b"\x01", user=300).to_bytes())
    for number in (-1, 256):
        with pytest.raises(LocalProtocolError, match="user"):
            Association(7, user=number)


@pytest.mark.parametrize("version", [2, 3])
def test_the_association_shows_who_is_there(version: int) -> None:
    for user, shown in ((5, (5, "Ann")), (200, (200, "Bo"))):
        one = client(user)
        assert answered(device(USERS, version=version), one.associate(), current_user(one))[1] == shown
    for alone, shown in ((None, (0, "")), (9, (9, ""))):
        one = client(alone)
        assert answered(device(version=version), one.associate(), current_user(one))[1] == shown


def test_a_list_keeps_everybody_else_out_and_tells_nothing_to_who_has_no_password() -> None:
    for user in (None, 0, 6):
        with pytest.raises(AssociationError) as caught:
            answered(device(USERS), client(user).associate())
        assert caught.value.diagnostic == Diagnostic.CALLING_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED
    for user in (5, 6):
        with pytest.raises(AssociationError) as caught:
            answered(device(USERS), client(user, b"wrong").associate())
        assert caught.value.diagnostic == Diagnostic.AUTHENTICATION_FAILURE


def test_users_are_added_and_removed_and_the_last_opens_the_list_to_all() -> None:
    meter = device()
    ann, method = structure(Data(Tag.UNSIGNED, 5), Data(Tag.VISIBLE_STRING, "Ann")), CURRENT_ASSOCIATION
    first = client(9)
    answered(meter, first.associate(), first.action(Method(15, method, 5), ann), first.release())
    with pytest.raises(AssociationError):
        answered(meter, client(9).associate())
    second = client(5)
    answered(meter, second.associate(), second.action(Method(15, method, 6), ann), second.release())
    answered(meter, client(9).associate())


def test_users_are_told_apart_under_high_level_security_and_strangers_are_logged() -> None:
    incidents: list[Incident] = []
    security = DeviceSecurity(b"OAM00001", MeterKeys.random(), None, incidents.append)
    meter, counters = device(USERS, security), MemoryCounters()

    def secured(user: int) -> Association:
        return Association(
            7, 1, security=ClientSecurity(b"OAMHES01", security.keys, counters=counters), user=user
        )

    one = secured(5)
    assert answered(meter, one.associate(), current_user(one))[1] == (5, "Ann")
    with pytest.raises(AssociationError):
        answered(meter, secured(6).associate())
    assert [(incident.attack, incident.detail) for incident in incidents] == [(Attack.UNKNOWN_USER, "user 6")]
