"""Real-valued edges of gapless windows of ten (50 Hz) or twelve (60 Hz) cycles (IEC 61000-4-30).

A window ends where the fundamental of the reference voltage has advanced by exactly its number of cycles
since the window's start; the next one starts there. Coarse probes count the cycles, fine probes at both
edges give the fraction. The reference is the first phase whose voltage is there during the whole window. If
no single phase is, the count goes on over whatever phases are there (`WindowFlag.REFERENCE_CHANGED`), and
over the last known frequency where none is (`WindowFlag.UNSYNCHRONISED`); without any voltage a window has
its nominal length.

The rule never to be broken here: positions are a whole sample and a fraction counted from the window's own
start, never from the buffer, so that any cut of the stream gives the same edges to the last bit.
"""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from openami.metrology.windows.frequency import HIGHEST_HZ, Probes, hop_frequency, phase_and_slope, project

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Samples = npt.NDArray[np.float64 | np.int32]

NOMINAL_CYCLES = {50.0: 10, 60.0: 12}
"""Cycles of a basic window by nominal frequency (IEC 61000-4-30; IEC 61000-4-7: 200 ms, bins 5 Hz apart)."""


class WindowFlag(IntFlag):
    """What is to be known of a window beside its values."""

    NONE = 0
    UNSYNCHRONISED = 1
    """No voltage during at least a part of it: that part has the last known or the nominal frequency."""
    REFERENCE_CHANGED = 2
    """No single phase was there throughout: edges by coarse probes of several phases."""
    OVERLAPS_NEXT = 4
    """Completed across a resynchronisation: the next window starts before this one ends."""
    RESYNCHRONISED = 8
    """First window of a sequence that begins at a resynchronisation."""
    AFTER_GAP = 16
    """First window after samples were missing."""


_UNSYNCHRONISED = int(WindowFlag.UNSYNCHRONISED)
_REFERENCE_CHANGED = int(WindowFlag.REFERENCE_CHANGED)
_OVERLAPS_NEXT = int(WindowFlag.OVERLAPS_NEXT)
_RESYNCHRONISED = int(WindowFlag.RESYNCHRONISED)


_STEADY = 0.5
"""Least ratio of powers a hop apart of a voltage that neither comes nor goes."""


class Position(NamedTuple):
    """A place in the stream: a whole sample and a fraction of the sampling interval, 0 <= fraction < 1."""

    sample: int
    fraction: float


class Spans(NamedTuple):
    """Windows: where they start, how long they are, and by which reference."""

    sample: I64
    """(w,) whole sample at or before the start, absolute."""
    fraction: F64
    """(w,) how far behind that sample the start lies."""
    length: F64
    """(w,) real-valued length in samples."""
    reference: I64
    """(w,) phase that gave both edges; -1 when none did."""
    flags: I64
    """(w,) `WindowFlag` bits."""


class Sequence(NamedTuple):
    """What the search for edges carries from window to window."""

    start: Position
    """Start of the running window."""
    known_hz: float
    """Frequency of the last window with a voltage, nominal after one without."""
    pending: int
    """Flags that the running window will carry."""


NO_SPANS = Spans(
    np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
)


def look_ahead(kernels: Probes) -> int:
    """Samples behind a window's end with which its edge can be found."""
    return max(kernels.fine_margin, kernels.coarse_margin) + 2 * kernels.hop + 3


def reach(kernels: Probes) -> int:
    """Samples before a window's start that probes of its edges need."""
    return max(kernels.fine_margin, kernels.coarse_margin + 3 * kernels.hop) + 2


def first_start(u: Samples, size: int, first: int, kernels: Probes, threshold: F64) -> Position | None:
    """Where a sequence starts from nothing: a rising zero crossing of the reference's fundamental.

    Parameters
    ----------
    u:
        (phases, samples) from absolute sample ``first`` on, C-contiguous; ``size`` of them count.
    threshold:
        (phases,) least rms of a voltage that is there, in units of ``u``.

    Returns
    -------
    Position or None
        Without voltage the first place where one could have been probed. None as long as there are not enough
        samples to tell.
    """
    centre = reach(kernels)
    if size < centre + 2 * kernels.hop + look_ahead(kernels):
        return None
    offset, fraction = _first_start(u, centre, threshold, kernels)
    return Position(first + offset, fraction)


