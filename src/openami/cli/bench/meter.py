"""How many meters one process serves: associations with a day of load profile a second, and what they cost.

The fleet runs in a process of its own; the clients here use many connections at once, each of them
connecting, associating, reading a day of load profile and a register, and releasing; with low level
security and with high level security 5 (GMAC) and ciphered services, the median of `ROUNDS` rounds each.
Rates need both processors for themselves: what others took of them meanwhile is said beside, and so is the
processor time of either side, which depends on the others much less.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, TypeVar, cast

import orjson

from openami.cli.bench.figures import Figure
from openami.meter.fleet import Fleet
from openami.meter.fleet_spec import FleetSpec, household_fleet, save_fleet
from openami.meter.serve import fast_loop
from openami.protocols.dlms.apdus.authentication import MANAGEMENT_CLIENT
from openami.protocols.dlms.apdus.descriptors import Attribute, by_range
from openami.protocols.dlms.client.association import Association
from openami.protocols.dlms.client.client_security import ClientSecurity
from openami.protocols.dlms.encoding.profile_buffer import ProfileDecoder
from openami.quantities.clock import SimulatedClock
from openami.quantities.errors import LinkError, OpenAmiError
from openami.quantities.obis import IMPORT_ENERGY, ObisCode

T = TypeVar("T")

METERS = 1000
IDLE = 5000
ROUNDS = 3
AT_ONCE = 100
START = datetime(2026, 3, 1, 23, tzinfo=UTC)
_TITLE = b"OAMBENCH"
_LOAD_PROFILE = Attribute(7, ObisCode(1, 0, 99, 1, 0), 2)
_REGISTER = Attribute(3, IMPORT_ENERGY, 2)


def run() -> dict[str, Figure]:
    """Measure a fleet of 1,000 households."""
    spec = household_fleet(METERS, seed=1, start=START)
    simulated_s, octets = _simulate(spec)
    plain = _served(household_fleet(METERS, seed=1, start=START, secured=False))
    secured = _served(spec)
    return {
        "associations_with_daily_profile": Figure(plain.rate, "1/s", goal=2000),
        "associations_with_daily_profile_hls5": Figure(secured.rate, "1/s", goal=1000),
        **plain.costs(""),
        **secured.costs("_hls5"),
        "intervals_read": Figure(plain.intervals * plain.rate / METERS, "1/s"),
        "meter_days_simulated": Figure(METERS / simulated_s, "1/s"),
        "idle_memory_per_meter": Figure(octets / METERS / 1024, "KiB"),
        "idle_meters_in_a_gibibyte": Figure(_idle_meters(), "meters", goal=IDLE),
    }


@dataclass(frozen=True, slots=True)
class _Round:
    """One read of every meter: seconds on the wall, and of processors."""

    seconds: float
    client_s: float
    server_s: float
    all_s: float

    @property
    def others(self) -> float:
        """Share of the processors that neither side had, and that was not idle."""
        return max(0.0, self.all_s - self.client_s - self.server_s) / (self.seconds * (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class _Served:
    """Reads of every meter, round after round, and the intervals of one round."""

    rounds: tuple[_Round, ...]
    intervals: int

    @property
    def rate(self) -> float:
        """Associations a second."""
        return METERS / median(item.seconds for item in self.rounds)

    def costs(self, suffix: str) -> dict[str, Figure]:
        """Processor time of either side, and how busy the machine was with others."""
        client, server = (item.client_s for item in self.rounds), (item.server_s for item in self.rounds)
        return {
            f"client_processor_per_association{suffix}": Figure(median(client) / METERS * 1e6, "us"),
            f"server_processor_per_association{suffix}": Figure(median(server) / METERS * 1e6, "us"),
            f"processors_busy_with_others{suffix}": Figure(
                100 * median(item.others for item in self.rounds), "%"
            ),
        }


def _simulate(spec: FleetSpec) -> tuple[float, int]:
    """Seconds for a day of all meters, and memory of the fleet before it in octets."""
    tracemalloc.start()
    clock = SimulatedClock(spec.start)
    fleet = Fleet(spec, clock)
    octets, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    clock.advance(timedelta(days=1))
    begin = time.perf_counter()
    fleet.settle()
    return time.perf_counter() - begin, octets


def _idle_meters() -> float:
    """Meters that 1 GiB holds while nobody asks, by the resident memory of 5,000 after a day."""
    spec = household_fleet(IDLE, seed=1, start=START)
    with (
        _serving(spec) as (process, serving),
        socket.create_connection(("127.0.0.1", serving["control_port"])) as control,
    ):
        day_end = START + timedelta(days=1)
        control.sendall(orjson.dumps({"advance_to": day_end.isoformat()}) + b"\n")
        control.recv(4096)
        lines = Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines()
        (resident,) = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return IDLE * (1 << 20) / resident


@contextmanager
def _serving(spec: FleetSpec) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """The fleet in a process of its own, and where it listens."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.json"
        save_fleet(spec, path)
        command = [sys.executable, "-m", "openami.meter.serve", str(path), "--simulated"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                yield process, orjson.loads(process.stdout.readline())
            finally:
                process.terminate()


def _served(spec: FleetSpec) -> _Served:
    """Reads of every meter over TCP."""
    with _serving(spec) as (process, serving), asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(_read_rounds(spec, serving, process.pid))


async def _read_rounds(spec: FleetSpec, serving: dict[str, Any], server: int) -> _Served:
    ports, control_port = serving["ports"], serving["control_port"]
    reader, writer = await asyncio.open_connection("127.0.0.1", control_port)
    day_end = START + timedelta(days=1)
    writer.write(orjson.dumps({"advance_to": day_end.isoformat()}) + b"\n")
    await reader.readline()
    securities = {
        meter.meter_id: ClientSecurity(_TITLE, meter.keys.meter_keys(), meter_title=meter.system_title)
        for meter in spec.meters
        if meter.keys is not None
    }
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter(), time.process_time(), _processor_s(server), _all_processors_s()
        intervals = await _read_all(spec, ports, securities, day_end)
        ended = time.perf_counter(), time.process_time(), _processor_s(server), _all_processors_s()
        rounds.append(_Round(*(end - begin for begin, end in zip(begun, ended, strict=True))))
    writer.write(b'{"stop": null}\n')
    await reader.readline()
    writer.close()
    return _Served(tuple(rounds), intervals)


async def _read_all(
    spec: FleetSpec, ports: list[int], securities: dict[str, ClientSecurity], day_end: datetime
) -> int:
    """Intervals read of all meters, each by an association of its own."""
    queue = list(spec.meters)
    intervals = 0

    async def work() -> None:
        nonlocal intervals
        decoder = ProfileDecoder()
        while queue:
            meter = queue.pop()
            security = securities.get(meter.meter_id)
            association = Association(
                meter.wport,
                MANAGEMENT_CLIENT,
                None if security else meter.password.encode(),
                security=security,
            )
            read = await read_day(ports[meter.port_index], association, START, day_end, decoder)
            intervals += read

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return intervals


def _processor_s(process: int) -> float:
    """Processor time that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _all_processors_s() -> float:
    """Processor time that was not idle, of the whole machine."""
    fields = [int(field) for field in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


async def read_day(
    port: int, association: Association, start: datetime, end: datetime, decoder: ProfileDecoder
) -> int:
    """Connect, associate, read the load profile after ``start`` up to ``end`` and the register, release.

    Returns
    -------
    Number of intervals read.
    """
    link = await DlmsLink.connect("127.0.0.1", port)
    try:
        await link.run(association.associate())
        selector = by_range(start + timedelta(seconds=1), end)
        columns = decoder.decode(await link.run(association.get_encoded(_LOAD_PROFILE, selector)))
        await link.run(association.get(_REGISTER))
        await link.run(association.release())
        return len(columns[0].present)
    finally:
        link.close()


class DlmsLink(asyncio.Protocol):
    """A connection that runs the client's operations, one at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._operation: Generator[bytes, bytes, object] | None = None
        self._result: asyncio.Future[object] | None = None

    @classmethod
    async def connect(cls, host: str, port: int) -> DlmsLink:
        """Connect; raises `OSError` where nobody listens."""
        _, link = await asyncio.get_running_loop().create_connection(cls, host, port)
        return link

    async def run(self, operation: Generator[bytes, bytes, T]) -> T:
        """Result of an operation.

        Raises
        ------
        LinkError
            The connection was lost.
        ProtocolError
            As the operation raises.
        """
        if self._transport is None or self._transport.is_closing():
            raise LinkError("the connection is closed")
        self._result = asyncio.get_running_loop().create_future()
        self._operation = operation
        self._transport.write(next(operation))
        return cast(T, await self._result)  # what the future is given is the operation's own result

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server took us."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has gone."""
        if self._result is not None and not self._result.done():
            self._result.set_exception(LinkError("the connection was lost"))

    def data_received(self, data: bytes) -> None:
        """Octets of an answer, cut anyhow."""
        if self._operation is None or self._result is None or self._result.done() or self._transport is None:
            return
        try:
            outgoing = self._operation.send(data)
        except StopIteration as done:
            self._result.set_result(done.value)
        except OpenAmiError as error:
            self._result.set_exception(error)
        else:
            if outgoing:
                self._transport.write(outgoing)
