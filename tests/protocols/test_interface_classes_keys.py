"""Security setup and data protection: keys are transferred, agreed on and never shown."""

from __future__ import annotations

import pytest

from acting_objects import (
    ENERGY,
    NOTE,
    NOTHING,
    RELAY,
    House,
    capture,
    octets,
    refused,
    value_definition,
)
from openami.protocols.dlms.apdus.results import AccessError, AccessResult
from openami.protocols.dlms.encoding.axdr import (
    Data,
    Tag,
    array,
    decode_plain,
    encode,
    structure,
)
from openami.protocols.dlms.interface_classes.data_protection import DataProtection, protectors
from openami.protocols.dlms.interface_classes.disconnect_control import ControlState
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup, SecuritySetupVersion0
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION, Protection
from openami.protocols.dlms.server.device_security import DeviceSecurity, Incident
from openami.quantities.obis import ObisCode
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.key_wrap import wrap
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.signature import (
    agreed_key,
    new_private_key,
    public_key,
    public_octets,
    sign,
    verify,
)
from openami.security.suites import SUITE_1

CLIENT, METER = b"OAMHES01", b"OAM\x00\x00\x00\x00\x07"


def secured(suite: int = 0) -> tuple[DeviceSecurity, list[Incident]]:
    incidents: list[Incident] = []
    return DeviceSecurity(METER, MeterKeys.random(suite), observe=incidents.append), incidents


def test_keys_are_transferred_all_or_none() -> None:
    security, incidents = secured()
    setup = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1, CLIENT)
    before = security.keys
    unicast, authentication = Secret.random(16), Secret.random(16)

    def transfer(*pairs: tuple[KeyKind, bytes]) -> Data:
        return array(structure(Data(Tag.ENUM, kind.value), octets(text)) for kind, text in pairs)

    good = (KeyKind.GLOBAL_UNICAST, wrap(before.master, unicast))
    bad = wrap(before.authentication, authentication)
    for second in (bad, b"\0" * 24, wrap(before.master, unicast), wrap(before.master, Secret.random(24))):
        pair = (KeyKind.AUTHENTICATION, second)
        assert refused(setup.invoke, 2, transfer(good, pair)) is AccessResult.OTHER_REASON
        assert security.keys == before
    assert len(incidents) == 4
    setup.invoke(2, transfer(good, (KeyKind.AUTHENTICATION, wrap(before.master, authentication))))
    assert security.keys.global_unicast == unicast
    assert security.keys.authentication == authentication
    assert security.keys.master == before.master


def test_the_policy_is_only_ever_strengthened() -> None:
    security, _ = secured()
    old = SecuritySetupVersion0(ObisCode(0, 0, 43, 0, 0), security, 1)
    assert old.requests_must_be == Protection.NONE
    old.invoke(1, Data(Tag.ENUM, 1))
    assert old.requests_must_be == Protection.AUTHENTICATED
    for weaker in (0, 2):
        assert refused(old.invoke, 1, Data(Tag.ENUM, weaker)) is AccessResult.READ_WRITE_DENIED
    old.invoke(1, Data(Tag.ENUM, 3))
    assert old.requests_must_be == AUTHENTICATED_ENCRYPTION
    new = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1)
    new.invoke(1, Data(Tag.ENUM, 4 | 8 | 32))
    assert new.requests_must_be == AUTHENTICATED_ENCRYPTION
    assert refused(new.invoke, 1, Data(Tag.ENUM, 4 | 8)) is AccessResult.READ_WRITE_DENIED
    assert refused(new.invoke, 1, Data(Tag.ENUM, 1)) is AccessResult.READ_WRITE_DENIED


