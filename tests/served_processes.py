"""Commands that serve until they are told to end, as processes of their own, and what they print first."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from ami_command import command


@contextmanager
def serving(*arguments: object, cwd: Path | None = None) -> Iterator[dict[str, Any]]:
    """``ami`` with arguments, --json among them: its document once it serves; it ends in order afterwards."""
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, cwd=cwd) as process:
        try:
            yield document_of(process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()


@contextmanager
def served_meters(*arguments: object, cwd: Path | None = None) -> Iterator[dict[str, Any]]:
    """``ami dlms serve`` on a free port, with further arguments; its document."""
    with serving("dlms", "serve", "--port", 0, "--json", *arguments, cwd=cwd) as document:
        yield document


def document_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The first JSON document, indented, that a process prints."""
    assert process.stdout is not None
    lines = b""
    while not lines.endswith(b"\n}\n"):
        line = process.stdout.readline()
        assert line, "the process ended before it served"
        lines += line
    document: dict[str, Any] = orjson.loads(lines)
    return document


def address_of(document: dict[str, Any]) -> str:
    """Host and first port of what is served."""
    return f"127.0.0.1:{document['ports'][0]}"
