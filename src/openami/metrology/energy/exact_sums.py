"""Exact sums of samples: Σu², Σi², Σu·i, the demodulated fundamental and the peaks, whatever the cuts.

Samples are integers of at most 24 bits, the reference sine is a table of integers of at most 20 bits.
Products are added in float64, eight lanes at a time with fused multiply-add, which is the fastest way a
processor has; nothing is rounded: in a piece of `PIECE` samples a lane takes ``PIECE / 16`` products of at
most 2^46, so every partial sum is an integer of at most 2^53 and float64 holds it exactly. After the piece
the lanes go to int64. Rule never to be broken: these sums are integers and associative, so that registers
do not depend on how the stream was cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from openami.metrology.energy.compiled import Int, kernel, kernel_part

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

SAMPLE_LIMIT = 1 << 23
"""Largest magnitude of a sample: a converter of 24 bits."""

REFERENCE_AMPLITUDE = 1 << 19
"""Amplitude of the integer reference sine."""

PIECE = 2048
"""Samples of one piece: 128 products of at most 2^46 in each of 16 lanes stay at or below 2^53."""

UU, II, UI, UC, US, IC, IS, PEAK_U, PEAK_I = range(9)
"""Columns of the sums of a phase: products, demodulated voltage and current (cosine, sine), peaks."""
COLUMNS = 9

_LANES = 16
_HALF = 8
CACHED = 1 << 23
"""Octets of a block from which on its samples are expected in memory rather than in a cache."""
_AHEAD = 1280
"""How many samples ahead memory is asked for: about the window after this one, in the same channel."""


@kernel_part
def add_products(
    u: I32, i: I32, first: Int, last: Int, cosine: F64, sine: F64, reference_at: Int, sums: I64
) -> None:  # pragma: no cover - compiled
    """Add samples ``first`` up to ``last`` of every phase to its sums.

    Parameters
    ----------
    u, i:
        Samples, int32 (phases, n), magnitudes at most `SAMPLE_LIMIT`. Beyond it the peaks are still right,
        and nothing else is.
    cosine, sine:
        Reference, integers of at most `REFERENCE_AMPLITUDE` in float64; sample ``first`` has the one at
        ``reference_at``.
    sums:
        int64 (phases * `COLUMNS`), one phase after the other, added to; the peaks are largest magnitudes.

    A block larger than `CACHED` octets is taken to stream from memory.
    """
    streaming = u.shape[0] * u.shape[1] * 2 * u.itemsize > CACHED
    for phase in range(u.shape[0]):
        of_phase = sums[phase * COLUMNS : (phase + 1) * COLUMNS]
        done = first
        while done < last:
            count = min(PIECE, last - done)
            at = reference_at + done - first
            if count < _LANES:
                _add_one_by_one(u[phase, done:], i[phase, done:], cosine[at:], sine[at:], count, of_phase)
            elif streaming:
                _add_piece_ahead(u[phase, done:], i[phase, done:], cosine[at:], sine[at:], count, of_phase)
            else:
                _add_piece(u[phase, done:], i[phase, done:], cosine[at:], sine[at:], count, of_phase)
            done += count


@kernel
def _add_one_by_one(
    u: I32, i: I32, cosine: F64, sine: F64, count: Int, sums: I64
) -> None:  # pragma: no cover - compiled
    for k in range(count):
        x = np.int64(u[k])
        y = np.int64(i[k])
        c = np.int64(cosine[k])
        s = np.int64(sine[k])
        sums[UU] += x * x
        sums[II] += y * y
        sums[UI] += x * y
        sums[UC] += x * c
        sums[US] += x * s
        sums[IC] += y * c
        sums[IS] += y * s
        sums[PEAK_U] = max(sums[PEAK_U], abs(x))
        sums[PEAK_I] = max(sums[PEAK_I], abs(y))


def _piece(typingctx: Any, u: Any, i: Any, cosine: Any, sine: Any, count: Any, sums: Any) -> tuple[Any, Any]:
    """One phase, 16 to `PIECE` samples: vectors of the IR itself, so that the lanes of the bound are certain.

    LLVM lowers ``<8 x double>`` to the widest registers there are; that a multiplication and its addition
    are contracted or not makes no difference, because neither rounds.
    """
    signature = types.void(u, i, cosine, sine, types.intp, sums)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        u, i, cosine, sine, sums = _pointers(context, builder, signature, arguments)
        _Piece(builder, u, i, cosine, sine, sums, arguments[4]).emit()
        return context.get_dummy_value()

    return signature, generate


def _piece_ahead(
    typingctx: Any, u: Any, i: Any, cosine: Any, sine: Any, count: Any, sums: Any
) -> tuple[Any, Any]:
    """The same for samples that stream from memory: those of the next window are asked for on the way."""
    signature = types.void(u, i, cosine, sine, types.intp, sums)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        u, i, cosine, sine, sums = _pointers(context, builder, signature, arguments)
        _PieceAhead(builder, u, i, cosine, sine, sums, arguments[4]).emit()
        return context.get_dummy_value()

    return signature, generate


_add_piece: Any = intrinsic(_piece)
_add_piece_ahead: Any = intrinsic(_piece_ahead)


def _pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Any, ...]:
    arrays = (0, 1, 2, 3, 5)
    return tuple(context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in arrays)


_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_COUNTS = ir.VectorType(_I32, _LANES)
_REALS = ir.VectorType(ir.DoubleType(), _HALF)
_WIDE = ir.VectorType(_I64, _HALF)
_PRODUCTS = 7
_CONTRACT = ("contract",)


class _Piece:
    """Emits the code of `_add_piece`: a loop over whole vectors and one masked vector for the rest.

    Invariant: every sample enters each accumulator once; the masked vector reads the last 16 samples again
    and zeroes those that the loop has had.
    """

    def __init__(self, builder: Any, u: Any, i: Any, cosine: Any, sine: Any, sums: Any, count: Any) -> None:
        self._builder = builder
        self._u, self._i, self._cosine, self._sine, self._sums = u, i, cosine, sine, sums
        self._count = count

    def emit(self) -> None:
        builder = self._builder
        entry = builder.block
        loop = builder.append_basic_block("piece.loop")
        rest = builder.append_basic_block("piece.rest")
        masked = builder.append_basic_block("piece.masked")
        done = builder.append_basic_block("piece.done")
        whole = builder.and_(self._count, ir.Constant(_I64, -_LANES))
        zeros = [ir.Constant(_REALS, [0.0] * _HALF)] * (2 * _PRODUCTS) + [
            ir.Constant(_COUNTS, [0] * _LANES)
        ] * 2
        builder.branch(loop)

        builder.position_at_end(loop)
        offset = builder.phi(_I64)
        offset.add_incoming(ir.Constant(_I64, 0), entry)
        carried = [builder.phi(zero.type) for zero in zeros]
        for phi, zero in zip(carried, zeros, strict=True):
            phi.add_incoming(zero, entry)
        added = self._vector(offset, carried, None)
        self._ask_ahead(offset)
        following = builder.add(offset, ir.Constant(_I64, _LANES))
        offset.add_incoming(following, loop)
        for phi, value in zip(carried, added, strict=True):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, whole), loop, rest)

        builder.position_at_end(rest)
        builder.cbranch(builder.icmp_signed("==", whole, self._count), done, masked)

        builder.position_at_end(masked)
        last = builder.sub(self._count, ir.Constant(_I64, _LANES))
        added_last = self._vector(last, added, builder.sub(whole, last))
        builder.branch(done)

        builder.position_at_end(done)
        ends = []
        for value, value_last in zip(added, added_last, strict=True):
            phi = builder.phi(value.type)
            phi.add_incoming(value, rest)
            phi.add_incoming(value_last, masked)
            ends.append(phi)
        self._store(ends)

    def _vector(self, offset: Any, carried: list[Any], skip: Any | None) -> list[Any]:
        """The accumulators after 16 samples from ``offset``, the first ``skip`` of them left out."""
        builder = self._builder
        added: list[Any] = []
        counts = [load_vector(builder, pointer, _COUNTS, offset, 4) for pointer in (self._u, self._i)]
        if skip is not None:
            counts = [self._masked(value, skip) for value in counts]
        for half in range(2):
            at = builder.add(offset, ir.Constant(_I64, half * _HALF))
            lanes = ir.Constant(ir.VectorType(_I32, _HALF), [half * _HALF + k for k in range(_HALF)])
            u, i = (builder.sitofp(builder.shuffle_vector(value, value, lanes), _REALS) for value in counts)
            cosine, sine = (
                load_vector(builder, pointer, _REALS, at, 8) for pointer in (self._cosine, self._sine)
            )
            factors = ((u, u), (i, i), (u, i), (u, cosine), (u, sine), (i, cosine), (i, sine))
            for product, (left, right) in enumerate(factors):
                term = builder.fmul(left, right, flags=_CONTRACT)
                added.append(builder.fadd(carried[half * _PRODUCTS + product], term, flags=_CONTRACT))
        zero = ir.Constant(_COUNTS, [0] * _LANES)
        for value, peak in zip(counts, carried[-2:], strict=True):
            negated = builder.sub(zero, value)
            magnitude = builder.select(builder.icmp_signed("<", value, zero), negated, value)
            added.append(builder.select(builder.icmp_unsigned(">", magnitude, peak), magnitude, peak))
        return added

    def _masked(self, value: Any, skip: Any) -> Any:
        builder = self._builder
        skipped = spread(builder, builder.trunc(skip, _I32), _COUNTS)
        lane = ir.Constant(_COUNTS, list(range(_LANES)))
        keep = builder.icmp_signed(">=", lane, skipped)
        return builder.select(keep, value, ir.Constant(_COUNTS, [0] * _LANES))

    def _ask_ahead(self, offset: Any) -> None:
        """Nothing is asked for: the samples are in a cache."""

    def _store(self, ends: list[Any]) -> None:
        builder = self._builder
        total = declared(builder, "llvm.vector.reduce.add.v8i64", _I64, [_WIDE])
        highest = declared(builder, "llvm.vector.reduce.umax.v16i32", _I32, [_COUNTS])
        for product in range(_PRODUCTS):
            low, high = (builder.fptosi(ends[half * _PRODUCTS + product], _WIDE) for half in range(2))
            place = builder.gep(self._sums, [ir.Constant(_I64, product)])
            builder.store(
                builder.add(builder.load(place), builder.call(total, [builder.add(low, high)])), place
            )
        for column, peak in zip((PEAK_U, PEAK_I), ends[-2:], strict=True):
            place = builder.gep(self._sums, [ir.Constant(_I64, column)])
            found = builder.zext(builder.call(highest, [peak]), _I64)
            before = builder.load(place)
            builder.store(builder.select(builder.icmp_signed(">", found, before), found, before), place)


class _PieceAhead(_Piece):
    """Emits the code of `_add_piece_ahead`."""

    def _ask_ahead(self, offset: Any) -> None:
        """Prefetch: windows jump between channels, and the processor's own prefetcher loses them there."""
        builder = self._builder
        octets = ir.IntType(8).as_pointer()
        ask = declared(builder, "llvm.prefetch.p0", ir.VoidType(), [octets, _I32, _I32, _I32])
        ahead = builder.add(offset, ir.Constant(_I64, _AHEAD))
        for pointer in (self._u, self._i):
            place = builder.bitcast(builder.gep(pointer, [ahead]), octets)
            builder.call(ask, [place, ir.Constant(_I32, 0), ir.Constant(_I32, 2), ir.Constant(_I32, 1)])


