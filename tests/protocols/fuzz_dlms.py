"""Mutation fuzz of everything of DLMS that reads octets of others: seeded, reproducible, as long as wanted.

    python tests/protocols/fuzz_dlms.py --count 10000000 --seed 1

The count is shared out over the targets (`TARGETS`), cut into chunks with a seed of their own, and run by as
many processes as there are cores; what is found depends on count and seed alone. An input is a finding where
it takes longer than 50 ms of processor time twice in a row, raises anything but our own errors, or makes a
target break its own promise; the growth of each process (peak resident memory after a warm-up) is measured
beside it. The libraries of others (`fuzz_peers.py`, by the interpreter of ``.venv-peers``) get a bounded
share of the same inputs. Prints one JSON document; exit code 1 where anything of ours was found.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from openami.protocols.dlms.framing.wrapper import Frame
from openami.protocols.dlms.server.logical_device import LogicalDevice
from openami.protocols.dlms.server.session import ServerSession

sys.path.append(str(Path(__file__).resolve().parents[1]))  # what tests share lies a folder higher

from dlms_fuzz_targets import TARGETS, Target, decode_whole
from dlms_mutation import ANSWERS, SEEDS, mutated

PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
HANG_S = 0.05
STUCK_S = 10
CHUNK = 50_000


@dataclass
class Report:
    """What a run found."""

    inputs: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    growth_bytes: int = 0
    foreign: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take the findings of another run in."""
        self.inputs += other.inputs
        self.accepted += other.accepted
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.growth_bytes = max(self.growth_bytes, other.growth_bytes)
        self.foreign += other.foreign[: 20 - len(self.foreign)]
        self.slow += other.slow[: 20 - len(self.slow)]


class StuckError(BaseException):
    """An input did not come to an end; no decoder can catch this by accident."""


