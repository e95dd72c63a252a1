"""How long each vector takes: ``python tests/protocols/vector_times.py``; exit code 1 over a millisecond.

Each vector goes through the decoder of its layer (framings also through `PushReader`, with the values of what
is pushed), best of twenty, processor time; each is printed. Malformed and hostile ones must end in time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openami.protocols.dlms.apdus.apdu import decode_apdu
from openami.protocols.dlms.apdus.get import GetResponse
from openami.protocols.dlms.encoding.axdr import decode_plain
from openami.protocols.dlms.framing.hdlc_frame import HdlcDecoder
from openami.protocols.dlms.framing.mbus_frame import MBusDecoder
from openami.protocols.dlms.framing.p1_telegram import P1Decoder
from openami.protocols.dlms.framing.push_framing import PushedApdu, PushReader
from openami.protocols.dlms.framing.wrapper import WrapperDecoder
from openami.quantities.errors import RemoteProtocolError

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dlms" / "vectors.json"
LIMIT_S = 1e-3
_STREAMS: dict[str, Callable[[], Any]] = {
    "hdlc": HdlcDecoder, "mbus": MBusDecoder, "p1-ascii": P1Decoder, "wrapper": WrapperDecoder,
}  # fmt: skip


def read(layer: str, octets: bytes) -> str:
    """Decode to the bottom; what became of it."""
    if layer in _STREAMS:
        decoder = _STREAMS[layer]()
        events = [*decoder.feed(octets), *_listed(decoder.end())]
        wrong = sum(isinstance(event, RemoteProtocolError) for event in events)
        return f"{len(events) - wrong} frames, {wrong} errors"
    if layer in ("raw", "llc-apdu"):
        reader = PushReader()
        pushed = [*reader.feed(octets), *reader.end()]
        for event in pushed:
            if isinstance(event, PushedApdu):
                decode_apdu(event.apdu)
        return f"{len(pushed)} pushes or errors"
    try:
        apdu = decode_apdu(octets)
        if isinstance(apdu, GetResponse) and isinstance(apdu.data, bytes):
            decode_plain(apdu.data)
    except RemoteProtocolError as wrong:
        return f"refused: {wrong}"
    return type(apdu).__name__


def _listed(event: Any) -> list[Any]:
    if event is None:
        return []
    return event if isinstance(event, list) else [event]


def main() -> int:
    """Measure all vectors."""
    measured = {}
    for entry in json.loads(FILE.read_text("utf-8")):
        octets = bytes.fromhex(entry["frame_hex"])
        best = float("inf")
        for _ in range(20):
            begin = time.process_time()
            outcome = read(entry["layer"], octets)
            best = min(best, time.process_time() - begin)
        bad = entry["kind"] in ("malformed", "hostile")
        measured[entry["id"]] = {
            "kind": entry["kind"], "octets": len(octets), "us": round(best * 1e6, 1),
            "outcome": outcome[:80], "holds": not bad or best < LIMIT_S,
        }  # fmt: skip
    slowest = max(measured, key=lambda name: measured[name]["us"])
    wrong = [name for name, one in measured.items() if one["kind"] in ("malformed", "hostile")]
    print(
        json.dumps(
            {
                "vectors": len(measured),
                "malformed_or_hostile": len(wrong),
                "slowest_of_them_us": max(measured[name]["us"] for name in wrong),
                "slowest": slowest,
                "slowest_us": measured[slowest]["us"],
                "holds": all(one["holds"] for one in measured.values()),
                "each": measured,
            },
            indent=1,
        )
    )
    return int(not all(one["holds"] for one in measured.values()))


if __name__ == "__main__":
    sys.exit(main())