def declared(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """The function of LLVM of that name, declared in the builder's module."""
    module = builder.module
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


def load_vector(builder: Any, pointer: Any, kind: Any, offset: Any, align: int) -> Any:
    """Load a vector from ``offset`` elements on, aligned to ``align`` octets."""
    place = builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())
    value = builder.load(place)
    value.align = align
    return value


def spread(builder: Any, value: Any, kind: Any) -> Any:
    """A vector with ``value`` in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, lanes)


@kernel
def add_cross_products(u: I32, first: Int, last: Int, sums: I64) -> None:  # pragma: no cover - compiled
    """Add Σx1·x2, Σx2·x3, Σx3·x1 of three channels to ``sums`` (3,): for line voltages and the neutral."""
    for pair in range(3):
        left = u[pair, first:last]
        right = u[(pair + 1) % 3, first:last]
        total = np.int64(0)
        for k in range(last - first):
            total += np.int64(left[k]) * np.int64(right[k])
        sums[pair] += total


@kernel
def add_by_class(
    u: I32, i: I32, first: Int, last: Int, first_class: Int, sums: I64
) -> None:  # pragma: no cover - compiled
    """Add u·i to ``sums`` (phases, classes) by class: the class of sample ``first`` is ``first_class``."""
    classes = sums.shape[1]
    for phase in range(u.shape[0]):
        at = first_class
        for k in range(first, last):
            sums[phase, at] += np.int64(u[phase, k]) * np.int64(i[phase, k])
            at += 1
            if at == classes:
                at = 0
