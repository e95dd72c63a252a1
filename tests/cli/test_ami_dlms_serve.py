"""`ami dlms serve` and `models`: what is printed of the served meters is true, and enough to read them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from ami_command import Ami, command
from openami.meter.companion.model import companion_names

PASSWORD = "hunter22"


@contextmanager
def serving(*arguments: object, cwd: Path) -> Iterator[dict[str, Any]]:
    """Served meters as a process of their own; what it printed."""
    words = command("dlms", "serve", "--port", 0, "--json", *arguments)
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=cwd) as process:
        assert process.stdout is not None
        try:
            lines = b""
            while not lines.endswith(b"\n}\n"):
                line = process.stdout.readline()
                assert line, "the meters ended before they listened"
                lines += line
            yield orjson.loads(lines)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("model", "transport"), [("smr-5.0-3p", "tcp"), ("is15959-like-1p", "hdlc"), ("every-class-1p", "udp")]
)
def test_a_model_is_served_and_each_client_of_the_document_gets_in(
    ami: Ami, tmp_path: Path, model: str, transport: str
) -> None:
    with serving(
        "--model", model, "--transport", transport, "--password", PASSWORD, cwd=tmp_path
    ) as document:
        assert (document["model"], document["transport"]) == (model, transport)
        (meter,) = document["meters"]
        assert (meter["id"], meter["logical_device"], meter["port"]) == ("H000001", 16, document["ports"][0])
        where = (f"127.0.0.1:{meter['port']}", "--server", 16, "--transport", transport, "--max-pdu", 4000)
        for client in document["clients"]:
            if client["needs"] == "no association":
                continue
            secret = ("--password", PASSWORD) if client["needs"] == "password" else ()
            done = ami("dlms", "objects", *where, "--client", client["client"], *secret, "--json")
            assert done.code == 0, (client, done.err)
            names = {item["obis"] for item in done.document["objects"]}
            assert ("1-0:1.8.0" in names) == client["sees"].startswith("everything")
            if secret:
                refused = ami("dlms", "objects", *where, "--client", client["client"], "--json")
                assert refused.code == 2


def test_a_secured_meter_is_read_with_the_keyring_it_was_served_with(ami: Ami, tmp_path: Path) -> None:
    for run in range(2):
        with serving("--model", "idis-like-1p", "--meters", 2, "--keyring", "ring", cwd=tmp_path) as document:
            assert [row["needs"] for row in document["clients"]] == [
                "nothing", "keys", "keys", "keys", "no association",
            ]  # fmt: skip
            for meter in document["meters"]:
                read = ("dlms", "read", f"127.0.0.1:{meter['port']}", "0-0:96.1.0")
                server = ("--server", meter["logical_device"])
                done = ami(*read, *server, "--keyring", "ring", "--meter", meter["id"], "--json")
                assert done.code == 0, (run, done.err)
                assert done.document["values"][0]["text"] == meter["id"]
            other = ami(*read, *server, "--keyring", "ring", "--meter", "H000001", "--client", 2)
            assert (other.code, "refused" in other.err or "failure" in other.err) == (2, True), other.err
    for file in (tmp_path / "ring").iterdir():
        assert file.stat().st_mode & 0o077 == 0


def test_the_keys_of_a_suite_and_those_of_options_go_into_the_keyring(ami: Ami, tmp_path: Path) -> None:
    key, other = "11" * 32, "22" * 32
    for options in (("--suite", 2), ("--suite", 2, "--guek", key, "--gak", other)):
        with serving("--keyring", "ring", *options, cwd=tmp_path) as document:
            read = ("dlms", "read", f"127.0.0.1:{document['ports'][0]}", "1-0:1.8.0", "--server", 16)
            assert ami(*read, "--keyring", "ring", "--meter", "H000001").code == 0
            direct = ami(*read, "--suite", 2, "--guek", key, "--gak", other)
            assert direct.code == (0 if "--guek" in options else 2)


def test_a_wrong_model_and_a_firmware_nobody_takes_are_told_with_what_is_right(
    ami: Ami, tmp_path: Path
) -> None:
    wrong = ami("dlms", "serve", "--model", "smr-5.0")
    assert wrong.code == 2
    assert all(name in wrong.err for name in companion_names())
    assert "--model" in wrong.err
    assert ami("dlms", "models", "smr-9").code == 2
    image = ami("dlms", "serve", "--write-image", "firmware.bin")
    assert (image.code, "--model" in image.err) == (2, True)
    (tmp_path / "file").write_text("no folder")
    assert "no keyring" in ami("dlms", "serve", "--keyring", "file").err


def test_models_are_listed_with_what_they_consist_of(ami: Ami) -> None:
    listed = ami("dlms", "models", "--json").document["models"]
    assert [model["name"] for model in listed] == list(companion_names())
    by_name = {model["name"]: model for model in listed}
    # The figures of docs/dlms.md.
    assert (by_name["every-class-3p"]["objects"], len(by_name["every-class-3p"]["classes"])) == (177, 50)
    assert (by_name["smr-5.5-1p"]["objects"], len(by_name["smr-5.5-1p"]["classes"])) == (182, 19)
    assert by_name["smr-5.0-1p"]["sources"][-1].endswith("dlmsprofile-smr500.json (Apache-2.0)")
    assert by_name["idis-like-1p"]["clients_with_keys"][1] == {
        "client": 2,
        "name": "reader",
        "needs": "keys",
        "mechanism": 5,
        "protection": "authentication and encryption",
        "sees": "everything, to read",
    }
    one = ami("dlms", "models", "dsmr-4.2.2-1p", "--json").document
    assert len(one["object_list"]) == one["objects"] == 89
    shown = ami("dlms", "models").out
    assert all(name in shown for name in companion_names())
    assert "push setup alarm" in ami("dlms", "models", "dsmr-4.2.2-1p").out
