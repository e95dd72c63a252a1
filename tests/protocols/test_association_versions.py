"""Association LN in all versions: encodings of rights, rights by object, and what a client may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute, Method
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.client.association import Association, management_association
from openami.protocols.dlms.client.object_list import Right, object_list
from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag, array, decode_plain, structure
from openami.protocols.dlms.interface_classes.association_ln import association_object, association_objects
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState, DisconnectControl
from openami.protocols.dlms.interface_classes.interface_object import Access
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.association_policy import (
    Administration,
    AssociationPolicy,
    ObjectRights,
    public,
)
from openami.protocols.dlms.server.logical_device import CURRENT_ASSOCIATION, LogicalDevice
from openami.protocols.dlms.server.session import ServerSession
from openami.quantities.errors import LocalProtocolError
from openami.quantities.obis import ObisCode

NOTE, SERIAL, RELAY = ObisCode(0, 0, 96, 13, 0), ObisCode(0, 0, 96, 1, 0), ObisCode(0, 0, 96, 3, 10)
PASSWORD = b"12345678"


class Wire:
    def __init__(self) -> None:
        self.where = ControlState.CONNECTED
        self.note = b"x"

    def state(self) -> ControlState:
        return self.where

    def switch(self, state: ControlState) -> None:
        self.where = state

    def store(self, value: Data) -> None:
        assert isinstance(value.value, bytes)
        self.note = value.value

    def device(self, *policies: AssociationPolicy) -> LogicalDevice:
        return LogicalDevice(
            [
                DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, self.note), self.store),
                DataObject(SERIAL, lambda: Data(Tag.OCTET_STRING, b"M-7")),
                DisconnectControl(RELAY, self),
            ],
            policies,
        )


def policy(version: int = 1, **changed: Any) -> AssociationPolicy:
    return AssociationPolicy(1, Mechanism.LOW, PASSWORD, association_version=version, **changed)


@pytest.mark.parametrize(
    ("version", "attributes", "plain", "protected", "method", "protected_method"),
    [
        (0, 8, 3, 3, True, True),
        (1, 9, 3, 6, 1, 2),
        (2, 11, 3, 6, 1, 2),
        # read, write; authenticated and encrypted request (4, 8) and response (32, 64)
        (3, 11, 3, 3 | 4 | 8 | 32 | 64, 1, 1 | 4 | 8 | 32 | 64),
    ],
)
def test_rights_are_written_as_each_version_has_them(
    version: int, attributes: int, plain: int, protected: int, method: object, protected_method: object
) -> None:
    for protection, right, action in (
        (Protection.NONE, plain, method),
        (AUTHENTICATED_ENCRYPTION, protected, protected_method),
    ):
        seen = policy(version, protection=protection)
        item = association_object(Wire().device(policy(version)), seen)
        listed = decode_plain(association_list(item, seen))
        assert [rule.index for rule in item.attribute_rules()] == list(range(1, attributes + 1))
        own, note, serial, relay = listed  # type: ignore[misc]
        assert own[:3] == (15, version, CURRENT_ASSOCIATION.to_bytes())  # type: ignore[index]
        assert note[3][0][1] == (2, right, None)  # type: ignore[index]
        assert relay[3][1][0] == (1, action)  # type: ignore[index]
        read_only = {0: 1, 1: 1 + 3 * bool(protection), 2: 1 + 3 * bool(protection), 3: right & ~2}[version]
        assert serial[3][0][1] == (2, read_only, None)  # type: ignore[index]


def association_list(item: Any, seen: AssociationPolicy) -> bytes:
    item._device = Wire().device()  # a device without policies: the association's own counts
    encoded: bytes = item.read(2)
    return encoded


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_our_client_reads_the_list_of_every_version(version: int) -> None:
    item = association_object(Wire().device(policy(version)), policy(version))
    seen = object_list(decode_plain(item.read(2)))
    assert [entry.version for entry in seen][:1] == [version]
    assert seen.find(NOTE).right(2) == Right.READ | Right.WRITE
    assert seen.find(RELAY).methods[0].allowed


def session(device: LogicalDevice, run_client: Association) -> Callable[[Any], Any]:
    server = ServerSession({7: device})

    def run(operation: Any) -> Any:
        outgoing = next(operation)
        while True:
            try:
                outgoing = operation.send(server.receive(outgoing))
            except StopIteration as done:
                return done.value

    run(run_client.associate())
    return run


def refusal(run: Callable[[Any], Any], operation: Any) -> AccessResult:
    with pytest.raises(AccessError) as caught:
        run(operation)
    return caught.value.result


def test_rights_are_given_by_object_and_attribute_and_method() -> None:
    rights = {
        NOTE: ObjectRights({2: Access.READ}),
        RELAY: ObjectRights({3: Access.READ}, frozenset({2})),
    }
    wire = Wire()
    client = management_association(7, PASSWORD)
    run = session(wire.device(policy(3, rights=rights)), client)
    assert run(client.get(Attribute(1, NOTE, 2))) == b"x"
    denied = AccessResult.READ_WRITE_DENIED
    assert refusal(run, client.set(Attribute(1, NOTE, 2), Data(Tag.OCTET_STRING, b"y"))) is denied
    assert refusal(run, client.get(Attribute(70, RELAY, 2))) is AccessResult.READ_WRITE_DENIED
    assert run(client.get(Attribute(70, RELAY, 1))) == RELAY.to_bytes()
    assert refusal(run, client.get(Attribute(1, SERIAL, 2))) is AccessResult.OBJECT_UNDEFINED
    assert (
        refusal(run, client.action(Method(70, RELAY, 1), Data(Tag.INTEGER, 0)))
        is AccessResult.READ_WRITE_DENIED
    )
    wire.where = ControlState.DISCONNECTED
    run(client.action(Method(70, RELAY, 2), Data(Tag.INTEGER, 0)))
    assert wire.where is ControlState.CONNECTED
    seen = object_list(run(client.get(Attribute(15, CURRENT_ASSOCIATION, 2))))
    assert [entry.logical_name for entry in seen] == [CURRENT_ASSOCIATION, NOTE, RELAY]
    assert [method.allowed for method in seen.find(RELAY).methods] == [False, True]


def test_a_password_is_changed_only_where_that_is_allowed_and_holds_from_the_next_association() -> None:
    device = Wire().device(policy(administers=Administration.SECRET))
    client = management_association(7, PASSWORD)
    run = session(device, client)
    secret = Attribute(15, CURRENT_ASSOCIATION, 7)
    assert refusal(run, client.get(secret)) is AccessResult.READ_WRITE_DENIED
    run(client.set(secret, Data(Tag.OCTET_STRING, b"new password")))
    changed = device.policy(1)
    assert changed is not None
    assert changed.proves(b"new password")
    session(device, management_association(7, b"new password"))
    plain = management_association(7, PASSWORD)
    other = session(Wire().device(policy()), plain)
    assert refusal(other, plain.set(secret, Data(Tag.OCTET_STRING, b"x"))) is AccessResult.READ_WRITE_DENIED


def element(class_id: int, name: ObisCode) -> Data:
    return structure(
        Data(Tag.LONG_UNSIGNED, class_id),
        Data(Tag.UNSIGNED, 0),
        Data(Tag.OCTET_STRING, name.to_bytes()),
        structure(array(()), array(())),
    )


def test_objects_are_added_and_removed_only_where_that_is_allowed() -> None:
    device = Wire().device(policy(2, administers=Administration.OBJECTS | Administration.USERS))
    client = management_association(7, PASSWORD)
    run = session(device, client)
    run(client.action(Method(15, CURRENT_ASSOCIATION, 4), element(1, SERIAL)))
    seen = object_list(run(client.get(Attribute(15, CURRENT_ASSOCIATION, 2))))
    assert [entry.logical_name for entry in seen] == [CURRENT_ASSOCIATION, NOTE, RELAY]
    for wrong in (element(3, SERIAL), element(1, ObisCode(0, 0, 96, 99, 0))):
        result = refusal(run, client.action(Method(15, CURRENT_ASSOCIATION, 3), wrong))
        assert result is AccessResult.OBJECT_UNDEFINED
    assert (
        refusal(run, client.action(Method(15, CURRENT_ASSOCIATION, 3), NULL)) is AccessResult.TYPE_UNMATCHED
    )
    run(client.action(Method(15, CURRENT_ASSOCIATION, 3), element(1, SERIAL)))
    user = structure(Data(Tag.UNSIGNED, 4), Data(Tag.VISIBLE_STRING, "Ann"))
    run(client.action(Method(15, CURRENT_ASSOCIATION, 5), user))
    assert run(client.get(Attribute(15, CURRENT_ASSOCIATION, 10))) == [(4, "Ann")]
    run(client.action(Method(15, CURRENT_ASSOCIATION, 6), user))
    assert (
        refusal(run, client.action(Method(15, CURRENT_ASSOCIATION, 6), user)) is AccessResult.OBJECT_UNDEFINED
    )
    plain = management_association(7, PASSWORD)
    other = session(Wire().device(policy()), plain)
    for number in (1, 2, 3, 4, 5, 6):
        result = refusal(other, plain.action(Method(15, CURRENT_ASSOCIATION, number), element(1, SERIAL)))
        assert result is AccessResult.OBJECT_UNDEFINED


def test_management_sees_the_associations_of_the_others() -> None:
    device = Wire().device(policy(), public([SERIAL]))
    names = ((ObisCode(0, 0, 40, 0, 1), 16), (ObisCode(0, 0, 40, 0, 3), 1), (ObisCode(0, 0, 40, 0, 2), 99))
    objects = association_objects(device, names)
    assert [item.logical_name.e for item in objects] == [1, 3]
    seen = object_list(decode_plain(objects[0].read(2)))
    assert [entry.logical_name for entry in seen] == [ObisCode(0, 0, 40, 0, 1), SERIAL]
    assert decode_plain(objects[0].read(3)) == (16, 0)
    assert decode_plain(objects[0].read(8)) == 0
    assert decode_plain(objects[1].read(8)) == 0


def test_a_version_that_the_class_has_not_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        policy(4)
