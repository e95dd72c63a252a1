"""The explain trace: from a bill to the bytes its readings came from, link by link.

bill -> lines -> determinants -> days -> intervals -> final version -> raw versions -> evidence -> frames.
A node reads what lies below it only when its children are asked for. Never to be broken: where a node is
``additive``, the values of its children sum to its own, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from openami.billing.ledger import Bill
from openami.billing.lines import Determinant, Line
from openami.billing.tariff import EnergyCharge, Tariff, base_of
from openami.mdm.stores.store import ReadingStore
from openami.quantities.civil_time import midnight, zone_of
from openami.quantities.errors import BillingError
from openami.quantities.money import money_text
from openami.quantities.obis import ObisCode
from openami.quantities.status import METHODS, Status
from openami.quantities.tariff_calendar import RateIndex
from openami.quantities.units import Quantum
from openami.readings.evidence import Evidence, frames_of
from openami.readings.interval_block import IntervalBlock

Mask = npt.NDArray[np.bool_]
Facts = tuple[tuple[str, str], ...]
JsonNode = dict[str, "str | bool | dict[str, str] | list[JsonNode] | None"]


def _no_children() -> tuple[Node, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Node:
    """One link of the chain.

    Parameters
    ----------
    kind:
        ``bill``, ``line``, ``determinant``, ``day``, ``window``, ``interval``, ``final``, ``raw``,
        ``evidence`` or ``frame``.
    value, unit:
        What it comes to, exact.
    additive:
        True when the values of the children sum to ``value``.
    facts:
        What else is known of it, as pairs of text.
    """

    kind: str
    label: str
    value: Fraction | None = None
    unit: str = ""
    additive: bool = False
    facts: Facts = ()
    expand: Callable[[], tuple[Node, ...]] = field(default=_no_children, repr=False, compare=False)

    def children(self) -> tuple[Node, ...]:
        """The links below, read now."""
        return self.expand()

    def to_dict(self, depth: int | None = None) -> JsonNode:
        """As JSON, with children down to ``depth`` levels below (None: all the way)."""
        below = () if depth == 0 else self.children()
        deeper = None if depth is None else depth - 1
        return {
            "kind": self.kind,
            "label": self.label,
            "value": None if self.value is None else money_text(self.value),
            "unit": self.unit,
            "additive": self.additive,
            "facts": dict(self.facts),
            "children": [node.to_dict(deeper) for node in below],
        }


def explain(bill: Bill, tariffs: Sequence[Tariff], store: ReadingStore, line_no: int | None = None) -> Node:
    """The chain behind a bill, or behind line ``line_no`` (1, 2, ...).

    Parameters
    ----------
    tariffs:
        The versions the bill pins, in the order of its pins.
    store:
        Read as of the bill's commit.

    Raises
    ------
    BillingError
        The bill has no such line.
    """
    chain = _Chain(bill, tuple(tariffs), store)
    if line_no is None:
        return chain.bill_node()
    if not 1 <= line_no <= len(bill.lines):
        raise BillingError(f"bill {bill.bill_id} has no line {line_no}", expected=f"1 .. {len(bill.lines)}")
    return chain.line_node(line_no, bill.lines[line_no - 1])


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """Readings of one bill; what was fetched once is kept."""

    bill: Bill
    tariffs: tuple[Tariff, ...]
    store: ReadingStore
    fetched: dict[tuple[ObisCode, date, date], list[IntervalBlock]] = field(default_factory=dict)
    raws: dict[tuple[str, ...], dict[str, IntervalBlock]] = field(default_factory=dict)
    proofs: dict[str, tuple[Evidence, ...]] = field(default_factory=dict)

    def bill_node(self) -> Node:
        bill, pins = self.bill, self.bill.pins
        facts = (
            ("agreement", bill.agreement_id),
            ("account", bill.account_id),
            ("usage point", bill.usage_point_id),
            ("first day", bill.first_day.isoformat()),
            ("last day, not included", bill.last_day.isoformat()),
            ("state", bill.state.value),
            ("issued at", bill.issued_at.isoformat()),
            ("issued by", bill.issued_by),
            ("readings as of commit", str(pins.readings_seq)),
            ("registry revision", str(pins.registry_revision)),
            ("sha256 of the final values", pins.finals_sha256),
            *(
                (
                    f"tariff from {item.first_day}",
                    f"{item.tariff_id} version {item.version}, sha256 {item.sha256}",
                )
                for item in pins.tariffs
            ),
            ("rules of the finals", ", ".join(pins.rules)),
            ("openami", pins.code_version),
        )
        return Node(
            "bill",
            bill.bill_id,
            bill.total,
            bill.currency,
            additive=True,
            facts=facts,
            expand=lambda: tuple(self.line_node(number, line) for number, line in enumerate(bill.lines, 1)),
        )

    def line_node(self, number: int, line: Line) -> Node:
        facts = [
            ("line", str(number)),
            ("kind", line.kind),
            ("formula", line.formula),
            ("quantity", f"{money_text(line.quantity)} {line.unit}".strip()),
            ("first day", line.first_day.isoformat()),
            ("last day, not included", line.last_day.isoformat()),
        ]
        if line.price is not None:
            facts.append(("price", f"{line.price:f} {self.bill.currency} per {line.unit}"))
        return Node(
            "line",
            f"{line.charge}: {line.text}",
            line.amount,
            self.bill.currency,
            facts=tuple(facts),
            expand=lambda: (
                *(self.determinant_node(item, line) for item in line.determinants),
                *self._base_lines(line),
            ),
        )

    def _base_lines(self, line: Line) -> Iterator[Node]:
        """The lines a tax, rebate, minimum or adjustment was computed from."""
        charges = self._tariff_of(line).charges
        base = next((base_of(charge) for charge in charges if charge.name == line.charge), ())
        for number, other in enumerate(self.bill.lines, 1):
            if other.charge in base and other.first_day == line.first_day:
                yield self.line_node(number, other)

    def determinant_node(self, item: Determinant, line: Line) -> Node:
        facts = [
            ("definition", _DEFINITIONS[item.definition]),
            ("channel", str(item.channel)),
            ("rate", "all" if item.rate is None else f"{item.rate} of calendar {item.calendar}"),
            ("first day", item.first_day.isoformat()),
            ("last day, not included", item.last_day.isoformat()),
        ]
        if item.window_s:
            facts.append(("window", f"{item.window_s} s"))
        label = f"{item.definition} of {item.channel}" + ("" if item.rate is None else f", {item.rate}")
        additive = item.definition in ("sum", "block_maximum", "sliding_maximum")
        return Node(
            "determinant",
            label,
            item.counts,
            _unit(item.quantum),
            additive=additive,
            facts=tuple(facts),
            expand=lambda: self._below(item, line),
        )

    def _below(self, item: Determinant, line: Line) -> tuple[Node, ...]:
        match item.definition:
            case "sum":
                return self._days(item, line, item.channel)
            case "block_maximum" | "sliding_maximum":
                return self._window(item, item.channel, item.quantum)
            case "apparent_maximum":
                codes = (item.channel, item.reactive or item.channel)
                return tuple(
                    node for code in codes for node in self._window(item, code, self._quantum(item, code))
                )
            case _:
                return tuple(self._netted(item, line, code) for code in self._netted_channels(item, line))

    def _netted_channels(self, item: Determinant, line: Line) -> tuple[ObisCode, ...]:
        """Import and export of the charge whose netting gave the determinant."""
        for charge in self._tariff_of(line).charges:
            if charge.name == line.charge and isinstance(charge, EnergyCharge) and charge.net is not None:
                imported = next(code for code in charge.channels if code in self.bill.pins.channels)
                return (imported, charge.net.export)
        return (item.channel,)

    def _netted(self, item: Determinant, line: Line, code: ObisCode) -> Node:
        """A side of a netting as a determinant of its own: its sum over the rate, before netting."""
        rates, index = self._rates(item, line)
        blocks = self._blocks(code, item.first_day, item.last_day)
        quantum = self._quantum(item, code)
        total = Fraction(0)
        offset = 0
        for block in blocks:
            mask = _of_rate(rates[offset : offset + self._count(block)], index, self._joined(block))
            total += _counts(block, quantum, mask)
            offset += self._count(block)
        side = Determinant(
            "sum", code, item.calendar, item.rate, item.first_day, item.last_day, quantum, total
        )
        return self.determinant_node(side, line)

    def _days(self, item: Determinant, line: Line, code: ObisCode) -> tuple[Node, ...]:
        rates, index = self._rates(item, line)
        nodes = []
        offset = 0
        for block in self._blocks(code, item.first_day, item.last_day):
            count = self._count(block)
            mask = _of_rate(rates[offset : offset + count], index, self._joined(block))
            offset += count
            if mask.any():
                nodes.append(self._day(block, item.quantum, mask))
        return tuple(nodes)

    def _day(self, block: IntervalBlock, quantum: Quantum, mask: Mask) -> Node:
        estimated = int((block.status_ids[mask] != 0).sum())
        return Node(
            "day",
            block.day.day.isoformat(),
            _counts(block, quantum, mask),
            _unit(quantum),
            additive=True,
            facts=(
                ("intervals", str(int(mask.sum()))),
                ("intervals not measured and valid", str(estimated)),
                ("final version", str(block.version)),
            ),
            expand=lambda: tuple(
                self._interval(block, int(index), quantum) for index in np.flatnonzero(mask)
            ),
        )

    def _window(self, item: Determinant, code: ObisCode, quantum: Quantum) -> tuple[Node, ...]:
        """The intervals of the window in which a maximum occurred."""
        if item.at is None:
            return ()
        zone = self.tariffs[0].zone
        begin = midnight(item.first_day, zone) + timedelta(seconds=item.at * self.bill.pins.interval_s)
        end = begin + timedelta(seconds=item.window_s)
        nodes = []
        for block in self._blocks(code, item.first_day, item.last_day):
            for index in range(len(block.values)):
                start = block.day.interval_start(index, block.interval_s)
                if begin <= start < end:
                    nodes.append(self._interval(block, index, quantum))
                if start >= end:
                    return (self._window_node(begin, zone, item, code, quantum, nodes),)
        return (self._window_node(begin, zone, item, code, quantum, nodes),)

    def _window_node(
        self,
        begin: datetime,
        zone: str,
        item: Determinant,
        code: ObisCode,
        quantum: Quantum,
        nodes: list[Node],
    ) -> Node:
        return Node(
            "window",
            f"{begin.astimezone(zone_of(zone)):%Y-%m-%d %H:%M %z}",
            sum((node.value or Fraction(0) for node in nodes), Fraction(0)),
            _unit(quantum),
            additive=True,
            facts=(("channel", str(code)), ("window", f"{item.window_s} s")),
            expand=lambda: tuple(nodes),
        )

    def _interval(self, block: IntervalBlock, index: int, quantum: Quantum) -> Node:
        status = Status.from_id(int(block.status_ids[index]))
        local = block.day.interval_start(index, block.interval_s).astimezone(zone_of(block.day.zone))
        value = int(block.values[index]) * Fraction(10) ** (block.quantum.exponent - quantum.exponent)
        return Node(
            "interval",
            f"{local:%Y-%m-%d %H:%M %z}",
            value,
            _unit(quantum),
            additive=True,
            facts=(
                ("start", block.day.interval_start(index, block.interval_s).isoformat()),
                ("interval", f"{block.interval_s} s"),
                ("status", str(status)),
                ("quality", status.quality.name.lower().replace("_", " ")),
                ("method", METHODS[status.method]),
            ),
            expand=lambda: (self._final(block, index, value, quantum),),
        )

    def _final(self, block: IntervalBlock, index: int, value: Fraction, quantum: Quantum) -> Node:
        return Node(
            "final",
            f"version {block.version} of {block.series_id}, {block.channel}, {block.day.day}",
            value,
            _unit(quantum),
            facts=(
                ("block", block.block_id),
                ("commit", str(block.seq)),
                ("rule", block.rule or ""),
                ("by", block.actor or ""),
                ("why", block.why or ""),
                ("failed checks", f"0x{block.failed_checks:x}"),
            ),
            expand=lambda: self._raw(block, index),
        )

    def _raw(self, final: IntervalBlock, index: int) -> tuple[Node, ...]:
        """Raw versions a final was made of."""
        start = final.day.interval_start(index, final.interval_s)
        found = self.raws.get(final.sources)
        if found is None:
            found = self.raws[final.sources] = self.store.blocks(final.sources)
        return tuple(self._raw_node(block_id, found.get(block_id), start) for block_id in final.sources)

    def _raw_node(self, block_id: str, raw: IntervalBlock | None, start: datetime) -> Node:
        if raw is None:
            return Node("raw", f"block {block_id} is not in the store", facts=(("block", block_id),))
        position = int((start - raw.day.start).total_seconds()) // raw.interval_s
        inside = 0 <= position < len(raw.values)
        status = Status.from_id(int(raw.status_ids[position])) if inside else None
        return Node(
            "raw",
            f"version {raw.version} of meter {raw.series_id}, {raw.channel}, {raw.day.day}",
            Fraction(int(raw.values[position])) if inside and not raw.missing[position] else None,
            _unit(raw.quantum),
            facts=(
                ("block", raw.block_id),
                ("commit", str(raw.seq)),
                ("captured at", raw.captured_at.isoformat()),
                ("status", "outside the block" if status is None else str(status)),
                ("position in the block", str(position)),
            ),
            expand=lambda: self._evidence(raw),
        )

    def _evidence(self, raw: IntervalBlock) -> tuple[Node, ...]:
        wanted = raw.evidence_id
        if wanted is None:
            return ()
        if wanted not in self.proofs:
            self.proofs[wanted] = tuple(self.store.evidence([wanted]).values())
        return tuple(_evidence_node(item) for item in self.proofs[wanted])

    def _rates(self, item: Determinant, line: Line) -> tuple[RateIndex, int]:
        """Rate of each interval of the determinant's days, and the rate it counts (-1: all)."""
        interval_s = self.bill.pins.interval_s
        tariff = self._tariff_of(line)
        if item.rate is None:
            flat = tariff.calendars["flat"]
            return np.zeros_like(flat.rates_between(item.first_day, item.last_day, interval_s)), 0
        calendar = tariff.calendars[item.calendar]
        rates = calendar.rates_between(item.first_day, item.last_day, interval_s)
        return rates, calendar.rates.index(item.rate)

    def _tariff_of(self, line: Line) -> Tariff:
        for pinned, tariff in zip(self.bill.pins.tariffs, self.tariffs, strict=True):
            if pinned.first_day <= line.first_day < pinned.last_day:
                return tariff
        return self.tariffs[-1]

    def _blocks(self, code: ObisCode, first_day: date, last_day: date) -> list[IntervalBlock]:
        key = (code, first_day, last_day)
        if key not in self.fetched:
            self.fetched[key] = self.store.final(
                [self.bill.usage_point_id], [code], first_day, last_day, as_of=self.bill.pins.readings_seq
            )
        return self.fetched[key]

    def _joined(self, block: IntervalBlock) -> int:
        return self.bill.pins.interval_s // block.interval_s

    def _count(self, block: IntervalBlock) -> int:
        return len(block.values) // self._joined(block)

    def _quantum(self, item: Determinant, code: ObisCode) -> Quantum:
        blocks = self._blocks(code, item.first_day, item.last_day)
        exponent = min((block.quantum.exponent for block in blocks), default=item.quantum.exponent)
        return Quantum(blocks[0].quantum.unit if blocks else item.quantum.unit, exponent)


