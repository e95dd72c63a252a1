"""Blocks to NEM12.

NEM12 knows 5, 15 and 30 minutes, days of NEM time (UTC+10), energy in Wh, kWh and their like, and the
qualities A, E, F, N and S. What it cannot say is refused, never bent: what was written reads back the same.

The rule never to be broken: every number is written with all of its decimals, from integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

import numpy as np

from openami.mdm.formats import mdff
from openami.quantities.errors import FormatError
from openami.quantities.status import VALID, Quality, Status
from openami.quantities.units import Quantum
from openami.readings.interval_block import Counts, IntervalBlock

_LETTERS = {group: letter for letter, (group, _) in mdff.STREAMS.items()}


def nem12_write(
    blocks: Iterable[IntervalBlock],
    *,
    made_at: datetime,
    sender: str,
    receiver: str,
    usage_points: Mapping[str, str],
) -> bytes:
    """NEM12 file of interval blocks.

    Parameters
    ----------
    blocks:
        In days of NEM time; channels 1-n:{1,2,3,4,9}.29.0.
    made_at:
        Time of the header.
    sender, receiver:
        Participant ids.
    usage_points:
        NMI of each series; a series that is not in it is its own NMI and has no meter serial.

    Raises
    ------
    FormatError
        A block that NEM12 cannot hold; ``where`` names it.
    """
    streams: dict[tuple[str, str, str, int, Quantum], list[IntervalBlock]] = {}
    for block in blocks:
        nmi = usage_points.get(block.series_id, block.series_id)
        streams.setdefault(
            (nmi, block.series_id, _suffix(block), block.interval_s, block.quantum), []
        ).append(block)
    suffixes: dict[str, list[str]] = {}
    for nmi, _, suffix, _, _ in streams:
        if suffix not in suffixes.setdefault(nmi, []):
            suffixes[nmi].append(suffix)
    lines = [f"100,NEM12,{_nem_time(made_at):%Y%m%d%H%M},{_name(sender, 10)},{_name(receiver, 10)}"]
    for (nmi, series_id, suffix, interval_s, quantum), days in streams.items():
        serial = "" if series_id == nmi else _name(series_id, 12)
        exponent, symbol = _unit(quantum)
        listed = "".join(suffixes[nmi])
        lines.append(
            f"200,{_name(nmi, 11)},{listed},{suffix},{suffix},,{serial},{symbol},{interval_s // 60},"
        )
        for block in days:
            lines.extend(_day(block, quantum.exponent - exponent))
    lines.append("900")
    return ("\r\n".join(lines) + "\r\n").encode("utf-8")


def decimal_texts(counts: Counts, exponent: int) -> list[str]:
    """Numbers ``counts * 10**exponent`` as exact decimals without needless zeros."""
    if exponent >= 0:
        return [str(count * 10**exponent) for count in counts.tolist()]
    places, texts = -exponent, []
    for count in counts.tolist():
        sign, digits = ("-", str(-count)) if count < 0 else ("", str(count))
        digits = digits.rjust(places + 1, "0")
        texts.append(f"{sign}{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip("."))
    return texts


def _day(block: IntervalBlock, exponent: int) -> list[str]:
    values = ",".join(decimal_texts(block.values, exponent))
    updated = f"{_nem_time(block.captured_at):%Y%m%d%H%M%S}"
    head = f"300,{block.day.day:%Y%m%d},{values}"
    ids = block.status_ids
    changes = np.flatnonzero(np.diff(ids)) + 1
    starts = [0, *changes.tolist()]
    if len(starts) == 1:
        flag, reason = _quality(int(ids[0]), block)
        return [f"{head},{flag},{reason},,{updated},"]
    lines = [f"{head},V,,,{updated},"]
    for first, last in zip(starts, [*changes.tolist(), len(ids)], strict=True):
        flag, reason = _quality(int(ids[first]), block)
        lines.append(f"400,{first + 1},{last},{flag},{reason},")
    return lines


def _quality(status_id: int, block: IntervalBlock) -> tuple[str, str]:
    if status_id == VALID:
        return "A", ""
    status = Status.from_id(status_id)
    where = f"{block.series_id} {block.channel} on {block.day.day}"
    if status.device or status.quality is Quality.SUSPECT or status.reason > mdff.MAX_REASON:
        raise FormatError(
            f"status {status} with {status.device!r}", where=where, expected="a quality of the MDFF"
        )
    needs_method = status.quality in (Quality.ESTIMATED, Quality.FINAL_SUBSTITUTE, Quality.SUBSTITUTED)
    if needs_method != bool(status.method):
        raise FormatError(
            f"status {status}", where=where, expected="a method for E, F and S, none for A and N"
        )
    substitute = status.quality in (Quality.FINAL_SUBSTITUTE, Quality.SUBSTITUTED)
    return str(status), str(status.reason) if status.reason or substitute else ""


def _suffix(block: IntervalBlock) -> str:
    where = f"{block.series_id} {block.channel} on {block.day.day}"
    code = block.channel
    number = code.b or 1
    if code.a != 1 or (code.d, code.e) != (29, 0) or code.c not in _LETTERS or number > 9:
        raise FormatError(f"channel {code}", where=where, expected="an interval channel 1-n:{1,2,3,4,9}.29.0")
    if block.interval_s // 60 not in mdff.INTERVAL_MINUTES or block.interval_s % 60:
        raise FormatError(f"intervals of {block.interval_s} s", where=where, expected="5, 15 or 30 minutes")
    if block.day.zone != mdff.NEM_ZONE:
        raise FormatError(f"days of {block.day.zone}", where=where, expected=f"days of {mdff.NEM_ZONE}")
    if (block.values < 0).any():
        raise FormatError("a negative value", where=where, expected="0 or more")
    if block.quantum.unit is not mdff.STREAMS[_LETTERS[code.c]][1]:
        raise FormatError(f"unit {block.quantum.unit.value}", where=where, expected="the unit of the channel")
    return f"{_LETTERS[code.c]}{number}"


def _unit(quantum: Quantum) -> tuple[int, str]:
    """Exponent and symbol of the unit a quantum is written in: kWh, from 0.1 Wh down Wh."""
    if quantum.exponent >= 0:
        return 3, f"k{quantum.unit.value}"
    return 0, quantum.unit.value


def _nem_time(instant: datetime) -> datetime:
    """Civil time of the NEM at an instant, without zone."""
    return instant.astimezone(timezone(mdff.NEM_OFFSET)).replace(tzinfo=None)


def _name(text: str, longest: int) -> str:
    if not text or len(text) > longest or not text.isprintable() or "," in text or '"' in text:
        raise FormatError(f"{text!r} in NEM12", expected=f"1 to {longest} characters without commas")
    return text
