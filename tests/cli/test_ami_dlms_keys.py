"""`ami dlms keys`: new keys for meters of a workspace, end to end, and no key is ever shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ami_command import Outcome, call_ami, run_ami
from certified import Authority, write_private
from openami.meter.fleet_spec import MANUFACTURER
from openami.security.meter_keys import KeyKind, MeterKeys, system_title_of
from openami.security.secret import Secret
from openami.security.signature import new_private_key
from openami.security.suites import suite
from openami.workspace.meter_access import open_keyring
from served_processes import address_of, served_meters

METERS = ("H000001", "H000002", "H000003")
KEY = "00112233445566778899aabbccddeeff"


@dataclass(frozen=True)
class World:
    folder: Path
    address: str

    def keys(self, *words: object, code: int = 0) -> Outcome:
        done = call_ami("dlms", "keys", *words, cwd=self.folder)
        assert done.code == code, done.out + done.err
        with open_keyring(self.folder / "ami-data") as ring:
            for meter in ring.meters():
                for keys in (ring.credentials(meter).keys, ring.pending(meter)):
                    for kind in KeyKind:
                        key = None if keys is None else keys.key(kind)
                        assert key is None or key.reveal().hex() not in done.out + done.err
        return done

    def known(self, meter: str) -> MeterKeys:
        with open_keyring(self.folder / "ami-data") as ring:
            keys = ring.credentials(meter).keys
        assert keys is not None
        return keys


def served(folder: Path, *more: object) -> Iterator[World]:
    with served_meters("--days", 0, "--keyring", "ami-data", *more, cwd=folder) as document:
        yield World(folder, address_of(document))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("utility")
    assert call_ami("init", cwd=folder).code == 0
    for world in served(folder, "--meters", 3, "--write-site", "site.toml"):
        assert call_ami("import", "site.toml", cwd=folder).code == 0
        yield world


def test_the_whole_fleet_of_a_workspace_gets_new_keys_and_is_read_by_them(world: World) -> None:
    before = {meter: world.known(meter) for meter in METERS}
    done = run_ami("dlms", "keys", "rotate", "--all", cwd=world.folder)
    assert done.code == 0, done.err
    lines = sorted(done.out.splitlines())
    assert [line.split(";")[0] for line in lines] == [f"{meter}: rotated" for meter in METERS]
    for meter, old in before.items():
        assert set(old.fingerprints.values()).isdisjoint(world.known(meter).fingerprints.values())
    read = call_ami(
        "dlms", "read", world.address, "0-0:96.1.0", "--server", 17, "--keyring", "ami-data", "--meter",
        METERS[1], "--json", cwd=world.folder,
    )  # fmt: skip
    assert read.document["values"][0]["raw"] == METERS[1].encode().hex()
    shown = world.keys("show", "--json").document["meters"]
    assert [item["id"] for item in shown] == list(METERS)
    assert shown[0]["keys"]["encryption"] == world.known(METERS[0]).global_unicast.fingerprint
    assert shown[0]["pending"] == {}
    assert shown[0]["counter"] > 200_000_000  # seconds since 2020
    assert METERS[2] in world.keys("show").out


def test_one_meter_gets_one_key_at_an_address(world: World) -> None:
    before = world.known(METERS[2])
    words = (world.address, "--server", 18, "--meter", METERS[2])
    done = world.keys("rotate", *words, "--keys", "broadcast,authentication", "--json").document["meters"][0]
    assert (done["outcome"], done["changed"]) == ("rotated", ["authentication", "broadcast"])
    after = world.known(METERS[2])
    assert (after.master, after.global_unicast) == (before.master, before.global_unicast)
    assert after.authentication != before.authentication
    checked = world.keys("check", *words, "--json").document["meters"][0]
    assert (checked["outcome"], checked["good"]) == ("confirmed", True)


def test_what_was_cut_is_said_and_settled(world: World) -> None:
    meter, words = METERS[0], (world.address, "--server", 16, "--meter", METERS[0])
    present = world.known(meter)

    def cut() -> None:
        with open_keyring(world.folder / "ami-data") as ring:
            ring.offer(meter, present.with_key(KeyKind.AUTHENTICATION, Secret.random(16)))

    def read() -> Outcome:
        return call_ami(
            "dlms", "read", world.address, "0-0:96.1.0", "--server", 16, "--keyring", "ami-data", "--meter",
            meter, "--json", cwd=world.folder,
        )  # fmt: skip

    def pending() -> list[str]:
        return list(world.keys("show", "--meter", meter, "--json").document["meters"][0]["pending"])

    cut()
    assert pending() == ["authentication"]
    assert "not rotated, new keys wait" in world.keys("check", *words, code=1).out
    with open_keyring(world.folder / "ami-data") as ring, ring.rotation():
        done = read()  # somebody else is at work: what is on its way was not left behind
        assert (done.code, done.err) == (0, "")
    assert pending() == ["authentication"]
    done = read()
    assert done.code == 0
    assert done.err.strip() == (
        "H000001: a rotation of its keys was interrupted: not rotated, has the keys of before"
    )
    assert pending() == []
    cut()
    assert "H000001: rotated" in world.keys("rotate", *words).out
    assert pending() == []
    assert read().err == ""


def test_a_meter_that_is_away_is_named_and_its_keys_stay(world: World) -> None:
    before = world.known(METERS[1])
    words = ("127.0.0.1:9", "--meter", METERS[1], "--timeout", 0.5)
    done = world.keys("rotate", *words, "--json", code=1).document["meters"][0]
    assert (done["outcome"], done["good"], done["keys"]) == ("not seen", False, {})
    assert "127.0.0.1:9" in done["detail"]
    assert world.known(METERS[1]) == before
    assert world.keys("rotate", "--meter", METERS[1], "--json").document["meters"][0]["good"]


def test_faults_of_the_command_line_are_named(world: World) -> None:
    faults: list[tuple[tuple[Any, ...], str]] = [
        (("rotate",), "--meter"),
        (("rotate", "--all", "--meter", METERS[0]), "--all"),
        (("rotate", "--all", "--keys", "encryption,house"), "--keys"),
        (("rotate", "--meter", "nobody"), "--meter"),
        (("rotate", "--all", "--agree"), "--agree"),
        (("show", "--keyring", "nowhere"), "nowhere"),
        (("import", "M9"), "--guek"),
        (("import", "M9", "--guek", KEY, "--gak", KEY[::-1]), "--kek"),
        (("import", "M9", "--guek", KEY, "--gak", "00", "--kek", KEY), "--gak"),
    ]
    for words, where in faults:
        done = world.keys(*words, "--json", code=2)
        assert done.document["error"]["where"] == where, words
        assert KEY not in done.out + done.err
    with open_keyring(world.folder / "ami-data") as ring, ring.rotation():
        assert (
            "another process" in world.keys("rotate", "--all", "--json", code=2).document["error"]["message"]
        )


def test_keys_are_imported_and_shown_by_their_fingerprints(world: World, tmp_path: Path) -> None:
    keys = MeterKeys.random()
    assert keys.global_broadcast is not None
    given = {
        "--guek": keys.global_unicast,
        "--gak": keys.authentication,
        "--kek": keys.master,
        "--gbek": keys.global_broadcast,
    }
    words = [word for option, key in given.items() for word in (option, key.reveal().hex())]
    done = call_ami("dlms", "keys", "import", "M7", "--keyring", tmp_path, *words,
                    "--meter-title", b"OAM00001".hex(), "--json", cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    assert done.document["keys"]["master"] == keys.master.fingerprint
    with open_keyring(tmp_path) as ring:
        assert ring.credentials("M7").keys == keys
        assert ring.credentials("M7").title == b"OAM00001"


def test_a_master_key_is_agreed_on_by_signatures(tmp_path: Path) -> None:
    chosen, title = suite(2), system_title_of(MANUFACTURER, METERS[0])
    own, meters = new_private_key(chosen), new_private_key(chosen)
    authority = Authority(curve=chosen.curve)
    write_private(tmp_path / "own.pem", own)
    write_private(tmp_path / "meter.pem", meters)
    (tmp_path / "own.der").write_bytes(authority.certify(b"OAMHES01", own.public_key()))
    (tmp_path / "meter.der").write_bytes(authority.certify(title, meters.public_key()))
    for here in served(
        tmp_path, "--suite", 2, "--mechanism", 7, "--signing-key", "meter.pem",
        "--client-certificate", "own.der",
    ):  # fmt: skip
        before = here.known(METERS[0])
        done = here.keys(
            "rotate", here.address, "--server", 16, "--meter", METERS[0], "--mechanism", 7,
            "--signing-key", "own.pem", "--meter-certificate", "meter.der", "--agree", "--json",
        ).document["meters"][0]  # fmt: skip
        assert (done["outcome"], done["changed"]) == ("rotated", ["master", "encryption", "authentication"])
        assert set(before.fingerprints.values()).isdisjoint(here.known(METERS[0]).fingerprints.values())
