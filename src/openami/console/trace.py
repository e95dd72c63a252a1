"""The explain trace of a bill as pages show it: one place of it at a time, read when it is unfolded.

A place is a line of the bill and a path of child numbers below it (``3.12`` is the 13th child of the 4th
child). What has only one thing below it is shown with that thing. The rule never to be broken: the sum that
is shown under a place is added up from what is shown above it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from starlette.exceptions import HTTPException

from openami.billing.explain import Node
from openami.quantities.money import money_text
from openami.readings.evidence import Evidence, frames_of

_LINE = re.compile(r"[1-9][0-9]{0,3}")
_PATH = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,19}")
_QUANTUM = re.compile(r"1(?:e(-?[0-9]+))? (\S+)")


@dataclass(frozen=True, slots=True)
class Place:
    """One place of the trace.

    Parameters
    ----------
    value, unit:
        The exact value as text, thousands grouped, and its unit; empty where there is none.
    below:
        What was read below it; None when it is to be read when the reader unfolds it.
    total:
        Where the places below add up to the value: their sum, added up here.
    octets:
        The bytes of a frame.
    text:
        The lines of a file.
    """

    node: Node
    line: int
    path: tuple[int, ...]
    value: str
    unit: str
    below: tuple[Place, ...] | None
    total: str | None = None
    octets: bytes | None = None
    text: str | None = None

    @property
    def address(self) -> str:
        """The query that names the place."""
        return f"?line={self.line}" + (f"&path={'.'.join(map(str, self.path))}" if self.path else "")

    @property
    def facts(self) -> dict[str, str]:
        """What else is known, without what is shown otherwise; empty facts left out."""
        return {key: text for key, text in self.node.facts if text and key not in ("octets", "text")}


def place_of(line: str, path: str) -> tuple[int, tuple[int, ...]]:
    """Line number and path of a request.

    Raises
    ------
    HTTPException
        400: they name no place.
    """
    if not _LINE.fullmatch(line):
        raise HTTPException(400, f"{line!r} is not the number of a line")
    if path and not _PATH.fullmatch(path):
        raise HTTPException(400, f"{path!r} is not a place of a trace")
    return int(line), tuple(int(part) for part in path.split(".")) if path else ()


def chain_to(root: Node, path: tuple[int, ...]) -> list[Node] | None:
    """The nodes from ``root`` to the place, both included; None when there is no such place."""
    chain = [root]
    for step in path:
        children = chain[-1].children()
        if step >= len(children):
            return None
        chain.append(children[step])
    return chain


def unfold(node: Node, line: int, path: tuple[int, ...]) -> Place:
    """A place with what lies below it, down to where there is a choice."""
    children = node.children()
    below = tuple(
        unfold(child, line, (*path, number))
        if len(children) == 1 or child.kind == "frame"
        else _folded(child, line, (*path, number))
        for number, child in enumerate(children)
    )
    facts = dict(node.facts)
    value, unit = shown(node.value, node.unit)
    total = None
    if node.additive and children:
        total, _ = shown(sum((child.value or Fraction(0) for child in children), Fraction(0)), node.unit)
    return Place(
        node, line, path, value, unit, below, total,
        bytes.fromhex(facts["octets"]) if "octets" in facts else None, facts.get("text"),
    )  # fmt: skip


def _folded(node: Node, line: int, path: tuple[int, ...]) -> Place:
    value, unit = shown(node.value, node.unit)
    return Place(node, line, path, value, unit, None)


def shown(value: Fraction | None, unit: str) -> tuple[str, str]:
    """An exact value with its unit; counts of a quantum (``1e-3 Wh``) are written in the unit itself."""
    if value is None:
        return "", ""
    quantum = _QUANTUM.fullmatch(unit)
    if quantum is None:
        return _grouped(money_text(value)), unit
    scaled = value * Fraction(10) ** int(quantum[1] or 0)
    return _grouped(_plain(scaled)), quantum[2]


def _plain(value: Fraction) -> str:
    text = money_text(value)
    return text if "/" in text else text.rstrip("0").rstrip(".")


def _grouped(text: str) -> str:
    return text if "/" in text else f"{Decimal(text):,f}"


def evidence_view(item: Evidence) -> Place:
    """Evidence as the last place of a trace."""
    facts = (
        ("evidence", item.evidence_id),
        ("kind", item.kind),
        ("source", item.source),
        ("locator", item.locator),
        ("sha256", item.sha256),
        ("captured at", item.captured_at.isoformat()),
    )
    if item.kind == "file":
        text = item.content.decode("utf-8", "replace")
        return Place(
            Node("evidence", f"{item.source}, {item.locator}", facts=facts), 0, (), "", "", (), text=text
        )
    frames = tuple(
        Place(Node("frame", f"{direction} {len(octets)} octets"), 0, (), "", "", (), octets=octets)
        for direction, octets in frames_of(item.content)
    )
    label = f"{len(frames)} frames of {item.source}, {item.locator}"
    return Place(Node("evidence", label, facts=facts), 0, (), "", "", frames)
