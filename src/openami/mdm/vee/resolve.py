"""One stretch from raw to final: find what fails, flag it, estimate it, scale it to the register.

The order is the rule never to be broken: everything that fails is flagged first, estimates are made from
what is left, and only then estimates (never measured values) are scaled so that over every register span
the sum of the finals is the register's advance, to the count. Where that cannot be, nothing is invented:
the intervals stay missing or suspect and `estimation_refused` is found. Pure: arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openami.mdm.vee.checks import Check
from openami.mdm.vee.estimation import DATA_SCALING, ZERO, Estimate, History, estimate
from openami.mdm.vee.kernel import ABSENT, UNLIMITED, Counts, Mask, Reals, distribute, zero_run_lengths
from openami.mdm.vee.register_spans import Span
from openami.mdm.vee.rule_pack import RulePack
from openami.mdm.vee.spikes import confirmed, located, triggered
from openami.mdm.vee.stretch import OffTime, Stretch
from openami.quantities.status import DeviceFlag, Quality
from openami.readings.event import EventCode
from openami.readings.interval_block import StatusIds

CALCULATED = 12
"""AEMO method of the part of an interval that two register reads give exactly."""

_DEVICE_BITS = np.int32(0x1FFF << 18)
_UNEVEN = int(
    DeviceFlag.POWER_FAIL | DeviceFlag.CLOCK_SET | DeviceFlag.SHORT_INTERVAL | DeviceFlag.LONG_INTERVAL
)
_WORST = np.zeros(8, np.int64)
_WORST[[Quality.ACTUAL, Quality.FINAL_SUBSTITUTE, Quality.SUBSTITUTED, Quality.ESTIMATED]] = [0, 1, 2, 3]
_WORST[[Quality.SUSPECT, Quality.NULL]] = [4, 5]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found on one day of a stretch, as an exception of ``kind``."""

    kind: str
    day: int
    detail: str
    evidence_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """A stretch after validation and estimation.

    Parameters
    ----------
    values, status:
        int64 (n,) counts (0 where missing) and int32 (n,) status ids.
    bits:
        int64 (days,), `Check` bits.
    findings:
        What is to be reported.
    notes:
        By index of the day: what an estimate was taken from.
    """

    values: Counts
    status: StatusIds
    bits: Counts
    findings: tuple[Finding, ...]
    notes: dict[int, str]


def good_values(stretch: Stretch, packs: Sequence[RulePack]) -> Mask:
    """Measured values fit to estimate others from, before the register has been asked; bool (n,)."""
    uneven = (stretch.raw_status >> 18) & _UNEVEN
    measured = (stretch.values != ABSENT) & (stretch.raw_status & 7 == Quality.ACTUAL)
    whole = (stretch.inside == 1.0) & (stretch.energised == 1.0)
    good: Mask = measured & whole & (uneven == 0) & ~_failing(stretch, packs)
    return good


def resolve_clean(stretch: Stretch) -> Resolution:
    """The resolution of a stretch in which screening found nothing: what was read is final."""
    return Resolution(
        values=stretch.values,
        status=stretch.raw_status & _DEVICE_BITS,
        bits=np.zeros(len(stretch.days), np.int64),
        findings=(),
        notes={},
    )


def resolve(
    stretch: Stretch,
    history: History,
    worth: float,
    ceiling: int,
    packs: Sequence[RulePack],
) -> Resolution:
    """Validate and estimate one stretch.

    Parameters
    ----------
    stretch:
        The stretch.
    history:
        Good measured days of the usage point's channel, this stretch's own included.
    worth:
        What a quantum of the stretch is worth in the unit of the history.
    ceiling:
        Largest value the connection can carry in an interval, in quanta; `UNLIMITED` when not known.
    packs:
        The pack in force on each day.
    """
    return _Resolver(stretch, history, worth, ceiling, packs).run()


