"""One usage point in a run: its meters' stretches, screened, resolved and joined into finals and cases.

All stretches of a run are screened in one buffer; only those in which something was found are resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction

import numpy as np

from openami.mdm.exceptions import ExceptionCase
from openami.mdm.vee.checks import Check
from openami.mdm.vee.estimation import History
from openami.mdm.vee.finals import Part, final_blocks
from openami.mdm.vee.kernel import ABSENT, UNKNOWN, UNLIMITED, Counts, screen_days, zero_run_lengths
from openami.mdm.vee.resolve import Finding, good_values, resolve, resolve_clean
from openami.mdm.vee.rule_pack import RulePack
from openami.mdm.vee.stretch import Stretch
from openami.mdm.vee.usage_history import StoredFinals, empty_history, fill_own_days, unusual_days
from openami.quantities.civil_time import CivilDay, civil_day_of
from openami.quantities.obis import ObisCode
from openami.readings.interval_block import IntervalBlock
from openami.registry.entities import Installation, UsagePoint

_NOT_GOOD = int(Check.SPIKE | Check.CAPACITY | Check.REGISTER_SUM)
_OF_THE_METER = frozenset({"power_outage"})
"""Kinds that are about the meter, not about one of its channels."""


@dataclass(frozen=True, slots=True, eq=False)
class StretchWork:
    """A stretch with what is needed to resolve it.

    Parameters
    ----------
    factors:
        Multipliers on the grid (`finals.factors_on_grid`).
    ceiling:
        Largest value an interval can have, in quanta; `UNLIMITED` when the capacity is not known.
    packs:
        The pack in force on each day of the stretch.
    """

    stretch: Stretch
    factors: tuple[tuple[int, Fraction], ...]
    ceiling: int
    packs: tuple[RulePack, ...]

    @property
    def worth(self) -> float:
        """What a quantum is worth in the channel's unit on the primary side."""
        return float(self.factors[-1][1]) * 10.0**self.stretch.quantum.exponent


@dataclass(frozen=True, slots=True, eq=False)
class PointWork:
    """A usage point with the days to finish and the stretches (which may begin and end a day outside)."""

    point: UsagePoint
    days: tuple[CivilDay, ...]
    packs: Mapping[date, RulePack]
    installations: Sequence[Installation]
    stretches: list[StretchWork] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class PointResult:
    """Finals of a usage point, with the number of intervals a meter was there for, and its cases."""

    work: PointWork
    blocks: list[IntervalBlock]
    expected: list[int]
    cases: list[ExceptionCase]


def ceiling_of(
    capacity_w: int | None,
    interval_s: int,
    factors: Sequence[tuple[int, Fraction]],
    exponent: int,
    packs: Sequence[RulePack],
) -> int:
    """Largest count an interval can have on the meter's side of its transformers."""
    if capacity_w is None:
        return UNLIMITED
    energy_wh = capacity_w * interval_s / 3600 * max(pack.capacity_factor for pack in packs)
    return int(energy_wh / float(min(factor for _, factor in factors)) / 10.0**exponent)


def screen(works: Iterable[PointWork]) -> dict[int, Counts]:
    """Screen all stretches in one pass.

    Returns
    -------
    dict
        By ``id`` of the stretch work: `Check` bits of its days, int64 (days,), for those in which there is
        anything to resolve. The others are clean.
    """
    items = [item for work in works for item in work.stretches]
    if not items:
        return {}
    values = np.concatenate([item.stretch.values for item in items])
    lengths = np.concatenate([np.diff(item.stretch.offsets) for item in items])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    days = [len(item.packs) for item in items]
    advance = np.full(lengths.size, UNKNOWN, np.int64)
    tolerance = np.zeros(lengths.size, np.int64)
    firsts = np.concatenate(([0], np.cumsum(days)))
    daily = []
    for item, first in zip(items, firsts, strict=False):
        daily.append(_daily_advances(item, int(first), advance, tolerance))
    ceiling = np.repeat(np.array([item.ceiling for item in items], np.int64), days)
    ratio = np.array([pack.spike_ratio for item in items for pack in item.packs])
    bits = screen_days(values, offsets, advance, tolerance, ceiling, ratio).bits
    dirty = {}
    for item, first, count, plain in zip(items, firsts, days, daily, strict=False):
        mine = bits[first : first + count]
        if mine.any() or not plain or not _plain(item):
            dirty[id(item)] = mine
    return dirty


