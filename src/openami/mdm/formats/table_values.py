"""Values of a table: from text, integers or binary fractions to exact counts of a quantum.

A binary fraction stands for its shortest decimal (0.392, not 0.39200000000000001509903313490213). The rule
never to be broken: a value that is not a whole number of quanta is handled as the mapping declares, and
never silently rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openami.mdm.formats import exact_numbers as exact
from openami.mdm.formats.exact_numbers import Int8, Int64
from openami.mdm.formats.mapping import ChannelPart, Mapping
from openami.mdm.formats.table_columns import Table, text_column
from openami.mdm.formats.table_times import Mask, RowFaults
from openami.quantities.errors import FormatError
from openami.quantities.units import Quantum


@dataclass(frozen=True, slots=True)
class Numbers:
    """Exact numbers of a column, in the unit of its channel.

    Parameters
    ----------
    mantissas, decimals:
        int64, int8 ``(rows,)``.
    given:
        bool ``(rows,)``: there is a number.
    faults:
        Faults of the values of this column.
    """

    mantissas: Int64
    decimals: Int8
    given: Mask
    faults: RowFaults


def column_numbers(
    table: Table, name: str, channel: ChannelPart, mapping: Mapping, faults: RowFaults
) -> Numbers:
    """Numbers of a column, the factor of its channel applied."""
    column = table.columns[name]
    whole = _whole_numbers(column)
    if whole is not None:
        mantissas, given = whole
        decimals = np.zeros(len(mantissas), np.int8)
    elif (
        pa.types.is_nested(column.type)
        or pa.types.is_boolean(column.type)
        or pa.types.is_temporal(column.type)
    ):
        faults.log.error(1, "value", f"column {name!r} is of type {column.type}", "numbers or text")
        faults.bad[:] = True
        mantissas, given = np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
        decimals = np.zeros(len(column), np.int8)
    else:
        mantissas, decimals, given = _text_numbers(column, name, mapping, faults)
    factor, places = channel.scale
    if (factor, places) == (1, 0):
        return Numbers(mantissas, decimals, given, faults)
    large = np.abs(mantissas) > np.iinfo(np.int64).max // factor
    for row in np.flatnonzero(large):
        faults.report(int(row), "value", "a value is too large for its scale", "at most 18 digits")
    scaled = np.where(large, 0, mantissas) * factor
    return Numbers(scaled, (decimals + places).astype(np.int8), given, faults)


def counts_of(numbers: Numbers, channel: ChannelPart, mapping: Mapping, rows: Int64) -> tuple[Int64, Quantum]:
    """Counts of the quantum of a channel for some rows, and the quantum.

    Returns
    -------
    counts, quantum
        int64 ``(all rows,)``, 0 where there is no number; the quantum of the mapping, or a finer one when
        it says ``finer = "refine"``.
    """
    quantum = channel.counted_in
    places = channel.unit.exponent - quantum.exponent
    used = rows[numbers.given[rows] & ~numbers.faults.bad[rows]]
    mantissas, decimals = numbers.mantissas[used], numbers.decimals[used]
    finer = mapping.values.finer
    if finer == "refine" and len(used):
        extra = max(0, int(decimals.max()) - places)
        if quantum.exponent - extra >= -12:
            quantum, places = Quantum(quantum.unit, quantum.exponent - extra), places + extra
    scale = exact.scale_noisy if finer == "float_noise" else exact.scale_exact
    found = np.zeros(len(used), np.int64)
    position = 0
    while position < len(used):
        stop = int(scale(mantissas[position:], decimals[position:], places, found[position:]))
        if stop < 0:
            break
        position += stop
        value = Decimal(int(mantissas[position])).scaleb(-int(decimals[position]))
        message = f"{value} {_symbol(channel.unit)} is not a whole number of {quantum}"
        numbers.faults.report(int(used[position]), "quantum", message, f"the mapping says finer = {finer!r}")
        position += 1
    counts = np.zeros(len(numbers.given), np.int64)
    counts[used] = found
    return counts, quantum


def _text_numbers(
    column: pa.Array, name: str, mapping: Mapping, faults: RowFaults
) -> tuple[Int64, Int8, Mask]:
    nulls = set(mapping.values.null)
    native = pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
    if native:
        nulls.add("")
    text = text_column(_as_text(column, mapping.file.decimal))
    count = len(text.starts)
    mantissas = np.zeros(count, np.int64)
    decimals, states = np.zeros(count, np.int8), np.zeros(count, np.int8)
    exact.parse_fields(text.data, text.starts, text.ends, mantissas, decimals, states)
    wanted = f"a number, or one of {sorted(nulls)}"
    for row in np.flatnonzero(states != exact.NUMBER):
        field = text.data[text.starts[row] : text.ends[row]].tobytes()
        if field.decode("utf-8", "replace").strip() in nulls:
            continue
        try:
            mantissas[row], decimals[row] = exact.parse_number(field, exact.NOISY_DECIMALS)
            states[row] = exact.NUMBER
        except FormatError as fault:
            if not faults.bad[row]:
                faults.report(int(row), "value", f"column {name!r}: {fault.message}", wanted)
    return mantissas, decimals, states == exact.NUMBER


def _whole_numbers(column: pa.Array) -> tuple[Int64, Mask] | None:
    """Values of a column that holds whole numbers only (integers, or floats without a fraction)."""
    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        filled = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        return np.array(filled, np.int64), np.array(
            pc.is_valid(column).to_numpy(zero_copy_only=False), np.bool_
        )
    if not pa.types.is_floating(column.type):
        return None
    numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    given = ~np.isnan(numbers)
    filled = np.where(given, numbers, 0.0)
    if np.isinf(filled).any() or (filled != np.rint(filled)).any() or (np.abs(filled) >= 2.0**53).any():
        return None
    return filled.astype(np.int64), given


def _as_text(column: pa.Array, decimal: str) -> pa.Array:
    """Text of a column of values; NaN becomes null."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        return column.cast(pa.string())
    text = column.cast(pa.string())
    return pc.replace_substring(text, decimal, ".") if decimal != "." else text


def _symbol(unit: Quantum) -> str:
    return {0: "", 3: "k", 6: "M"}.get(unit.exponent, f"1e{unit.exponent} ") + unit.unit.value
