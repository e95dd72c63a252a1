"""Certificates through the security setup, and what they open: mechanism 7, signatures, agreed keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from acting_objects import octets, refused
from answering_meters import answered
from certified import Authority
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.apdus.results import AccessResult, AssociationError
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.axdr import NULL, Data, Tag, array, decode_plain, encode, structure
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.interface_classes.security_setup import SecuritySetup, SecuritySetupVersion0
from openami.protocols.dlms.protection.general_ciphering import KeySource
from openami.protocols.dlms.protection.message_protection import Signing
from openami.protocols.dlms.server.association_policy import AssociationPolicy, secured_management
from openami.protocols.dlms.server.device_security import Attack, DeviceSecurity, Incident
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.errors import ProtocolError
from openami.quantities.obis import ObisCode
from openami.security.certificate_store import CertificateStore
from openami.security.certificates import Certificate, CertificateKind
from openami.security.counters import MemoryCounters
from openami.security.key_wrap import wrap
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.security.signature import new_private_key
from openami.security.suites import SUITE_1

METER, CLIENT = b"OAM\x00\x00\x00\x00\x07", b"OAMHES01"
SIGNATURE, AGREEMENT = CertificateKind.SIGNATURE, CertificateKind.AGREEMENT
SETUP, NOTE = ObisCode(0, 0, 43, 0, 0), ObisCode(0, 0, 96, 1, 0)


def enum(value: int) -> Data:
    return Data(Tag.ENUM, value)


def of_entity(entity: int, kind: int, title: bytes) -> Data:
    return structure(enum(0), structure(enum(entity), enum(kind), octets(title)))


class World:
    """A meter with an anchor, and its security setup."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.root = Authority()
        self.incidents: list[Incident] = []
        self.counters = MemoryCounters()
        certificates = CertificateStore(METER, [Certificate.from_der(self.root.der)], lambda: self.now)
        self.security = DeviceSecurity(
            METER,
            MeterKeys.random(1),
            None,
            self.incidents.append,
            certificates=certificates,
            client_titles={1: CLIENT},
        )
        self.setup = SecuritySetup(SETUP, self.security, 1)
        self.private = {kind: new_private_key(SUITE_1) for kind in (SIGNATURE, AGREEMENT)}

    def equip(self) -> dict[CertificateKind, ec.EllipticCurvePublicKey]:
        """Key pairs and certificates for both sides; the meter's public keys."""
        public: dict[CertificateKind, ec.EllipticCurvePublicKey] = {}
        for kind in (SIGNATURE, AGREEMENT):
            self.setup.invoke(4, enum(kind.value))
            asked = self.setup.invoke(5, enum(kind.value))
            assert asked is not None
            assert isinstance(asked.value, bytes)
            key = x509.load_der_x509_csr(asked.value).public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            public[kind] = key
            self.take(self.root.certify(METER, key, kind))
            self.take(self.root.certify(CLIENT, self.private[kind].public_key(), kind))
        return public

    def take(self, der: bytes) -> None:
        assert self.setup.invoke(6, octets(der)) is None

    def device(self, **changes: Any) -> LogicalDevice:
        base = secured_management()
        policy: AssociationPolicy = replace(base, **{"mechanism": Mechanism.HIGH_ECDSA, **changes})
        note = DataObject(NOTE, lambda: octets(b"a note"))
        return LogicalDevice([self.setup, note], [policy], self.security)

    def client(self, public: dict[CertificateKind, ec.EllipticCurvePublicKey], **changes: Any) -> Association:
        security = ClientSecurity(
            CLIENT,
            self.security.keys,
            Mechanism.HIGH_ECDSA,
            meter_title=METER,
            signing_key=self.private[SIGNATURE],
            meter_key=public[SIGNATURE],
            agreement_key=self.private[AGREEMENT],
            meter_agreement_key=public[AGREEMENT],
            counters=self.counters,
        )
        return Association(7, 1, security=replace(security, **changes))


def read(device: LogicalDevice, client: Association) -> Any:
    return answered(device, client.associate(), client.get(Attribute(1, NOTE, 2)))[1]


def test_imported_certificates_open_an_association_signed_services_and_agreed_keys() -> None:
    world = World()
    public = world.equip()
    assert read(world.device(), world.client(public)) == b"a note"
    signed = world.device(signing=Signing.REQUIRED)
    assert read(signed, world.client(public, signing=Signing.REQUIRED)) == b"a note"
    for source in (KeySource.ONE_PASS, KeySource.STATIC):
        agreed = world.device(key_sources=frozenset((source,)))
        assert read(agreed, world.client(public, key_source=source)) == b"a note"
    assert not world.incidents


def test_a_client_whose_certificate_is_gone_or_expired_or_of_another_title_stays_out() -> None:
    world = World()
    public = world.equip()
    world.now += timedelta(days=20 * 365)
    with pytest.raises(AssociationError):
        read(world.device(), world.client(public))
    assert world.incidents[-1].attack is Attack.WRONG_CERTIFICATE
    world.now -= timedelta(days=20 * 365)
    read(world.device(), world.client(public))
    stranger, key = b"OAMHES02", new_private_key(SUITE_1)
    world.take(world.root.certify(stranger, key.public_key()))  # of another client of the same utility
    with pytest.raises(AssociationError):
        read(world.device(), world.client(public, title=stranger, signing_key=key))
    world.setup.invoke(8, of_entity(1, 0, CLIENT))
    with pytest.raises(AssociationError):
        read(world.device(), world.client(public))
    world.take(world.root.certify(CLIENT, world.private[SIGNATURE].public_key()))
    assert read(world.device(), world.client(public)) == b"a note"


