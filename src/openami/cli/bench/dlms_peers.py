"""Drives gurux-dlms and dlms-cosem over the octets of the codec's bench, by the peers' interpreter.

    .venv-peers/bin/python dlms_peers.py < task.json

The task holds octets in hex: ``value`` (a profile buffer), ``apdu`` (the GET-response with it), ``sealed``
(that as glo-get-response, suite 0, control 30), ``frame`` and ``long_frame`` (HDLC I frames), the keys and
the system title under which it was sealed, the number of rows and ``repeats``. The answer gives seconds of
processor time for each thing, best of the repeats, by library; null where a library does not have it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import time
from collections.abc import Callable, Sized
from functools import partial
from typing import Any

_PASSES = 3


def main() -> None:
    """Measure both libraries."""
    task = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        found = {"dlms-cosem": _dlms_cosem(task), "gurux-dlms": _gurux(task)}
    print(json.dumps(found))


def _best(work: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(_PASSES):
        begin = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - begin) / repeats)
    return best


def _dlms_cosem(task: dict[str, Any]) -> dict[str, float | None]:
    utils = importlib.import_module("dlms_cosem.utils")
    parsers = importlib.import_module("dlms_cosem.parsers")
    security = importlib.import_module("dlms_cosem.security")
    cosem = importlib.import_module("dlms_cosem.cosem")
    enumerations = importlib.import_module("dlms_cosem.enumerations")
    xdlms = importlib.import_module("dlms_cosem.protocol.xdlms")
    frames = importlib.import_module("dlms_cosem.hdlc.frames")
    address = importlib.import_module("dlms_cosem.hdlc.address")
    value, apdu, sealed = (bytes.fromhex(task[name]) for name in ("value", "apdu", "sealed"))
    repeats = task["repeats"]

    def attribute(class_id: int, *name: int) -> Any:
        return cosem.CosemAttribute(
            interface=enumerations.CosemInterface(class_id), instance=cosem.Obis(*name), attribute=2
        )

    columns = [attribute(8, 0, 0, 1, 0, 0), attribute(1, 0, 0, 96, 10, 1)]
    columns += [attribute(3, 1, 0, 1, 29, 0), attribute(3, 1, 0, 2, 29, 0)]
    parser = parsers.ProfileGenericBufferParser(capture_objects=columns, capture_period=15)
    control = security.SecurityControlField(0, authenticated=True, encrypted=True)
    text = sealed[sealed.index(b"\x30") + 5 :]
    counter = int.from_bytes(sealed[sealed.index(b"\x30") + 1 :][:4], "big")
    keys = bytes.fromhex(task["encryption_key"]), bytes.fromhex(task["authentication_key"])
    title = bytes.fromhex(task["title"])

    def unseal() -> Sized:
        plain = security.decrypt(control, title, counter, keys[0], text, keys[1])
        rows: Sized = parser.parse_bytes(xdlms.GetResponseNormal.from_bytes(plain).data)
        return rows

    parsed = utils.parse_as_dlms_data(value)
    if len(parsed) != task["rows"] or len(parser.parse_bytes(value)) != task["rows"]:
        raise ValueError("the peer reads another number of rows")
    if not apdu or len(unseal()) != task["rows"]:
        raise ValueError("the peer deciphers another number of rows")
    spent: dict[str, float | None] = {}
    for what in ("frame", "long frame"):
        frame = bytes.fromhex(task[what.replace(" ", "_")])
        one = frames.InformationFrame.from_bytes(frame)
        built = frames.InformationFrame(
            address.HdlcAddress(16, None, "client"), address.HdlcAddress(1, None, "server"), one.payload
        )
        spent[what] = _best(partial(frames.InformationFrame.from_bytes, frame), repeats * 20)
        spent[f"{what} encode"] = _best(built.to_bytes, repeats * 20)
    return spent | {
        "decode": _best(lambda: utils.parse_as_dlms_data(value), repeats),
        "columns": _best(lambda: parser.parse_bytes(value), repeats),
        "sealed": _best(unseal, repeats),
        "encode": None,  # its arrays and structures raise TypeError
    }


def _gurux(task: dict[str, Any]) -> dict[str, float | None]:
    gurux = importlib.import_module("gurux_dlms")
    enums = importlib.import_module("gurux_dlms.enums")
    objects = importlib.import_module("gurux_dlms.objects")
    secure = importlib.import_module("gurux_dlms.secure")
    repeats = max(1, task["repeats"] // 4)

    def wrapped(apdu: bytes) -> bytes:
        return bytes.fromhex("0001000100100000")[:6] + len(apdu).to_bytes(2, "big") + apdu

    apdu, sealed = (wrapped(bytes.fromhex(task[name])) for name in ("apdu", "sealed"))

    def client() -> Any:
        level = enums.Authentication.NONE
        return secure.GXDLMSSecureClient(True, 16, 1, level, None, enums.InterfaceType.WRAPPER)

    plain, ciphered = client(), client()
    ciphered.ciphering.blockCipherKey = bytes.fromhex(task["encryption_key"])
    ciphered.ciphering.authenticationKey = bytes.fromhex(task["authentication_key"])
    ciphered.ciphering.security = enums.Security.AUTHENTICATION_ENCRYPTION
    ciphered.ciphering.systemTitle = b"PEER0001"
    with contextlib.suppress(Exception):
        ciphered.settings.sourceSystemTitle = bytes.fromhex(task["title"])
    profile = objects.GXDLMSProfileGeneric("1.0.99.1.0.255")
    for made in (
        objects.GXDLMSClock("0.0.1.0.0.255"),
        objects.GXDLMSData("0.0.96.10.1.255"),
        objects.GXDLMSRegister("1.0.1.29.0.255"),
        objects.GXDLMSRegister("1.0.2.29.0.255"),
    ):
        profile.addCaptureObject(made, 2, 0)

    def read(reader: Any, frame: bytes) -> Any:
        reply = gurux.GXReplyData()
        if not reader.getData(gurux.GXByteBuffer(frame), reply):
            raise ValueError("the peer waits for more")
        return reply.value

    def columns(reader: Any, frame: bytes) -> object:
        return reader.updateValue(profile, 2, read(reader, frame))

    rows = read(plain, apdu)
    if len(rows) != task["rows"]:
        raise ValueError("the peer reads another number of rows")
    common = importlib.import_module("gurux_dlms.internal._GXCommon")._GXCommon

    def encoded() -> bytes:
        octets = gurux.GXByteBuffer()
        common.setData(None, octets, enums.DataType.ARRAY, rows)
        return bytes(octets.array())

    if encoded() != bytes.fromhex(task["value"]):
        raise ValueError("the peer encodes other octets")
    deciphers: float | None = None
    with contextlib.suppress(Exception):
        columns(ciphered, sealed)
        deciphers = _best(lambda: columns(ciphered, sealed), max(1, repeats // 4))
    return {
        "decode": _best(lambda: read(plain, apdu), repeats),
        "columns": _best(lambda: columns(plain, apdu), repeats),
        "sealed": deciphers,
        "encode": _best(encoded, repeats),
        **dict.fromkeys(("frame", "frame encode", "long frame", "long frame encode")),
    }


if __name__ == "__main__":
    main()
