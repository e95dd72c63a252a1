"""Register spans: stretches of time between two reads of a cumulative register, with its advance.

Roll-over and reverse are decided here, on cumulative registers only: a register that goes back from above
0.9 of its capacity has rolled over, any other that goes back ran backwards or was replaced, and bounds
nothing. Source of the 0.9 rule: project reference mdms 1.1 row 26 (read at mako).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from openami.quantities.status import Quality
from openami.readings.register_read import RegisterRead

_RANK = {"freeze": 0, "file": 1, "install": 2, "remove": 2, "current": 3}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A register read at the boundary before interval ``position`` of a stretch.

    ``count`` and ``step`` (what the register's last digit is worth) are in the stretch's quanta.
    """

    position: int
    count: int
    step: int
    modulus: int
    read: RegisterRead


@dataclass(frozen=True, slots=True)
class Span:
    """The intervals ``[start, end)`` between two anchors and what the register advanced over them.

    ``advance`` is None where the register ran backwards; ``rolled_over`` where it passed zero.
    """

    start: int
    end: int
    advance: int | None
    step: int
    rolled_over: bool
    first: Anchor
    last: Anchor


def find_anchors(
    reads: Iterable[RegisterRead],
    boundaries: Mapping[datetime, int],
    *,
    valid_from: datetime,
    valid_to: datetime | None,
    first_position: int,
    last_position: int,
    interval_s: int,
    exponent: int,
    digits: int,
) -> list[Anchor]:
    """Anchors among the reads of one register of one meter.

    Parameters
    ----------
    reads:
        Reads of the register.
    boundaries:
        Local midnights (UTC instants) and the interval that begins there.
    valid_from, valid_to:
        While the meter serves the usage point; other reads bound nothing here.
    first_position, last_position:
        Where reads of kind ``install`` and ``remove`` stand: before the interval in which the meter came,
        after the one in which it went.
    interval_s:
        Reads of those kinds count when closer than this to the exchange.
    exponent:
        Decimal exponent of the stretch's quantum.
    digits:
        Digits of the register.

    Notes
    -----
    Of several reads for one boundary the midnight freeze counts, then a file's, an exchange's, a live one;
    among equals the one captured last.
    """
    tolerance = timedelta(seconds=interval_s)
    best: dict[int, tuple[int, float, RegisterRead]] = {}
    for read in reads:
        if read.status & 7 != Quality.ACTUAL or read.at < valid_from - tolerance:
            continue
        if valid_to is not None and read.at > valid_to + tolerance:
            continue
        if read.kind == "install" and abs(read.at - valid_from) < tolerance:
            position = first_position
        elif read.kind == "remove" and valid_to is not None and abs(read.at - valid_to) < tolerance:
            position = last_position
        elif valid_from <= read.at and (valid_to is None or read.at <= valid_to) and read.at in boundaries:
            position = boundaries[read.at]
        else:
            continue
        key = (-_RANK.get(read.kind, 9), read.captured_at.timestamp(), read)
        if position not in best or key[:2] > best[position][:2]:
            best[position] = key
    anchors = []
    for position in sorted(best):
        read = best[position][2]
        worth = 10 ** (read.quantum.exponent - exponent)
        anchors.append(Anchor(position, read.value * worth, worth, 10**digits * worth, read))
    return anchors


def spans_between(anchors: Sequence[Anchor], max_intervals: int) -> list[Span]:
    """Spans between successive anchors that are at most ``max_intervals`` apart."""
    spans = []
    for first, last in pairwise(anchors):
        if last.position - first.position > max_intervals:
            continue
        advance: int | None = last.count - first.count
        rolled_over = last.count < first.count and first.count * 10 > first.modulus * 9
        if rolled_over:
            advance = last.count + first.modulus - first.count
        elif last.count < first.count:
            advance = None
        step = max(first.step, last.step)
        spans.append(Span(first.position, last.position, advance, step, rolled_over, first, last))
    return spans