class _Resolver:
    """State of one resolution. Invariant: `flagged` only grows until estimation; then nothing is flagged."""

    def __init__(
        self, stretch: Stretch, history: History, worth: float, ceiling: int, packs: Sequence[RulePack]
    ) -> None:
        self.stretch = stretch
        self.history = history
        self.worth = worth
        self.ceiling = ceiling
        self.packs = packs
        self.present = stretch.values != ABSENT
        self.values = np.where(self.present, stretch.values, 0)
        self.status = stretch.raw_status.copy()
        self.bits = np.zeros(len(stretch.days), np.int64)
        self.findings: list[Finding] = []
        expected = stretch.inside > 0
        self.off = expected & (stretch.energised == 0.0)
        self.missing = expected & ~self.present & ~self.off
        self.failing = _failing(stretch, packs)
        self.flagged = self.missing | self.failing
        self.suspect = np.zeros(stretch.values.size, bool)

    def run(self) -> Resolution:
        self._report_registers()
        self._report_missing()
        self._report_failing()
        self._find_spikes()
        result = self._estimate(self.flagged)
        self._close(result)
        self._fill_outages()
        self._report_zero_runs()
        self.values[self.status & 7 == Quality.NULL] = 0
        return Resolution(self.values, self.status, self.bits, tuple(self.findings), result.notes)

    # Finding and flagging

    def _find(self, kind: str, check: Check, day: int, detail: str, evidence: Sequence[str] = ()) -> None:
        self.bits[day] |= int(check)
        self.findings.append(Finding(kind, day, detail, tuple(evidence)))

    def _report_registers(self) -> None:
        for span in self.stretch.spans:
            day = self.stretch.day_of(max(span.end - 1, span.start))
            first, last = span.first.read, span.last.read
            evidence = [read.evidence_id for read in (first, last) if read.evidence_id]
            moved = (
                f"register {first.register} from {first.value} ({first.at:%Y-%m-%d %H:%M}Z) to {last.value}"
            )
            if span.rolled_over:
                self._find(
                    "register_rollover", Check.REGISTER_ROLLOVER, day,
                    f"{moved}: passed zero, advance {span.advance}", evidence,
                )  # fmt: skip
            elif span.advance is None:
                self._find(
                    "register_reverse", Check.REGISTER_REVERSE, day,
                    f"{moved}: went back and bounds nothing", evidence,
                )  # fmt: skip

    def _report_missing(self) -> None:
        stretch = self.stretch
        for off in stretch.off_times:
            if off.cause == EventCode.POWER_DOWN:
                self._report_outage(off)
        boundary = (stretch.inside > 0) & (stretch.inside < 1)
        for day in range(len(stretch.days)):
            there = stretch.day_slice(day)
            gaps = np.flatnonzero(self.missing[there] & ~boundary[there])
            expected = int((stretch.inside[there] > 0).sum())
            if not gaps.size:
                continue
            if not self.present[there].any() and gaps.size == expected:
                self._find(
                    "meter_silent", Check.METER_SILENT | Check.GAP, day,
                    f"none of {expected} intervals came",
                )  # fmt: skip
            else:
                self._find(
                    "gap", Check.GAP, day, f"{gaps.size} of {expected} intervals missing: {_ranges(gaps)}"
                )

    def _report_outage(self, off: OffTime) -> None:
        for day, civil_day in enumerate(self.stretch.days):
            start, end = max(off.start, civil_day.start), min(off.end, civil_day.end)
            if start < end:
                seconds = int((end - start).total_seconds())
                detail = f"no power from {start:%H:%M:%S}Z to {end:%H:%M:%S}Z, {seconds} s"
                self._find("power_outage", Check.POWER_OUTAGE, day, detail, off.evidence_ids)

    def _report_failing(self) -> None:
        stretch = self.stretch
        for day in np.unique([stretch.day_of(int(index)) for index in np.flatnonzero(self.failing)]):
            there = stretch.day_slice(int(day))
            failing = np.flatnonzero(self.failing[there])
            negative = failing[stretch.values[there][failing] < 0]
            if stretch.channel not in self.packs[int(day)].net_channels and negative.size:
                self._find(
                    "negative", Check.NEGATIVE, int(day),
                    f"{negative.size} negative intervals: {_ranges(negative)}",
                )  # fmt: skip
                failing = np.setdiff1d(failing, negative)
            if failing.size:
                self._find(
                    "gap", Check.DEVICE_FLAG, int(day),
                    f"{failing.size} intervals the meter itself calls invalid: {_ranges(failing)}",
                )  # fmt: skip

    def _tolerance(self, span: Span) -> int:
        return self.packs[self.stretch.day_of(span.start)].register_sum_steps * span.step

    def _find_spikes(self) -> None:
        stretch = self.stretch
        usable = self.present & ~self.failing & (stretch.raw_status & 7 == Quality.ACTUAL)
        over = usable & (stretch.values > self.ceiling)
        in_span = np.zeros(usable.size, bool)
        wrong: list[Span] = []
        for span in stretch.spans:
            if span.advance is None:
                continue
            there = slice(span.start, span.end)
            in_span[there] = True
            rest = span.advance - int(self.values[there][~self.flagged[there]].sum())
            open_ended = bool(self.flagged[there].any())
            if open_ended or abs(rest) > self._tolerance(span):
                wrong.append(span)
            elif over[there].any():
                self._report_over(over, there)
        self._flag_over(over & ~in_span)
        # A long interval holds what was taken in those missing before it (the row after an outage): no spike.
        single = usable & ((stretch.raw_status >> 18) & int(DeviceFlag.LONG_INTERVAL) == 0)
        triggers = {id(span): self._triggers(span, single, over) for span in wrong}
        candidates = [index for chosen in triggers.values() for index in chosen]
        if not wrong:
            return
        guess = self._estimate(self._with(candidates))
        for span in wrong:
            self._judge(span, triggers[id(span)], usable, over, guess)

    def _triggers(self, span: Span, usable: Mask, over: Mask) -> list[int]:
        there = slice(span.start, span.end)
        found = triggered(self.stretch, usable, there, self.packs)
        too_high = (np.flatnonzero(over[there]) + span.start).tolist()
        return list(dict.fromkeys([*too_high, *found]))

    def _with(self, candidates: Sequence[int]) -> Mask:
        mask: Mask = self.flagged.copy()
        mask[list(candidates)] = True
        return mask

    def _judge(
        self, span: Span, candidates: Sequence[int], usable: Mask, over: Mask, guess: Estimate
    ) -> None:
        assert span.advance is not None
        there = slice(span.start, span.end)
        first_day = self.stretch.day_of(span.start)
        pack = self.packs[first_day]
        tolerance = self._tolerance(span)
        flagged = self.flagged[there]
        good_sum = int(self.values[there][~flagged].sum())
        excess = good_sum - span.advance
        chosen = confirmed(
            self.values,
            candidates,
            guess.values,
            good_sum=good_sum,
            gap_estimate=float(guess.values[there][flagged].sum()),
            advance=span.advance,
            tolerance=tolerance,
            share=pack.spike_gap_confirmation,
        )
        too_high = (np.flatnonzero(over[there]) + span.start).tolist()
        chosen += [index for index in too_high if index not in chosen]
        if not chosen and excess > tolerance:
            neighbours = _neighbour_estimates(self.values)
            chosen = located(
                self.values, usable & ~self.flagged, neighbours, there, excess, tolerance,
                pack.spike_locate_share,
            )  # fmt: skip
        if chosen:
            self._flag_spikes(chosen, span)
        elif excess > tolerance or (-excess > tolerance and not flagged.any()):
            self._contradict(span, excess)

    def _flag_spikes(self, chosen: Sequence[int], span: Span | None) -> None:
        stretch = self.stretch
        self.flagged[list(chosen)] = True
        by_day: dict[int, list[int]] = {}
        for index in sorted(int(item) for item in chosen):
            by_day.setdefault(stretch.day_of(index), []).append(index)
        reason = "above what the connection carries" if span is None else "contradicted by the register"
        evidence = () if span is None else _evidence(span)
        for day, indices in by_day.items():
            start = int(stretch.offsets[day])
            shown = ", ".join(f"interval {index - start}: {self.values[index]}" for index in indices)
            check = Check.SPIKE if span is None else Check.SPIKE | Check.REGISTER_SUM
            self._find("spike", check, day, f"{reason}: {shown}", evidence)

    def _flag_over(self, over: Mask) -> None:
        indices = np.flatnonzero(over).tolist()
        if indices:
            self._flag_spikes(indices, None)
            for index in indices:
                self.bits[self.stretch.day_of(index)] |= int(Check.CAPACITY)

    def _report_over(self, over: Mask, there: slice) -> None:
        stretch = self.stretch
        indices = np.flatnonzero(over[there]) + there.start
        for day in np.unique([stretch.day_of(int(index)) for index in indices]):
            start = int(stretch.offsets[day])
            mine = indices[(indices >= start) & (indices < stretch.offsets[day + 1])]
            self._find(
                "high_usage", Check.CAPACITY, int(day),
                f"{mine.size} intervals above the connection's capacity, confirmed by the register: "
                f"{_ranges(mine - start)}",
            )  # fmt: skip

    def _contradict(self, span: Span, excess: int) -> None:
        """The sum is wrong and no value is to blame: all that was measured in the span is suspect."""
        stretch = self.stretch
        first_day, last_day = stretch.day_of(span.start), stretch.day_of(span.end - 1)
        there = slice(span.start, span.end)
        self.suspect[there] |= self.present[there] & ~self.flagged[there]
        self.bits[first_day : last_day + 1] |= int(Check.REGISTER_SUM)
        days = f" over {last_day - first_day + 1} days" if last_day > first_day else ""
        self._find(
            "register_sum", Check.REGISTER_SUM, first_day,
            f"intervals differ from the register's advance of {span.advance} by {excess:+d}{days}",
            _evidence(span),
        )  # fmt: skip

    # Estimating and scaling

    def _estimate(self, flagged: Mask) -> Estimate:
        if not flagged.any():
            return Estimate(np.zeros(flagged.size), np.zeros(flagged.size, np.int64), {})
        anchor = good_values(self.stretch, self.packs) & ~flagged & ~self.off
        flat = np.full(flagged.size, np.nan)
        for span in self.stretch.spans:
            there = slice(span.start, span.end)
            parts = float(self.stretch.inside[there].sum())
            if span.advance is not None and parts > 0:
                flat[there] = span.advance / parts
        return estimate(self.stretch, flagged, anchor, self.history, self.worth, flat, self.packs)

    def _close(self, result: Estimate) -> None:
        """Give every flagged interval its final value: scaled within spans, as estimated outside."""
        bound = np.zeros(self.flagged.size, bool)
        shown = self._largest_shown()
        for span in self.stretch.spans:
            if span.advance is None:
                continue
            there = slice(span.start, span.end)
            bound[there] = True
            if self.flagged[there].any():
                self._scale(span, result, shown)
        free = np.flatnonzero(self.flagged & ~bound)
        known = free[result.methods[free] != 0]
        self.values[known] = np.rint(result.values[known]).astype(np.int64)
        self._mark(known, Quality.ESTIMATED, result.methods[known])
        self._leave(free[result.methods[free] == 0], "no good day and no register to estimate from")
        measured = self.suspect & ~self.flagged
        self.status[measured] = (self.status[measured] & ~np.int32(7)) | np.int32(Quality.SUSPECT)

    def _largest_shown(self) -> float:
        """The largest value to be believed: the connection's, or with headroom what the series has shown."""
        if self.ceiling != UNLIMITED:
            return float(self.ceiling)
        good = self.values[self.present & ~self.flagged]
        own = float(good.max()) if good.size else 0.0
        headroom = max(pack.scaling_headroom for pack in self.packs)
        return headroom * max(own, self.history.largest / self.worth)

    def _scale(self, span: Span, result: Estimate, shown: float) -> None:
        assert span.advance is not None
        there = slice(span.start, span.end)
        fill = np.flatnonzero(self.flagged[there]) + span.start
        fixed = ~self.flagged[there] & self.present[there]
        need = span.advance - int(self.values[there][fixed].sum())
        tolerance = self._tolerance(span)
        if need < -tolerance:
            self._leave(fill, f"the register leaves {need} for the gap")
            return
        weights = result.values[fill]
        methods = result.methods[fill]
        if (methods == 0).any():
            self._leave(fill, "no good day to estimate from")
            return
        need = max(need, 0)
        if need and not weights.any():
            weights = self.stretch.inside[fill] * self.stretch.energised[fill]
            methods = np.full(fill.size, DATA_SCALING, np.int64)
        if need and not weights.any():
            self._leave(fill, f"the register leaves {need} for intervals without power")
            return
        shares = distribute(need, weights) if need else np.zeros(fill.size, np.int64)
        estimated = float(result.values[fill].sum())
        stretched = need > self.packs[self.stretch.day_of(span.start)].scaling_k_max * estimated
        if stretched and bool((shares > np.maximum(shown, 1.0)).any()):
            factor = f"{need / estimated:.1f}" if estimated > 0 else "without bound"
            self._leave(fill, f"the register leaves {need} for the gap, a factor of {factor} on the estimate")
            return
        self.values[fill] = shares
        self._mark(fill, Quality.SUBSTITUTED, methods)
        if fill.size == 1 and 0 < self.stretch.inside[fill[0]] < 1 and self.missing[fill[0]]:
            self._mark(fill, Quality.ACTUAL, np.array([CALCULATED]))

    def _mark(self, indices: Counts, quality: Quality, methods: Counts) -> None:
        device = self.status[indices] & _DEVICE_BITS
        self.status[indices] = device | np.int32(quality) | (methods.astype(np.int32) << 3)

    def _leave(self, indices: Counts, why: str) -> None:
        """Nothing is invented: measured values stay as suspect, missing ones stay missing."""
        stretch = self.stretch
        measured = indices[self.present[indices]]
        self.status[measured] = (self.status[measured] & _DEVICE_BITS) | np.int32(Quality.SUSPECT)
        for day in np.unique([stretch.day_of(int(index)) for index in indices]):
            mine = indices[(indices >= stretch.offsets[day]) & (indices < stretch.offsets[day + 1])]
            self._find(
                "estimation_refused", Check.ESTIMATION_REFUSED, int(day),
                f"{mine.size} intervals ({_ranges(mine - stretch.offsets[day])}): {why}",
            )  # fmt: skip

    def _fill_outages(self) -> None:
        zero = np.flatnonzero(self.off & ~self.present)
        self.values[zero] = 0
        self._mark(zero, Quality.SUBSTITUTED, np.full(zero.size, ZERO, np.int64))

    def _report_zero_runs(self) -> None:
        stretch = self.stretch
        if all(stretch.channel not in pack.zero_run_channels for pack in self.packs):
            return
        countable = good_values(stretch, self.packs) & ~self.flagged
        lengths = zero_run_lengths(stretch.values, countable)
        for day, pack in enumerate(self.packs):
            longest = int(lengths[stretch.day_slice(day)].max()) * stretch.interval_s
            if stretch.channel not in pack.zero_run_channels or longest < pack.zero_run_hours * 3600:
                continue
            if self.history.largest > 0:
                self._find(
                    "zero_run", Check.ZERO_RUN, day, f"no consumption for {pack.zero_run_hours} h or more"
                )


