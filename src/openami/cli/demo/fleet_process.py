"""The demo's fleet in a process of its own: started, moved in time over its control channel, stopped.

The rule: the fleet never outlives the demo. It holds the read end of a pipe on its standard input and ends
when that ends, so even a demo that was killed with -9 leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from types import TracebackType

import orjson

from openami.meter.fleet_spec import FleetSpec, save_fleet
from openami.quantities.errors import LinkError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
FLEET_FILE = "fleet.json"


class FleetProcess:
    """A served fleet, as an asynchronous context.

    Invariant: when the context is left, the process has ended, by command or by its own id.
    """

    def __init__(self, spec: FleetSpec, folder: Path) -> None:
        self._file = folder / FLEET_FILE
        self._spec = spec
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._told_to_stop = False
        self.ports: tuple[int, ...] = ()

    async def __aenter__(self) -> FleetProcess:
        save_fleet(self._spec, self._file)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "openami.meter.serve",
            str(self._file),
            "--simulated",
            "--until-eof",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), START_TIMEOUT_S)
            if not line:
                raise LinkError("the fleet did not start", expected="its message is above")
            serving = orjson.loads(line)
            self.ports = tuple(serving["ports"])
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", serving["control_port"])
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self._command({"stop": None})
            self._told_to_stop = True
        await self._end()

    async def advance_to(self, instant: datetime) -> None:
        """Move the fleet's clock forward, and all meters with it.

        Raises
        ------
        LinkError
            The fleet refused, or is gone.
        """
        await self._command({"advance_to": instant.isoformat()})

    async def _command(self, command: dict[str, object]) -> None:
        assert self._reader is not None
        assert self._writer is not None
        try:
            self._writer.write(orjson.dumps(command) + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise LinkError("the fleet is gone", expected="its message is above")
        answer = orjson.loads(line)
        if not answer["ok"]:
            raise LinkError(f"the fleet refused: {answer['error']}")

    async def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._process is None:
            return
        if not self._told_to_stop and self._process.returncode is None:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
