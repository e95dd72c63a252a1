"""Bench of the DLMS codec beside two libraries of others: rows, ciphered frames and HDLC frames a second.

One core, processor time, best of several passes. A row is a structure of four: date-time (12 octets),
unsigned, two double-long-unsigned; 28 octets. "generic" reads any A-XDR value into plain Python values,
"templated" reads a profile buffer into columns, "sealed" is the whole way of a glo-get-response (suite 0,
authenticated and encrypted): verify, decipher, decode the APDU, columns. The peers get the very same octets
in a process of their own; the faster of the two stands beside each figure, and both have a line each for the
way from a ciphered APDU to values.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openami.cli.bench.figures import Figure, peers_python
from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.get import GetResponse
from openami.protocols.dlms.encoding.axdr import Tag, decode, decode_plain, encode
from openami.protocols.dlms.encoding.date_time import date_times_of
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder, capture_instants, encode_buffer
from openami.protocols.dlms.framing.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcDecoder,
    HdlcFrame,
    control_of,
)
from openami.protocols.dlms.protection.ciphering import Cipher
from openami.security.counters import MemoryCounters, ReceiveCounters, SendCounter
from openami.security.meter_keys import MeterKeys

GOAL_GENERIC = 0.8e6
GOAL_TEMPLATED = 3e6
GOAL_LONG = 20e6
GOAL_SEALED_FRAMES = 1 / 32e-6
GOAL_HDLC_FRAMES = 1 / 6e-6

_TAGS = (Tag.OCTET_STRING, Tag.UNSIGNED, Tag.DOUBLE_LONG_UNSIGNED, Tag.DOUBLE_LONG_UNSIGNED)
_METER, _CLIENT = b"OAMBENCH", b"HESBENCH"
_PASSES = 7
_CLOCK_S = 0.05
_INFORMATION, _LONGEST_INFORMATION = 123, 2030
"""Octets of information in an HDLC frame: a little under the default, 128, and the most that is agreed on."""


def run() -> dict[str, Figure]:
    """Rates of decoding and encoding, with the faster peer where there is one."""
    figures: dict[str, Figure] = {}
    for rows in (96, 1440):
        figures |= _rows(rows, _Task(rows))
    return figures | _frames(_Task(96))


class _Task:
    """One profile buffer in every form, and what the peers need for the same."""

    def __init__(self, rows: int) -> None:
        at = np.datetime64("2026-01-01", "us") + np.arange(rows) * np.timedelta64(900, "s")
        counts = np.arange(rows, dtype=np.int64)
        self.columns: list[npt.NDArray[Any]] = [
            date_times_of(at, -60, 0),
            counts % 8,
            counts * 7 % 100_003,
            counts * 3 % 10_007,
        ]
        self.value = encode_buffer(_TAGS, self.columns)
        self.apdu = GetResponse(0xC1, self.value).to_bytes()
        self.keys = MeterKeys.random(0)
        self.rows = rows
        self.frame = _frame_of(self.apdu, _INFORMATION)
        self.long_frame = _frame_of(self.apdu, _LONGEST_INFORMATION)
        self.peers = self._measured()

    def cipher(self, own: bytes, peer: bytes) -> Cipher:
        """One end, with counters of its own."""
        counters = MemoryCounters()
        return Cipher(self.keys, own, peer, SendCounter(counters, "send"), ReceiveCounters(counters))

    def sealed(self, count: int) -> list[bytes]:
        """The APDU under as many counters."""
        meter = self.cipher(_METER, _CLIENT)
        return [meter.seal(self.apdu) for _ in range(count)]

    def _measured(self) -> dict[str, dict[str, float | None]]:
        """Seconds of the peers; empty where their environment was not made."""
        python = peers_python()
        if python is None:
            return {}
        task = {
            "rows": self.rows, "value": self.value.hex(), "apdu": self.apdu.hex(),
            "sealed": self.sealed(1)[0].hex(), "title": _METER.hex(),
            "frame": self.frame.to_bytes().hex(), "long_frame": self.long_frame.to_bytes().hex(),
            "encryption_key": self.keys.global_unicast.reveal().hex(),
            "authentication_key": self.keys.authentication.reveal().hex(),
            "repeats": 5760 // self.rows,
        }  # fmt: skip
        done = subprocess.run(
            [str(python), str(Path(__file__).with_name("dlms_peers.py"))],
            input=json.dumps(task), capture_output=True, text=True, check=True,
        )  # fmt: skip
        measured: dict[str, dict[str, float | None]] = json.loads(done.stdout.splitlines()[-1])
        return measured

    def figure(self, seconds: float, what: str, units: int, unit: str, goal: float | None = None) -> Figure:
        """A rate, beside the faster peer's at the same."""
        known = {name: spent[what] for name, spent in self.peers.items() if spent.get(what)}
        rates = {name: units / spent for name, spent in known.items() if spent}
        peer = max(rates, key=rates.__getitem__, default=None)
        return Figure(units / seconds, unit, peer, rates[peer] if peer else None, goal=goal)


