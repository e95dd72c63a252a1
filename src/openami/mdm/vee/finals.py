"""Final blocks: what a usage point took or gave, on the primary side, day by day.

Transformer multipliers are applied here, to values and anchors alike, as exact fractions: where a factor
is not whole the block counts in a finer quantum, so nothing is ever rounded. Parts of one interval that
two meters measured (an exchange) are added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import lru_cache

import numpy as np

from openami.mdm.vee.checks import check_names
from openami.mdm.vee.kernel import Counts
from openami.mdm.vee.resolve import Resolution, worse_status
from openami.mdm.vee.rule_pack import RulePack
from openami.mdm.vee.stretch import DAY_S, Stretch, position_of
from openami.quantities.civil_time import CivilDay
from openami.quantities.errors import ValidationError
from openami.quantities.obis import ObisCode
from openami.quantities.status import MISSING, is_estimated
from openami.quantities.units import Quantum
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Multiplier

ACTOR = "vee"
"""Who makes final blocks here."""

_LARGEST = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A resolved stretch with its multipliers.

    ``factors`` are (position, factor) pairs: from that interval on the factor holds; the first position
    is 0.
    """

    stretch: Stretch
    resolution: Resolution
    factors: tuple[tuple[int, Fraction], ...]


@lru_cache(maxsize=1024)
def decimal_places(factor: Fraction) -> int:
    """Decimal places a factor needs to be whole: 0 for 200, 3 for 1/8.

    Raises
    ------
    ValidationError
        No number of places is enough (a third): such a ratio cannot be applied exactly.
    """
    places, rest = 0, factor.denominator
    while rest % 2 == 0 or rest % 5 == 0:
        rest = rest // 10 if rest % 10 == 0 else rest // (2 if rest % 2 == 0 else 5)
        places += 1
    if rest != 1:
        raise ValidationError(
            f"a multiplier of {factor} has no finite decimal form",
            expected="a ratio whose denominator has the prime factors 2 and 5 only",
        )
    return places


def factors_on_grid(stretch: Stretch, multipliers: Iterable[Multiplier]) -> tuple[tuple[int, Fraction], ...]:
    """The multipliers of a meter on the grid of a stretch; 1 where none is known.

    A ratio that changes inside an interval holds from the next interval on.
    """
    changes: dict[int, Fraction] = {0: Fraction(1)}
    for multiplier in sorted(multipliers, key=lambda item: item.valid_from):
        begin = _position(multiplier.valid_from, stretch)
        end = stretch.values.size
        if multiplier.valid_to is not None:
            end = _position(multiplier.valid_to, stretch)
        if end <= 0 or begin >= stretch.values.size:
            continue
        changes[max(begin, 0)] = multiplier.factor
        if end < stretch.values.size:
            changes[end] = Fraction(1)
    return tuple(sorted(changes.items()))


def _position(instant: datetime, stretch: Stretch) -> int:
    return math.ceil(position_of(instant, stretch.days, stretch.interval_s))


def final_blocks(
    usage_point_id: str,
    channel: ObisCode,
    parts: Sequence[Part],
    days: Iterable[CivilDay],
    packs: Sequence[RulePack],
) -> list[IntervalBlock]:
    """Final blocks of one channel of a usage point, one for each of ``days`` on which a part was there.

    Parameters
    ----------
    parts:
        The stretches of the meters that served, in the order of time.
    packs:
        The pack in force on each of ``days``.

    Raises
    ------
    ValidationError
        Meters of different intervals or units on one day, or a product beyond 62 bits.
    """
    blocks = []
    rows = [{day: index for index, day in enumerate(part.stretch.days)} for part in parts]
    for day, pack in zip(days, packs, strict=True):
        mine = [(part, row[day]) for part, row in zip(parts, rows, strict=True) if day in row]
        if mine:
            blocks.append(_block(usage_point_id, channel, day, pack, mine))
    return blocks


