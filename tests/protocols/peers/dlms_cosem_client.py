"""Drives the dlms-cosem 21.3.2 client against a meter over TCP; prints JSON on the last line.

Usage: dlms_cosem_client.py HOST PORT SERVER CLIENT PDU FROM TO JOBS
JOBS is JSON: [[class, "1.0.1.8.0.255", attribute], ...].
Answers are given as the encoded bytes that the library hands out, in hex.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from datetime import datetime

from dlms_cosem import cosem, enumerations
from dlms_cosem.clients.dlms_client import DlmsClient
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor


def attribute(class_id: int, name: str, index: int) -> cosem.CosemAttribute:
    """An attribute of the library."""
    return cosem.CosemAttribute(
        interface=enumerations.CosemInterface(class_id),
        instance=cosem.Obis(*map(int, name.split("."))),
        attribute=index,
    )


def main(arguments: list[str]) -> None:
    """Run the steps."""
    host, port, server, client, pdu, start, end, jobs = arguments
    found: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        peer = DlmsClient.with_tcp_transport(
            host=host, port=int(port), client_logical_address=int(client), server_logical_address=int(server),
            block_transfer=True, max_pdu_size=int(pdu),
        )  # fmt: skip
        try:
            peer.connect()
            peer.associate()
            found["values"] = [bytes(peer.get(attribute(*job))).hex() for job in json.loads(jobs)]
            by_range = RangeDescriptor(
                restricting_object=CaptureObject(attribute(8, "0.0.1.0.0.255", 2)),
                from_value=datetime.fromisoformat(start),
                to_value=datetime.fromisoformat(end),
            )
            rows = peer.get(attribute(7, "1.0.99.1.0.255", 2), access_descriptor=by_range)
            found["range"] = bytes(rows).hex()
            peer.set(attribute(1, "0.0.96.13.0.255", 2), bytes.fromhex("0903616263"))
            method = cosem.CosemMethod(
                interface=enumerations.CosemInterface(70), instance=cosem.Obis(0, 0, 96, 3, 10), method=1
            )
            peer.action(method, bytes.fromhex("0f00"))
            peer.release_association()
            peer.disconnect()
        except Exception as wrong:  # the parent judges; a traceback would hide the JSON
            found["failure"] = repr(wrong)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