def spans(
    u: Samples,
    size: int,
    first: int,
    kernels: Probes,
    sequence: Sequence,
    cycles: int,
    threshold: F64,
    ticks: F64,
) -> tuple[Spans, Sequence]:
    """All windows that can be completed with the samples at hand, and the state of the running one.

    Parameters
    ----------
    u:
        (phases, samples) from absolute sample ``first`` on; where a fine probe reached back before the
        start of the running window it must be there still.
    sequence:
        The running window.
    cycles:
        Cycles of a window.
    threshold:
        (phases,) least rms of a voltage that is there, in units of ``u``.
    ticks:
        (t,) ascending absolute positions at which a new sequence starts; the window that runs there is
        completed (overlap 1 of IEC 61000-4-30).
    """
    shortest = int(cycles * kernels.rate_hz / HIGHEST_HZ * 0.95) - kernels.hop
    room = size // shortest + 2 + ticks.size
    integers = np.empty((3, room), np.int64)
    reals = np.empty((2, room))
    tick_sample = np.floor(ticks).astype(np.int64)
    count, sample, fraction, known_hz, pending = _spans(
        u, size, first, sequence.start.sample, sequence.start.fraction, sequence.known_hz, sequence.pending,
        cycles, threshold, tick_sample, ticks - tick_sample, kernels, integers, reals,
    )  # fmt: skip
    found = Spans(
        integers[0, :count], reals[0, :count], reals[1, :count], integers[1, :count], integers[2, :count]
    )
    return found, Sequence(Position(sample, fraction), known_hz, pending)


@njit(cache=True, nogil=True)
def _first_start(
    u: Samples, centre: int, threshold: F64, kernels: Probes
) -> tuple[int, float]:  # pragma: no cover - compiled
    for phase in range(u.shape[0]):
        before = project(u[phase], centre - kernels.hop, kernels.coarse_cos, kernels.coarse_sin)
        after = project(u[phase], centre, kernels.coarse_cos, kernels.coarse_sin)
        if min(before[0] ** 2 + before[1] ** 2, after[0] ** 2 + after[1] ** 2) < threshold[phase] ** 2:
            continue
        frequency_hz = hop_frequency(before, after, kernels)
        if frequency_hz == 0.0:
            continue
        here, slope = phase_and_slope(u[phase], centre, frequency_hz, kernels)
        moved = int(((-0.5 * np.pi - here) % (2.0 * np.pi)) / slope)
        here, slope = phase_and_slope(u[phase], centre + moved, frequency_hz, kernels)
        ahead = ((0.5 * np.pi - here) % (2.0 * np.pi) - np.pi) / slope
        whole = int(np.floor(ahead))
        return centre + moved + whole, ahead - whole
    return centre, 0.0


@njit(cache=True, nogil=True)
def _hop_frequencies(
    x: Samples, first: int, least: float, kernels: Probes, found: F64
) -> bool:  # pragma: no cover - compiled
    """Frequency of one phase between hops ``index - 1`` and ``index``, in slot ``index - first // hop``.

    Zero where its voltage is not there or a probe does not fit; negative where its amplitude changes so much
    that a probe nearby would see only a part of it. True when every probe that fits saw a steady voltage.
    """
    hop = kernels.hop
    margin = kernels.coarse_cos.size // 2
    begin = (first + margin + hop - 1) // hop
    end = (first + x.size - margin - 1) // hop + 1
    found[:] = 0.0
    complete = True
    before = (0.0, 0.0)
    for index in range(begin, end):
        after = project(x, index * hop - first, kernels.coarse_cos, kernels.coarse_sin)
        if index > begin:
            power, power_after = before[0] ** 2 + before[1] ** 2, after[0] ** 2 + after[1] ** 2
            slot = index - first // hop
            if min(power, power_after) >= least * least:
                found[slot] = hop_frequency(before, after, kernels)
                if min(power, power_after) < _STEADY * max(power, power_after):
                    found[slot] = -found[slot]
            if found[slot] <= 0.0:
                complete = False
        before = after
    return complete


@njit(cache=True, nogil=True)
def _fine_end(
    u: Samples, begin: int, target: float, guess: float, end_hz: float, kernels: Probes
) -> tuple[float, int, float, float]:  # pragma: no cover - compiled
    """Where near ``guess`` the phase is ``target``; both places counted from index ``begin``.

    With it the place that was probed last, its phase and slope: what the next window begins with.
    """
    lowest = int(np.floor(guess)) - kernels.hop
    whole = int(np.floor(guess))
    probed, here, slope, ahead = whole, 0.0, 1.0, 0.0
    for _ in range(4):
        probed = whole
        here, slope = phase_and_slope(u, begin + whole, end_hz, kernels)
        turns = (target - here) / (2.0 * np.pi)
        ahead = 2.0 * np.pi * (turns - np.floor(turns + 0.5)) / slope
        moved = min(max(whole + int(np.floor(ahead)), lowest), lowest + 2 * kernels.hop)
        if moved == whole:
            break
        ahead -= moved - whole
        whole = moved
    return whole + ahead, probed, here, slope