_DEFINITIONS = {
    "sum": "sum of the intervals of the rate",
    "net_import": "import left after export cancelled it in each netting interval",
    "net_export": "export left after it cancelled import in each netting interval",
    "block_maximum": "largest sum over a window; windows follow end to end",
    "sliding_maximum": "largest sum over a window; a window begins with every interval",
    "apparent_maximum": "largest square root of active squared plus reactive squared over a window",
}


def _of_rate(rates: RateIndex, index: int, joined: int) -> Mask:
    return np.repeat(rates == index, joined)


def _counts(block: IntervalBlock, quantum: Quantum, mask: Mask) -> Fraction:
    return int(block.values[mask].sum()) * Fraction(10) ** (block.quantum.exponent - quantum.exponent)


def _unit(quantum: Quantum) -> str:
    return str(quantum)


def _evidence_node(item: Evidence) -> Node:
    facts = [
        ("evidence", item.evidence_id),
        ("kind", item.kind),
        ("source", item.source),
        ("locator", item.locator),
        ("sha256", item.sha256),
        ("captured at", item.captured_at.isoformat()),
    ]
    if item.kind == "file":
        facts.append(("text", item.content.decode("utf-8", "replace")))
        return Node("evidence", f"{item.source}, {item.locator}", facts=tuple(facts))
    frames = frames_of(item.content)
    return Node(
        "evidence",
        f"{len(frames)} frames of {item.source}, {item.locator}",
        facts=tuple(facts),
        expand=lambda: tuple(
            Node("frame", f"{direction} {len(octets)} octets", facts=(("octets", octets.hex()),))
            for direction, octets in frames
        ),
    )
