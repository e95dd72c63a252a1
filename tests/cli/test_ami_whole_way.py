"""Meters on real sockets, through every command, to a bill that explains itself and files that read back."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ami_command import Outcome, call_ami
from openami.quantities.civil_time import zone_of


@pytest.fixture(scope="module")
def bills(billed: Path) -> list[dict[str, str]]:
    today = datetime.now(zone_of("Europe/Berlin")).date()
    done = call_ami(
        "bill", "--from", today - timedelta(days=3), "--to", today - timedelta(days=1), "--json", cwd=billed
    )
    assert done.code == 0, done.err
    assert done.document["refused"] == []
    return list(done.document["bills"])


def test_the_bills_count_what_was_finally_validated(
    billed: Path, bills: list[dict[str, str]], tmp_path: Path
) -> None:
    assert len(bills) == 3
    file = tmp_path / "final.csv"
    assert call_ami("export", file, "--json", cwd=billed).code == 0
    final: dict[str, int] = {}
    for row in file.read_text().splitlines()[1:]:
        series, _, _, _, value, *_ = row.split(",")
        final[series] = final.get(series, 0) + int(value)
    assert {bill["usage_point"]: bill["energy_wh"] for bill in bills} == final
    for bill in bills:
        assert call_ami("bill", "verify", bill["bill"], "--json", cwd=billed).document["holds"] is True


def test_a_bill_line_is_followed_to_the_bytes_on_the_wire(billed: Path, bills: list[dict[str, str]]) -> None:
    bill = bills[0]["bill"]
    tree = call_ami("explain", bill, 2, cwd=billed)
    assert tree.code == 0, tree.err
    kinds = [line.lstrip("│├└─ ").split(" ")[0] for line in tree.out.splitlines()]
    chain = [
        kind
        for kind in kinds
        if kind in ("line", "determinant", "day", "interval", "final", "raw", "evidence", "frame")
    ]
    assert chain == ["line", "determinant", "day", "interval", "final", "raw", "evidence", "frame"]
    assert " 1 Wh" not in tree.out, "counts are shown in their unit"
    shortened = [line for line in tree.out.splitlines() if "octets: " in line]
    assert all("--full" in line for line in shortened)

    node = call_ami("explain", bill, 2, "--json", cwd=billed).document
    assert node["kind"] == "line"
    while node["kind"] != "evidence":
        if node["additive"] and node["children"]:
            total = sum(float(child["value"]) for child in node["children"])
            assert total == float(node["value"])
        node = node["children"][0]
    request = node["children"][0]
    # The wrapper (IEC 62056-47): version 1, the client's port, the meter's, the length of what follows.
    octets = bytes.fromhex(request["facts"]["octets"])
    assert octets[:2] == b"\x00\x01"
    assert int.from_bytes(octets[6:8], "big") == len(octets) - 8


@pytest.mark.parametrize("form", ["csv", "parquet", "espi"])
def test_what_is_exported_is_read_back_value_for_value(form: str, billed: Path, tmp_path: Path) -> None:
    def done(*arguments: object) -> Outcome:
        outcome = call_ami(*arguments, cwd=tmp_path)
        assert outcome.code == 0, outcome.err
        return outcome

    workspace = ("--workspace", billed / "ami-data")
    made = done("export", f"out.{form}", "--format", form, *workspace, "--json").document
    done("export", "before.csv", *workspace)
    done("init")
    (report,) = done("import", f"out.{form}", "--json").document["files"]
    assert (report["intervals"], report["blocks"]) == (made["intervals"], made["blocks"])
    done("export", "after.csv", "--stage", "raw")
    assert (tmp_path / "after.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()


def test_collecting_again_asks_nobody(billed: Path) -> None:
    document = call_ami("collect", "--json", cwd=billed).document
    assert (document["meters"], document["failures"]) == (0, [])


def test_validating_again_changes_nothing(billed: Path) -> None:
    before = call_ami("store", "info", "--json", cwd=billed).document
    assert call_ami("vee", "--json", cwd=billed).code == 0
    after = call_ami("store", "info", "--json", cwd=billed).document
    assert (after["seq"], after["rows"]) == (before["seq"], before["rows"])


def test_everything_stored_holds_against_its_name(billed: Path) -> None:
    proof = call_ami("store", "verify", "--json", cwd=billed)
    assert proof.code == 0, proof.err
    assert proof.document["holds"] is True
    assert proof.document["rows"]["raw_intervals"] == 9
