"""The run of validation and estimation: raw readings of a window of days in, finals and exceptions out.

Meters are joined to usage points by the registry's validity instants. Where registers are missing at the
edge of the window, the days up to the bounding reads are taken along, so that a gap is always scaled over
the whole span. A run that finds nothing new changes nothing: same finals, same cases.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import NamedTuple

from openami.mdm.exceptions import ExceptionCase, ExceptionList, gone_since
from openami.mdm.stores.store import ReadingStore
from openami.mdm.vee.finals import ACTOR, factors_on_grid, same_content
from openami.mdm.vee.master_data import MasterData, read_master_data
from openami.mdm.vee.rule_pack import PackSource, RulePack
from openami.mdm.vee.run_log import Facts, RunLog
from openami.mdm.vee.stretch import OFF_EVENTS, OffTime, Stretch, lay_out, off_times_of, split_by_interval
from openami.mdm.vee.usage_history import StoredFinals
from openami.mdm.vee.usage_point import (
    PointResult,
    PointWork,
    StretchWork,
    ceiling_of,
    finish,
    look_back,
    screen,
)
from openami.quantities.civil_time import CivilDay, civil_day_of, civil_days, midnight
from openami.quantities.clock import Clock
from openami.quantities.errors import ValidationError
from openami.quantities.obis import REGISTER_OF_INTERVAL, ObisCode
from openami.quantities.status import Quality, is_estimated, qualities
from openami.readings.event import Event
from openami.readings.interval_block import IntervalBlock
from openami.readings.register_read import RegisterRead
from openami.registry.entities import Installation, UsagePoint
from openami.registry.registry import Registry

VEE_KINDS = (
    "gap",
    "negative",
    "spike",
    "register_sum",
    "zero_run",
    "high_usage",
    "low_usage",
    "register_reverse",
    "register_rollover",
    "power_outage",
    "meter_silent",
    "meter_exchange",
    "daylight_saving",
    "estimation_refused",
)
"""Kinds of exceptions a run finds, and closes when it does not find them any more."""

Revised = tuple[str, ObisCode, date]
"""Usage point, channel and day of which a final value was replaced by another."""

_CHUNK = 256
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class VeeReport:
    """What a run did in the days it was asked for.

    Parameters
    ----------
    days:
        Number of final blocks: one a usage point, channel and day.
    intervals_expected, intervals_measured, intervals_estimated:
        Intervals in which a meter was installed; with a measured and valid final; with an estimated one.
        The rest is missing or suspect.
    exceptions:
        Cases found, by kind.
    pack_id:
        ``id@version`` of the rule pack of the last day.
    seq:
        Commit sequence with the finals in it.
    registry_revision:
        Revision of the master data that was used.
    revised:
        Finals that replaced another final; billing decides whether that means a re-bill.
    """

    days: int
    intervals_expected: int
    intervals_measured: int
    intervals_estimated: int
    exceptions: dict[str, int]
    pack_id: str
    seq: int
    registry_revision: int
    revised: tuple[Revised, ...] = field(default=())


class _Window(NamedTuple):
    """Civil days ``[first, last)`` to work on."""

    first: date
    last: date


@dataclass(slots=True)
class _Readings:
    """Raw readings of a chunk of usage points, sorted for laying out."""

    reads: dict[tuple[str, ObisCode], list[RegisterRead]]
    off_times: dict[str, list[OffTime]]
    blocks: dict[tuple[str, ObisCode], dict[CivilDay, IntervalBlock]]


@dataclass(slots=True)
class _Tally:
    """Sums over the chunks of a run."""

    days: int = 0
    expected: int = 0
    measured: int = 0
    estimated: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    revised: list[Revised] = field(default_factory=list)


def never_billed(usage_point_id: str, day: date) -> bool:
    """No day is billed."""
    return False


class Vee:
    """Validation and estimation over a store and a registry.

    Parameters
    ----------
    store, registry, exceptions, clock:
        Where readings, master data and findings live.
    pack:
        A rule pack, or dated versions of one.
    billed:
        Tells whether a day of a usage point is billed: a final that replaces another one there is
        reported as ``late_data``.
    """

    def __init__(
        self,
        store: ReadingStore,
        registry: Registry,
        exceptions: ExceptionList,
        pack: PackSource,
        clock: Clock,
        *,
        billed: Callable[[str, date], bool] = never_billed,
    ) -> None:
        self._store = store
        self._registry = registry
        self._exceptions = exceptions
        self._packs = pack
        self._clock = clock
        self._billed = billed

    def run(
        self,
        first_day: date,
        last_day: date,
        *,
        usage_point_ids: Sequence[str] | None = None,
        as_of: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> VeeReport:
        """Validate and estimate the civil days ``[first_day, last_day)``.

        Parameters
        ----------
        usage_point_ids:
            Usage points; None for all.
        as_of:
            Look only at readings up to this commit; None for all there are now.
        progress:
            Called with usage points done and in all.

        Raises
        ------
        ValidationError
            The window is empty, or master data and readings do not fit together (zones, interval lengths,
            units, a multiplier without finite decimal form). Faults of master data are all listed before
            anything is stored.
        RegistryError
            A usage point is not known.
        StoreError
            Readings could not be read or finals not be stored.
        """
        if first_day >= last_day:
            raise ValidationError(f"no day from {first_day} to before {last_day}", expected="first < last")
        seq = self._store.seq if as_of is None else as_of
        asked: Facts = {"first_day": str(first_day), "last_day": str(last_day), "as_of": seq}
        with RunLog(self._exceptions.engine, self._clock).running("vee", asked) as facts:
            report = self._run(_Window(first_day, last_day), usage_point_ids, seq, progress)
            facts |= {"pack": report.pack_id, "seq": report.seq, "days": report.days}
            facts |= {"revised": len(report.revised), "exceptions": sum(report.exceptions.values())}
        return report

    def _run(
        self,
        asked: _Window,
        usage_point_ids: Sequence[str] | None,
        seq: int,
        progress: Callable[[int, int], None] | None,
    ) -> VeeReport:
        first_day, last_day = asked
        margin = timedelta(days=self._packs.on(first_day).scaling_max_span_days + 1)
        start, end = midnight(first_day, "UTC") - margin, midnight(last_day, "UTC") + margin
        master = read_master_data(self._registry, usage_point_ids, start, end)
        tally = _Tally()
        for place in range(0, len(master.points), _CHUNK):
            points = master.points[place : place + _CHUNK]
            results = self._run_chunk(points, master, asked, seq)
            self._keep(results, asked, seq, tally)
            if progress is not None:
                progress(place + len(points), len(master.points))
        return VeeReport(
            days=tally.days,
            intervals_expected=tally.expected,
            intervals_measured=tally.measured,
            intervals_estimated=tally.estimated,
            exceptions=dict(sorted(tally.kinds.items())),
            pack_id=self._packs.on(last_day - _DAY).name,
            seq=self._store.seq,
            registry_revision=master.revision,
            revised=tuple(tally.revised),
        )

    def _run_chunk(
        self, points: Sequence[UsagePoint], master: MasterData, asked: _Window, seq: int
    ) -> list[PointResult]:
        meter_ids = sorted(
            {row.meter_id for point in points for row in master.installed(point.usage_point_id)}
        )
        if not meter_ids:
            return []
        margin = timedelta(days=self._packs.on(asked.first).scaling_max_span_days + 1)
        start, end = midnight(asked.first, "UTC") - margin, midnight(asked.last, "UTC") + margin
        readings = _Readings(defaultdict(list), {}, defaultdict(dict))
        for read in self._store.register_reads(meter_ids, None, start, end, as_of=seq):
            readings.reads[read.meter_id, read.register].append(read)
        events: dict[str, list[Event]] = defaultdict(list)
        for event in self._store.events(meter_ids, start, end, codes=OFF_EVENTS, as_of=seq):
            events[event.meter_id].append(event)
        readings.off_times = {meter_id: off_times_of(found) for meter_id, found in events.items()}
        windows = [self._window(point, master, readings, asked) for point in points]
        self._read_blocks(points, windows, master, readings, seq)
        works = [
            self._lay_out(point, window, master, readings)
            for point, window in zip(points, windows, strict=True)
        ]
        dirty = screen(works)
        stored = self._finals_before(works, seq)
        return [finish(work, dirty, stored) for work in works if work.stretches]

    def _window(self, point: UsagePoint, master: MasterData, readings: _Readings, asked: _Window) -> _Window:
        """Days to work on: those asked for, and those that share a register span with them."""
        start, end = midnight(asked.first, point.zone), midnight(asked.last, point.zone)
        limit = timedelta(days=self._packs.on(asked.first).scaling_max_span_days)
        first, last = asked
        for installation in master.installed(point.usage_point_id):
            for channel in master.meters[installation.meter_id].channels:
                register = REGISTER_OF_INTERVAL.get(channel)
                if register is None:
                    continue
                reads = readings.reads.get((installation.meter_id, register), ())
                bounds = _bounds(reads, installation, point.zone)
                left, right = bisect_right(bounds, start) - 1, bisect_left(bounds, end)
                if 0 <= left < len(bounds) - 1 and bounds[left + 1] - bounds[left] <= limit:
                    first = min(first, civil_day_of(bounds[left], point.zone).day)
                if 0 < right < len(bounds) and bounds[right] - bounds[right - 1] <= limit:
                    last_inside = bounds[right] - timedelta(microseconds=1)
                    last = max(last, civil_day_of(last_inside, point.zone).day + _DAY)
        return _Window(first, last)

    def _read_blocks(
        self,
        points: Sequence[UsagePoint],
        windows: Sequence[_Window],
        master: MasterData,
        readings: _Readings,
        seq: int,
    ) -> None:
        groups: dict[_Window, set[str]] = defaultdict(set)
        for point, window in zip(points, windows, strict=True):
            groups[window].update(row.meter_id for row in master.installed(point.usage_point_id))
        for (first, last), meter_ids in groups.items():
            for block in self._store.raw(sorted(meter_ids), None, first - _DAY, last + _DAY, as_of=seq):
                readings.blocks[block.series_id, block.channel][block.day] = block

    def _lay_out(
        self, point: UsagePoint, window: _Window, master: MasterData, readings: _Readings
    ) -> PointWork:
        days = tuple(civil_days(window.first, window.last, point.zone))
        around = tuple(civil_days(window.first - _DAY, window.last + _DAY, point.zone))
        packs = {day.day: self._packs.on(day.day) for day in around}
        work = PointWork(point, days, packs, master.installed(point.usage_point_id))
        for installation in work.installations:
            meter = master.meters[installation.meter_id]
            for channel in meter.channels:
                blocks = readings.blocks.get((meter.meter_id, channel), {})
                if zones := sorted({day.zone for day in blocks} - {point.zone}):
                    raise ValidationError(
                        f"blocks of days in {', '.join(zones)}",
                        where=f"meter {meter.meter_id}, {channel}",
                        expected=f"days in {point.zone}, as usage point {point.usage_point_id}",
                    )
                register = REGISTER_OF_INTERVAL.get(channel)
                known = readings.reads.get((meter.meter_id, register), []) if register else []
                # The day on either side lends anchors to gaps at the edge, where it was read already.
                useful = [day for day in around if day in days or day in blocks]
                off_times = readings.off_times.get(meter.meter_id, [])
                for part in split_by_interval(useful, blocks):
                    stretch = lay_out(
                        meter,
                        installation,
                        channel,
                        part,
                        blocks,
                        known,
                        off_times,
                        max_span_days=packs[window.first].scaling_max_span_days,
                    )
                    if stretch is not None and set(stretch.days) & set(days):
                        work.stretches.append(_work_of(stretch, point, master, packs))
        return work

    def _finals_before(self, works: Sequence[PointWork], seq: int) -> StoredFinals:
        """Finals of the days before the windows, as far back as any pack looks."""
        longest = max(look_back(pack) for work in works for pack in work.packs.values())
        first = min(work.days[0].day for work in works) - timedelta(days=longest)
        last = max(work.days[0].day for work in works)
        ids = [work.point.usage_point_id for work in works]
        return StoredFinals(self._store.final_table(ids, None, first, last, as_of=seq))

    def _keep(self, results: Sequence[PointResult], asked: _Window, seq: int, tally: _Tally) -> None:
        """Store finals that say something new, settle the cases, add up."""
        if not results:
            return
        ids = [result.work.point.usage_point_id for result in results]
        first = min(result.work.days[0].day for result in results)
        last = max(result.work.days[-1].day for result in results) + _DAY
        current = {
            (block.series_id, block.channel, block.day.day): block
            for block in self._store.final(ids, None, first, last)
        }
        fresh, revised = [], []
        for result in results:
            for block, expected in zip(result.blocks, result.expected, strict=True):
                key = block.series_id, block.channel, block.day.day
                if key not in current or not same_content(block, current[key]):
                    fresh.append(block)
                    if key in current:
                        revised.append(key)
                if asked.first <= block.day.day < asked.last:
                    tally.days += 1
                    tally.expected += expected
                    tally.estimated += int(is_estimated(block.status_ids).sum())
                    tally.measured += int((qualities(block.status_ids) == Quality.ACTUAL).sum())
        if fresh:
            self._store.put_final(fresh)
        cases = [replace(case, seq=seq) for result in results for case in result.cases]
        scope = {
            result.work.point.usage_point_id: [day.day for day in result.work.days] for result in results
        }
        self._exceptions.settle(cases, kinds=VEE_KINDS, scope=scope, actor=ACTOR, why=gone_since(seq))
        late = self._late_cases(revised, results, seq)
        self._exceptions.report(late)
        unique = {case.exception_id: case for case in [*cases, *late]}
        tally.kinds.update(
            case.kind for case in unique.values() if case.day and asked.first <= case.day < asked.last
        )
        tally.revised += revised

    def _late_cases(
        self, revised: Iterable[Revised], results: Sequence[PointResult], seq: int
    ) -> list[ExceptionCase]:
        meters: Mapping[str, str] = {
            result.work.point.usage_point_id: result.work.installations[-1].meter_id for result in results
        }
        return [
            ExceptionCase(
                kind="late_data",
                meter_id=meters[usage_point_id],
                usage_point_id=usage_point_id,
                day=day,
                channel=channel,
                detail=f"finals of a billed day changed at sequence {seq}",
                seq=seq,
            )
            for usage_point_id, channel, day in revised
            if self._billed(usage_point_id, day)
        ]


def _work_of(
    stretch: Stretch, point: UsagePoint, master: MasterData, packs: Mapping[date, RulePack]
) -> StretchWork:
    factors = factors_on_grid(stretch, master.multipliers.get(stretch.meter_id, ()))
    mine = tuple(packs[day.day] for day in stretch.days)
    ceiling = ceiling_of(point.capacity_w, stretch.interval_s, factors, stretch.quantum.exponent, mine)
    return StretchWork(stretch, factors, ceiling, mine)


def _bounds(reads: Iterable[RegisterRead], installation: Installation, zone: str) -> list[datetime]:
    """Instants at which a register read bounds a span: local midnights and the exchange's own reads."""
    begin, end = installation.valid_from, installation.valid_to
    found = set()
    for read in reads:
        at_midnight = civil_day_of(read.at, zone).start == read.at
        if read.at < begin or (end is not None and read.at > end):
            continue
        if at_midnight or read.kind in ("install", "remove"):
            found.add(read.at)
    return sorted(found)
