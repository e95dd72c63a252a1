"""Drives the gurux client through named steps against a meter over TCP: wrapper frames or HDLC.

Reads a plan as JSON from standard input, prints one JSON document on the last line: ``{"steps": {name:
result}}``, where a step that failed gives ``{"error": text}``. Run with the interpreter of the peers; the
library prints a lot, so standard output is kept apart.

The plan: host, port, framing ("wrapper" or "hdlc"), client, server, mechanism (0 .. 6), password (hex or
null), protection (0, 16, 32, 48), title, encryption_key, authentication_key (hex), counter, pdu, window,
information, arguments (what the steps need), steps (names in order); proposed (services beside the library's
own, by name) and blocks_in_window where they are wanted.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from gurux_dlms import GXByteBuffer, GXDateTime, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, DataType, InterfaceType, ObjectType, Security
from gurux_dlms.GXDLMSTranslator import GXDLMSTranslator
from gurux_dlms.objects import GXDLMSProfileGeneric
from gurux_dlms.objects.enums import GlobalKeyType, SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient

TIMEOUT_S = 8
READABLE = (1, 3, 4, 6)
"""Access modes with reading: read, read and write, and the two that want an authenticated request."""


def plain(value: object) -> object:
    """A value as JSON can hold it."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, GXDateTime):
        return value.value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    return str(value)


