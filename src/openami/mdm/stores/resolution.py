"""From rows to answers: the newest final version, and the raw value that counts, for many days at once.

The common case, one row a (series, channel, day), never leaves the Arrow columns; only days that were
delivered several times, withdrawn or confirmed go through `overlay.resolve`. Rule: both ways give the
same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from openami.mdm.stores.admission import read_key, resolve_reads
from openami.mdm.stores.overlay import WITHDRAW, resolve
from openami.readings.interval_block import INTERVAL_SCHEMA, blocks_from_table, blocks_to_table
from openami.readings.register_read import RegisterRead

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows of equal keys, next to each other.

    Parameters
    ----------
    order:
        Places of the rows, by key, then as the ``then_by`` columns say; shape ``(rows,)``.
    starts, ends:
        Where in ``order`` each key begins and ends; shape ``(keys,)``.
    """

    order: Places
    starts: Places
    ends: Places


def runs_of(table: pa.Table, key: Sequence[str], then_by: Sequence[str]) -> Runs:
    """Order rows by key and find where each key begins."""
    codes = [_codes(table[column]) for column in key]
    order = np.lexsort((*reversed([_codes(table[column]) for column in then_by]), *reversed(codes)))
    changes = np.zeros(len(order), np.bool_)
    if len(order):
        changes[0] = True
    for column in codes:
        sorted_codes = column[order]
        changes[1:] |= sorted_codes[1:] != sorted_codes[:-1]
    starts = np.flatnonzero(changes)
    ends = np.append(starts, len(order))[1:]
    return Runs(order.astype(np.int64), starts, ends)


def newest_versions(table: pa.Table) -> pa.Table:
    """The newest version of each (series, channel, day), in that order; columns as given."""
    runs = runs_of(table, ("series_id", "channel", "day"), ("version", "seq"))
    return table.take(runs.order[runs.ends - 1])


def resolve_raw(table: pa.Table, confirmed: Mapping[str, datetime]) -> pa.Table:
    """One block of `INTERVAL_SCHEMA` for each (series, channel, day): what counts by `overlay`.

    Parameters
    ----------
    table:
        Stored raw rows.
    confirmed:
        By block id: when the same content was captured again.
    """
    runs = runs_of(table, ("series_id", "channel", "day"), ("seq", "version"))
    plain = runs.ends - runs.starts == 1
    first = runs.order[runs.starts]
    special = pc.fill_null(pc.equal(table["rule"], WITHDRAW), False)
    if confirmed:
        special = pc.or_(special, pc.is_in(table["block_id"], value_set=pa.array(list(confirmed))))
    plain &= ~special.to_numpy()[first]
    single = _with_own_source(table.take(first[plain]))
    if plain.all():
        return single
    resolved = []
    for start, end in zip(runs.starts[~plain], runs.ends[~plain], strict=True):
        rows = list(blocks_from_table(table.take(runs.order[start:end]).combine_chunks()))
        resolved.append(resolve(rows, confirmed).block)
    both = pa.concat_tables([single, blocks_to_table(resolved)])
    return both.take(runs_of(both, ("series_id", "channel", "day"), ()).order)


def counting_reads(reads: Sequence[RegisterRead], confirmed: Mapping[str, datetime]) -> list[RegisterRead]:
    """The read that counts of each (meter, register, instant, kind), in that order."""
    keys: dict[tuple[str, str, datetime, str], list[RegisterRead]] = {}
    for read in reads:
        keys.setdefault(read_key(read), []).append(read)
    return [
        rows[0] if len(rows) == 1 else resolve_reads(rows, confirmed)
        for _, rows in sorted(keys.items(), key=lambda item: item[0])
    ]


def _codes(column: pa.ChunkedArray) -> Places:
    """Integers in the order of the column's values."""
    if pa.types.is_string(column.type):
        encoded = pc.dictionary_encode(column.combine_chunks())
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        ranks = np.empty(len(encoded.dictionary), np.int64)
        ranks[pc.array_sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(ranks))
        ordered: Places = ranks[encoded.indices.to_numpy(zero_copy_only=False)]
        return ordered
    if pa.types.is_date(column.type):
        column = column.cast(pa.int32())
    codes: Places = column.to_numpy().astype(np.int64)
    return codes


def _with_own_source(table: pa.Table) -> pa.Table:
    """Each block as the source of itself."""
    ids = table["block_id"].combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.string())
    offsets = pa.array(np.arange(len(ids) + 1, dtype=np.int32))
    place = INTERVAL_SCHEMA.get_field_index("sources")
    sources = pa.ListArray.from_arrays(offsets, ids)
    return table.set_column(place, INTERVAL_SCHEMA.field("sources"), sources)
