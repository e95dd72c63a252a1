"""What a stranger does with `ami dlms`: wrong addresses, secrets, names, files; each answer helps."""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ami_command import Ami, command
from openami.cli.dlms_profile import _in_unit
from openami.meter.companion.surroundings import signed_image
from openami.meter.fleet_spec import FleetSpec, MeterSpec, household_fleet, save_fleet
from openami.meter.load_curve import CurveKind, CurveSpec
from openami.quantities.civil_time import midnight, zone_of
from served_processes import address_of, serving

PASSWORD = "00000000"
ACCESS = ("--server", 16, "--password", PASSWORD)
SEED = 1


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A companion meter (IDIS-like, three phases) that has counted for three days, served by a process."""
    start = midnight(_three_days_ago(), "Europe/Berlin")
    made = household_fleet(1, seed=SEED, start=start, secured=False).meters[0]
    meter = MeterSpec(
        made.meter_id, 16, CurveSpec(CurveKind.HOUSEHOLD, "tour"), password=PASSWORD, companion="idis-like-3p"
    )
    fleet = tmp_path_factory.mktemp("tour") / "fleet.json"
    save_fleet(FleetSpec(SEED, start, (meter,)), fleet)
    with serving("meter", "serve", fleet, "--port", 0, "--json") as document:
        yield address_of(document)


def _three_days_ago() -> date:
    return datetime.now(zone_of("Europe/Berlin")).date() - timedelta(days=3)


# --- images -------------------------------------------------------------------------------------------


def test_an_image_goes_on_after_a_kill_is_verified_and_activated(
    ami: Ami, address: str, tmp_path: Path
) -> None:
    """The process is killed in the middle; the next one sends only what is missing."""
    file = tmp_path / "fw-2.0.bin"
    content = signed_image(SEED, random.Random(1).randbytes(800_000))
    file.write_bytes(content)
    status = ("dlms", "read", address, "0-0:44.0.0", *ACCESS, "-c", 18, "--json", "-a")
    with subprocess.Popen(command("dlms", "image", address, file, *ACCESS), stderr=subprocess.DEVNULL) as run:
        there = 0
        while not there:
            assert run.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
            run.send_signal(signal.SIGSTOP)  # or it would be done before the meter was asked
            there = ami(*status, 4).document["values"][0]["raw"]
            run.send_signal(signal.SIGCONT if not there else signal.SIGKILL)
    blocks = -(-len(content) // 512)
    assert there < blocks
    done = ami("dlms", "image", address, file, *ACCESS, "--resume", "--activate", "--json")
    assert done.code == 0, done.err
    document = done.document
    assert (document["status"], document["blocks"], document["octets"]) == ("activated", blocks, len(content))
    assert document["blocks_sent"] <= blocks - there
    assert ami(*status, 6).document["values"][0]["raw"] == 6
    shown = ami("dlms", "read", address, "1-0:0.2.0", *ACCESS, "--json").document["values"][0]
    assert bytes.fromhex(shown["raw"]) == b"fw-2.0"


def test_what_is_wrong_with_an_image_is_said(ami: Ami, address: str, tmp_path: Path) -> None:
    unsigned, empty = tmp_path / "unsigned.bin", tmp_path / "empty.bin"
    unsigned.write_bytes(bytes(5000))
    empty.write_bytes(b"")
    image = ("dlms", "image", address)
    for arguments, code, said in (
        ((unsigned, *ACCESS), 1, "does not verify the image"),
        ((unsigned, *ACCESS, "--resume"), 2, "no image under way"),
        ((unsigned, *ACCESS, "--block-size", 100), 1, "does not take blocks of 100 octets"),
        ((unsigned, *ACCESS, "--object", "0-0:1.0.0"), 2, "no image transfer object but 8 Clock"),
        ((unsigned, *ACCESS, "--identifier", ""), 2, "--identifier"),
        ((unsigned, "--server", 16), 2, "no object 0-0:44.0.0"),
        ((empty, *ACCESS), 2, "the file is empty"),
        ((tmp_path, *ACCESS), 2, "a folder"),
        ((tmp_path / "nowhere.bin", *ACCESS), 2, "No such file"),
    ):
        done = ami(*image, *arguments)
        assert (done.code, said in done.err) == (code, True), done.err
        assert "Traceback" not in done.err
    refused = ami(*image, unsigned, *ACCESS, "--json")
    assert (refused.code, refused.document["error"]["kind"]) == (1, "AccessError")


# --- the clock ----------------------------------------------------------------------------------------


def test_the_clock_is_shown_beside_ours_and_set(ami: Ami, address: str) -> None:
    shown = ami("dlms", "clock", address, *ACCESS, "--json")
    assert shown.code == 0, shown.err
    assert abs(shown.document["difference_s"]) < 60
    assert shown.document["uncertainty_s"] >= 0
    assert ami("dlms", "set", address, "0-0:1.0.0", "time:2026-01-01T00:00:00+01:00", *ACCESS).code == 0
    wrong = ami("dlms", "clock", address, *ACCESS, "--json").document
    done = ami("dlms", "clock", address, *ACCESS, "--set", "--json")
    assert done.code == 0, done.err
    assert abs(done.document["difference_s"]) < 2 + done.document["uncertainty_s"]
    assert done.document["difference_before_s"] == pytest.approx(wrong["difference_s"], abs=30)
    assert ami("dlms", "clock", address, "--server", 16, "--set").code == 1


# --- errors -------------------------------------------------------------------------------------------


def test_an_error_names_the_meter_and_what_would_be_right(ami: Ami, address: str) -> None:
    read = ("dlms", "read", address, "1-0:1.8.0")
    for arguments, code, said in (
        ((*read, "--server", 16, "--password", "wrong"), 2, "the meter's own password"),
        ((*read, "--server", 99, "--password", PASSWORD), 2, "a logical device (--server)"),
        ((*read, "--server", 70000), 2, "less than or equal to 65535"),
        ((*read, *ACCESS, "--client", -1), 2, "greater than or equal to 0"),
        ((*read, *ACCESS, "--physical", 17), 2, "--transport hdlc"),
        ((*read, *ACCESS, "--class", 99_999), 2, "less than or equal to 65535"),
        ((*read, *ACCESS, "-a", 258), 2, "less than or equal to 127"),
        (("dlms", "read", "", "1.8.0"), 2, "no host"),
        (("dlms", "read", ":4059", "1.8.0"), 2, "no host"),
        (("dlms", "read", "[::1", "1.8.0"), 2, "no host"),
        (("dlms", "read", "127.0.0.1:1", "1.8.0"), 2, "Connection refused"),
        (("dlms", "set", address, "1-0:1.8.0", "5", *ACCESS), 1, "ami dlms objects"),
        (("dlms", "action", address, "0-0:96.3.10", 257, *ACCESS), 2, "less than or equal to 127"),
        (("dlms", "profile", address, "1-0:1.8.0", *ACCESS), 1, "a profile (class 7)"),
        (("dlms", "profile", address, "1-0:99.77.0", *ACCESS), 1, "a profile (class 7)"),
    ):
        done = ami(*arguments)
        assert (done.code, said in done.err) == (code, True), (arguments, done.err)
        assert "Traceback" not in done.err
    refused = ami("dlms", "set", address, "1-0:1.8.0", "5", *ACCESS, "--json")
    assert address in refused.document["error"]["where"]


def test_names_that_are_not_there_do_not_hide_those_that_are(ami: Ami, address: str) -> None:
    done = ami("dlms", "read", address, "9-9:99.9.9", "1-0:1.8.0", *ACCESS, "--json")
    assert done.code == 1
    unknown, energy = done.document["values"]
    assert (unknown["result"], "no object 9-9:99.9.9" in unknown["reason"]) == ("not-asked", True)
    assert energy["unit"] == "Wh"
    assert "not asked: " in ami("dlms", "read", address, "9-9:99.9.9", "1-0:1.8.0", *ACCESS).out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "2026-11-02", "--to", "2026-11-01"), "a time after --from"),
        (("--from", "2026-13-01"), "is no time"),
        (("--from", "0001-01-01T00:00+14:00"), "is no time"),
        (("--to", "9999-12-31T23:59-12:00"), "is no time"),
        (("--entries", "0:2"), "counted from 1"),
        (("--entries", "5:2"), "counted from 1"),
        (("--entries", "99999999999:0"), "counted from 1"),
        (("--entries", "1:2", "--from", "2026-11-01"), "one of the two"),
        (("--out", "nowhere/rows.csv"), "no such folder"),
        (("--out", "rows.xlsx"), ".parquet, .arrow, .csv"),
        (("--out", "rows"), "a file of no kind"),
    ],
)
def test_a_profile_that_cannot_be_read_so_is_refused_before_the_meter_is_asked(
    ami: Ami, options: tuple[str, ...], said: str
) -> None:
    done = ami("dlms", "profile", "127.0.0.1:1", "1-0:99.1.0", *options)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_full_disk_leaves_nothing_and_is_said(ami: Ami, address: str, tmp_path: Path) -> None:
    full = tmp_path / "full.csv"
    full.symlink_to("/dev/full")
    done = ami("dlms", "profile", address, *ACCESS, "--entries", "1:5", "--out", full)
    assert (done.code, "full.csv" in done.err, "space" in done.err) == (2, True, True), done.err


@pytest.mark.parametrize(
    ("count", "scaler", "text"),
    [(123_456_789, "-3", "123456.789"), (1, "-40", "0." + "0" * 39 + "1"), (7, "3", "7000"), (7, "0", 7)],
)
def test_counts_are_shown_exact_in_their_unit(count: int, scaler: str, text: str | int) -> None:
    assert _in_unit(count, {"scaler": scaler}) == text
    assert not isinstance(_in_unit(count, {"scaler": scaler}), float)


def test_a_csv_says_its_units_and_holds_what_json_holds(ami: Ami, address: str, tmp_path: Path) -> None:
    profile = ("dlms", "profile", address, "1-0:99.1.0", *ACCESS, "--entries", "1:8")
    document = ami(*profile, "--json").document
    file = tmp_path / "rows.csv"
    assert ami(*profile, "--out", file).code == 0
    head, *lines = csv.reader(file.read_text("utf-8").splitlines())
    units = [column.get("unit") for column in document["columns"]]
    assert [f"[{unit}]" in name for name, unit in zip(head, units, strict=True) if unit] == [
        True for unit in units if unit
    ]
    assert len(lines) == document["row_count"] == 8
    for line, row in zip(lines, document["rows"], strict=True):
        for cell, value in list(zip(line, row.values(), strict=True))[1:]:
            assert cell == ("" if value is None else str(value))
            assert not isinstance(value, float)
            if isinstance(value, int):
                assert Decimal(cell) == value


# --- read by somebody who has enough -------------------------------------------------------------------


def test_a_reader_that_had_enough_is_no_error_of_ours(address: str) -> None:
    words = " ".join(command("dlms", "objects", address, *ACCESS))
    done = subprocess.run(
        f"{words} | head -1", shell=True, capture_output=True, text=True, timeout=60, check=False
    )
    assert address in done.stdout
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


# --- dumps --------------------------------------------------------------------------------------------


SNRM = "7ea0082003279373857e"


@pytest.mark.parametrize(
    "content",
    [
        f"{SNRM}\n".encode(),
        b"\xff\xfe" + f"RX {SNRM}\r\n".encode("utf-16-le"),
        b"\xef\xbb\xbf" + f"RX {SNRM}\r\n".encode(),
        f"Zähler sagt: {SNRM}\n".encode("latin-1"),
        f"电表 {SNRM}\n".encode(),
        bytes.fromhex(SNRM),
    ],
    ids=["ascii", "utf-16", "mark", "latin-1", "utf-8", "binary"],
)
def test_a_dump_is_found_in_whatever_a_terminal_wrote(ami: Ami, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "dump"
    file.write_bytes(content)
    done = ami("dlms", "decode", "--file", file)
    assert (done.code, "SNRM" in done.out) == (0, True), done.out + done.err


def test_a_dump_of_many_frames_is_shown_whole(ami: Ami, tmp_path: Path) -> None:
    file = tmp_path / "many.txt"
    file.write_text(f"{SNRM}\n" * 3000)
    shown = ami("dlms", "decode", "--file", file)
    assert shown.code == 0
    assert shown.out.count("HDLC frame  SNRM") == 3000
    tree = json.loads(ami("dlms", "decode", "--file", file, "--json").out)
    assert len(tree["children"]) == 3000