def test_a_certificate_takes_the_place_of_a_key_that_came_with_the_meter() -> None:
    world = World()
    old = new_private_key(SUITE_1)
    world.security.client_keys = {1: old.public_key()}
    world.setup.invoke(4, enum(0))
    asked = world.setup.invoke(5, enum(0))
    assert asked is not None
    assert isinstance(asked.value, bytes)
    key = x509.load_der_x509_csr(asked.value).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    world.take(world.root.certify(METER, key))
    public = {SIGNATURE: key, AGREEMENT: key}
    assert read(world.device(), world.client(public, signing_key=old)) == b"a note"
    world.take(world.root.certify(CLIENT, world.private[SIGNATURE].public_key()))
    assert read(world.device(), world.client(public)) == b"a note"
    with pytest.raises(ProtocolError):
        read(world.device(), world.client(public, signing_key=old))
    assert world.incidents[-1].attack is Attack.WRONG_PROOF


def test_the_list_of_certificates_and_each_by_entity_or_number() -> None:
    world = World()
    world.equip()
    listed = decode_plain(world.setup.value(6))
    assert isinstance(listed, list)
    assert [tuple(item[:2]) for item in listed] == [(2, 3), (0, 0), (1, 0), (0, 1), (1, 1)]
    for held, item in zip(world.security.certificates.certificates, listed, strict=True):
        assert tuple(item[2:]) == (held.serial_number, held.issuer, held.subject, b"")
        by_number = structure(enum(1), structure(octets(held.serial_number), octets(held.issuer)))
        assert world.setup.invoke(7, by_number) == octets(held.der)
        padded = structure(enum(1), structure(octets(b"\0" + held.serial_number), octets(held.issuer)))
        assert world.setup.invoke(7, padded) == octets(held.der)
    anchor = structure(enum(1), structure(octets(listed[0][2]), octets(listed[0][3])))
    assert refused(world.setup.invoke, 8, anchor) is AccessResult.READ_WRITE_DENIED
    world.setup.invoke(8, of_entity(1, 0, CLIENT))
    assert refused(world.setup.invoke, 7, of_entity(1, 0, CLIENT)) is AccessResult.OBJECT_UNAVAILABLE
    assert refused(world.setup.invoke, 8, of_entity(1, 0, CLIENT)) is AccessResult.OBJECT_UNAVAILABLE
    assert len(world.security.certificates.certificates) == 4


def test_what_is_no_parameter_or_no_certificate_is_refused_and_changes_nothing() -> None:
    world = World()
    world.equip()
    before = world.security.certificates.certificates
    wrong_types = [
        (4, NULL), (4, enum(9)), (5, octets(b"\0")), (6, NULL), (6, octets(b"")), (6, octets(bytes(2049))),
        (7, enum(0)), (7, structure(enum(2), structure(enum(0), enum(0), octets(METER)))),
        (7, structure(enum(0), structure(octets(b"\1"), octets(b"\1")))), (8, structure()),
        (8, structure(enum(0), structure(enum(4), enum(0), octets(METER)))),
    ]  # fmt: skip
    for index, parameter in wrong_types:
        assert refused(world.setup.invoke, index, parameter) is AccessResult.TYPE_UNMATCHED, index
    good = world.root.certify(CLIENT, new_private_key(SUITE_1).public_key())
    for der in (
        b"\0",
        good[:-1],
        good + b"\0",
        Authority().certify(CLIENT, new_private_key(SUITE_1).public_key()),
    ):
        assert refused(world.setup.invoke, 6, octets(der)) is AccessResult.OTHER_REASON
        assert world.incidents.pop().attack is Attack.WRONG_CERTIFICATE
    assert refused(world.setup.invoke, 4, enum(2)) is AccessResult.OTHER_REASON
    assert world.security.certificates.certificates == before
    world.security.keys = MeterKeys.random(0)
    assert refused(world.setup.invoke, 4, enum(0)) is AccessResult.OTHER_REASON
    old = SecuritySetupVersion0(SETUP, world.security, 1)
    assert refused(old.invoke, 6, octets(good)) is AccessResult.OBJECT_UNDEFINED
    assert refused(old.value, 6) is AccessResult.OBJECT_UNDEFINED


def test_no_private_key_leaves_the_meter() -> None:
    world = World()
    world.equip()
    shown = b"".join(world.setup.value(index) for index in range(2, 7))
    shown += b"".join(item.der for item in world.security.certificates.certificates)
    for kind in (SIGNATURE, AGREEMENT):
        asked = world.setup.invoke(5, enum(kind.value))
        assert asked is not None
        shown += encode(asked)
        key = world.security.certificates.private_key(kind)
        assert key is not None
        secret = Secret(key.private_numbers().private_value.to_bytes(32, "big"))
        assert secret.reveal() not in shown
        assert secret.reveal().hex() not in f"{world.security.certificates!r} {world.incidents}"


def test_signatures_are_asked_for_only_where_both_sides_can_sign() -> None:
    world = World()
    for bit in (16, 128):
        assert refused(world.setup.invoke, 1, enum(4 | 8 | bit)) is AccessResult.OTHER_REASON
    assert not world.setup.signing_required
    world.equip()
    world.setup.invoke(1, enum(4 | 8 | 16))
    assert world.setup.signing_required
    assert refused(world.setup.invoke, 1, enum(4 | 8)) is AccessResult.READ_WRITE_DENIED


def test_two_keys_for_one_purpose_are_refused() -> None:
    world = World()
    master, before = world.security.keys.master, world.security.keys
    twice = array(structure(enum(0), octets(wrap(master, Secret.random(16)))) for _ in range(2))
    assert refused(world.setup.invoke, 2, twice) is AccessResult.OTHER_REASON
    assert world.security.keys == before
