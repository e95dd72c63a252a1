"""Meters of mechanism 7 are collected, read and rotated by the keys of the workspace's keyring."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from ami_command import Outcome, call_ami, command, run_ami
from certified import LAST, Authority, write_private, write_public
from openami.meter.fleet_spec import MANUFACTURER
from openami.security.keyring import store_key
from openami.security.meter_keys import system_title_of
from openami.security.public_keys import meter_keys_of
from openami.security.signature import new_private_key
from openami.security.suites import suite
from openami.workspace.meter_access import open_keyring

METERS = ("H000001", "H000002", "H000003")
PASSPHRASE = "correct horse battery"
SUITE = suite(1)


@dataclass(frozen=True)
class World:
    folder: Path
    address: str
    scalar: bytes

    def ami(self, *words: object, code: int = 0) -> Outcome:
        done = call_ami(*words, cwd=self.folder)
        assert done.code == code, done.out + done.err
        assert self.scalar.hex() not in done.out + done.err
        return done

    def keys(self, *words: object, code: int = 0) -> Outcome:
        return self.ami("dlms", "keys", *words, code=code)

    def read(self, meter: str = METERS[0], code: int = 0) -> Outcome:
        server = 16 + METERS.index(meter)
        return self.ami("dlms", "read", self.address, "0-0:96.1.0", "--server", server, "--keyring",
                        "ami-data", "--meter", meter, "--json", code=code)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three meters served by mechanism 7, and a workspace that knows them from their site file."""
    folder = tmp_path_factory.mktemp("utility")
    own, meters = new_private_key(SUITE), new_private_key(SUITE)
    write_private(folder / "own.pem", own, PASSPHRASE)
    write_private(folder / "meter.pem", meters)
    write_public(folder / "own.pub", own.public_key())
    write_public(folder / "meter.pub", meters.public_key())
    authority = Authority(curve=SUITE.curve)
    (folder / "root.der").write_bytes(authority.der)
    for meter in METERS:
        title = system_title_of(MANUFACTURER, meter)
        (folder / f"{meter}.der").write_bytes(authority.certify(title, meters.public_key()))
    (folder / "late.der").write_bytes(
        authority.certify(
            system_title_of(MANUFACTURER, METERS[0]), meters.public_key(), first=LAST.replace(year=2035)
        )
    )
    assert call_ami("init", cwd=folder).code == 0
    words = command(
        "dlms", "serve", "--port", 0, "--json", "--days", 2, "--meters", 3, "--suite", 1, "--mechanism", 7,
        "--signing-key", "meter.pem", "--client-certificate", "own.pub", "--keyring", "meters",
        "--write-site", "site.toml",
    )  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        lines = b""
        while not lines.endswith(b"\n}\n"):
            line = process.stdout.readline()
            assert line, "the meters ended before they listened"
            lines += line
        served = orjson.loads(lines)
        assert [client["mechanism"] for client in served["clients"]] == [0, 7]
        scalar = own.private_numbers().private_value.to_bytes(32, "big")
        assert call_ami("import", "site.toml", cwd=folder).code == 0
        yield World(folder, f"127.0.0.1:{served['ports'][0]}", scalar)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def equipped(world: World) -> World:
    """The same with our signature key in the keyring, where the first test has not put it there."""
    with open_keyring(world.folder / "ami-data") as keyring:
        there = keyring.own("signature", 1) is not None
    if not there:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OPENAMI_DLMS_PASSPHRASE", PASSPHRASE)
            world.keys("import-own", "own.pem")
    return world


def test_a_fleet_of_mechanism_7_is_collected_when_our_key_is_in_the_keyring(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = (world.folder / "site.toml").read_text()
    assert site.count("mechanism = 7") == 3
    without = world.ami("collect", "--json", code=1).document
    assert (without["read"], without["failed"]) == (0, 3)
    assert "no signature key of ours for suite 1" in without["failures"][0]["reason"]
    assert without["failures"][0]["attempts"] == 1
    assert "import-own" in world.read(code=2).document["error"]["expected"]
    monkeypatch.setenv("OPENAMI_DLMS_PASSPHRASE", "another")
    world.keys("import-own", "own.pem", code=2)
    monkeypatch.setenv("OPENAMI_DLMS_PASSPHRASE", PASSPHRASE)
    shown = world.keys("import-own", "own.pem", "--json").document
    assert (shown["purpose"], shown["suite"]) == ("signature", 1)
    monkeypatch.delenv("OPENAMI_DLMS_PASSPHRASE")
    (world.folder / "own.pem").rename(world.folder / "away.pem")
    done = run_ami("collect", "--json", cwd=world.folder)
    assert done.code == 0, done.out + done.err
    assert (done.document["read"], done.document["failed"]) == (3, 0)
    assert done.document["intervals"] > 3 * 90
    for meter in METERS:
        assert world.read(meter).document["values"][0]["raw"] == meter.encode().hex()


def test_a_fleet_of_mechanism_7_is_rotated_and_read_by_the_new_keys(equipped: World) -> None:
    done = equipped.keys("rotate", "--all", "--json").document["meters"]
    assert [item["outcome"] for item in done] == ["rotated"] * 3
    assert equipped.read(METERS[2]).code == 0
    shown = equipped.keys("show", "--json").document["meters"]
    assert [(item["id"], item["mechanism"]) for item in shown] == [(meter, 7) for meter in METERS]


def test_certificates_of_a_meter_are_imported_and_held_against_title_trust_and_date(equipped: World) -> None:
    before = _public(equipped)
    for words, message in (
        (("--meter-certificate", "H000002.der"), "another system title"),
        (("--meter-certificate", "meter.pub", "--trust", "root.der"), "nobody vouches for"),
        (("--mechanism", 3), "mechanism 3"),
        (("--meter-certificate", "late.der"), "valid from 2035"),
    ):
        refused = equipped.keys("import", METERS[0], *words, "--json", code=2)
        assert message in refused.document["error"]["message"], words
    assert _public(equipped) == before
    given = ("--meter-certificate", "H000001.der", "--trust", "root.der")
    assert equipped.keys("import", METERS[0], *given, "--json").document["mechanism"] == 7
    assert _public(equipped) == (equipped.folder / "H000001.der").read_bytes()
    assert equipped.read().code == 0
    equipped.keys("import", METERS[0], "--mechanism", 5)
    assert "mechanism" in equipped.read(code=2).document["error"]["expected"]
    equipped.keys("import", METERS[0], "--mechanism", 7)
    assert equipped.read().code == 0


def test_our_private_key_lies_wrapped_and_is_no_meter(equipped: World) -> None:
    folder = equipped.folder / "ami-data"
    stored = b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
    assert equipped.scalar not in stored
    assert equipped.scalar.hex().encode() not in stored
    with open_keyring(folder) as keyring:
        assert keyring.meters() == METERS
        own = keyring.own("signature", 1)
        assert own is not None
        assert own.reveal() == equipped.scalar
        assert keyring.own("signature", 2) is None
        assert keyring.own("agreement", 1) is None
    assert store_key(folder / "keyring.key") is not None


def _public(world: World) -> bytes:
    with open_keyring(world.folder / "ami-data") as keyring:
        return meter_keys_of(keyring, METERS)[METERS[0]].signature