def _daily_advances(item: StretchWork, first: int, advance: Counts, tolerance: Counts) -> bool:
    """Enter the advances of spans of one day; True when all spans are of one day and went forward."""
    stretch, plain = item.stretch, True
    day_at = {int(offset): index for index, offset in enumerate(stretch.offsets)}
    for span in stretch.spans:
        index = day_at.get(span.start)
        whole = index is not None and day_at.get(span.end) == index + 1
        if index is None or not whole or span.advance is None or span.rolled_over:
            plain = False
            continue
        advance[first + index] = span.advance
        tolerance[first + index] = item.packs[index].register_sum_steps * span.step
    return plain


def _plain(item: StretchWork) -> bool:
    """True when no day of a stretch needs more than the screening."""
    stretch = item.stretch
    if stretch.off_times or stretch.raw_status.any() or not (stretch.inside == 1.0).all():
        return False
    hours = min(pack.zero_run_hours for pack in item.packs)
    if all(stretch.channel not in pack.zero_run_channels for pack in item.packs):
        return True
    run = zero_run_lengths(stretch.values, stretch.values != ABSENT).max()
    return int(run) * stretch.interval_s < hours * 3600


def finish(work: PointWork, dirty: Mapping[int, Counts], stored: StoredFinals) -> PointResult:
    """Resolve the stretches of a usage point; make its final blocks and its cases."""
    result = PointResult(work, [], [], [])
    channels = dict.fromkeys(item.stretch.channel for item in work.stretches)
    found: list[tuple[StretchWork, Finding]] = []
    for channel in channels:
        mine = [item for item in work.stretches if item.stretch.channel == channel]
        histories: dict[int, History] = {}
        parts = []
        for item in mine:
            if id(item) in dirty:
                length = item.stretch.interval_s
                if length not in histories:
                    histories[length] = _history(work, channel, mine, dirty, stored, length)
                resolution = resolve(item.stretch, histories[length], item.worth, item.ceiling, item.packs)
            else:
                resolution = resolve_clean(item.stretch)
            found += [(item, finding) for finding in resolution.findings]
            parts.append(Part(item.stretch, resolution, item.factors))
        unusual = _finish_channel(work, channel, parts, stored, result)
        found += [(item, finding) for item in mine for finding in unusual.get(id(item.stretch), ())]
    result.cases.extend(_cases(work, found))
    result.cases.extend(_exchange_cases(work))
    result.cases.extend(_daylight_saving_cases(work, result.blocks))
    return result


def _history(
    work: PointWork,
    channel: ObisCode,
    mine: Sequence[StretchWork],
    dirty: Mapping[int, Counts],
    stored: StoredFinals,
    interval_s: int,
) -> History:
    first = work.days[0].day - timedelta(days=max(map(look_back, work.packs.values())))
    days = (work.days[-1].day - first).days + 2
    history = empty_history(first, days, interval_s)
    stored.fill(history, work.point.usage_point_id, str(channel), interval_s)
    for item in mine:
        if item.stretch.interval_s == interval_s:
            good = good_values(item.stretch, item.packs)
            bits = dirty.get(id(item), np.zeros(len(item.packs), np.int64))
            for index in np.flatnonzero(bits & _NOT_GOOD):
                good[item.stretch.day_slice(int(index))] = False
            fill_own_days(history, item.stretch, good, item.worth)
    return history


def look_back(pack: RulePack) -> int:
    """How many days of finals before the first day a pack looks at."""
    usage = pack.usage_window_days + pack.usage_history_days + 1
    return max(pack.like_day_max_age_days, pack.equivalent_days_max_age_days, usage)


def _finish_channel(
    work: PointWork, channel: ObisCode, parts: Sequence[Part], stored: StoredFinals, result: PointResult
) -> dict[int, list[Finding]]:
    """Add the final blocks of a channel; returns findings of unusual usage by ``id`` of the stretch."""
    name = work.point.usage_point_id
    packs = [work.packs[day.day] for day in work.days]
    blocks = final_blocks(name, channel, parts, work.days, packs)
    findings: dict[int, list[Finding]] = {}
    if any(channel in pack.usage_channels for pack in packs):
        totals = stored.totals(name, str(channel))
        whole = [block for block in blocks if not block.missing.any()]
        totals |= {block.day.day: block.total * 10.0**block.quantum.exponent for block in whole}
        ruling = [work.packs[block.day.day] for block in blocks]
        unusual = unusual_days(totals, [block.day.day for block in blocks], ruling)
        for index, block in enumerate(blocks):
            if block.day.day not in unusual:
                continue
            kind, detail = unusual[block.day.day]
            part = next(part for part in reversed(parts) if block.day in part.stretch.days)
            place = part.stretch.days.index(block.day)
            part.resolution.bits[place] |= int(Check.HIGH_USAGE if kind == "high_usage" else Check.LOW_USAGE)
            findings.setdefault(id(part.stretch), []).append(Finding(kind, place, detail))
            (blocks[index],) = final_blocks(name, channel, parts, [block.day], [ruling[index]])
    result.blocks.extend(blocks)
    result.expected.extend(_expected(block, parts) for block in blocks)
    return findings