def test_a_key_is_agreed_on_and_known_to_both_and_forgeries_are_refused() -> None:
    security, incidents = secured(1)
    client_key, meter_key = new_private_key(SUITE_1), new_private_key(SUITE_1)
    setup = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1, CLIENT)
    ephemeral = new_private_key(SUITE_1)
    mine = public_octets(ephemeral.public_key())
    offered = array([structure(Data(Tag.ENUM, 0), octets(mine + sign(SUITE_1, client_key, b"\0" + mine)))])
    assert refused(setup.invoke, 3, offered) is AccessResult.OTHER_REASON
    security.signing_key = meter_key
    security.client_keys = {1: client_key.public_key()}
    forged = array([structure(Data(Tag.ENUM, 2), octets(mine + sign(SUITE_1, client_key, b"\0" + mine)))])
    assert refused(setup.invoke, 3, forged) is AccessResult.OTHER_REASON
    assert incidents
    answer = setup.invoke(3, offered)
    assert answer is not None
    ((key_id, exchange),) = decode_plain(encode(answer))  # type: ignore[misc]
    assert key_id == 0
    verify(SUITE_1, meter_key.public_key(), b"\0" + exchange[:64], exchange[64:])
    agreed = agreed_key(SUITE_1, ephemeral, public_key(SUITE_1, exchange[:64]), CLIENT, METER)
    assert security.keys.global_unicast == agreed


def test_values_are_protected_beside_the_association_and_set_only_when_verified(house: House) -> None:
    security, _ = secured()
    protection = DataProtection(ObisCode(0, 0, 43, 2, 0), house.find, protectors(security, {CLIENT}), METER)
    protection.write(6, Data(Tag.ENUM, 4 | 8 | 32 | 64))
    counters = MemoryCounters()
    cipher = Cipher(security.keys, CLIENT, METER, SendCounter(counters, "c"), ReceiveCounters(counters))

    def parameters(kind: int, title: bytes = CLIENT) -> Data:
        key = structure(Data(Tag.ENUM, 0), Data(Tag.ENUM, 0))
        options = structure(octets(b"t1"), octets(title), octets(METER), octets(b""), key)
        return array([structure(Data(Tag.ENUM, kind), options)])

    unrestricted = structure(Data(Tag.ENUM, 0), Data(Tag.NULL_DATA, None))

    def listed(class_id: int, name: ObisCode) -> Data:
        return array([Data(Tag.STRUCTURE, (*capture(class_id, name).value, unrestricted))])  # type: ignore[misc]

    answer = protection.invoke(1, structure(listed(3, ENERGY), parameters(2)))
    assert answer is not None
    (used, sealed) = decode_plain(encode(answer))  # type: ignore[misc]
    assert used[0][1][1:3] == (METER, CLIENT)  # type: ignore[index]
    opened = cipher.open(sealed, AUTHENTICATED_ENCRYPTION)  # type: ignore[arg-type]
    assert decode_plain(opened.apdu) == (123_456,)
    assert (
        refused(protection.invoke, 1, structure(listed(3, ENERGY), parameters(0)))
        is AccessResult.READ_WRITE_DENIED
    )
    stranger = structure(listed(3, ENERGY), parameters(2, b"OAMHES02"))
    assert refused(protection.invoke, 1, stranger) is AccessResult.OTHER_REASON
    new = CipherSide(cipher).seal(encode(structure(octets(b"set"))))
    damaged = new[:-1] + bytes((new[-1] ^ 1,))
    request = (listed(1, NOTE), parameters(2))
    assert refused(protection.invoke, 2, structure(*request, octets(damaged))) is AccessResult.OTHER_REASON
    assert house.note == b"hello"
    protection.invoke(2, structure(*request, octets(new)))
    assert house.note == b"set"
    assert (
        refused(protection.invoke, 2, structure(*request, octets(new))) is AccessResult.OTHER_REASON
    )  # replay
    run = structure(
        value_definition(70, RELAY, 1),
        parameters(2),
        octets(CipherSide(cipher).seal(encode(structure(NOTHING)))),
    )
    assert protection.invoke(3, run) is not None
    assert house.where is ControlState.DISCONNECTED


class CipherSide:
    """The client's side of data protection."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def seal(self, plain: bytes) -> bytes:
        return self._cipher.seal(plain, AUTHENTICATED_ENCRYPTION, Form.GENERAL_GLOBAL)


def test_refusals_of_keys_never_show_them() -> None:
    security, incidents = secured()
    setup = SecuritySetup(ObisCode(0, 0, 43, 0, 0), security, 1, CLIENT)
    text = wrap(security.keys.authentication, Secret(b"0123456789abcdef"))
    with pytest.raises(AccessError) as caught:
        setup.invoke(2, array([structure(Data(Tag.ENUM, 0), octets(text))]))
    shown = f"{caught.value} {incidents} {security.keys}"
    for secret in (security.keys.master, security.keys.authentication, security.keys.global_unicast):
        assert secret.reveal().hex() not in shown
