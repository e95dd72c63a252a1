"""A library of others on inputs of `fuzz_dlms`: hangs, exceptions that are not its own, silent nonsense.

    .venv-peers/bin/python fuzz_peers.py gurux-dlms|dlms-cosem INPUTS.jsonl

Each line of the file is an APDU that a client may be sent (``hex``), whether it is a valid one cut short
(``cut``), and whether openami takes it (``ours``). An input is stopped after a second of processor time, and
the process may have a gigabyte. Prints one JSON document, last line. "nonsense" counts what the library takes
without an error although it is refused by openami; "nonsense, cut" those among them that are valid APDUs cut
short, which nobody can take for whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

HANG_S = 1.0
SLOW_S = 0.05
MEMORY = 1 << 30
MOST_HANGS = 100
"""After so many hangs the rest of the share is left out: it would only be more of the same."""


class StuckError(BaseException):
    """The input did not come to an end."""


def gurux() -> Callable[[bytes], bool]:
    """The client's reading of an answer in a wrapper frame."""
    from gurux_dlms import GXByteBuffer, GXDLMSClient, GXReplyData
    from gurux_dlms.enums import Authentication, InterfaceType

    def read(apdu: bytes) -> bool:
        client = GXDLMSClient(True, 16, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
        frame = bytes.fromhex("000100010010") + len(apdu).to_bytes(2, "big") + apdu
        reply = GXReplyData()
        whole = client.getData(GXByteBuffer(frame), reply)
        return bool(whole) and not reply.error

    return read


def dlms_cosem() -> Callable[[bytes], bool]:
    """The factories of APDUs, and the data of an answer."""
    from dlms_cosem import utils
    from dlms_cosem.connection import XDlmsApduFactory
    from dlms_cosem.protocol import acse, xdlms

    def read(apdu: bytes) -> bool:
        if apdu[0] == 0x61:
            acse.ApplicationAssociationResponse.from_bytes(apdu)
        elif apdu[0] == 0x63:
            acse.ReleaseResponse.from_bytes(apdu)
        else:
            found = XDlmsApduFactory.apdu_from_bytes(apdu)
            if isinstance(found, xdlms.GetResponseNormal):
                utils.parse_as_dlms_data(found.data)
            if isinstance(found, xdlms.DataNotification):
                utils.parse_as_dlms_data(found.body)
        return True

    return read


LIBRARIES = {"gurux-dlms": (gurux, "gurux_dlms"), "dlms-cosem": (dlms_cosem, "dlms_cosem")}


def main(library: str, file: Path) -> None:
    """Run the inputs, print the document."""
    make, package = LIBRARIES[library]
    read = make()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    examples: dict[str, str] = {}

    def stop(*_: object) -> None:
        raise StuckError

    signal.signal(signal.SIGVTALRM, stop)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest = 0.0
    begin = time.perf_counter()
    for line in file.read_text("utf-8").splitlines():
        entry = json.loads(line)
        apdu = bytes.fromhex(entry["hex"])
        found["inputs"] += 1
        started = time.thread_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
        outcome = "refused"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                taken = read(apdu)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            outcome = "accepted" if taken else "refused"
        except StuckError:
            outcome = "hang"
        except Exception as wrong:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            own = type(wrong).__module__.startswith(package)
            outcome = "own exception" if own else "foreign exception"
            if not own:
                foreign[type(wrong).__name__] += 1
        spent = time.thread_time() - started
        slowest = max(slowest, spent)
        found[outcome] += 1
        found["slower than 50 ms"] += spent > SLOW_S
        if outcome == "accepted" and not entry["ours"]:
            found["nonsense"] += 1
            found["nonsense, cut"] += entry["cut"]
            outcome = "nonsense"
        if len(apdu) <= 64:
            examples.setdefault(outcome, entry["hex"])
        if found["hang"] >= MOST_HANGS:
            break
    print(
        json.dumps(
            {
                "version": version(library),
                **found,
                "foreign": dict(foreign),
                "slowest_s": round(slowest, 3),
                "growth_bytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024,
                "seconds": round(time.perf_counter() - begin, 1),
                "examples": examples,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
