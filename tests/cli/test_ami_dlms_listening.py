"""`ami dlms push-listen` with two meters at once and replays, and ctrl-c on whatever waits for a meter."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from ami_command import command
from openami.protocols.dlms.apdus.notification import DataNotification
from openami.protocols.dlms.encoding.axdr import Data, Tag
from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.protection.ciphered_apdu import Form
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.protocols.dlms.protection.security_control import AUTHENTICATED_ENCRYPTION
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.keyring import MeterCredentials
from openami.security.meter_keys import MeterKeys
from openami.workspace.meter_access import open_keyring

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@contextmanager
def listening(*options: object, cwd: Path | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    words = command("dlms", "push-listen", "--port", 0, "--json", *options)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd) as process:
        assert process.stdout is not None
        try:
            yield process, orjson.loads(process.stdout.readline())["port"]
        finally:
            process.kill()


def line_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = orjson.loads(process.stdout.readline())
    return line


class Meter:
    """A meter that pushes numbers, ciphered under its own keys."""

    def __init__(self, title: bytes, port: int) -> None:
        self.title, self.keys = title, MeterKeys.random()
        store = MemoryCounters({"s": 40})
        self.cipher = Cipher(self.keys, title, bytes(8), SendCounter(store, "s"), ReceiveCounters(store))
        self.port = port

    def frame(self, number: int) -> bytes:
        body = Data(Tag.DOUBLE_LONG_UNSIGNED, number)
        apdu = DataNotification(number, b"", body).to_bytes()
        sealed = self.cipher.seal(apdu, AUTHENTICATED_ENCRYPTION, Form.GENERAL_GLOBAL)
        return Frame(self.port, 16, sealed).to_bytes()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_two_meters_push_at_once_and_what_was_heard_before_is_refused_and_said(
    transport: str, tmp_path: Path
) -> None:
    meters = [Meter(b"OAM0000%c" % digit, digit) for digit in b"12"]
    with open_keyring(tmp_path) as ring:
        ring.put({meter.title.decode(): MeterCredentials(None, meter.keys, meter.title) for meter in meters})
    one, other = meters
    with listening("--transport", transport, "--keyring", ".", cwd=tmp_path) as (process, port):
        heard = []
        first, second = one.frame(1), other.frame(2)
        pushes = (first, second, first, other.frame(3), one.frame(4), second)
        with contextlib.ExitStack() as open_yet:  # nobody hangs up: the meters are there at once
            for octets in pushes:
                meter = open_yet.enter_context(socket.socket(type=KINDS[transport]))
                meter.connect(("127.0.0.1", port))
                meter.sendall(octets)
                heard.append(line_of(process))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert [line.get("value") for line in heard] == [1, 2, None, 3, 4, None]
    assert [line.get("system_title") for line in heard] == [
        one.title.hex(), other.title.hex(), None, other.title.hex(), one.title.hex(), None,
    ]  # fmt: skip
    for line, octets in ((heard[2], first), (heard[5], second)):
        assert (line["kind"], line["frames"]) == ("undeciphered", [octets.hex()])
        assert line["reason"] == "invocation counter 40 was used before"
    assert (process.returncode, err.count(b"was used before")) == (0, 2)
    # A listener that begins anew knows what was believed.
    with listening("--transport", "udp", "--keyring", ".", cwd=tmp_path) as (process, port):
        with socket.socket(type=socket.SOCK_DGRAM) as again:
            again.sendto(first, ("127.0.0.1", port))
        assert line_of(process)["reason"] == "invocation counter 40 was used before"


def test_a_push_whose_keys_are_not_known_is_shown_undeciphered_with_the_reason() -> None:
    """general-glo-ciphering of a system title that nobody gave keys of, in a wrapper frame."""
    apdu = bytes.fromhex("db084f414d0000000001153000000001" + "aa" * 4 + "bb" * 12)
    frame = bytes.fromhex("000100010010") + len(apdu).to_bytes(2, "big") + apdu
    with listening() as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as meter:
            meter.sendall(frame)
            line = line_of(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert (line["kind"], line["frames"]) == ("undeciphered", [frame.hex()])
    assert line["reason"] == "no keys of 4f414d0000000001"


@pytest.mark.parametrize("transport", ["tcp", "udp", "hdlc"])
def test_ctrl_c_ends_a_reading_in_order(transport: str) -> None:
    with socket.socket(type=KINDS.get(transport, socket.SOCK_STREAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        if transport != "udp":
            silent.listen()
        words = command("dlms", "read", where, "1.8.0", "--timeout", 30, "--transport", transport)
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            peer = silent if transport == "udp" else silent.accept()[0]
            with peer:
                assert peer.recv(1000)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
                if transport != "udp":
                    assert peer.recv(1000) == b"", "the meter was not let go"
        assert (process.returncode, out, "interrupted" in err, "Traceback" in err) == (130, "", True, False)
