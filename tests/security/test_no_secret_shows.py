"""Marked keys and passwords go through everything that prints, raises or writes: they come out nowhere."""

from __future__ import annotations

import stat
import traceback
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from openami.cli.meter import site_text
from openami.meter.fleet_spec import FleetSpec, KeySpec, MeterSpec, fleet_document, load_fleet, save_fleet
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.meter.serve import Serving
from openami.protocols.dlms.apdus.acse import AssociationRequest
from openami.protocols.dlms.apdus.authentication import Mechanism
from openami.protocols.dlms.apdus.initiate import SUPPORTED, InitiateRequest
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.server.association_policy import AssociationPolicy
from openami.protocols.dlms.server.device_security import DeviceSecurity
from openami.quantities.errors import OpenAmiError
from openami.readings.read_order import ReadOrder
from openami.security.keyring import Keyring, MeterCredentials
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from openami.workspace.site import read_site

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = ("5ec2e7a1" * 4, "5ec2e7a2" * 4, "5ec2e7a3" * 4)
PASSWORD = "5ec2e7-pass"
MARKS = ("5ec2e7", repr(bytes.fromhex("5ec2e7"))[2:-1], "XsLn")  # hex, Python's way, base64


def unmarked(text: str) -> bool:
    return not any(mark in text for mark in MARKS)


def keys() -> MeterKeys:
    unicast, authentication, master = (Secret(bytes.fromhex(key)) for key in KEYS)
    return MeterKeys(unicast, authentication, master)


def fleet() -> FleetSpec:
    curve = CurveSpec(CurveKind.HOUSEHOLD, "one", "Europe/Berlin")
    return FleetSpec(
        1,
        START,
        (
            MeterSpec("M1", 16, curve, keys=KeySpec(*KEYS)),
            MeterSpec("M2", 17, curve, password=PASSWORD),
        ),
    )


def test_nothing_that_holds_a_secret_shows_it() -> None:
    secret = Secret(PASSWORD.encode())
    holders = [
        secret, keys(), MeterCredentials(secret, keys(), b"OAM00001"), fleet(), *fleet().meters,
        ClientSecurity(b"HES00001", keys(), secret=secret), DeviceSecurity(b"OAM00001", keys()),
        AssociationPolicy(1, Mechanism.LOW, PASSWORD.encode()), ClientSecurity(b"HES00001", keys()).cipher(),
        AssociationRequest(b"", secret=PASSWORD.encode()),
        InitiateRequest(SUPPORTED, 1024, bytes.fromhex(KEYS[0])),
        ReadOrder("M", "h", 1, 1, "UTC", START, START, password=PASSWORD.encode()),
    ]  # fmt: skip
    for holder in holders:
        for shown in (repr(holder), str(holder), f"{holder}", repr([holder])):
            assert unmarked(shown), type(holder)
            assert secret.fingerprint not in shown, "eight digits of a hash are enough to find a password"
    with pytest.raises(TypeError):
        __import__("pickle").dumps(secret)


FAULTS = [
    ('keys = { global_unicast = "%s", authentication = "%s", master = "%s" }', (KEYS[0], KEYS[0], KEYS[2])),
    ('keys = { global_unicast = "%sff", authentication = "%s", master = "%s" }', KEYS),
    ('keys = { global_unicast = "%sx", authentication = "%s", master = "%s" }', KEYS),
    ('keys = { global_unicast = "%s", authentication = "%s", master = "%s", suite = 7 }', KEYS),
    ('keys = { global_unicast = "%s", authentication = "%s", master = "%s", suite = 2 }', KEYS),
    ('keys = { global_unicast = "%s", authentication = "%s", maste = "%s" }', KEYS),
    ('keys = { global_unicast = ["%s"], authentication = { a = "%s" }, master = ["%s"] }', KEYS),
    ('keys = ["%s", "%s", "%s"]', KEYS),
    ('keys = "%s%s%s"', KEYS),
    ('keys = { global_unicast = "%s", authentication = "%s", master = "%s" } system_title', KEYS),
    ('keys = { global_unicast = "%s\\u00", authentication = "%s", master = "%s" }', KEYS),
    ("password = { a = '%s' }%.0s%.0s", (PASSWORD, "", "")),
    ("password = ['%s']%.0s%.0s", (PASSWORD, "", "")),
    ("password = '%s%s%s'", (PASSWORD, PASSWORD, "p" * 256)),
    ("password = '%s%s\n%s'", (PASSWORD, "", "")),
]


def _deliver(site: Path, keyring: Path) -> None:
    with Keyring(keyring, Secret(bytes(32))) as ring:
        ring.put(read_site(site).credentials)


@pytest.mark.parametrize(("line", "marks"), FAULTS)
def test_no_fault_of_a_site_file_repeats_a_secret(
    tmp_path: Path, line: str, marks: tuple[str, str, str]
) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        f'format = "openami-site"\n[[meter]]\nid = "M"\nzone = "Europe/Berlin"\n{line % marks}\n', "utf-8"
    )
    with pytest.raises(OpenAmiError) as refused:
        _deliver(file, tmp_path / "keyring")
    assert unmarked(str(refused.value))
    assert unmarked("".join(traceback.format_exception(refused.value)).replace(line, ""))


@pytest.mark.parametrize(
    "wrong",
    [
        {"global_unicast": KEYS[0] + "f"},
        {"global_unicast": KEYS[0] + "ff"},
        {"global_unicast": KEYS[1]},
        {"global_unicast": [KEYS[0]]},
        {"suite": KEYS[0]},
        {"password": KEYS[0] * 9},
        {"password": [PASSWORD]},
        {"other": KEYS[0]},
    ],
)
def test_no_fault_of_a_fleet_file_repeats_a_secret(tmp_path: Path, wrong: dict[str, object]) -> None:
    document = orjson.loads(orjson.dumps(fleet_document(fleet())))
    meter = document["meter"][0]
    (meter if "password" in wrong else meter["keys"]).update(wrong)
    file = tmp_path / "fleet.json"
    file.write_bytes(orjson.dumps(document))
    with pytest.raises(OpenAmiError) as refused:
        load_fleet(file)
    assert unmarked(str(refused.value))
    assert unmarked("".join(traceback.format_exception(refused.value)))


def test_files_with_keys_are_their_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "fleet.json"
    file.write_text("an old one that others may read")
    file.chmod(0o644)
    save_fleet(fleet(), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_fleet(file) == fleet()


def test_a_site_file_of_a_fleet_carries_its_keys_to_the_keyring(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(site_text(fleet(), Serving("127.0.0.1", (4059,), None)), "utf-8")
    site = read_site(file)
    assert unmarked(repr(site))
    assert site.credentials["M1"].keys == keys()
    with Keyring(tmp_path / "keyring", Secret(bytes(32))) as ring:
        ring.put(site.credentials)
        assert ring.credentials_of(["M1", "M2"]) == site.credentials
    written = (tmp_path / "keyring").read_bytes()
    assert not any(bytes.fromhex(key) in written or key.encode() in written for key in KEYS)
    assert PASSWORD.encode() not in written
