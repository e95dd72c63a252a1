"""Sixteen single-precision numbers, or eight of double precision, as one value in compiled loops.

Kernels over several channels do the same to each of them: `Lanes` holds the channels of two windows side by
side. Sums over short stretches of samples, of no round length, are `Doubles` or `Lanes` of neighbours, added
up once. They are vector types for numba: the processor's vector instructions do all lanes at once, whatever
their width (LLVM splits what is too wide). A lane never sees another one, except in the functions that say
"crosses lanes".

The rule never to be broken here: an operation on lanes gives each lane the same bits whatever the others
hold; sums across lanes have one order, the same on every machine.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, models, register_model

F32 = npt.NDArray[np.float32]

LANES = 16
"""Numbers in a value."""

CHANNELS = 8
"""Lanes of one window: up to three voltages, three currents and the neutral conductor's."""

DOUBLES = 8
"""Numbers in a value of double precision."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_WIDE = ir.VectorType(ir.DoubleType(), DOUBLES)
_INDEX = ir.IntType(32)
_FUSE = ("contract",)  # a product and a sum may be one instruction


Value = Any
"""Lanes or doubles, to a type checker: what the primitives take and give exists in compiled code only."""


class Lanes(types.Type):
    """Numba's type of sixteen float32."""


class Doubles(types.Type):
    """Numba's type of eight float64."""


lanes: Any = cast(Any, Lanes)("Lanes(float32 x 16)")
doubles: Any = cast(Any, Doubles)("Doubles(float64 x 8)")


class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        cast(Any, super()).__init__(manager, kind, _VECTOR)


class _DoublesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        cast(Any, super()).__init__(manager, kind, _WIDE)


cast(Any, register_model)(Lanes)(_LanesModel)
cast(Any, register_model)(Doubles)(_DoublesModel)


def _primitive(function: Callable[..., Any]) -> Any:
    return intrinsic(function)


def _primitive_of_literals(function: Callable[..., Any]) -> Any:
    return cast(Any, intrinsic)(prefer_literal=True)(function)


def _mask(indices: Sequence[int]) -> Any:
    return ir.Constant(ir.VectorType(_INDEX, len(indices)), list(indices))


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@_primitive
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """Sixteen neighbours of a flat float32 array, from ``index`` on."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, sig.args[0], args[0], args[1], _VECTOR), align=4)

    return lanes(array, index), code


@_primitive
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Sixteen neighbours of a flat float32 array set."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, sig.args[0], args[0], args[1], _VECTOR), align=4)
        return context.get_dummy_value()

    return types.none(array, index, lanes), code


@_primitive
def store_doubles(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Eight neighbours of a flat float64 array set."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, sig.args[0], args[0], args[1], _WIDE), align=8)
        return context.get_dummy_value()

    return types.none(array, index, doubles), code


@_primitive
def load_samples(typing_context: Any, array: Any, index: Any) -> Any:
    """Sixteen neighbours of a flat int32 or float64 array, rounded to float32 (24 bits are kept)."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = context.get_data_type(sig.args[0].dtype)
        place = _place(context, builder, sig.args[0], args[0], args[1], ir.VectorType(element, LANES))
        value = builder.load(place, align=4)
        return (
            builder.sitofp(value, _VECTOR)
            if isinstance(element, ir.IntType)
            else builder.fptrunc(value, _VECTOR)
        )

    return lanes(array, index), code


@_primitive
def load_doubles(typing_context: Any, array: Any, index: Any) -> Any:
    """Eight neighbours of a flat int32 or float64 array, exactly."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = context.get_data_type(sig.args[0].dtype)
        place = _place(context, builder, sig.args[0], args[0], args[1], ir.VectorType(element, DOUBLES))
        value = builder.load(place, align=4)
        return builder.sitofp(value, _WIDE) if isinstance(element, ir.IntType) else value

    return doubles(array, index), code


@_primitive
def splat(typing_context: Any, value: Any) -> Any:
    """A float32 on all lanes."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[0], ir.Constant(_INDEX, 0))
        return builder.shuffle_vector(one, one, _mask([0] * LANES))

    return lanes(types.float32), code


