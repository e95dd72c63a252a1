"""`ami dlms serve` and `models`: what is printed of the served meters is true, and enough to read them."""

from __future__ import annotations

import socket
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest

from ami_command import Ami, command
from openami.meter.companion.model import companion_model, companion_names
from openami.protocols.dlms.encoding.axdr import Data, Tag, array, encode, structure
from served_processes import served_meters

PASSWORD = "hunter22"
ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
GURUX = ROOT / "tests" / "protocols" / "peers" / "gurux_steps.py"


def octets(value: bytes) -> Data:
    return Data(Tag.OCTET_STRING, value)


def destination(port: int) -> str:
    """TCP, host and port, A-XDR, as the value of an option."""
    there = octets(f"127.0.0.1:{port}".encode())
    return "axdr:" + encode(structure(Data(Tag.ENUM, 0), there, Data(Tag.ENUM, 0))).hex()


@pytest.mark.parametrize(
    ("model", "transport"), [("smr-5.0-3p", "tcp"), ("is15959-like-1p", "hdlc"), ("every-class-1p", "udp")]
)
def test_a_model_is_served_and_each_client_of_the_document_gets_in(
    ami: Ami, tmp_path: Path, model: str, transport: str
) -> None:
    with served_meters(
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
        with served_meters(
            "--model", "idis-like-1p", "--meters", 2, "--keyring", "ring", cwd=tmp_path
        ) as document:
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
        with served_meters("--keyring", "ring", *options, cwd=tmp_path) as document:
            read = ("dlms", "read", f"127.0.0.1:{document['ports'][0]}", "1-0:1.8.0", "--server", 16)
            assert ami(*read, "--keyring", "ring", "--meter", "H000001").code == 0
            direct = ami(*read, "--suite", 2, "--guek", key, "--gak", other)
            assert direct.code == (0 if "--guek" in options else 2)


def test_a_served_meter_pushes_by_method_and_by_schedule_to_a_listener_with_the_same_keyring(
    ami: Ami, tmp_path: Path
) -> None:
    with served_meters("--model", "idis-like-1p", "--keyring", "ring", cwd=tmp_path) as document:
        words = command("dlms", "push-listen", "--port", 0, "--keyring", "ring", "--protection", "both")
        with subprocess.Popen(
            [*words, "--count", "2", "--json"], stdout=subprocess.PIPE, cwd=tmp_path
        ) as listener:
            assert listener.stdout is not None
            try:
                port = orjson.loads(listener.stdout.readline())["port"]
                access = ("--server", 16, "--keyring", "ring", "--meter", "H000001")
                where = f"127.0.0.1:{document['ports'][0]}"
                setup = (where, "0-0:25.9.0")
                done = ami("dlms", "set", *setup, destination(port), "--attribute", 3, *access)
                assert done.code == 0, done.err
                assert ami("dlms", "action", *setup, 1, 0, *access).code == 0
                first = orjson.loads(listener.stdout.readline())
                soon = datetime.now(ZoneInfo("Europe/Berlin")) + timedelta(seconds=4)
                at = structure(octets(bytes((soon.hour, soon.minute, soon.second, 0))), octets(b"\xff" * 5))
                times = "axdr:" + encode(array([at])).hex()
                done = ami("dlms", "set", where, "0-0:15.0.4", times, "--attribute", 4, *access)
                assert done.code == 0, done.err
                second = orjson.loads(listener.stdout.readline())
                assert listener.wait(20) == 0
            finally:
                listener.kill()
    title = document["meters"][0]["system_title"]
    for push in (first, second):
        assert (push["system_title"], push["protection"], push["source"]) == (title, "both", 16)
        assert push["value"][0] == b"OAMH000001".hex()
    assert first["value"][2] <= second["value"][2]
    assert str(soon.replace(microsecond=0, tzinfo=None)) in second["time"]


def test_no_push_calls_nobody_and_says_so(ami: Ami, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(1)
        called = destination(listener.getsockname()[1])
        for options, pushes in ((("--no-push",), False), ((), True)):
            with served_meters("--model", "idis-like-1p", *options, cwd=tmp_path) as document:
                assert document["pushes"] is pushes
                access = ("--server", 16, "--password", "00000000")
                setup = (f"127.0.0.1:{document['ports'][0]}", "0-0:25.9.0")
                assert ami("dlms", "set", *setup, called, "--attribute", 3, *access).code == 0
                assert ami("dlms", "action", *setup, 1, 0, *access).code == 0
                if pushes:
                    listener.accept()[0].close()
                else:
                    with pytest.raises(TimeoutError):
                        listener.accept()


def test_the_image_that_is_written_is_taken_and_another_is_not(ami: Ami, tmp_path: Path) -> None:
    with served_meters("--model", "smr-5.0-1p", "--write-image", "fw.bin", cwd=tmp_path) as document:
        meter = (f"127.0.0.1:{document['ports'][0]}",)
        access = ("--server", 16, "--password", "00000000")
        image = (tmp_path / "fw.bin").read_bytes()
        assert image.startswith(b"openami software meter, smr-5.0-1p\n")
        (tmp_path / "bad.bin").write_bytes(image[:-1] + bytes((image[-1] ^ 1,)))
        refused = ami("dlms", "image", *meter, "bad.bin", *access, "--activate")
        assert refused.code != 0
        firmware = ("dlms", "read", *meter, "1-0:0.2.0", *access, "--json")
        assert ami(*firmware).document["values"][0]["text"].startswith("openami")
        taken = ami("dlms", "image", *meter, "fw.bin", *access, "--identifier", "3.1.4", "--activate")
        assert taken.code == 0, taken.err
        assert ami(*firmware).document["values"][0]["text"] == "3.1.4"


@pytest.mark.peer
@pytest.mark.skipif(not PEERS.exists(), reason="no environment of peers (.venv-peers)")
def test_gurux_reads_a_model_that_the_command_serves(ami: Ami, tmp_path: Path) -> None:
    with served_meters("--model", "idis-like-1p", cwd=tmp_path) as document:
        plan = {
            "host": "127.0.0.1", "port": document["ports"][0], "framing": "wrapper", "client": 1,
            "server": 16, "mechanism": 1, "protection": 0, "pdu": 65535, "password": b"00000000".hex(),
            "title": b"OAMHES01".hex(), "encryption_key": "00" * 16, "authentication_key": "11" * 16,
            "counter": 1000, "information": 128, "window": 1,
            "steps": ["link", "associate", "view", "everything", "release"],
        }  # fmt: skip
        done = subprocess.run(
            [str(PEERS), str(GURUX)], input=orjson.dumps(plan), capture_output=True, timeout=60, check=True
        )
        steps = orjson.loads(done.stdout.splitlines()[-1])["steps"]
        read = ("dlms", "read", f"127.0.0.1:{document['ports'][0]}", "0-0:44.0.0", "--server", 16)
        ours = ami(*read, "--password", "00000000", "--json").document["values"][0]
    assert not any(isinstance(result, dict) and "error" in result for result in steps.values()), steps
    seen = {item.logical_name.dotted for item in companion_model("idis-like-1p") if item.class_id != 64}
    values = steps["everything"]
    assert seen <= set(values)
    assert values["0.0.96.1.0.255"]["2"] == b"H000001".hex()
    assert values["0.0.44.0.0.255"]["2"] == ours["raw"]


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
    site = ami("dlms", "serve", "--model", "idis-like-1p", "--write-site", "site.toml")
    assert (site.code, "--keyring" in site.err) == (2, True)
    assert not (tmp_path / "site.toml").exists()
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
