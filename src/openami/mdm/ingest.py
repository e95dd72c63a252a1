"""The Door with eyes: a batch goes to the store, and what it shows goes to the list of exceptions.

Found at the Door: readings that contradict what was stored, readings delivered again, and what the
head-end noticed (clock difference, retries, failures, a wrong meter answering). The rule never to be
broken: the store is acknowledged first and is the truth; whatever a crash keeps from the list is found
again from the store by `IngestDoor.rederive`, case for case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

from openami.mdm.exceptions import ExceptionCase, ExceptionList
from openami.mdm.stores.store import ReadingStore
from openami.mdm.vee.rule_pack import PackSource, default_pack
from openami.quantities.civil_time import civil_day_of
from openami.quantities.obis import ObisCode
from openami.readings.door import Batch, Conflict, Receipt
from openami.readings.event import Event, EventCode
from openami.registry.registry import Registry

DOOR_KINDS = (
    "duplicate",
    "conflicting_duplicate",
    "clock_drift",
    "meter_identity",
    "meter_security",
    "read_retried",
    "read_failed",
)
"""Kinds of exceptions found at the Door."""

_KIND_OF_EVENT = {
    EventCode.CLOCK_DIFFERENCE: "clock_drift",
    EventCode.READ_FAILED: "read_failed",
    EventCode.READ_RETRIED: "read_retried",
    EventCode.IDENTITY_MISMATCH: "meter_identity",
    EventCode.SECURITY_ALARM: "meter_security",
}
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2900, 1, 1, tzinfo=UTC)
_SUBJECT = re.compile(r"(\S+) (?:at )?(\d{4}-\d{2}-\d{2})")
_DUPLICATES = """
SELECT DISTINCT c.seq, r.series_id, r.channel, r.day, r.block_id, r.evidence_id
FROM confirmations c JOIN raw_intervals r ON r.block_id = c.item_id
WHERE c.seq > ? AND c.seq <= ? ORDER BY ALL
"""


class IngestDoor:
    """A `openami.readings.door.Door` in front of a store that also reports what it sees.

    Invariant: a case depends on what is stored alone, never on when or how often it is looked at.

    Parameters
    ----------
    store, exceptions:
        Where readings and findings go.
    registry:
        Gives the zone in which a meter counts its days; without it (or for a meter it does not know)
        days are of UTC.
    pack:
        Rules with the threshold of the clock difference; None for the packaged ones.
    """

    def __init__(
        self,
        store: ReadingStore,
        exceptions: ExceptionList,
        *,
        registry: Registry | None = None,
        pack: PackSource | None = None,
    ) -> None:
        self._store = store
        self._exceptions = exceptions
        self._registry = registry
        self._packs = pack or default_pack()

    def put(self, batch: Batch) -> Receipt:
        """Store a batch and report what it shows; durable when it returns.

        A batch that was acknowledged before changes nothing in the store; that it came again is
        reported as ``duplicate`` on every meter and day in it.

        Raises
        ------
        StoreError
            It could not be stored; nothing of it is visible.
        RegistryError
            It is stored, but the list of exceptions could not be written (`rederive` will).
        """
        before = self._store.seq
        receipt = self._store.put(batch)
        zones = self._zones()
        if receipt.seq <= before:
            self._exceptions.report(_delivered_again(batch, receipt))
            return receipt
        cases = self._event_cases(batch.events, receipt, zones)
        cases += self._conflict_cases(receipt)
        if receipt.duplicates and self._intervals_stored(receipt) < len(batch.intervals):
            cases += self._duplicate_cases(receipt.seq - 1, receipt.seq)
        self._exceptions.report(cases)
        return receipt

    def rederive(self) -> int:
        """Find every case of the Door again from the store; returns how many were not in the list."""
        zones = self._zones()
        cases: list[ExceptionCase] = []
        receipts = self._store.receipts()
        by_seq = {receipt.seq: receipt for receipt in receipts}
        events: dict[int, list[Event]] = {}
        for event in self._store.events(None, _EARLIEST, _LATEST, codes=_KIND_OF_EVENT):
            events.setdefault(event.seq, []).append(event)
        for seq, receipt in by_seq.items():
            cases += self._event_cases(events.get(seq, ()), receipt, zones)
            cases += self._conflict_cases(receipt)
        cases += self._duplicate_cases(0, max(by_seq, default=0))
        return self._exceptions.report(cases)

    def _intervals_stored(self, receipt: Receipt) -> int:
        """Interval blocks of a batch that were new; freezes and events are read again every day."""
        commits = self._store.commits(receipt.seq - 1)
        return next((commit.intervals for commit in commits if commit.seq == receipt.seq), 0)

    def _zones(self) -> Mapping[str, str]:
        if self._registry is None:
            return {}
        return {meter.meter_id: meter.zone for meter in self._registry.meters()}

    def _event_cases(
        self, events: Iterable[Event], receipt: Receipt, zones: Mapping[str, str]
    ) -> list[ExceptionCase]:
        cases = []
        for event in events:
            kind = _KIND_OF_EVENT.get(EventCode(event.code)) if event.code in _KIND_OF_EVENT else None
            if kind is None:
                continue
            day = civil_day_of(event.at, zones.get(event.meter_id, "UTC")).day
            if kind == "clock_drift" and not self._drifted(event, day):
                continue
            cases.append(
                ExceptionCase(
                    kind=kind,
                    meter_id=event.meter_id,
                    day=day,
                    detail=f"{event.at:%Y-%m-%d %H:%M:%S}Z {event.detail}".rstrip(),
                    evidence_ids=() if event.evidence_id is None else (event.evidence_id,),
                    seq=receipt.seq,
                    batch_id=receipt.batch_id,
                )
            )
        return cases

    def _drifted(self, event: Event, day: date) -> bool:
        try:
            seconds = abs(float(event.facts.get("seconds", "")))
        except ValueError:
            return False
        return seconds > self._packs.on(day).clock_drift_s

    def _conflict_cases(self, receipt: Receipt) -> list[ExceptionCase]:
        if not receipt.conflicts:
            return []
        ids = [name for conflict in receipt.conflicts for name in (conflict.kept, conflict.other)]
        blocks = self._store.blocks(ids)
        cases = []
        for conflict in receipt.conflicts:
            involved = [blocks[name] for name in (conflict.kept, conflict.other) if name in blocks]
            channel, day = _subject(conflict)
            cases.append(
                ExceptionCase(
                    kind="conflicting_duplicate",
                    meter_id=conflict.series_id,
                    day=involved[0].day.day if involved else day,
                    channel=involved[0].channel if involved else channel,
                    detail=f"{conflict.what}; counts: {conflict.kept}",
                    block_ids=(conflict.kept, conflict.other) if involved else (),
                    evidence_ids=tuple(
                        dict.fromkeys(block.evidence_id for block in involved if block.evidence_id)
                    ),
                    seq=receipt.seq,
                    batch_id=receipt.batch_id,
                )
            )
        return cases

    def _duplicate_cases(self, after_seq: int, up_to_seq: int) -> list[ExceptionCase]:
        """Interval blocks that were captured again with the same content, by the commits (after, up to]."""
        batches = {receipt.seq: receipt.batch_id for receipt in self._store.receipts(after_seq)}
        connection = self._store.sql()
        try:
            rows = connection.execute(_DUPLICATES, [after_seq, up_to_seq]).fetchall()
        finally:
            connection.close()
        return [
            ExceptionCase(
                kind="duplicate",
                meter_id=series_id,
                day=day,
                channel=ObisCode.parse(channel),
                detail=f"the same day delivered again at sequence {seq}",
                block_ids=(block_id,),
                evidence_ids=() if evidence_id is None else (evidence_id,),
                seq=seq,
                batch_id=batches.get(seq),
            )
            for seq, series_id, channel, day, block_id, evidence_id in rows
        ]


def _delivered_again(batch: Batch, receipt: Receipt) -> list[ExceptionCase]:
    days: dict[tuple[str, date], list[str]] = {}
    for block in batch.intervals:
        days.setdefault((block.series_id, block.day.day), []).append(block.block_id)
    return [
        ExceptionCase(
            kind="duplicate",
            meter_id=meter_id,
            day=day,
            detail=f"batch {receipt.batch_id} delivered again, stored at sequence {receipt.seq}",
            block_ids=tuple(block_ids),
            seq=receipt.seq,
            batch_id=receipt.batch_id,
        )
        for (meter_id, day), block_ids in days.items()
    ]


def _subject(conflict: Conflict) -> tuple[ObisCode | None, date | None]:
    """Quantity and day at the head of what a conflict says."""
    match = _SUBJECT.match(conflict.what)
    if match is None:
        return None, None
    return ObisCode.parse(match[1]), date.fromisoformat(match[2])
