"""`ami dlms read` by mechanism 7, signed and general-ciphered, from `ami dlms serve` in another process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ami_command import Ami, Outcome, call_ami, run_ami
from certified import LAST, Authority, write_private, write_public
from openami.meter.fleet_spec import MANUFACTURER
from openami.security.certificates import CertificateKind
from openami.security.meter_keys import MeterKeys, system_title_of
from openami.security.signature import new_private_key
from openami.security.suites import suite
from served_processes import address_of, served_meters

CLIENT, METER = b"OAMHES01", system_title_of(MANUFACTURER, "H000001")
PASSPHRASE = "correct horse battery"


@dataclass(frozen=True)
class World:
    """A served meter, and what its client has in its folder."""

    folder: Path
    address: str
    keys: tuple[str, ...]
    files: tuple[str, ...]
    agreement: tuple[str, ...]

    def read(self, *options: object, code: int = 0, ami: Ami = call_ami) -> Outcome:
        done = ami(
            "dlms", "read", self.address, "0-0:96.1.0", "--server", 16, *self.keys, *options, "--json",
            cwd=self.folder,
        )  # fmt: skip
        assert done.code == code, done.out + done.err
        assert all(word not in done.out + done.err for word in (*self.keys[1:6:2], PASSPHRASE, "PRIVATE"))
        return done


@pytest.fixture(scope="module", params=[1, 2])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, chosen = tmp_path_factory.mktemp("keys"), suite(request.param)
    authority = Authority(curve=chosen.curve)
    (folder / "root.der").write_bytes(authority.der)
    for kind in (CertificateKind.SIGNATURE, CertificateKind.AGREEMENT):
        for title, who in ((CLIENT, "client"), (METER, "meter")):
            key = new_private_key(chosen)
            write_private(folder / f"{who}-{kind.value}.pem", key, PASSPHRASE if who == "client" else None)
            write_public(folder / f"{who}-{kind.value}.pub", key.public_key())
            (folder / f"{who}-{kind.value}.der").write_bytes(authority.certify(title, key.public_key(), kind))
    secret = MeterKeys.random(chosen.number)
    keys = (
        "--guek", secret.global_unicast.reveal().hex(), "--gak", secret.authentication.reveal().hex(),
        "--kek", secret.master.reveal().hex(), "--suite", str(chosen.number),
    )  # fmt: skip
    words = (
        "--days", 0, *keys, "--mechanism", 7,
        "--signing-key", "meter-0.pem", "--client-certificate", "client-0.der",
        "--agreement-key", "meter-1.pem", "--client-agreement-certificate", "client-1.pub",
    )  # fmt: skip
    with served_meters(*words, cwd=folder) as document:
        assert not any(word in str(document) for word in keys[1:6:2])
        yield World(
            folder,
            address_of(document),
            keys,
            ("--signing-key", "client-0.pem", "--meter-certificate", "meter-0.der", "--mechanism", "7"),
            ("--agreement-key", "client-1.pem", "--meter-agreement-certificate", "meter-1.der"),
        )


FORMS = {
    "glo": (),
    "trusted": ("--trust", "root.der"),
    "signed": ("--sign",),
    "general, global key": ("--form", "general-ciphering"),
    "general, wrapped key": ("--form", "general-ciphering", "--key-source", "wrapped"),
    "general, one-pass": ("--form", "general-ciphering", "--key-source", "one-pass"),
    "general, static, signed": ("--form", "general-ciphering", "--key-source", "static", "--sign"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_meter_is_read_by_signatures_in_every_form(
    world: World, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAMI_DLMS_PASSPHRASE", PASSPHRASE)
    ami = run_ami if (form, world.keys[-1]) == ("glo", "1") else call_ami
    done = world.read(*world.files, *world.agreement, *FORMS[form], ami=ami)
    assert done.document["values"][0]["raw"] == b"H000001".hex()


@pytest.mark.parametrize("world", [1], indirect=True)
def test_what_is_wrong_with_a_key_is_said_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = world.read(*world.files, code=2)
    assert wrong.document["error"]["message"] == "an encrypted key"
    monkeypatch.setenv("OPENAMI_DLMS_PASSPHRASE", "another")
    assert "another passphrase" in world.read(*world.files, code=2).document["error"]["message"]
    monkeypatch.setenv("OPENAMI_DLMS_PASSPHRASE", PASSPHRASE)
    missing = world.read("--mechanism", 7, code=2).document["error"]
    assert (missing["where"], missing["expected"]) == ("--signing-key", "it and --meter-certificate")
    half = world.read("--signing-key", "client-0.pem", code=2).document["error"]
    assert half["where"] == "--meter-certificate"
    swapped = world.read(
        "--mechanism", 7, "--signing-key", "client-0.pem", "--meter-certificate", "meter-1.der", code=2
    )
    assert "somebody or something else" in swapped.document["error"]["message"]
    open_to_all = world.folder / "open.pem"
    open_to_all.write_bytes((world.folder / "meter-0.pem").read_bytes())
    open_to_all.chmod(0o644)
    refused = world.read(
        "--mechanism", 7, "--signing-key", "open.pem", "--meter-certificate", "meter-0.der", code=2
    )
    assert refused.document["error"]["expected"] == "mode 0600"
    stranger = Authority(curve=suite(int(world.keys[-1])).curve)
    (world.folder / "stranger.der").write_bytes(stranger.der)
    alone = world.read(*world.files, "--trust", "stranger.der", code=2).document["error"]
    assert alone["message"] == "a certificate that no trusted authority vouches for"


@pytest.mark.parametrize("world", [1], indirect=True)
def test_a_certificate_of_another_meter_or_another_time_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAMI_DLMS_PASSPHRASE", PASSPHRASE)
    chosen = suite(int(world.keys[-1]))
    authority, key = Authority(curve=chosen.curve), new_private_key(chosen)
    options = ("--mechanism", 7, "--signing-key", "client-0.pem", "--meter-certificate")
    (world.folder / "other.der").write_bytes(authority.certify(b"OAM\0\0\0\0\x09", key.public_key()))
    named = world.read(*options, "other.der", "--meter-title", METER.hex(), code=2).document["error"]
    assert (named["where"], named["expected"]) == ("--meter-certificate", METER.hex())
    assert world.read(*options, "other.der", code=2).document["error"]["kind"] == "ProtectionError"
    late = authority.certify(METER, key.public_key(), first=LAST.replace(year=2035), last=LAST)
    (world.folder / "late.der").write_bytes(late)
    assert "valid from 2035" in world.read(*options, "late.der", code=2).document["error"]["message"]
    (world.folder / "forged.der").write_bytes(authority.certify(METER, key.public_key()))
    assert world.read(*options, "forged.der", code=2).document["error"]["kind"] == "ProtectionError"
