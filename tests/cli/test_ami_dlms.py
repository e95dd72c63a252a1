"""`ami dlms`: a metering engineer's commands, end to end against served meters; no secret ever shown."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest

from ami_command import Ami, Outcome, command, run_ami
from openami.cli.hex_dump import octets_of_text
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.encoding.axdr import Data, Tag, structure
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.quantities.errors import FormatError
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys
from openami.security.secret import Secret
from served_processes import address_of, served_meters

GUEK, GAK = "00112233445566778899aabbccddeeff", "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
PASSWORD = "hunter22"
KEYS = ("--guek", GUEK, "--gak", GAK)
SECRETS = (PASSWORD, PASSWORD.encode().hex(), GUEK, GAK, GUEK.upper(), GAK.upper())
RUBBISH = b"rubbish that is none"
GET_CLOCK = "c001c100080000010000ff0200"


@dataclass(frozen=True)
class Served:
    address: str
    document: dict[str, Any]


def no_secret(done: Outcome) -> Outcome:
    for secret in SECRETS:
        assert secret not in (done.out + done.err).replace(" ", "")
    return done


def _serving(*arguments: object) -> Iterator[Served]:
    with served_meters(*arguments) as document:
        yield Served(address_of(document), document)


@pytest.fixture(scope="module")
def plain_meters() -> Iterator[Served]:
    yield from _serving("--meters", 3, "--password", PASSWORD)


@pytest.fixture(scope="module")
def keyed_meters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    site = tmp_path_factory.mktemp("keyed") / "site.toml"
    for served in _serving("--meters", 2, *KEYS, "--write-site", site):
        served.document["site"] = site
        yield served


# --- reading and changing -----------------------------------------------------------------------------


def test_read_with_a_password_as_table_and_json(ami: Ami, plain_meters: Served) -> None:
    arguments = ("dlms", "read", plain_meters.address, "1.0.1.8.0.255", "0-0:1.0.0", "--server", 16)
    done = no_secret(ami(*arguments, "--password", PASSWORD, "--json"))
    assert done.code == 0
    energy, clock = done.document["values"]
    assert (energy["obis"], energy["class"], energy["unit"], energy["result"]) == (
        "1-0:1.8.0", 3, "Wh", "success",
    )  # fmt: skip
    assert energy["value"] == str(energy["raw"])
    assert energy["quality"] == "measured"
    assert abs((datetime.fromisoformat(clock["value"]) - datetime.now(UTC)).total_seconds()) < 60
    shown = no_secret(ami(*arguments, "--password", PASSWORD))
    assert "Active energy import, total" in shown.out
    assert " Wh" in shown.out


def test_read_with_keys_under_every_form(ami: Ami, keyed_meters: Served) -> None:
    for form in ("glo", "ded", "general-glo", "general-ded"):
        done = no_secret(
            ami(
                "dlms",
                "read",
                keyed_meters.address,
                "1-0:1.8.0",
                "--server",
                17,
                *KEYS,
                "--form",
                form,
                "--json",
            )
        )
        assert done.code == 0, done.err
        assert done.document["values"][0]["unit"] == "Wh"


def test_secrets_of_the_environment(ami: Ami, plain_meters: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAMI_DLMS_PASSWORD", PASSWORD)
    done = no_secret(ami("dlms", "read", plain_meters.address, "1-0:1.8.0", "--server", 16, "--trace"))
    assert done.code == 0
    assert "-> 00 01 00 01 00 10" in done.err


def test_secrets_and_counters_of_a_workspace(ami: Ami, keyed_meters: Served, tmp_path: Path) -> None:
    assert ami("init", "--zone", "Europe/Berlin").code == 0
    assert ami("import", keyed_meters.document["site"]).code == 0
    meter = keyed_meters.document["meters"][0]["id"]
    arguments = ("dlms", "read", keyed_meters.address, "1-0:1.8.0", "--server", 16)
    for _ in range(2):
        done = no_secret(ami(*arguments, "--keyring", "ami-data", "--meter", meter, "--json"))
        assert done.code == 0, done.err
    unknown = ami(*arguments, "--keyring", "ami-data", "--meter", "NOBODY")
    assert (unknown.code, "no secrets of meter" in unknown.err) == (2, True)
    assert ami(*arguments, "--keyring", "ami-data").code == 2
    assert "no keyring" in ami(*arguments, "--keyring", tmp_path / "nowhere", "--meter", meter).err


def test_objects_of_the_public_and_the_management_client(ami: Ami, plain_meters: Served) -> None:
    public = ami("dlms", "objects", plain_meters.address, "--server", 16, "--json")
    assert public.code == 0
    everything = ami(
        "dlms", "objects", plain_meters.address, "--server", 16, "--password", PASSWORD, "--json"
    )
    assert len(everything.document["objects"]) > len(public.document["objects"])
    (clock,) = [item for item in everything.document["objects"] if item["obis"] == "0-0:1.0.0"]
    assert (clock["class"], clock["attributes"]["2"]) == (8, "rw")
    assert (
        "Profile generic"
        in ami("dlms", "objects", plain_meters.address, "--server", 16, "--password", PASSWORD).out
    )


def test_profile_as_table_json_and_file(ami: Ami, plain_meters: Served, tmp_path: Path) -> None:
    arguments = (
        "dlms",
        "profile",
        plain_meters.address,
        "1-0:99.1.0",
        "--server",
        16,
        "--password",
        PASSWORD,
    )
    done = no_secret(ami(*arguments, "--entries", "1:96", "--json"))
    assert done.code == 0, done.err
    assert done.document["row_count"] == 96
    assert done.document["capture_period_s"] == 900
    assert [column["name"] for column in done.document["columns"]] == ["time", "status", "1-0:1.29.0"]
    assert done.document["columns"][2]["unit"] == "Wh"
    rows = done.document["rows"]
    first, last = rows[0]["time"], rows[4]["time"]
    part = ami(*arguments, "--from", first, "--to", last, "--json")
    assert part.document["rows"] == rows[:5]
    shown = ami(*arguments, "--from", first, "--to", last, "--zone", "Europe/Berlin")
    assert "1-0:1.29.0 Wh" in shown.out
    for suffix in ("parquet", "arrow", "csv"):
        file = tmp_path / f"rows.{suffix}"
        written = ami(*arguments, "--entries", "1:96", "--out", file)
        assert (written.code, "96 rows in" in written.out) == (0, True)
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet")
    assert table.column("1-0:1.29.0").to_pylist() == [row["1-0:1.29.0"] for row in rows]
    assert table.schema.field("1-0:1.29.0").metadata[b"unit"] == b"Wh"
    assert ami(*arguments, "--out", "rows.xlsx").code == 2
    assert ami(*arguments, "--from", "yesterday").code == 2


def test_set_and_action(ami: Ami, plain_meters: Served) -> None:
    access = ("--server", 18, "--password", PASSWORD)
    relay = (plain_meters.address, "0-0:96.3.10")
    assert ami("dlms", "action", *relay, 1, 0, *access, "--json").document["result"] == "success"
    assert ami("dlms", "read", *relay, *access, "--json").document["values"][0]["raw"] is False
    assert ami("dlms", "action", *relay, 2, 0, *access).code == 0
    assert ami("dlms", "read", *relay, *access, "--json").document["values"][0]["raw"] is True
    when = datetime.now(UTC).replace(microsecond=0)
    done = ami(
        "dlms", "set", plain_meters.address, "0-0:1.0.0", f"time:{when.isoformat()}", *access, "--json"
    )
    assert (done.code, done.document["result"]) == (0, "success")
    refused = ami("dlms", "set", plain_meters.address, "1-0:1.8.0", "7", *access)
    assert (refused.code, "read write denied" in refused.err) == (1, True)
    wrong = ami("dlms", "set", plain_meters.address, "1-0:1.8.0", "seven", *access)
    assert (wrong.code, "whole number" in wrong.err) == (2, True)


@pytest.mark.parametrize("transport", ["hdlc", "udp"])
def test_served_over_other_links(ami: Ami, transport: str) -> None:
    for served in _serving("--transport", transport, *KEYS):
        read = ("dlms", "read", served.address, "1-0:1.8.0", "--server", 16, "--transport", transport)
        done = no_secret(ami(*read, *KEYS, "--json"))
        assert (done.code, done.document["values"][0]["unit"]) == (0, "Wh"), done.err
        profile = ("dlms", "profile", served.address, "--server", 16, "--transport", transport)
        rows = ami(*profile, *KEYS, "--entries", "1:96", "--max-pdu", 2000, "--json")
        assert (rows.code, rows.document["row_count"]) == (0, 96), rows.err
    assert ami("dlms", "serve", "--transport", "pigeon").code == 2


# --- what goes wrong ----------------------------------------------------------------------------------


def test_errors_are_clear_and_name_no_secret(ami: Ami, plain_meters: Served, keyed_meters: Served) -> None:
    read = ("dlms", "read", plain_meters.address, "1-0:1.8.0", "--server", 16)
    wrong = no_secret(ami(*read, "--password", PASSWORD + "x", "--json"))
    assert wrong.code == 2
    assert wrong.document["error"]["kind"] == "AssociationError"
    assert "authentication failure" in wrong.document["error"]["message"]
    stranger = no_secret(
        ami("dlms", "read", keyed_meters.address, "1-0:1.8.0", "--server", 16, "--guek", GAK, "--gak", GUEK)
    )
    assert (stranger.code, "authentication failure" in stranger.err) == (2, True)
    half = no_secret(ami(*read, "--guek", GUEK))
    assert (half.code, "--gak" in half.err) == (2, True)
    short = no_secret(ami(*read, "--guek", GUEK[:-1] + "q", "--gak", GAK))
    assert (short.code, "--guek" in short.err) == (2, True)
    for options, said in (
        (("--transport", "pigeon"), "tcp, udp or hdlc"),
        (("--mechanism", 9), "0, 1, 3"),
        (("--form", "x"), "general-glo"),
        (("--protection", "x"), "authentication"),
        (("--quirk", "x"), "kaifa_date_time"),
        (("--zone", "Mars/Base"), "Mars/Base"),
        (("--title", "00"), "8 octets"),
    ):
        done = ami(*read, *options, *(KEYS if options[0] in ("--form", "--protection", "--title") else ()))
        assert (done.code, said in done.err) == (2, True), done.err
    nobody = ami("dlms", "read", plain_meters.address, "1-0:99.99.0", "--server", 16, "--password", PASSWORD)
    assert (nobody.code, "no object 1-0:99.99.0" in nobody.err) == (2, True)
    refused = ami(
        "dlms", "read", plain_meters.address, "1-0:1.8.0", "0-0:96.1.0", "--class", 1, "--server", 16
    )
    assert (refused.code, "refused" in refused.out) == (1, True)


def test_nobody_there_and_nobody_answers(ami: Ami) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = ami("dlms", "read", address, "1-0:1.8.0", "--timeout", 0.2, "--json")
        assert (done.code, done.document["error"]["kind"]) == (2, "LinkError")
        assert "no answer within 0.2 s" in done.document["error"]["message"]
    done = ami("dlms", "read", address, "1-0:1.8.0")
    assert (done.code, "cannot connect" in done.err) == (2, True)
    assert ami("dlms", "read", "127.0.0.1:x", "1-0:1.8.0").code == 2


# --- decode -------------------------------------------------------------------------------------------


def test_decode_of_arguments_a_file_and_stdin(ami: Ami, tmp_path: Path) -> None:
    done = ami("dlms", "decode", GET_CLOCK)
    assert done.code == 0
    assert "0-0:1.0.0 Clock, attribute 2 time" in done.out
    log = tmp_path / "meter.log"
    log.write_text(
        "# what the head-end said\n"
        "2026-10-25 02:30:00.125 TX: 00 01 00 10 00 01 00 0D  C0 01 C1 00 08 00 00 01 00 00 FF 02 00\n"
        "2026-10-25 02:30:00.300 RX: 0x00,0x01,0x00,0x01,0x00,0x10,0x00,0x06,0xc4,0x01,0xc1,0x00,0x11,0x05\n"
    )
    tree = ami("dlms", "decode", "--file", log, "--json")
    assert tree.code == 0, tree.out
    assert [child["name"] for child in tree.document["children"]] == ["wrapper frame", "wrapper frame"]
    binary = tmp_path / "frame.bin"
    binary.write_bytes(bytes.fromhex("7ea0082003279373857e"))
    assert "SNRM" in ami("dlms", "decode", "--file", binary).out
    piped = subprocess.run(
        command("dlms", "decode"), input=GET_CLOCK, capture_output=True, text=True, timeout=60, check=False
    )
    assert (piped.returncode, "get-request-normal" in piped.stdout) == (0, True)


def test_decode_deciphers_with_the_keys_given_and_shows_none(ami: Ami, shared_data: Path) -> None:
    vectors = json.loads((shared_data / "dlms" / "vectors.json").read_text("utf-8"))
    (vector,) = [item for item in vectors if item["id"] == "espdlms-hdlc_landis_gyr_e450"]
    keys = vector["keys"]
    done = ami("dlms", "decode", vector["frame_hex"], "--guek", keys["ek"], "--gak", keys["ak"])
    assert done.code == 0
    assert "deciphered, tag verified" in done.out
    for key in (keys["ek"], keys["ak"]):
        assert key.lower() not in (done.out + done.err).lower().replace(" ", "")
    without = ami("dlms", "decode", vector["frame_hex"], "--json")
    assert without.code == 1
    assert "the encryption key is missing" in without.out


def test_decode_of_nothing_and_of_rubbish(ami: Ami) -> None:
    assert ami("dlms", "decode", "xyz").code == 2
    assert ami("dlms", "decode", "ff00ff00ff").code == 1
    assert ami("dlms", "decode", "--file", "nowhere.txt").code == 2


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("7EA0 0802 2321", "7ea008022321"),
        ("0x7e, 0xa0; 0x08", "7ea008"),
        (r"\x7e\xa0\x08", "7ea008"),
        ("7E:A0:08", "7ea008"),
        ("00000000: 7ea0 0802 2321 93bd 647e  ~...#!..d~", "7ea00802232193bd647e"),
        ("00000000  7e a0 08 02 23 21 93 bd  64 7e                    |~...#!..d~|", "7ea00802232193bd647e"),
        ("12:00:01.250 TX: 7E A0 08 02", "7ea00802"),
        ("[2026-10-25T12:00:00Z] RX <- 00 01 00 10", "00010010"),
        ("meter 7 says: 7ea00802\n# 0102\n\n0304", "7ea008020304"),
        ("7e,a0,8,20", "7ea00820"),
        ("uint8_t frame[] = {\n  0x7E, 0xA0, 0x8, // dead beef\n  0x20 }; /* beef */", "7ea00820"),
        ("C0 01 C1, C0 02", "c001c1c002"),
    ],
)
def test_hex_is_found_in_the_texts_that_people_have(text: str, octets: str) -> None:
    assert octets_of_text(text).hex() == octets


@pytest.mark.parametrize(
    "text", ["", "hello", "7", "# 7ea0", "[126, 160, 8, 32]", "7EA008200327937385 7", "7 ea 08"]
)
def test_text_without_hex_is_an_error(text: str) -> None:
    with pytest.raises(FormatError):
        octets_of_text(text)


# --- push-listen --------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_push_listen_prints_each_notification_as_a_line(transport: str) -> None:
    words = command(
        "dlms", "push-listen", "--port", 0, "--transport", transport, *KEYS, "--count", 2, "--json"
    )
    keys = MeterKeys(Secret.from_hex(GUEK), Secret.from_hex(GAK), Secret(b"m" * 16))
    cipher = Cipher(
        keys, b"OAM00007", bytes(8), SendCounter(MemoryCounters(), "s"), ReceiveCounters(MemoryCounters())
    )
    apdu = DataNotification(
        5,
        bytes.fromhex("07ea0a190702001e00ffc400"),
        structure(Data(Tag.UNSIGNED, 7), Data(Tag.OCTET_STRING, b"\x01")),
    ).to_bytes()
    sealed = Frame(1, 16, cipher.seal(apdu, AUTHENTICATED_ENCRYPTION, Form.GENERAL_GLOBAL)).to_bytes()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        complaint = ""
        try:
            where = orjson.loads(process.stdout.readline())
            kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
            for octets in (sealed, RUBBISH, Frame(1, 16, apdu).to_bytes()):
                with socket.socket(socket.AF_INET, kind) as meter:
                    meter.connect(("127.0.0.1", where["port"]))
                    meter.sendall(octets)
                if octets == RUBBISH:
                    complaint = process.stderr.readline().decode()
            lines = [orjson.loads(process.stdout.readline()) for _ in range(2)]
            assert process.wait(20) == 0
        finally:
            process.kill()
        complaint += process.stderr.read().decode()
    lines.sort(key=lambda line: line["protection"])
    assert [line["value"] for line in lines] == [[7, "01"], [7, "01"]]
    assert (lines[0]["system_title"], lines[0]["manufacturer"], lines[0]["protection"]) == (
        b"OAM00007".hex(), "OAM", "both",
    )  # fmt: skip
    assert (lines[1]["system_title"], lines[1]["protection"]) == (None, "none")
    assert lines[0]["frames"] == [sealed.hex()]
    assert lines[0]["time"] == "2026-10-25 02:00:30 Sunday UTC+01:00"
    assert lines[0]["framing"] == "wrapper"
    assert "127.0.0.1" in complaint
    for secret in SECRETS:
        assert secret not in complaint + str(lines)


def test_push_listen_on_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_ami("dlms", "push-listen", "--port", port, cwd=tmp_path)
        assert (done.code, "cannot listen" in done.err) == (2, True)