def worse_status(one: StatusIds, other: StatusIds) -> StatusIds:
    """Of two statuses of parts of the same intervals the worse one, with the device flags of both."""
    device = (one | other) & _DEVICE_BITS
    worse = np.where(_WORST[one & 7] >= _WORST[other & 7], one, other)
    calculated = (worse & 7 == Quality.ACTUAL) & ((one | other) & (127 << 3) != 0)
    worse = np.where(calculated, np.int32(CALCULATED << 3), worse)
    result: StatusIds = ((worse & ~_DEVICE_BITS) | device).astype(np.int32)
    return result


def _failing(stretch: Stretch, packs: Sequence[RulePack]) -> Mask:
    """Values that fail by their sign, the meter's own flags or their source's doubt; bool (n,)."""
    failing = np.zeros(stretch.values.size, bool)
    first = 0
    for last in range(1, len(packs) + 1):
        if last < len(packs) and packs[last] is packs[first]:
            continue
        there = slice(int(stretch.offsets[first]), int(stretch.offsets[last]))
        status = stretch.raw_status[there]
        failing[there] = (status >> 18) & int(packs[first].failing_flags) != 0
        failing[there] |= status & 7 == Quality.SUSPECT
        if stretch.channel not in packs[first].net_channels:
            failing[there] |= stretch.values[there] < 0
        first = last
    failing &= stretch.values != ABSENT
    return failing


def _neighbour_estimates(values: Counts) -> Reals:
    """For each value the mean of its two neighbours, float64 (n,)."""
    before = np.concatenate((values[:1], values[:-1]))
    after = np.concatenate((values[1:], values[-1:]))
    return (before + after) / 2.0


def _evidence(span: Span) -> tuple[str, ...]:
    reads = (span.first.read, span.last.read)
    return tuple(dict.fromkeys(read.evidence_id for read in reads if read.evidence_id))


def _ranges(indices: Counts) -> str:
    """``3-5, 9`` for 3, 4, 5, 9; the first dozen ranges."""
    breaks = np.flatnonzero(np.diff(indices) > 1)
    starts = np.concatenate(([0], breaks + 1))
    ends = np.concatenate((breaks, [indices.size - 1]))
    texts = [
        f"{indices[start]}" if start == end else f"{indices[start]}-{indices[end]}"
        for start, end in zip(starts[:12], ends[:12], strict=True)
    ]
    return ", ".join(texts) + (" ..." if starts.size > 12 else "")
