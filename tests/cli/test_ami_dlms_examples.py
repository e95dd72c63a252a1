"""Each example in the help of `ami dlms` works when it is pasted: nothing is changed but the port."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from ami_command import Ami, command
from openami.cli.dlms import commands
from served_processes import address_of, document_of, served_meters


def examples(name: str) -> list[list[str]]:
    """What follows `ami` in the examples of a command."""
    (shown,) = [item.callback for item in commands.registered_commands if item.name == name]
    assert shown is not None
    lines = [line.strip() for line in (shown.__doc__ or "").splitlines() if "Example:" in line]
    assert lines
    return [shlex.split(line.removeprefix("Example: ami ")) for line in lines]


@pytest.fixture(scope="module")
def meter() -> Iterator[str]:
    """`ami dlms serve`, but for its port."""
    with served_meters() as document:
        yield address_of(document)


@pytest.mark.parametrize("name", ["read", "objects", "profile", "set", "action", "clock"])
def test_an_example_is_done_by_a_served_meter(ami: Ami, meter: str, name: str) -> None:
    for words in examples(name):
        done = ami(*(word.replace("127.0.0.1:4059", meter) for word in words))
        assert (done.code, bool(done.out)) == (0, True), done.err


def test_the_examples_of_decode_show_frames(ami: Ami, tmp_path: Path) -> None:
    (tmp_path / "dump.txt").write_text("RX 7E A0 08 20 03 27 93 73 85 7E\n")
    for words in examples("decode"):
        done = ami(*words)
        assert (done.code, "SNRM" in done.out) == (0, True), done.out + done.err


def test_the_example_of_models_names_objects(ami: Ami) -> None:
    (words,) = examples("models")
    assert "1-0:1.8.0" in ami(*words).out


def test_the_example_of_image_activates_what_serve_wrote(ami: Ami, tmp_path: Path) -> None:
    with served_meters("--model", "idis-like-1p", "--write-image", "firmware.bin", cwd=tmp_path) as document:
        (words,) = examples("image")
        done = ami(*(word.replace("127.0.0.1:4059", address_of(document)) for word in words), "--json")
        assert (done.code, done.document["status"]) == (0, "activated"), done.err


def test_the_examples_of_serve_and_push_listen_share_a_keyring(tmp_path: Path) -> None:
    (serve,), (listen,) = examples("serve"), examples("push-listen")
    with subprocess.Popen(
        command(*serve, "--port", 0, "--json"), stdout=subprocess.PIPE, cwd=tmp_path
    ) as serving:
        assert [meter["id"] for meter in document_of(serving)["meters"]] == ["H000001"]
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(20) == 0
    listen[listen.index("--port") + 1] = "0"
    with subprocess.Popen(
        command(*listen, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as listening:
        assert listening.stdout is not None
        where = orjson.loads(listening.stdout.readline())
        listening.send_signal(signal.SIGINT)
        assert listening.wait(20) == 0
    assert where["transport"] == "both"