@njit(cache=True, nogil=True)
def _reference(seen_hz: F64, begin: int, end: int) -> int:  # pragma: no cover - compiled
    """First phase that is steady from the slot before ``begin`` to that behind ``end`` (fine probes reach).

    Without one the first that is there from ``begin`` to ``end``; -1 without that.
    """
    for phase in range(seen_hz.shape[0]):
        steady = True
        for slot in range(begin - 1, end + 2):
            steady = steady and seen_hz[phase, slot] > 0.0
        if steady:
            return phase
    for phase in range(seen_hz.shape[0]):
        there = True
        for slot in range(begin, end + 1):
            there = there and seen_hz[phase, slot] != 0.0
        if there:
            return phase
    return -1


@njit(cache=True, nogil=True)
def _hop_hz(seen_hz: F64, slot: int) -> float:  # pragma: no cover - compiled
    """Frequency by the first steady phase, else by the first that is there; 0 without voltage."""
    found = 0.0
    for phase in range(seen_hz.shape[0]):
        if seen_hz[phase, slot] > 0.0:
            return float(seen_hz[phase, slot])
        if found == 0.0:
            found = -seen_hz[phase, slot]
    return found


@njit(cache=True, nogil=True)
def _spans(
    u: Samples, size: int, first: int, sample: int, fraction: float, known_hz: float, pending: int,
    cycles: int, threshold: F64, tick_sample: I64, tick_fraction: F64, kernels: Probes, integers: I64,
    reals: F64,
) -> tuple[int, int, float, float, int]:  # pragma: no cover - compiled  # fmt: skip
    phases = u.shape[0]
    hop = kernels.hop
    coarse_margin = kernels.coarse_cos.size // 2
    fine_margin = kernels.fine_cos.shape[1] // 2
    seen_hz = np.zeros((phases, size // hop + 4))
    if not _hop_frequencies(u[0, :size], first, threshold[0], kernels, seen_hz[0]):
        for phase in range(1, phases):  # needed only where the first phase is not there
            _hop_frequencies(u[phase, :size], first, threshold[phase], kernels, seen_hz[phase])
    to_slot = -(first // hop)
    tick = 0
    count = 0
    # the probe at a window's end is the one at the next one's start, as long as phase and kernel are the same
    probed_phase, probed_at, probed_hz, here, slope = -1, 0, 0.0, 0.0, 1.0
    while True:
        # count cycles from hop to hop; x is the distance from the whole sample of the start
        x = fraction
        remaining = float(cycles)
        begin_hz = 0.0
        hop_hz = 0.0
        seen = 0
        begin = sample // hop + 1
        index = begin
        while True:
            if (index + 1) * hop + coarse_margin >= first + size:
                return count, sample, fraction, known_hz, pending
            hop_hz = _hop_hz(seen_hz, index + to_slot)
            if hop_hz > 0.0:
                seen += 1
            else:
                hop_hz = known_hz
            if index == begin:
                begin_hz = hop_hz
            advance = (float(index * hop - sample) - x) * hop_hz / kernels.rate_hz
            if advance >= remaining:
                break
            remaining -= advance
            x = float(index * hop - sample)
            index += 1
        end = x + remaining * kernels.rate_hz / hop_hz
        if seen == 0:
            end = fraction + cycles * kernels.rate_hz / kernels.nominal_hz
        if sample + int(np.floor(end)) + fine_margin + hop + 2 >= first + size:
            return count, sample, fraction, known_hz, pending
        flags = pending
        reference = _reference(seen_hz, begin + to_slot, index + to_slot)
        if reference >= 0:
            voltage = u[reference]
            if reference != probed_phase or sample != probed_at or begin_hz != probed_hz:
                here, slope = phase_and_slope(voltage, sample - first, begin_hz, kernels)
            target = here + fraction * slope
            end, offset, here, slope = _fine_end(voltage, sample - first, target, end, hop_hz, kernels)
            probed_phase, probed_at, probed_hz = reference, sample + offset, hop_hz
        elif seen <= index - begin:
            flags |= _UNSYNCHRONISED
        else:
            flags |= _REFERENCE_CHANGED
        integers[0, count] = sample
        reals[0, count] = fraction
        reals[1, count] = end - fraction
        integers[1, count] = reference
        known_hz = cycles * kernels.rate_hz / (end - fraction) if seen > 0 else kernels.nominal_hz
        whole = int(np.floor(end))
        next_sample, next_fraction = sample + whole, end - whole
        pending = 0
        while tick < tick_sample.size:
            at_tick = float(tick_sample[tick] - sample) + tick_fraction[tick]
            if at_tick > end:
                break
            if at_tick > fraction:
                next_sample, next_fraction = tick_sample[tick], tick_fraction[tick]
                pending = _RESYNCHRONISED
                if at_tick < end:
                    flags |= _OVERLAPS_NEXT
            tick += 1
        sample, fraction = next_sample, next_fraction
        integers[2, count] = flags
        count += 1