def resident_bytes() -> int:
    """Most memory that this process has had."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def attack(target: Target, seeds: Sequence[bytes], count: int, rng: random.Random) -> Report:
    """Mutated inputs against a target; an input that does not end is stopped after `STUCK_S`.

    All times are the processor's. What the process holds already is taken out of the collector's rounds, that
    would count as an input's; and an input that was slow is tried once more, and the lesser time counts: on a
    busy machine caches are cold now and then.
    """
    report = Report()
    gc.collect()
    gc.freeze()
    place = {"now": -1, "before": -2, "since": 0}

    def watch(_number: int, _frame: FrameType | None) -> None:
        if place["now"] != place["before"]:
            place["before"], place["since"] = place["now"], 0
        place["since"] += 1
        if place["since"] > STUCK_S:
            raise StuckError

    former = signal.signal(signal.SIGPROF, watch)
    signal.setitimer(signal.ITIMER_PROF, 1, 1)
    clock = time.thread_time

    def timed(octets: bytes) -> tuple[bool, float]:
        begin, accepted = clock(), False
        try:
            accepted = target(octets)
        except StuckError:
            report.slow.append(octets.hex())
        except Exception as foreign:  # whatever escapes is the finding
            if len(report.foreign) < 20:
                report.foreign.append(f"{octets.hex()[:4000]}: {foreign!r}")
        return accepted, clock() - begin

    try:
        for index in range(count):
            place["now"] = index
            octets = mutated(rng, seeds)
            accepted, spent = timed(octets)
            report.accepted += accepted
            if HANG_S < spent < STUCK_S:
                spent = min(spent, timed(octets)[1])
            report.slowest_s = max(report.slowest_s, spent)
            if spent > HANG_S and len(report.slow) < 20:
                report.slow.append(octets.hex()[:4000])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)
        gc.unfreeze()
    report.inputs = count
    return report


def mutate_apdus(count: int, seed: int) -> Report:
    """Mutated APDUs through the decoders, in this process."""
    rng = random.Random(seed)
    attack(decode_whole, SEEDS, 500, random.Random(0))
    before = resident_bytes()
    report = attack(decode_whole, SEEDS, count, rng)
    report.growth_bytes = resident_bytes() - before
    return report


def mutate_requests(device: Callable[[], LogicalDevice], count: int, seed: int) -> Report:
    """Mutated APDUs, each framed right, as requests of an associated client of the test meter at wPort 7."""
    session = ServerSession({7: device()})
    opening = Frame(1, 7, SEEDS[0]).to_bytes()

    def ask(octets: bytes) -> bool:
        session.receive(opening)
        answer = session.receive(Frame(1, 7, octets).to_bytes())
        return answer[8:9] not in (b"", b"\xd8")

    return attack(ask, SEEDS, count, random.Random(seed))


def mutate_everything(count: int, seed: int) -> dict[str, Report]:
    """All targets, in this process; the count is shared out."""
    found = {}
    for name in TARGETS:
        share, seeds, make = TARGETS[name]
        attack(make(), seeds(), 200, random.Random(0))
        before = resident_bytes()
        report = attack(make(), seeds(), count * share // 100, random.Random(f"{seed}/{name}/0"))
        report.growth_bytes = resident_bytes() - before
        found[name] = report
    return found


# --- many processes --------------------------------------------------------------------------------------

_baseline = 0


def _warm_up() -> None:
    """What each process does before its memory counts: every target once, and what it needs."""
    global _baseline
    for _, seeds, make in TARGETS.values():
        attack(make(), seeds(), 300, random.Random(0))
    gc.collect()
    gc.freeze()
    _baseline = resident_bytes()


def _chunk(name: str, number: int, count: int, seed: int) -> tuple[str, Report]:
    _, seeds, make = TARGETS[name]
    report = attack(make(), seeds(), count, random.Random(f"{seed}/{name}/{number}"))
    report.growth_bytes = resident_bytes() - _baseline
    return name, report


def mutate_in_processes(count: int, seed: int, processes: int) -> dict[str, Report]:
    """All targets by several processes; what is found does not depend on how many."""
    found = {name: Report() for name in TARGETS}
    jobs = []
    for name, (share, _, _) in TARGETS.items():
        total = count * share // 100
        jobs += [
            (name, number, min(CHUNK, total - number * CHUNK), seed) for number in range(-(-total // CHUNK))
        ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _warm_up) as pool:
        for name, report in pool.map(_chunk, *zip(*jobs, strict=True)):
            found[name].add(report)
            sys.stderr.write(".")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return found


def peers_on_a_share(count: int, seed: int) -> dict[str, Any]:
    """The libraries of others on a share: mutated answers to a client, and every cut of valid ones."""
    if not PYTHON.exists() or not count:
        return {}
    rng = random.Random(f"{seed}/peers")
    cuts = [octets[:cut] for octets in ANSWERS for cut in range(1, len(octets))]
    inputs = [(octets, True) for octets in cuts[:count]]
    inputs += [(octets, False) for octets in (mutated(rng, ANSWERS) for _ in range(count - len(cuts)))]
    rng.shuffle(inputs)
    documents = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "inputs.jsonl")
        lines = (
            {"hex": octets.hex(), "cut": cut, "ours": decode_whole(octets)}
            for octets, cut in inputs
            if octets
        )
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        driver = Path(__file__).with_name("fuzz_peers.py")
        for library in ("gurux-dlms", "dlms-cosem"):
            done = subprocess.run(
                [str(PYTHON), str(driver), library, str(file)], capture_output=True, text=True, check=False
            )
            last = done.stdout.splitlines()[-1:] or [json.dumps({"failure": done.stderr[-500:]})]
            documents[library] = json.loads(last[0])
    return documents


def main() -> int:
    """Run all targets and the peers' share, print the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs over all targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peers", type=int, default=10_000, help="inputs for each library of others")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    found = mutate_in_processes(arguments.count, arguments.seed, arguments.processes)
    seconds = time.perf_counter() - begin
    total = Report()
    for report in found.values():
        total.add(report)
    document = {
        "seed": arguments.seed,
        "seconds": round(seconds, 1),
        "processes": arguments.processes,
        "openami": asdict(total),
        "targets": {
            name: {
                "inputs": report.inputs, "accepted": report.accepted,
                "slowest_ms": round(report.slowest_s * 1000, 2), "slow": len(report.slow),
                "foreign": len(report.foreign),
            }
            for name, report in found.items()
        },
        "peers": peers_on_a_share(arguments.peers, arguments.seed),
    }  # fmt: skip
    print(json.dumps(document, indent=1))
    return int(bool(total.foreign or total.slow or total.growth_bytes > 50_000_000))


if __name__ == "__main__":
    sys.exit(main())