def _expected(block: IntervalBlock, parts: Sequence[Part]) -> int:
    """Intervals of a day in which a meter was there."""
    inside = np.zeros(block.values.size, bool)
    for part in parts:
        stretch = part.stretch
        if block.day in stretch.days:
            inside |= stretch.inside[stretch.day_slice(stretch.days.index(block.day))] > 0
    return int(inside.sum())


def _cases(work: PointWork, found: Sequence[tuple[StretchWork, Finding]]) -> list[ExceptionCase]:
    finished = set(work.days)
    silent: dict[tuple[str, CivilDay], set[ObisCode]] = {}
    channels: dict[str, set[ObisCode]] = {}
    for item in work.stretches:
        channels.setdefault(item.stretch.meter_id, set()).add(item.stretch.channel)
    for item, finding in found:
        if finding.kind == "meter_silent":
            key = item.stretch.meter_id, item.stretch.days[finding.day]
            silent.setdefault(key, set()).add(item.stretch.channel)
    cases = []
    for item, finding in found:
        stretch = item.stretch
        day = stretch.days[finding.day]
        if day not in finished:
            continue
        whole = finding.kind in _OF_THE_METER or (
            finding.kind == "meter_silent" and silent[stretch.meter_id, day] == channels[stretch.meter_id]
        )
        block = stretch.blocks[finding.day]
        evidence = [*finding.evidence_ids]
        if block is not None and block.evidence_id:
            evidence.append(block.evidence_id)
        cases.append(
            ExceptionCase(
                kind=finding.kind,
                meter_id=stretch.meter_id,
                usage_point_id=work.point.usage_point_id,
                day=day.day,
                channel=None if whole else stretch.channel,
                detail=finding.detail,
                block_ids=_sources(block),
                evidence_ids=tuple(dict.fromkeys(evidence)),
            )
        )
    return cases


def _sources(block: IntervalBlock | None) -> tuple[str, ...]:
    return () if block is None else block.sources or (block.block_id,)


def _exchange_cases(work: PointWork) -> list[ExceptionCase]:
    cases = []
    for old, new in zip(work.installations, work.installations[1:], strict=False):
        day = civil_day_of(new.valid_from, work.point.zone)
        if day not in work.days or old.meter_id == new.meter_id:
            continue
        blocks = [
            item.stretch.blocks[item.stretch.days.index(day)]
            for item in work.stretches
            if item.stretch.meter_id in (old.meter_id, new.meter_id) and day in item.stretch.days
        ]
        cases.append(
            ExceptionCase(
                kind="meter_exchange",
                meter_id=new.meter_id,
                usage_point_id=work.point.usage_point_id,
                day=day.day,
                detail=f"{old.meter_id} replaced by {new.meter_id} at {_instant(new.valid_from)}",
                block_ids=tuple(dict.fromkeys(source for block in blocks for source in _sources(block))),
                evidence_ids=tuple(
                    dict.fromkeys(block.evidence_id for block in blocks if block and block.evidence_id)
                ),
            )
        )
    return cases


def _daylight_saving_cases(work: PointWork, blocks: Iterable[IntervalBlock]) -> list[ExceptionCase]:
    cases = {}
    for block in blocks:
        if block.day.seconds == 86400 or block.day in cases:
            continue
        meter_id = next(
            item.stretch.meter_id for item in reversed(work.stretches) if block.day in item.stretch.days
        )
        cases[block.day] = ExceptionCase(
            kind="daylight_saving",
            meter_id=meter_id,
            usage_point_id=work.point.usage_point_id,
            day=block.day.day,
            detail=f"a day of {block.day.seconds // 3600} hours, {block.values.size} intervals",
            block_ids=block.sources,
        )
    return list(cases.values())


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}Z"
