"""Notifications and releases: what a meter sends unasked, and how an association ends under protection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from echo_meter import (
    DATUM,
    ECHO,
    ENERGY,
    NOTE,
    RESET,
    SAY,
    STAMP,
    Echo,
    World,
    results_of,
)
from openami.protocols.dlms.apdus.access import (
    AccessAction,
    AccessGet,
    AccessItem,
    AccessSet,
    LongInvoke,
)
from openami.protocols.dlms.apdus.acse import ReleaseRequest
from openami.protocols.dlms.apdus.apdu import ExceptionResponse, decode_apdu
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.block_transfer import UnconfirmedBlocks
from openami.protocols.dlms.apdus.initiate import PROPOSED, Conformance, InitiateRequest
from openami.protocols.dlms.apdus.notification import DataNotification, EventNotification
from openami.protocols.dlms.apdus.results import (
    AccessResult,
    ServiceError,
)
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.association_state import State
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.interface_classes.interface_object import (
    Access,
)
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.message_protection import Accepted, Manner
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.notifications import PLAIN, Notifier, general_glo
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError, ProtectionError
from openami.security.meter_keys import MeterKeys

METER, CLIENT = b"OAM00001", b"HES00001"
BODY = structure(Data(Tag.OCTET_STRING, b"push"), Data(Tag.DOUBLE_LONG_UNSIGNED, 7))


def secured(protection: Protection = AUTHENTICATED_ENCRYPTION, **policy: Any) -> Any:
    """A meter and an associated client under HLS 5."""
    keys = MeterKeys.random()
    incidents: list[Incident] = []
    device_security = DeviceSecurity(METER, keys, observe=incidents.append)
    rights = AssociationPolicy(1, Mechanism.HIGH_GMAC, protection=protection, **policy)
    session = ServerSession({7: LogicalDevice([Echo(ECHO)], [rights], device_security)})

    def opened(**client: Any) -> Association:
        security = ClientSecurity(CLIENT, keys, protection=protection, meter_title=METER, **client)
        association = Association(7, 1, security=security)
        run(session, association.associate())
        return association

    return session, device_security, incidents, opened


def run(session: ServerSession, operation: Any) -> Any:
    outgoing = next(operation)
    while True:
        try:
            outgoing = operation.send(session.receive(outgoing))
        except StopIteration as done:
            return done.value


def test_a_push_without_keys_goes_plain() -> None:
    notifier = Notifier()
    assert notifier.data(BODY, STAMP) == [
        bytes.fromhex("0f800000010c") + STAMP + bytes.fromhex("02020904707573680600000007")
    ]
    (second,) = notifier.data(BODY, options=LongInvoke.CONFIRMED)
    assert second[:6].hex() == "0f4000000200"
    (event,) = notifier.event(ENERGY, Data(Tag.DOUBLE_LONG_UNSIGNED, 1))
    assert event.hex() == "c20000030100010800ff020600000001"
    with pytest.raises(LocalProtocolError):
        Notifier(None, general_glo(AUTHENTICATED_ENCRYPTION))


@pytest.mark.parametrize(
    "manner",
    [
        general_glo(AUTHENTICATED_ENCRYPTION),
        general_glo(Protection.ENCRYPTED),
        Manner(AUTHENTICATED_ENCRYPTION, None, KeySource.WRAPPED),
    ],
)
def test_a_push_is_protected_as_configured_and_cut_as_captured_meters_cut_it(manner: Manner) -> None:
    keys = MeterKeys.random()
    meter = DeviceSecurity(METER, keys)
    listener = DeviceSecurity(CLIENT, keys)
    notifier = Notifier(meter, manner, client_title=CLIENT, max_pdu=64)
    body = Data(Tag.OCTET_STRING, bytes(200))
    layers = listener.layers(0, listener.cipher(METER))
    accepted = Accepted(manner.level, frozenset(KeySource))
    for number in (1, 2):
        apdus = notifier.data(body)
        assert max(map(len, apdus)) <= 64
        assert {apdu[0] for apdu in apdus} == {0xE0}
        assert apdus[0][:2].hex() == "e040", "streaming, window 0"
        assembler = UnconfirmedBlocks(1000)
        whole = [assembler.feed(decode_apdu(apdu)) for apdu in apdus]  # type: ignore[arg-type]
        assert whole[:-1] == [None] * (len(apdus) - 1)
        assert whole[-1] is not None
        plain, _ = layers.open(whole[-1], accepted)
        assert decode_apdu(plain) == DataNotification(0x8000_0000 | number, b"", body)
        with pytest.raises(ProtectionError):
            layers.open(whole[-1], accepted)  # sent again


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.AUTHENTICATED, AUTHENTICATED_ENCRYPTION])
def test_notifications_inside_an_association_are_protected_as_it_is(protection: Protection) -> None:
    session, _, incidents, opened = secured(protection)
    association = opened()
    operation = association.action(SAY, DATUM)
    request = next(operation)
    sent = [DataNotification(1, b"", BODY), EventNotification(None, ENERGY, DATUM)]
    pushed = b"".join(session.notify(7, 1, notification) for notification in sent)
    assert (b"push" in pushed) == (not protection & Protection.ENCRYPTED)
    assert operation.send(pushed) == b""
    with pytest.raises(StopIteration):
        operation.send(session.receive(request))
    assert association.take_notifications() == sent
    assert not incidents


def test_notifications_that_were_not_agreed_on_are_not_sent(meter: Any) -> None:
    without = PROPOSED & ~(Conformance.DATA_NOTIFICATION | Conformance.EVENT_NOTIFICATION)
    world = World(meter, 64, conformance=without)
    for notification in (DataNotification(1, b"", BODY), EventNotification(None, ENERGY, DATUM)):
        with pytest.raises(LocalProtocolError):
            world.session.notify(7, 1, notification)
        with pytest.raises(LocalProtocolError):
            world.session.notify(7, 16, notification)
    agreed = World(meter, 64)
    assert agreed.session.notify(7, 1, DataNotification(1, b"", BODY))
    with pytest.raises(LocalProtocolError, match="at most 64"):
        agreed.session.notify(7, 1, DataNotification(1, b"", Data(Tag.OCTET_STRING, bytes(64))))
    assert PLAIN.plain


# --- release ------------------------------------------------------------------------------------------


def test_a_plain_release_of_a_ciphered_association_is_believed_unless_the_policy_says_otherwise() -> None:
    session, _, incidents, opened = secured()
    association = opened()
    run(session, association.release())
    assert association.state is State.IDLE
    session, _, incidents, opened = secured(protected_release=True)
    association = opened()
    forged = session.receive(Frame(1, 7, ReleaseRequest().to_bytes()).to_bytes())
    assert forged[8:].hex() == "d80101"
    assert [incident.attack for incident in incidents] == [Attack.DOWNGRADE]
    assert run(session, association.action(SAY, DATUM)) == (0, 0), "the association stands"


def test_a_protected_release_is_verified_and_answered_in_kind() -> None:
    for required in (True, False):
        session, _, incidents, opened = secured(protected_release=required)
        association = opened(protected_release=True)
        cipher = association._cipher
        assert cipher is not None
        sealed = cipher.seal(InitiateRequest(PROPOSED, 65535).to_bytes(), form=Form.GLOBAL)
        for bit in (0x20, 0x01):
            changed = sealed[:-1] + bytes((sealed[-1] ^ bit,))
            answer = session.receive(Frame(1, 7, ReleaseRequest(0, changed).to_bytes()).to_bytes())
            assert answer[8:].hex() == "d80105"
        operation = association.release()
        request = next(operation)
        assert b"\xbe" in request
        answer = session.receive(request)
        assert decode_apdu(answer[8:]).user_information[0] == 0x28  # type: ignore[union-attr, index]
        with pytest.raises(StopIteration):
            operation.send(answer)
        assert session.receive(request)[8:].hex() == "d80101", "released, and not released again"
        assert [incident.attack for incident in incidents] == [Attack.WRONG_TAG] * 2


def test_a_replayed_protected_release_of_an_earlier_association_is_refused() -> None:
    session, _, incidents, opened = secured()
    first = opened(protected_release=True)
    operation = first.release()
    captured = next(operation)
    with pytest.raises(StopIteration):
        operation.send(session.receive(captured))
    # The same client, its counters going on.
    second = Association(7, 1, security=first._security)
    run(session, second.associate())
    answer = decode_apdu(session.receive(captured)[8:])
    assert isinstance(answer, ExceptionResponse)
    assert answer.service is ServiceError.INVOCATION_COUNTER_ERROR
    assert incidents[-1].attack is Attack.REPLAY
    assert run(session, second.action(SAY, DATUM)) == (0, 0)


def test_rights_are_those_of_the_policy_in_every_service(new_meter: Callable[[], Any]) -> None:
    """A client that may only read neither writes nor runs anything by list, blocks or ACCESS."""
    meter = new_meter()
    policy = AssociationPolicy(16, ceiling=Access.READ)
    session = ServerSession({7: LogicalDevice(iter(meter.device()), [policy])})
    association = Association(7, 16)
    run(session, association.associate())
    items: list[AccessItem] = [
        AccessSet(NOTE, Data(Tag.OCTET_STRING, b"x")),
        AccessAction(RESET, DATUM),
        AccessGet(ENERGY),
    ]
    denied = AccessResult.READ_WRITE_DENIED
    assert results_of(run(session, association.access(items))) == [denied, denied, 123_456]
    calls = [(RESET, DATUM)] * 2
    assert results_of(run(session, association.action_with_list(calls))) == [denied] * 2
    values = [(NOTE, Data(Tag.OCTET_STRING, b"x"))] * 2
    assert results_of(run(session, association.set_with_list(values))) == [denied] * 2
    assert (meter.resets, meter.note) == (0, b"hello")