@_primitive
def splat_double(typing_context: Any, value: Any) -> Any:
    """A float64 on all eight lanes."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one = builder.insert_element(ir.Constant(_WIDE, ir.Undefined), args[0], ir.Constant(_INDEX, 0))
        return builder.shuffle_vector(one, one, _mask([0] * DOUBLES))

    return doubles(types.float64), code


@_primitive
def first_of(typing_context: Any, value: Any, count: Any) -> Any:
    """The first ``count`` of eight lanes; zero on the others."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = ir.VectorType(args[1].type, DOUBLES)
        one = builder.insert_element(ir.Constant(place, ir.Undefined), args[1], ir.Constant(_INDEX, 0))
        limit = builder.shuffle_vector(one, one, _mask([0] * DOUBLES))
        kept = builder.icmp_signed("<", ir.Constant(place, list(range(DOUBLES))), limit)
        return builder.select(kept, args[0], ir.Constant(_WIDE, [0.0] * DOUBLES))

    return doubles(doubles, types.int64), code


@_primitive
def total(typing_context: Any, value: Any) -> Any:
    """Sum of all lanes, halves added to halves (crosses lanes): float32 or float64."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[0]
        size = vector.type.count
        while size > 1:
            size //= 2
            lower = builder.shuffle_vector(vector, vector, _mask(range(size)))
            upper = builder.shuffle_vector(vector, vector, _mask(range(size, 2 * size)))
            vector = builder.fadd(lower, upper)
        return builder.extract_element(vector, ir.Constant(_INDEX, 0))

    return (types.float64(doubles) if value is doubles else types.float32(lanes)), code


@_primitive
def splat_two(typing_context: Any, first: Any, second: Any) -> Any:
    """A float32 on the lanes of the first window, another on those of the second."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[0], ir.Constant(_INDEX, 0))
        two = builder.insert_element(one, args[1], ir.Constant(_INDEX, 1))
        return builder.shuffle_vector(two, two, _mask([0] * CHANNELS + [1] * CHANNELS))

    return lanes(types.float32, types.float32), code


@_primitive_of_literals
def spread(typing_context: Any, value: Any, pair: Any) -> Any:
    """Lane ``2 * pair`` on the lower eight lanes, its neighbour on the upper eight (crosses lanes)."""
    first = 2 * pair.literal_value

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.shuffle_vector(args[0], args[0], _mask([first] * CHANNELS + [first + 1] * CHANNELS))

    return lanes(lanes, pair), code


@_primitive
def store_sum_of_halves(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Eight neighbours of a flat float32 array set to lower plus upper half (crosses lanes)."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lower = builder.shuffle_vector(args[2], args[2], _mask(range(CHANNELS)))
        upper = builder.shuffle_vector(args[2], args[2], _mask(range(CHANNELS, LANES)))
        half = ir.VectorType(ir.FloatType(), CHANNELS)
        place = _place(context, builder, sig.args[0], args[0], args[1], half)
        builder.store(builder.fadd(lower, upper), place, align=4)
        return context.get_dummy_value()

    return types.none(array, index, lanes), code


@_primitive
def store_interleaved(typing_context: Any, array: Any, index: Any, values: Any) -> Any:
    """Eight or sixteen values stored so that equal lanes are neighbours: a transposition (crosses lanes)."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors = cast(Any, cgutils).unpack_tuple(builder, args[2])
        half = len(vectors) // 2
        low = _mask([lane // 2 + LANES * (lane % 2) for lane in range(LANES)])
        high = _mask([LANES // 2 + lane // 2 + LANES * (lane % 2) for lane in range(LANES)])
        for _ in range(
            len(vectors).bit_length() - 1
        ):  # a perfect shuffle moves one bit of the row to the end
            vectors = [
                builder.shuffle_vector(vectors[k // 2], vectors[k // 2 + half], high if k % 2 else low)
                for k in range(len(vectors))
            ]
        for row, vector in enumerate(vectors):
            at = builder.add(args[1], ir.Constant(args[1].type, row * LANES))
            builder.store(vector, _place(context, builder, sig.args[0], args[0], at, _VECTOR), align=4)
        return context.get_dummy_value()

    return types.none(array, index, values), code


def _arithmetic(operation: Callable[..., object], instruction: str) -> None:
    class Template(ConcreteTemplate):
        cases = (lanes(lanes, lanes), doubles(doubles, doubles))

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=_FUSE)

    cast(Any, infer_global)(operation)(Template)
    for kind in (lanes, doubles):
        cast(Any, lower_builtin)(operation, kind, kind)(lower)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
