"""Serving a fleet: in this process, or as a process of its own.

    python -m openami.meter.serve FLEET.toml --simulated --port 0 --control-port 0

writes one line of JSON to its standard output when it listens (``host``, ``ports``, ``control_port``) and
ends on the command ``stop``, on SIGINT or SIGTERM; with ``--until-eof`` also when its standard input ends,
as that of a child does whose parent is gone, however it went. Rule never to be broken: every clock is the
one handed in; `main` and `run` take the system's, and `run` only to begin invocation counters above those of
the process before, wherever a simulated clock stands.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

import orjson

from openami.quantities.clock import Clock, SimulatedClock, SystemClock
from openami.quantities.errors import OpenAmiError
from openami.security.counters import earliest_counter

from .control_channel import ControlChannel
from .fleet import Fleet
from .fleet_spec import FleetSpec, load_fleet
from .line_server import LineServer
from .push_sender import AS_ASKED, Pushing, PushSender
from .tcp_server import FleetServer, Limits


class Link(Enum):
    """What a fleet is served on: the wrapper over TCP or UDP, or HDLC over TCP as behind a serial server."""

    TCP = "tcp"
    UDP = "udp"
    HDLC = "hdlc"


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a fleet is served: ports by port index, and the control channel's (None: without)."""

    host: str
    ports: tuple[int, ...]
    control_port: int | None


async def serve_fleet(
    spec: FleetSpec,
    clock: Clock,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    control_port: int | None = 0,
    limits: Limits | None = None,
    ready: Callable[[Serving], None] | None = None,
    counters_from: int = 0,
    pushing: Pushing | None = AS_ASKED,
) -> None:
    """Serve a fleet until it is stopped over the control channel, or the task is cancelled.

    Parameters
    ----------
    spec:
        The fleet.
    clock:
        What time it is: a `SimulatedClock` is moved by the control channel.
    host, port:
        Where meters listen: port index i on ``port + i``; 0: free ports.
    control_port:
        Loopback port of the control channel; 0: a free one; None: no channel.
    ready:
        Told where everything is as soon as it listens.
    counters_from:
        Where the invocation counters of its meters begin at least.
    pushing:
        What its pushes may take; None: what it wants to push stays in the outboxes of its meters.

    Raises
    ------
    LinkError
        A port cannot be listened on.
    QuantityError
        The clock stands before the fleet's start.
    """
    fleet = Fleet(spec, clock, counters_from=counters_from)
    server = FleetServer(fleet, limits)
    control = ControlChannel(server, clock if isinstance(clock, SimulatedClock) else None)
    ports = await server.start(host, port)
    sender = None if pushing is None else PushSender(fleet, pushing)
    try:
        if sender is not None:
            sender.start()
        bound = None if control_port is None else await control.start(control_port)
        if ready is not None:
            ready(Serving(host, tuple(ports), bound))
        await control.stopped.wait()
    finally:
        await control.close()
        await server.close()
        if sender is not None:
            await sender.close()


async def serve_lines(
    spec: FleetSpec,
    clock: Clock,
    link: Link,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[Serving], None] | None = None,
    counters_from: int = 0,
    pushing: Pushing | None = AS_ASKED,
) -> None:
    """Serve a fleet on datagrams (`Link.UDP`) or lines until the task is cancelled, without control channel.

    Parameters and errors are those of `serve_fleet`.
    """
    fleet = Fleet(spec, clock, counters_from=counters_from)
    server = LineServer(fleet)
    start = server.start_udp if link is Link.UDP else server.start_hdlc
    ports = await start(host, port)
    sender = None if pushing is None else PushSender(fleet, pushing)
    try:
        if sender is not None:
            sender.start()
        if ready is not None:
            ready(Serving(host, tuple(ports), None))
        await asyncio.Event().wait()
    finally:
        await server.close()
        if sender is not None:
            await sender.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the fleet of a file; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m openami.meter.serve", description=main.__doc__)
    parser.add_argument("fleet", type=Path, help="TOML or JSON file of the fleet")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="first TCP port; 0: free ports")
    parser.add_argument("--control-port", type=int, default=0, help="loopback port; 0: a free one")
    parser.add_argument(
        "--simulated", action="store_true", help="time stands at the fleet's start until it is moved"
    )
    parser.add_argument(
        "--until-eof",
        dest="until",
        action="store_const",
        const=_input_ended,
        help="end when the standard input ends",
    )
    chosen = parser.parse_args(arguments)
    try:
        spec = load_fleet(chosen.fleet)
        clock: Clock = SimulatedClock(spec.start) if chosen.simulated else SystemClock()
        run(
            spec,
            clock,
            host=chosen.host,
            port=chosen.port,
            control_port=chosen.control_port,
            ready=_announce,
            until=chosen.until,
        )
    except OpenAmiError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def run(
    spec: FleetSpec,
    clock: Clock,
    *,
    link: Link = Link.TCP,
    host: str = "127.0.0.1",
    port: int = 0,
    control_port: int | None = 0,
    ready: Callable[[Serving], None] | None = None,
    until: Callable[[], object] | None = None,
    counters_from: int = 0,
    pushing: Pushing | None = AS_ASKED,
) -> None:
    """`serve_fleet` in an event loop of its own (uvloop's where there is one), until SIGINT or SIGTERM.

    Parameters
    ----------
    counters_from:
        Where invocation counters begin at least; never below `earliest_counter` of the system's clock.
    pushing:
        As of `serve_fleet`.
    link:
        `serve_lines` for other links than `Link.TCP`.
    until:
        Called in a thread of its own; when it returns, serving ends.
    """
    first_counter = max(counters_from, earliest_counter(SystemClock().now()))

    def served() -> Coroutine[None, None, None]:
        if link is not Link.TCP:
            return serve_lines(
                spec,
                clock,
                link,
                host=host,
                port=port,
                ready=ready,
                counters_from=first_counter,
                pushing=pushing,
            )
        return serve_fleet(
            spec,
            clock,
            host=host,
            port=port,
            control_port=control_port,
            ready=ready,
            counters_from=first_counter,
            pushing=pushing,
        )

    async def until_signalled() -> None:
        serving = asyncio.ensure_future(served())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, serving.cancel)
        if until is not None:
            # A daemon: a thread that waits for input must not keep the process.
            watch = threading.Thread(target=_call_after, args=(until, loop, serving.cancel), daemon=True)
            watch.start()
        await asyncio.wait({serving})
        if not serving.cancelled():
            serving.result()

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(until_signalled())


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Maker of uvloop's event loop where that is installed, of asyncio's elsewhere."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _call_after(
    until: Callable[[], object], loop: asyncio.AbstractEventLoop, then: Callable[[], object]
) -> None:
    until()
    with suppress(RuntimeError):  # the loop was closed meanwhile: serving ended for another reason
        loop.call_soon_threadsafe(then)


def _input_ended() -> None:
    """Wait for the end of the standard input; what comes before it is thrown away."""
    # Not the buffered stream: its lock, held by a daemon thread, would be in the way at the process's end.
    with suppress(OSError):
        while os.read(0, 4096):
            pass


def _announce(serving: Serving) -> None:
    sys.stdout.write(orjson.dumps(asdict(serving)).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
