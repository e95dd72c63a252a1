"""Drives the gurux client against a meter over TCP and prints what it read as one JSON document, last line.

Usage: gurux_client.py HOST PORT SERVER CLIENT PASSWORD|- PDU FROM TO [INFORMATION WINDOW PHYSICAL|-]
FROM, TO: instants, ISO. INFORMATION and WINDOW (proposed in SNRM) choose HDLC on the TCP connection instead
of the wrapper, PHYSICAL the lower HDLC address.
Run with the interpreter of the environment of peers; the library prints a lot, so stdout is kept apart.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
from datetime import datetime

from gurux_dlms import GXByteBuffer, GXDateTime, GXDLMSClient, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, ObjectType
from gurux_dlms.objects import GXDLMSProfileGeneric

NOTE = "0.0.96.13.0.255"


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

    def __init__(
        self, host: str, port: int, server: int, client: int, password: str, pdu: int, line: list[str]
    ) -> None:
        level = Authentication.NONE if password == "-" else Authentication.LOW
        secret = None if password == "-" else password
        interface = InterfaceType.HDLC if line else InterfaceType.WRAPPER
        if line and line[2] != "-":
            server = GXDLMSClient.getServerAddress(server, int(line[2]))
        self.client = GXDLMSClient(True, client, server, level, secret, interface)
        self.client.maxReceivePDUSize = pdu
        if line:
            self.client.limits.maxInfoTX = self.client.limits.maxInfoRX = int(line[0])
            self.client.limits.windowSizeTX = self.client.limits.windowSizeRX = int(line[1])
        self.line = bool(line)
        self.socket = socket.create_connection((host, port), timeout=10)

    def exchange(self, request: bytes) -> GXReplyData:
        """Send one frame and read the whole answer, fetching further blocks."""
        reply = GXReplyData()
        self._frame(request, reply)
        while reply.isMoreData():
            self._frame(self.client.receiverReady(reply), reply)
        return reply

    def _frame(self, request: bytes, reply: GXReplyData) -> None:
        self.socket.sendall(bytes(request))
        buffer = GXByteBuffer()
        while True:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the meter closed the connection")
            buffer.set(data)
            if self.client.getData(buffer, reply):
                if reply.error:
                    raise ValueError(f"error {reply.error}")
                return

    def requests(self, requests: object) -> GXReplyData:
        """All frames of a request; the answer of the last."""
        reply = GXReplyData()
        for request in requests if isinstance(requests, list) else [requests]:
            reply = self.requests(request) if isinstance(request, list) else self.exchange(request)
        return reply

    def associate(self) -> None:
        """Open the association, over HDLC on a link."""
        if self.line:
            self.client.parseUAResponse(self.exchange(self.client.snrmRequest()).data)
        reply = self.requests(self.client.aarqRequest())
        self.client.parseAareResponse(reply.data)

    def everything(self) -> dict[str, object]:
        """The association view and every readable attribute of it."""
        reply = self.requests(self.client.getObjectsRequest())
        objects = self.client.parseObjects(reply.data, True)
        seen: dict[str, object] = {}
        for item in objects:
            values: dict[str, object] = {}
            order = sorted(range(1, item.getAttributeCount() + 1), key=lambda index: index == 2)
            for index in order:  # the buffer of a profile after its capture objects
                if not int(item.getAccess(index)) & 1:
                    continue
                try:
                    answer = self.requests(self.client.read(item, index))
                    values[str(index)] = plain(answer.value)
                    self.client.updateValue(item, index, answer.value)
                except (ValueError, TypeError, ConnectionError) as wrong:
                    values[str(index)] = f"ERROR {wrong!r}"
            seen[item.logicalName] = {
                "class": int(item.objectType), "version": item.version, "values": values
            }  # fmt: skip
        return seen

    def rows(self, profile: str, start: datetime, end: datetime) -> dict[str, object]:
        """A load profile by range and by entry."""
        item = GXDLMSProfileGeneric(profile)
        self.client.updateValue(item, 3, self.requests(self.client.read(item, 3)).value)
        found: dict[str, object] = {}
        by_range = self.requests(self.client.readRowsByRange(item, start, end))
        found["range"] = plain(by_range.value)
        by_entry = self.requests(self.client.readRowsByEntry(item, 3, 4))
        found["entry"] = plain(by_entry.value)
        return found

    def listed(self) -> object:
        """Values of the registers of the view, in its order, in one request with list."""
        registers = [item for item in self.client.objects if item.objectType == ObjectType.REGISTER]
        return plain(self.requests(self.client.readList([(item, 2) for item in registers])).value)

    def write_note(self, text: bytes) -> object:
        """A value written and read back."""
        item = self.client.objects.findByLN(ObjectType.DATA, NOTE)
        item.value = text
        self.requests(self.client.write(item, 2))
        return plain(self.requests(self.client.read(item, 2)).value)

    def release(self) -> None:
        """Close the association."""
        self.requests(self.client.releaseRequest())
        if self.line:
            self.exchange(self.client.disconnectRequest())
        self.socket.close()


def main(arguments: list[str]) -> None:
    """Run the steps; exit code 1 where the association is refused."""
    host, port, server, client, password, pdu, start, end, *line = arguments
    found: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        peer = Peer(host, int(port), int(server), int(client), password, int(pdu), line)
        try:
            peer.associate()
            limits = peer.client.limits
            found["limits"] = [limits.maxInfoTX, limits.maxInfoRX, limits.windowSizeTX, limits.windowSizeRX]
            found["objects"] = peer.everything()
            if password != "-":
                found["profile"] = peer.rows(
                    "1.0.99.1.0.255", datetime.fromisoformat(start), datetime.fromisoformat(end)
                )
                found["list"] = peer.listed()
                if peer.client.objects.findByLN(ObjectType.DATA, NOTE) is not None:
                    found["written"] = peer.write_note(b"from gurux")
                relay = next(o for o in peer.client.objects if o.objectType == ObjectType.DISCONNECT_CONTROL)
                peer.requests(relay.remoteDisconnect(peer.client))
                found["relay"] = plain(peer.requests(peer.client.read(relay, 3)).value)
            peer.release()
        except Exception as wrong:  # the parent judges; a traceback would hide the JSON
            found["failure"] = repr(wrong)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