class Peer:
    """The client on one connection."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.arguments = plan.get("arguments", {})
        hdlc = plan["framing"] == "hdlc"
        password = None if plan["password"] is None else bytes.fromhex(plan["password"])
        self.client = GXDLMSSecureClient(
            True, plan["client"], plan["server"], Authentication(plan["mechanism"]), password,
            InterfaceType.HDLC if hdlc else InterfaceType.WRAPPER,
        )  # fmt: skip
        self.client.maxReceivePDUSize = plan["pdu"]
        for name in plan.get("proposed", ()):
            self.client.proposedConformance |= Conformance[name]
        if "blocks_in_window" in plan:
            self.client.gbtWndowSize = plan["blocks_in_window"]
        if hdlc:
            limits = self.client.hdlcSettings
            limits.maxInfoRX = limits.maxInfoTX = plan["information"]
            limits.windowSizeRX = limits.windowSizeTX = plan["window"]
        if plan["protection"] or plan["mechanism"] >= 5:
            ciphering = self.client.ciphering
            ciphering.systemTitle = bytes.fromhex(plan["title"])
            ciphering.blockCipherKey = bytes.fromhex(plan["encryption_key"])
            ciphering.authenticationKey = bytes.fromhex(plan["authentication_key"])
            ciphering.security = Security(plan["protection"])
            ciphering.invocationCounter = plan["counter"]
        self.socket = socket.create_connection((plan["host"], plan["port"]), timeout=TIMEOUT_S)
        self.frames = 0
        self.buffer = GXByteBuffer()

    # --- exchange ---------------------------------------------------------------------------------------

    def exchange(self, request: bytes) -> GXReplyData:
        """Send one frame and read the whole answer, fetching further frames and blocks."""
        reply = GXReplyData()
        self._frame(request, reply)
        while reply.isMoreData():
            following = None if reply.isStreaming() else self.client.receiverReady(reply)
            self._frame(following, reply)
        return reply

    def _frame(self, request: bytes | None, reply: GXReplyData) -> None:
        if request:
            self.socket.sendall(bytes(request))
            self.frames += 1
        buffer = self.buffer
        while not self._take(buffer, reply):
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the meter closed the connection")
            buffer.set(data)
        if reply.error:
            raise ValueError(f"error {int(reply.error)}")

    def _take(self, buffer: GXByteBuffer, reply: GXReplyData) -> bool:
        """Hand the library what has come, frame by frame, until it has what it waits for."""
        left = 0
        while buffer.available() != left:
            left = buffer.available()
            if self.client.getData(buffer, reply):
                return True
        return False

    def requests(self, requests: object) -> GXReplyData:
        """All frames of a request; the answer of the last."""
        reply = GXReplyData()
        for request in requests if isinstance(requests, list) else [requests]:
            reply = self.requests(request) if isinstance(request, list) else self.exchange(request)
        return reply

    def read(self, item: Any, index: int) -> object:
        """Value of an attribute, kept in the library's object too."""
        answer = self.requests(self.client.read(item, index))
        value = answer.value
        self.client.updateValue(item, index, value)
        return value

    def named(self, kind: ObjectType, name: str) -> Any:
        """An object of the view."""
        found = self.client.objects.findByLN(kind, name)
        if found is None:
            raise LookupError(f"the view has no {name}")
        return found

    # --- steps ------------------------------------------------------------------------------------------

    def link(self) -> object:
        """SNRM and UA; what was agreed on."""
        request = self.client.snrmRequest()
        if not request:
            return None
        reply = self.exchange(request)
        self.client.parseUAResponse(reply.data)
        limits = self.client.hdlcSettings
        return {
            "information": [int(limits.maxInfoRX), int(limits.maxInfoTX)],
            "window": [int(limits.windowSizeRX), int(limits.windowSizeTX)],
        }

    def associate(self) -> object:
        """AARQ, AARE, and the challenges of high level security."""
        reply = self.requests(self.client.aarqRequest())
        self.client.parseAareResponse(reply.data)
        if self.client.isAuthenticationRequired:
            for request in self.client.getApplicationAssociationRequest():
                reply = self.exchange(request)
                self.client.parseApplicationAssociationResponse(reply.data)
        return "associated"

    def view(self) -> object:
        """The association view: class, version and attribute access by logical name."""
        reply = self.requests(self.client.getObjectsRequest())
        objects = self.client.parseObjects(reply.data, True)
        return {
            item.logicalName: [
                int(item.objectType),
                int(item.version),
                {str(index): int(item.getAccess(index)) for index in range(1, item.getAttributeCount() + 1)},
                {
                    str(index): int(item.getMethodAccess(index))
                    for index in range(1, item.getMethodCount() + 1)
                },
            ]
            for item in objects
        }

    def everything(self) -> object:
        """Every readable attribute of the view, by logical name and index."""
        seen: dict[str, dict[str, object]] = {}
        for item in self.client.objects:
            values: dict[str, object] = {}
            order = sorted(range(1, item.getAttributeCount() + 1), key=lambda index: index == 2)
            for index in order:  # the buffer of a profile after its capture objects
                if int(item.getAccess(index)) not in READABLE:
                    continue
                try:
                    answer = self.requests(self.client.read(item, index))
                    values[str(index)] = plain(answer.value)
                except Exception as wrong:  # the parent judges
                    values[str(index)] = {"error": repr(wrong)}
                    continue
                try:
                    self.client.updateValue(item, index, answer.value)
                except Exception as wrong:
                    values[str(index) + " parsed"] = {"error": repr(wrong)}
            seen[item.logicalName] = values
        return seen

    def _profile(self, name: str) -> GXDLMSProfileGeneric:
        item = GXDLMSProfileGeneric(name)
        self.client.updateValue(item, 3, self.requests(self.client.read(item, 3)).value)
        return item

    def ranges(self) -> object:
        """Rows of a profile by the ranges of the plan."""
        item = self._profile(self.arguments["profile"])
        found = {}
        for name, (start, end) in self.arguments["ranges"].items():
            request = self.client.readRowsByRange(
                item, datetime.fromisoformat(start), datetime.fromisoformat(end)
            )
            found[name] = attempt(lambda request=request: plain(self.requests(request).value))
        return found

    def entries(self) -> object:
        """Rows of a profile by the entries of the plan: first, count, columns."""
        item = self._profile(self.arguments["profile"])
        found = {}
        for name, (first, count, columns) in self.arguments["entries"].items():
            chosen = None if columns is None else [item.captureObjects[place - 1] for place in columns]
            request = self.client.readRowsByEntry(item, first, count, chosen)
            found[name] = attempt(lambda request=request: plain(self.requests(request).value))
        return found

    def list_get(self) -> object:
        """Attributes of the plan, [class, name, index], in one request."""
        wanted = [
            (self.client.createObject(kind), name, index) for kind, name, index in self.arguments["list"]
        ]
        for item, name, _ in wanted:
            item.logicalName = name
        return plain(self.requests(self.client.readList([(item, index) for item, _, index in wanted])).value)

    def write_note(self) -> object:
        """A value written and read back."""
        item = self.named(ObjectType.DATA, self.arguments["note"])
        item.value = b"from gurux"
        self.requests(self.client.write(item, 2))
        return plain(self.read(item, 2))

    def relay(self) -> object:
        """The relay opened and closed; its state after each."""
        item = next(o for o in self.client.objects if o.objectType == ObjectType.DISCONNECT_CONTROL)
        states = []
        for action in (item.remoteDisconnect, item.remoteReconnect):
            self.requests(action(self.client))
            states.append([plain(self.read(item, 2)), plain(self.read(item, 3))])
        return states

    def clock(self) -> object:
        """The clock before and after it was adjusted to the quarter of an hour."""
        item = self.named(ObjectType.CLOCK, "0.0.1.0.0.255")
        before = plain(self.requests(self.client.read(item, 2)).value)
        self.requests(item.adjustToQuarter(self.client))
        return [before, plain(self.requests(self.client.read(item, 2)).value)]

    def reset_profile(self) -> object:
        """A profile emptied; its entries in use after that."""
        item = self.named(ObjectType.PROFILE_GENERIC, self.arguments["reset"])
        self.requests(item.reset(self.client))
        return plain(self.read(item, 7))

    def script(self) -> object:
        """A script executed."""
        name, number = self.arguments["script"]
        item = self.named(ObjectType.SCRIPT_TABLE, name)
        self.read(item, 2)
        chosen = next(script for script in item.scripts if script.id == number)
        self.requests(item.execute(self.client, chosen))
        return "executed"

    def image(self) -> object:
        """An image transferred in blocks of the meter's size, some sent in a second pass, verified."""
        item = self.named(ObjectType.IMAGE_TRANSFER, self.arguments.get("image", "0.0.44.0.0.255"))
        octets = bytes.fromhex(self.arguments["image_octets"])
        size = int(self.read(item, 2))
        self.read(item, 5)
        self.requests(item.imageTransferInitiate(self.client, "IMAGE-1", len(octets)))
        blocks = [octets[start : start + size] for start in range(0, len(octets), size)]
        # The library's own call makes all requests at once, so that none can be left out or sent again.
        for place, block in enumerate(blocks):
            if place % 10 != 7:
                self.image_block(item, place, block)
        bitmap = plain(self.requests(self.client.read(item, 3)).value)
        missing = plain(self.requests(self.client.read(item, 4)).value)
        for place in range(7, len(blocks), 10):
            self.image_block(item, place, blocks[place])
        complete = plain(self.requests(self.client.read(item, 3)).value)
        verified = attempt(lambda: plain(self.requests(item.imageVerify(self.client)).value))
        self.requests(item.imageActivate(self.client))
        status = plain(self.requests(self.client.read(item, 6)).value)
        return {
            "block": size, "blocks": len(blocks), "bitmap": bitmap, "missing": missing,
            "complete": complete, "verify": verified, "status": status,
        }  # fmt: skip

    def image_block(self, item: Any, place: int, block: bytes) -> None:
        """One block of an image."""
        data = GXByteBuffer(bytes.fromhex("020206") + place.to_bytes(4, "big") + b"\x09")
        length = len(block)
        data.set(bytes((length,)) if length < 0x80 else b"\x82" + length.to_bytes(2, "big"))
        data.set(block)
        self.requests(self.client.method(item, 2, bytes(data.array()), DataType.STRUCTURE))

    def keys(self) -> object:
        """New global unicast and authentication keys, wrapped with the master key."""
        item = self.named(ObjectType.SECURITY_SETUP, self.arguments["security_setup"])
        pairs = [
            (GlobalKeyType.UNICAST_ENCRYPTION, bytes.fromhex(self.arguments["new_encryption_key"])),
            (GlobalKeyType.AUTHENTICATION, bytes.fromhex(self.arguments["new_authentication_key"])),
        ]
        item.securitySuite = SecuritySuite.SUITE_0
        master = bytes.fromhex(self.arguments["master_key"])
        self.requests(item.globalKeyTransfer(self.client, master, pairs))
        return "transferred"

    def translate(self) -> object:
        """APDUs and frames of the plan as the library's translator explains them, and their values."""
        found = []
        for text in self.arguments["pushed"]:
            reply = GXReplyData()
            notify = GXReplyData()
            complete = self.client.getData(GXByteBuffer(bytes.fromhex(text)), reply, notify)
            found.append(
                {
                    "complete": bool(complete),
                    "value": plain(notify.value if notify.value is not None else reply.value),
                    "time": plain(notify.time if notify.time is not None else reply.time),
                }
            )
        return found

    def explain(self) -> object:
        """APDUs of the plan as the library's translator writes them in XML."""
        return [GXDLMSTranslator().pduToXml(bytes.fromhex(text)) for text in self.arguments["apdus"]]

    def counter(self) -> object:
        """The library's own invocation counter now."""
        return int(self.client.ciphering.invocationCounter)

    def traffic(self) -> object:
        """Frames sent so far."""
        return self.frames

    def release(self) -> object:
        """The association closed, and the link with it."""
        if self.plan["framing"] == "wrapper" or self.plan["mechanism"] or self.plan["protection"]:
            self.requests(self.client.releaseRequest())
        if self.plan["framing"] == "hdlc":
            self.requests(self.client.disconnectRequest())
        self.socket.close()
        return "released"


def attempt(step: Callable[[], object]) -> object:
    """Result of a step, or its error as a document."""
    try:
        return step()
    except Exception as wrong:  # the parent judges; a traceback would hide the JSON
        return {"error": repr(wrong)}


def main() -> None:
    """Run the steps of the plan."""
    plan = json.load(sys.stdin)
    found: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        peer = Peer(plan)
        for name in plan["steps"]:
            found[name] = attempt(getattr(peer, name))
            if name in ("link", "associate") and isinstance(found[name], dict) and "error" in found[name]:
                break
    print(json.dumps({"steps": found}))


if __name__ == "__main__":
    main()
