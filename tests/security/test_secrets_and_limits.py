"""What an audit looked for: counters at their end, secrets in what people see, files, two writers."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from answering_meters import answered
from certified import Authority, write_private
from openami.cli.dlms_access import MeterOptions
from openami.cli.dlms_public_keys import PublicKeys
from openami.meter.fleet_spec import FleetSpec, KeySpec, fleet_document, fleet_from_document, household_fleet
from openami.meter.public_key_spec import PublicKeySpec
from openami.protocols.dlms.apdus.descriptors import Attribute
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity, send_counter_name
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.interface_classes.data import DataObject
from openami.protocols.dlms.server.association_policy import secured_management
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.protocols.dlms.server.device_security import send_counter_name as meter_counter_name
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.quantities.errors import ProtocolError, SecurityError
from openami.quantities.obis import ObisCode
from openami.security.counters import MAX_COUNTER, MemoryCounters, SendCounter
from openami.security.key_files import certificate_file, private_key_file, public_key_file
from openami.security.meter_keys import KeyKind, MeterKeys
from openami.security.secret import Secret
from openami.security.signature import new_private_key
from openami.security.suites import SUITE_1, SUITE_2
from openami.workspace.meter_access import open_keyring

NOTE = ObisCode(0, 0, 96, 1, 0)
METER, CLIENT = b"OAM00001", b"OAMHES01"


def device(keys: MeterKeys, begins: int) -> LogicalDevice:
    security = DeviceSecurity(METER, keys, MemoryCounters({meter_counter_name(METER): begins}))
    note = DataObject(NOTE, lambda: Data(Tag.OCTET_STRING, b"a note"))
    return LogicalDevice([note], [secured_management()], security)


def test_a_counter_at_its_end_refuses_and_never_begins_again() -> None:
    store = MemoryCounters({"n": MAX_COUNTER - 1})
    counter = SendCounter(store, "n")
    assert [counter.take(), counter.take()] == [MAX_COUNTER - 1, MAX_COUNTER]
    for other in (counter, counter, SendCounter(store, "n")):
        with pytest.raises(SecurityError, match="used up"):
            other.take()
        with pytest.raises(SecurityError, match="asked to go"):
            other.advance(0)
    with pytest.raises(SecurityError, match="asked to go"):
        SendCounter(MemoryCounters(), "n").advance(MAX_COUNTER + 1)


@pytest.mark.parametrize("left", range(5))
def test_neither_client_nor_meter_goes_on_when_the_counters_of_a_key_are_used_up(left: int) -> None:
    keys = MeterKeys.random()
    name = send_counter_name(CLIENT, keys)
    client = MemoryCounters({name: MAX_COUNTER + 1 - left})
    one = Association(7, 1, security=ClientSecurity(CLIENT, keys, counters=client))
    operations = [one.associate(), *(one.get(Attribute(1, NOTE, 2)) for _ in range(6))]
    with pytest.raises(SecurityError, match="used up"):
        answered(device(keys, 0), *operations)
    other = Association(7, 1, security=ClientSecurity(CLIENT, keys, counters=MemoryCounters()))
    operations = [other.associate(), *(other.get(Attribute(1, NOTE, 2)) for _ in range(6))]
    with pytest.raises(ProtocolError):  # it says nothing that it cannot protect
        answered(device(keys, MAX_COUNTER + 1 - left), *operations)


def test_new_keys_begin_their_own_counters() -> None:
    keys = MeterKeys.random()
    new = keys.with_key(KeyKind.GLOBAL_UNICAST, Secret.random(16))
    store = MemoryCounters({send_counter_name(CLIENT, keys): MAX_COUNTER + 1})
    meter = device(new, 0)
    one = Association(7, 1, security=ClientSecurity(CLIENT, new, counters=store))
    assert answered(meter, one.associate(), one.get(Attribute(1, NOTE, 2)))[1] == b"a note"
    assert store.load(send_counter_name(CLIENT, new)) < 1000


def test_nothing_that_people_see_has_a_secret_in_it(tmp_path: Path) -> None:
    secret, scalar = "00112233445566778899aabbccddeeff", "7" * 64
    options = MeterOptions("10.0.0.7", password="hunter22", guek=secret, gak=secret, kek=secret)
    public = PublicKeySpec(signing=scalar, agreement=scalar)
    spec = KeySpec(secret, secret[::-1], "0f" * 16, 1, public)
    signing = new_private_key(SUITE_1)
    shown = f"{options!r} {options} {public!r} {spec!r} {PublicKeys(signing=signing)!r}"
    for word in (
        secret,
        secret[::-1],
        "0f" * 16,
        scalar,
        "hunter22",
        str(signing.private_numbers().private_value),
    ):
        assert word not in shown
    for wrong in (
        lambda: PublicKeySpec(mechanism=7),
        lambda: PublicKeySpec(mechanism=6),
        lambda: PublicKeySpec(client_title="zz"),
        lambda: PublicKeySpec(anchors=("00",)),
    ):
        with pytest.raises(SecurityError):
            wrong()


def test_a_fleet_file_keeps_public_keys() -> None:
    anchor = Authority().der.hex()
    public = PublicKeySpec(7, CLIENT.hex(), "07" * 32, None, "09" * 32, None, (anchor,))
    fleet = household_fleet(1, seed=1, start=datetime(2026, 11, 1, tzinfo=UTC))
    keys = fleet.meters[0].keys
    assert keys is not None
    meter = replace(fleet.meters[0], keys=replace(keys, suite=1, public_keys=public))
    whole = FleetSpec(1, fleet.start, (meter,))
    assert fleet_from_document(fleet_document(whole)) == whole


def test_files_of_the_keyring_are_for_their_owner_alone_whatever_the_mask(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with open_keyring(tmp_path) as ring, ring.rotation():
            ring.reserve("n", 1)
            ring.offer("M", MeterKeys.random())
            found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(mask)
    assert found == {"keyring.sqlite": 0o600, "keyring.key": 0o600, "keyring.sqlite.rotation": 0o600}


def test_two_writers_of_one_keyring_offer_one_set_of_keys(tmp_path: Path) -> None:
    sets = [MeterKeys.random() for _ in range(8)]
    with open_keyring(tmp_path):
        pass
    given: list[MeterKeys] = []

    def offer(keys: MeterKeys) -> None:
        with open_keyring(tmp_path) as ring:
            given.append(ring.offer("M", keys))

    threads = [threading.Thread(target=offer, args=(keys,)) for keys in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 8
    assert len(set(given)) == 1


def test_key_files_are_read_as_what_they_are_or_refused_without_their_content(tmp_path: Path) -> None:
    key = new_private_key(SUITE_1)
    file = write_private(tmp_path / "key.pem", key, "passphrase")
    read = private_key_file(file, SUITE_1, lambda: Secret(b"passphrase"))
    assert read.private_numbers() == key.private_numbers()
    for given in (None, Secret(b"wrong"), Secret(b"")):
        with pytest.raises(SecurityError):
            private_key_file(file, SUITE_1, lambda word=given: word)
    with pytest.raises(SecurityError, match="secp256r1"):
        private_key_file(file, SUITE_2, lambda: Secret(b"passphrase"))
    bad = tmp_path / "bad"
    for content in (b"", b"rubbish", b"-----BEGIN RUBBISH-----", file.read_bytes()[:80], bytes(70_000)):
        bad.write_bytes(content)
        bad.chmod(0o600)
        for load in (
            lambda: private_key_file(bad, SUITE_1, lambda: None),
            lambda: public_key_file(bad, SUITE_1),
            lambda: certificate_file(bad),
        ):
            with pytest.raises(SecurityError) as caught:
                load()
            assert b"rubbish" not in str(caught.value).encode()
    with pytest.raises(SecurityError, match="cannot be read"):
        certificate_file(tmp_path / "nowhere")
    with pytest.raises(SecurityError):  # a private key where a public one should be
        public_key_file(file, SUITE_1)