def _rows(rows: int, task: _Task) -> dict[str, Figure]:
    templated = GOAL_TEMPLATED if rows == 96 else GOAL_LONG
    decoder = ProfileDecoder()
    tree = decode(task.value)
    client = task.cipher(_CLIENT, _METER)

    def columns_of(apdu: bytes) -> object:
        answer = decode_apdu(apdu)
        if not isinstance(answer, GetResponse) or not isinstance(answer.data, bytes):
            raise TypeError("the bench's APDU is no value")
        return decoder.decode(answer.data)

    def rate(work: Callable[[], object], what: str, goal: float | None) -> Figure:
        return task.figure(_seconds(work), what, rows, "rows/s", goal)

    sealed_s = _seconds_of_each(lambda octets: columns_of(client.open(octets).apdu), task.sealed)
    sealing = task.cipher(_METER, _CLIENT)
    sealing_s = _seconds(
        lambda: sealing.seal(GetResponse(0xC1, encode_buffer(_TAGS, task.columns)).to_bytes())
    )
    figures = {
        "decode_generic": rate(lambda: decode_plain(task.value), "decode", GOAL_GENERIC),
        "decode_typed": rate(lambda: decode(task.value), "decode", None),
        "decode_templated": rate(lambda: decoder.decode(task.value), "columns", templated),
        "decode_templated_with_instants": rate(
            lambda: capture_instants(decoder.decode(task.value)[0], 900), "columns", None
        ),
        "decode_sealed": task.figure(sealed_s, "sealed", rows, "rows/s", templated),
        "encode_generic": rate(lambda: encode(tree), "encode", GOAL_GENERIC),
        "encode_templated": rate(lambda: encode_buffer(_TAGS, task.columns), "encode", templated),
        "encode_sealed": task.figure(sealing_s, "", rows, "rows/s", templated),
    }
    if rows == 96:
        figures["sealed_frames"] = task.figure(sealed_s, "sealed", 1, "frames/s", GOAL_SEALED_FRAMES)
        for name, spent in task.peers.items():
            if seconds := spent.get("sealed"):
                figures[f"sealed_frames_of_{name}"] = Figure(1 / seconds, "frames/s")
    return {f"{name}_{rows}": figure for name, figure in figures.items()}


def _frame_of(apdu: bytes, information: int) -> HdlcFrame:
    """An I frame with the beginning of an APDU behind its LLC header."""
    text = (b"\xe6\xe7\x00" + apdu)[:information]
    return HdlcFrame(HdlcAddress(16), HdlcAddress(1), control_of(FrameKind.I), text)


def _frames(task: _Task) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    # The goal is that of the default frame: the check alone of the longest takes as long in the C of the
    # standard library (`hdlc_frame`).
    for frame, suffix, what, goal in (
        (task.frame, "", "frame", GOAL_HDLC_FRAMES),
        (task.long_frame, "_2030", "long frame", None),
    ):
        octets = frame.to_bytes()
        decoder = HdlcDecoder()
        if decoder.feed(octets) != [frame]:
            raise ValueError("the frame of the bench does not come back")
        decoding, encoding = _seconds(partial(decoder.feed, octets)), _seconds(frame.to_bytes)
        figures |= {
            f"hdlc_decode{suffix}": task.figure(decoding, what, 1, "frames/s", goal),
            f"hdlc_encode{suffix}": task.figure(encoding, f"{what} encode", 1, "frames/s", goal),
        }
    return figures


def _seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, best of the passes."""
    repeats = _repeats(work)
    best = float("inf")
    for _ in range(_PASSES):
        begin = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - begin) / repeats)
    return best


def _seconds_of_each(work: Callable[[bytes], Any], made: Callable[[int], list[bytes]]) -> float:
    """The same for work whose every input is used once, as ciphered APDUs are."""
    repeats = 500
    inputs = iter(made(repeats * (_PASSES + 1)))
    best = float("inf")
    for _ in range(_PASSES):
        begin = time.process_time()
        for _ in range(repeats):
            work(next(inputs))
        best = min(best, (time.process_time() - begin) / repeats)
    return best


def _repeats(work: Callable[[], object]) -> int:
    """Calls that take about `_CLOCK_S`."""
    work()
    begin = time.process_time()
    for _ in range(10):
        work()
    return max(10, int(_CLOCK_S / max(1e-7, (time.process_time() - begin) / 10)))
