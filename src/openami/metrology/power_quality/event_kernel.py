"""Voltage events found in Urms(1/2), in compiled code: beginnings and ends as rows, in order of time.

IEC 61000-4-30:2015, class A, 5.4 (dips and swells), 5.5 (interruptions) and 5.11 (rapid voltage changes);
recalled, confirm against the standard. The channels are merged by the start of their windows; a channel is as
its latest value says. A dip or swell begins when any channel crosses its threshold and ends when all are back
behind threshold and hysteresis; an interruption begins when all are below and ends when any is back. The rule
never to be broken: a value is only looked at when every channel has reached it, so that no cut of the stream
changes the order.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt
from numba import njit

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class EventKind(IntEnum):
    """What happened to the voltage."""

    DIP = 0
    SWELL = 1
    INTERRUPTION = 2
    RAPID_VOLTAGE_CHANGE = 3


DIP, SWELL, INTERRUPTION, RVC = 0, 1, 2, 3

# Columns of a row of `find_events`.
KIND, ENDED, CHANNEL, INDEX, START, EXTREME, EXTREME_CHANNEL, REFERENCE, DELTA_SS, ROW = range(10)

# What it is given, float64: fractions of the reference and, for interruptions, of the declared voltage.
(DECLARED_V, DIP_BELOW, DIP_BACK, SWELL_ABOVE, SWELL_BACK, INTERRUPTION_BELOW, INTERRUPTION_BACK,
 RVC_THRESHOLD, RVC_STEADY_AGAIN, SLIDING_SHARE, HALF_CYCLES, CONFIGURATION) = range(12)  # fmt: skip

# What it carries of a channel, float64.
(LATEST, SLIDING, SLIDING_SQUARES, SLIDING_COUNT, RING_COUNT, RING_SUM, STEADY, MEAN_BEFORE, MAX_HEAD,
 MAX_TAIL, MIN_HEAD, MIN_TAIL, LARGEST_CHANGE, CHANNEL_STATE) = range(14)  # fmt: skip

# The last 100/120 values of a channel, and queues of their largest and least with running numbers.
(RING_VALUES, RING_STARTS, RING_LARGEST, RING_LARGEST_NUMBER, RING_LEAST, RING_LEAST_NUMBER, RING) = range(7)

# What it carries of the system, float64: per kind whether it is on, its extreme and the channel of that. A
# rapid change has no such channel: there stands whether a dip, swell or interruption has spoilt it.
(ON, EXTREME_NOW, EXTREME_AT, KIND_STATE) = range(4)
SPOILT = EXTREME_AT


@njit(cache=True, nogil=True)
def find_events(
    starts: F64,
    values: F64,
    begin: I64,
    end: I64,
    configuration: F64,
    channels: F64,
    rings: F64,
    kinds: F64,
    rows: F64,
) -> int:  # pragma: no cover - compiled
    """Go through values of all channels as far as every channel reaches; returns the number of rows written.

    Parameters
    ----------
    starts, values:
        (channels, n) window starts in samples and Urms(1/2) in V; channel c holds ``begin[c]`` to ``end[c]``;
        ``begin`` is moved to the first value not looked at.
    configuration, channels, rings, kinds:
        Thresholds; state per channel; (channels, `RING`, half cycles); state per kind.
    rows:
        Output, a row for every beginning and end (see the column names above); INDEX counts the values in
        ``values`` of its channel.
    """
    written = 0
    phases = starts.shape[0]
    while True:
        channel = 0
        for c in range(phases):
            if begin[c] >= end[c]:
                return written
            if starts[c, begin[c]] < starts[channel, begin[channel]]:
                channel = c
        index = begin[channel]
        begin[channel] += 1
        value = values[channel, index]
        start = starts[channel, index]
        channels[channel, LATEST] = value
        reference = channels[channel, SLIDING]
        for kind in range(3):
            written = _threshold(
                kind, channel, index, start, value, reference, configuration, channels, kinds, rows, written
            )
        written = _rapid_change(
            channel, index, start, value, reference, configuration, channels, rings, kinds, rows, written
        )
        _slide(channel, value, configuration, channels, kinds)


@njit(cache=True, nogil=True)
def _out(
    kind: int, value: float, reference: float, configuration: F64
) -> bool:  # pragma: no cover - compiled
    if kind == DIP:
        return bool(value < configuration[DIP_BELOW] * reference)
    if kind == SWELL:
        return bool(value > configuration[SWELL_ABOVE] * reference)
    return bool(value < configuration[INTERRUPTION_BELOW] * configuration[DECLARED_V])


@njit(cache=True, nogil=True)
def _back(
    kind: int, value: float, reference: float, configuration: F64
) -> bool:  # pragma: no cover - compiled
    if kind == DIP:
        return bool(value >= configuration[DIP_BACK] * reference)
    if kind == SWELL:
        return bool(value <= configuration[SWELL_BACK] * reference)
    return bool(value >= configuration[INTERRUPTION_BACK] * configuration[DECLARED_V])


@njit(cache=True, nogil=True)
def _threshold(
    kind: int,
    channel: int,
    index: int,
    start: float,
    value: float,
    reference: float,
    configuration: F64,
    channels: F64,
    kinds: F64,
    rows: F64,
    written: int,
) -> int:  # pragma: no cover - compiled
    """Dip, swell and interruption on one more value of one channel."""
    phases = channels.shape[0]
    state = kinds[kind]
    if state[ON] == 0.0:
        if not _out(kind, value, reference, configuration):
            return written
        if kind == INTERRUPTION:
            for c in range(phases):
                if not _out(kind, channels[c, LATEST], channels[c, SLIDING], configuration):
                    return written
        state[ON] = 1.0
        state[EXTREME_NOW] = value
        state[EXTREME_AT] = channel
        _write(rows[written], kind, 0.0, channel, index, start, state, reference, 0.0)
        return written + 1
    if (value > state[EXTREME_NOW]) if kind == SWELL else (value < state[EXTREME_NOW]):
        state[EXTREME_NOW] = value
        state[EXTREME_AT] = channel
    if not _back(kind, value, reference, configuration):
        return written
    if kind != INTERRUPTION:
        for c in range(phases):
            if not _back(kind, channels[c, LATEST], channels[c, SLIDING], configuration):
                return written
    state[ON] = 0.0
    _write(rows[written], kind, 1.0, channel, index, start, state, reference, 0.0)
    return written + 1


@njit(cache=True, nogil=True)
def _write(
    row: F64,
    kind: int,
    ended: float,
    channel: int,
    index: int,
    start: float,
    state: F64,
    reference: float,
    delta_ss: float,
) -> None:  # pragma: no cover - compiled
    row[KIND] = kind
    row[ENDED] = ended
    row[CHANNEL] = channel
    row[INDEX] = index
    row[START] = start
    row[EXTREME] = state[EXTREME_NOW]
    row[EXTREME_CHANNEL] = state[EXTREME_AT]
    row[REFERENCE] = reference
    row[DELTA_SS] = delta_ss


@njit(cache=True, nogil=True)
def _slide(
    channel: int, value: float, configuration: F64, channels: F64, kinds: F64
) -> None:  # pragma: no cover - compiled
    """Sliding reference: a first-order mean of the rms of 10/12 cycles, at rest while an event is on.

    Every second Urms(1/2) makes gapless cycles; with a share of 0 the reference stays the declared voltage.
    """
    share = configuration[SLIDING_SHARE]
    if share == 0.0:
        return
    state = channels[channel]
    state[SLIDING_COUNT] += 1.0
    if state[SLIDING_COUNT] % 2.0 == 1.0:
        state[SLIDING_SQUARES] += value * value
    if state[SLIDING_COUNT] < 0.2 * configuration[HALF_CYCLES]:
        return
    mean = np.sqrt(state[SLIDING_SQUARES] / (0.5 * state[SLIDING_COUNT]))
    state[SLIDING_COUNT] = 0.0
    state[SLIDING_SQUARES] = 0.0
    if kinds[DIP, ON] == 0.0 and kinds[SWELL, ON] == 0.0 and kinds[INTERRUPTION, ON] == 0.0:
        state[SLIDING] += share * (mean - state[SLIDING])


@njit(cache=True, nogil=True)
def _push(
    state: F64, ring: F64, value: float, start: float, length: int
) -> None:  # pragma: no cover - compiled
    """Take a value into the ring of the last ``length``, its sum and the queues of its largest and least."""
    number = int(state[RING_COUNT])
    slot = number % length
    state[RING_SUM] += value - (ring[RING_VALUES, slot] if number >= length else 0.0)
    ring[RING_VALUES, slot] = value
    ring[RING_STARTS, slot] = start
    head, tail = int(state[MAX_HEAD]), int(state[MAX_TAIL])
    if head < tail and ring[RING_LARGEST_NUMBER, head % length] <= number - length:
        head += 1
    while tail > head and ring[RING_LARGEST, (tail - 1) % length] <= value:
        tail -= 1
    ring[RING_LARGEST, tail % length] = value
    ring[RING_LARGEST_NUMBER, tail % length] = number
    state[MAX_HEAD], state[MAX_TAIL] = head, tail + 1
    head, tail = int(state[MIN_HEAD]), int(state[MIN_TAIL])
    if head < tail and ring[RING_LEAST_NUMBER, head % length] <= number - length:
        head += 1
    while tail > head and ring[RING_LEAST, (tail - 1) % length] >= value:
        tail -= 1
    ring[RING_LEAST, tail % length] = value
    ring[RING_LEAST_NUMBER, tail % length] = number
    state[MIN_HEAD], state[MIN_TAIL] = head, tail + 1
    state[RING_COUNT] = number + 1
    if slot == length - 1:  # the running sum would gather rounding for ever
        total = 0.0
        for k in range(length):
            total += ring[RING_VALUES, k]
        state[RING_SUM] = total


@njit(cache=True, nogil=True)
def _mean(state: F64, length: int) -> float:  # pragma: no cover - compiled
    return float(state[RING_SUM] / max(1.0, min(state[RING_COUNT], float(length))))


@njit(cache=True, nogil=True)
def _rapid_change(
    channel: int,
    index: int,
    start: float,
    value: float,
    reference: float,
    configuration: F64,
    channels: F64,
    rings: F64,
    kinds: F64,
    rows: F64,
    written: int,
) -> int:  # pragma: no cover - compiled
    """A voltage is steady while its last 100/120 values lie within the threshold of their mean.

    The change begins when a channel stops being steady and ends where the values begin with which the last
    channel is steady again. One that touches a dip, swell or interruption is none.
    """
    phases = channels.shape[0]
    state, ring, system = channels[channel], rings[channel], kinds[RVC]
    length = int(configuration[HALF_CYCLES])
    mean_before = _mean(state, length)
    _push(state, ring, value, start, length)
    if kinds[DIP, ON] + kinds[SWELL, ON] + kinds[INTERRUPTION, ON] > 0.0:
        system[SPOILT] = 1.0
    if state[RING_COUNT] < length:
        return written
    mean = state[RING_SUM] / length
    threshold = configuration[RVC_THRESHOLD] if state[STEADY] > 0.0 else configuration[RVC_STEADY_AGAIN]
    threshold *= reference
    steady = (
        ring[RING_LARGEST, int(state[MAX_HEAD]) % length] - mean <= threshold
        and mean - ring[RING_LEAST, int(state[MIN_HEAD]) % length] <= threshold
    )
    if state[STEADY] > 0.0 and not steady:
        state[STEADY] = 0.0
        if system[ON] == 0.0:
            for c in range(phases):
                channels[c, MEAN_BEFORE] = mean_before if c == channel else _mean(channels[c], length)
                channels[c, LARGEST_CHANGE] = 0.0
            system[ON] = 1.0
            system[EXTREME_NOW] = 0.0
            system[SPOILT] = 1.0 if kinds[DIP, ON] + kinds[SWELL, ON] + kinds[INTERRUPTION, ON] > 0.0 else 0.0
            _write(rows[written], RVC, 0.0, channel, index, start, system, reference, 0.0)
            written += 1
    if system[ON] > 0.0:
        state[LARGEST_CHANGE] = max(state[LARGEST_CHANGE], abs(value - state[MEAN_BEFORE]))
    if state[STEADY] > 0.0 or not steady:
        return written
    state[STEADY] = 1.0
    if system[ON] == 0.0:
        return written
    delta_ss = 0.0
    for c in range(phases):
        if channels[c, STEADY] == 0.0:
            return written
        delta_ss = max(delta_ss, abs(_mean(channels[c], length) - channels[c, MEAN_BEFORE]))
        system[EXTREME_NOW] = max(system[EXTREME_NOW], channels[c, LARGEST_CHANGE])
    system[ON] = 0.0
    steady_from = ring[RING_STARTS, int(state[RING_COUNT]) % length]
    _write(rows[written], RVC, 1.0, channel, index, steady_from, system, reference, delta_ss)
    return written + 1