def _block(
    usage_point_id: str, channel: ObisCode, day: CivilDay, pack: RulePack, mine: Sequence[tuple[Part, int]]
) -> IntervalBlock:
    lengths = {part.stretch.interval_s for part, _ in mine}
    units = {part.stretch.quantum.unit for part, _ in mine}
    if len(lengths) > 1 or len(units) > 1:
        raise ValidationError(
            f"meters of intervals {sorted(lengths)} s and units {sorted(unit.value for unit in units)}",
            where=f"usage point {usage_point_id}, {channel}, {day.day}",
            expected="one interval and one unit on a day",
        )
    exponent = min(_finest(part, row) for part, row in mine)
    there = [part.stretch.day_slice(row) for part, row in mine]
    values = np.zeros(there[0].stop - there[0].start, np.int64)
    status = np.full(values.size, MISSING, np.int32)
    served = np.zeros(values.size, bool)
    bits = 0
    for (part, row), where in zip(mine, there, strict=True):
        inside = part.stretch.inside[where] > 0
        own_status = part.resolution.status[where]
        values += _multiplied(part, where, exponent)
        both = served & inside
        joined = worse_status(status[both], own_status[both]) if both.any() else own_status[both]
        status[inside] = own_status[inside]
        status[both] = joined
        served |= inside
        bits |= int(part.resolution.bits[row])
    length = lengths.pop()
    raw = [part.stretch.blocks[row] for part, row in mine]
    sources = [source for block in raw if block for source in (block.sources or (block.block_id,))]
    notes = [part.resolution.notes.get(row) for part, row in mine]
    return IntervalBlock(
        series_id=usage_point_id,
        channel=channel,
        day=day,
        interval_s=day.seconds if length == DAY_S else length,
        quantum=Quantum(units.pop(), exponent),
        values=values,
        captured_at=max((block.captured_at for block in raw if block), default=day.end),
        status=status if status.any() else None,
        anchor_start=_anchor(mine[0][0], there[0].start, there[0].start, exponent),
        anchor_end=_anchor(mine[-1][0], there[-1].stop, there[-1].stop - 1, exponent),
        failed_checks=bits,
        sources=tuple(dict.fromkeys(sources)),
        rule=pack.name,
        actor=ACTOR,
        why=_why(bits, int(is_estimated(status).sum()), notes),
    )


def _finest(part: Part, row: int) -> int:
    """Exponent at which all of a day's values times their multipliers are whole."""
    where = part.stretch.day_slice(row)
    factors = [factor for _, factor in _active(part, where)]
    return part.stretch.quantum.exponent - max(map(decimal_places, factors))


def _active(part: Part, where: slice) -> list[tuple[int, Fraction]]:
    """(position, factor) pairs that cover a slice, the first at or before its start."""
    before = [pair for pair in part.factors if pair[0] <= where.start]
    return [before[-1], *(pair for pair in part.factors if where.start < pair[0] < where.stop)]


def _multiplied(part: Part, where: slice, exponent: int) -> Counts:
    """Values of a slice on the primary side, in quanta of 10**exponent."""
    lift = 10 ** (part.stretch.quantum.exponent - exponent)
    values = part.resolution.values[where].copy()
    active = _active(part, where)
    ends = [position for position, _ in active[1:]] + [where.stop]
    for (position, factor), end in zip(active, ends, strict=True):
        piece = values[max(position - where.start, 0) : end - where.start]
        multiplier = int(factor * lift)
        largest = int(np.abs(piece).max(initial=0)) * multiplier
        if largest >= _LARGEST:
            raise ValidationError(
                f"a value times its multiplier is {largest}, beyond 62 bits",
                where=f"meter {part.stretch.meter_id}, {part.stretch.channel}",
            )
        piece *= multiplier
    return values


def _anchor(part: Part, position: int, interval: int, exponent: int) -> int | None:
    """Register at a boundary, with the multiplier that holds in ``interval``."""
    lift = 10 ** (part.stretch.quantum.exponent - exponent)
    for anchor in part.stretch.anchors:
        if anchor.position == position:
            factor = _active(part, slice(interval, interval + 1))[0][1]
            return int(anchor.count * factor * lift)
    return None


def _why(bits: int, estimated: int, notes: Iterable[str | None]) -> str:
    texts = [", ".join(check_names(bits)) or "valid"]
    if estimated:
        texts.append(f"{estimated} intervals estimated")
    return "; ".join([*texts, *(note for note in notes if note)])


def same_content(one: IntervalBlock, other: IntervalBlock) -> bool:
    """True when two final blocks say the same; when they were captured or written does not count."""
    return (
        _facts(one) == _facts(other)
        and np.array_equal(one.values, other.values)
        and np.array_equal(one.status_ids, other.status_ids)
    )


def _facts(block: IntervalBlock) -> tuple[object, ...]:
    return (
        block.interval_s,
        block.quantum,
        block.anchor_start,
        block.anchor_end,
        block.failed_checks,
        block.sources,
        block.rule,
    )
