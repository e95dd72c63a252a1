"""The reference sine against which the fundamental is demodulated, and the angles that go with it.

A table of integers is made for each frequency, sixteen samples at a time: the angle of a sample is taken as
256 a + 16 b + c steps, and the phasors of the parts are multiplied. Only +, -, *, / and the correctly
rounded square root of IEEE 754 are used here, in one fixed order; there is no library sine whose last digit
differs between machines, so a replay gives the same registers everywhere. Rule never to be broken: what is
demodulated with is integers of at most `REFERENCE_AMPLITUDE`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from openami.metrology.energy.compiled import Int, kernel
from openami.metrology.energy.exact_sums import REFERENCE_AMPLITUDE, declared, load_vector, spread
from openami.metrology.energy.path_state import LEAD

F64 = npt.NDArray[np.float64]

STEP = 16
"""Samples that are made at a time; a table has room for a whole number of them."""
POWERS = 64
"""Room for the phasors of 16 small, 16 middle and 32 large steps."""

_LANES = 8
_CHAINS = 4
"""Phasors that are turned independently of each other, so that the processor need not wait."""
_AMPLITUDE = float(REFERENCE_AMPLITUDE)
_SMALL = 0.5
_SMALL_TANGENT = 1e-3
_MIDDLE_TANGENT = 0.0625
_COSINE = np.array([(-1.0) ** k / math.factorial(2 * k) for k in range(13)])
_SINE = np.array([(-1.0) ** k / math.factorial(2 * k + 1) for k in range(13)])
_ARCTANGENT = np.array([(-1.0) ** k / (2 * k + 1) for k in range(16)])


@kernel
def cosine_and_sine(angle: float) -> tuple[float, float]:  # pragma: no cover - compiled
    """Cosine and sine of an angle of magnitude 2 rad at most, by Taylor's series to 1e-16."""
    square = angle * angle
    cosine = 0.0
    sine = 0.0
    if square < _SMALL * _SMALL:
        for k in range(7, -1, -1):
            cosine = cosine * square + _COSINE[k]
            sine = sine * square + _SINE[k]
    else:
        for k in range(12, -1, -1):
            cosine = cosine * square + _COSINE[k]
            sine = sine * square + _SINE[k]
    return cosine, sine * angle


@kernel
def angle_of(x: float, y: float) -> float:  # pragma: no cover - compiled
    """Angle of the point (x, y) in rad, -pi .. pi; 0 at the origin.

    The angle is halved four times, tan(b/2) = tan b / (1 + sqrt(1 + tan² b)), and then taken from the series
    of the arctangent; a small angle, which is what a frequency that wanders gives, from the series at once.
    """
    if x > 0.0 and abs(y) < _MIDDLE_TANGENT * x:
        tangent = y / x
        square = tangent * tangent
        series = 0.0
        if abs(tangent) < _SMALL_TANGENT:
            series = 1.0 + square * (_ARCTANGENT[1] + square * _ARCTANGENT[2])
        else:
            for k in range(7, -1, -1):
                series = series * square + _ARCTANGENT[k]
        return float(tangent * series)
    radius = np.sqrt(x * x + y * y)
    if radius == 0.0:
        return 0.0
    turned = 0.0
    if x < 0.0:
        turned = np.pi if y >= 0.0 else -np.pi
        x = -x
        y = -y
    tangent = y / (radius + x)
    for _ in range(3):
        tangent = tangent / (1.0 + np.sqrt(1.0 + tangent * tangent))
    square = tangent * tangent
    series = 0.0
    for k in range(15, -1, -1):
        series = series * square + _ARCTANGENT[k]
    return float(turned + 16.0 * tangent * series)


@kernel
def fill_reference(
    angle: float, count: Int, powers: F64, cosine: F64, sine: F64
) -> None:  # pragma: no cover - compiled
    """Reference of a window from `LEAD` samples before its first on.

    Parameters
    ----------
    angle:
        Angle of one sample in rad, at most 0.45.
    count:
        How many values, at most 8192; they are rounded up to a multiple of `STEP`.
    powers:
        Room, float64 (2, `POWERS`).
    cosine, sine:
        float64, filled with integers: index k belongs to sample k - `LEAD`.
    """
    real = powers[0]
    imaginary = powers[1]
    c, s = cosine_and_sine(angle)
    first_c, first_s = cosine_and_sine(LEAD * angle)
    for level in range(3):
        at = level * STEP
        steps = STEP if level < 2 else (count - 1) // (STEP * STEP) + 1
        re, im = 1.0, 0.0
        if level == 0:
            re, im = _AMPLITUDE * first_c, -_AMPLITUDE * first_s
        for k in range(_CHAINS):
            real[at + k] = re
            imaginary[at + k] = im
            re, im = re * c - im * s, re * s + im * c
        for _ in range(2):
            c, s = c * c - s * s, 2.0 * c * s
        for k in range(_CHAINS, steps):
            re, im = real[at + k - _CHAINS], imaginary[at + k - _CHAINS]
            real[at + k] = re * c - im * s
            imaginary[at + k] = re * s + im * c
        for _ in range(2):
            c, s = c * c - s * s, 2.0 * c * s
    for block in range((count + STEP - 1) // STEP):
        middle = STEP + block % STEP
        large = 2 * STEP + block // STEP
        c = real[middle] * real[large] - imaginary[middle] * imaginary[large]
        s = real[middle] * imaginary[large] + imaginary[middle] * real[large]
        _fill_step(c, s, real, imaginary, cosine, sine, block * STEP)


def _step(
    typingctx: Any, c: Any, s: Any, real: Any, imaginary: Any, cosine: Any, sine: Any, at: Any
) -> tuple[Any, Any]:
    """The 16 small steps, turned by (c, s) and rounded, to ``cosine`` and ``sine`` from ``at`` on.

    Vectors of the IR itself, without leave to contract: a compiler that must allow for overlapping arrays
    does not find them.
    """
    signature = types.void(c, s, real, imaginary, cosine, sine, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real, imaginary, cosine, sine = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[2:6], arguments[2:6], strict=True)
        )
        vector = ir.VectorType(ir.DoubleType(), _LANES)
        rounded = declared(builder, "llvm.rint.v8f64", vector, [vector])
        c, s = (spread(builder, value, vector) for value in arguments[:2])
        for part in range(STEP // _LANES):
            within = ir.Constant(ir.IntType(64), part * _LANES)
            re = load_vector(builder, real, vector, within, 8)
            im = load_vector(builder, imaginary, vector, within, 8)
            turned = (
                builder.fsub(builder.fmul(re, c), builder.fmul(im, s)),
                builder.fadd(builder.fmul(re, s), builder.fmul(im, c)),
            )
            place = builder.add(arguments[6], within)
            for target, value in zip((cosine, sine), turned, strict=True):
                to = builder.bitcast(builder.gep(target, [place]), vector.as_pointer())
                builder.store(builder.call(rounded, [value]), to, align=8)
        return context.get_dummy_value()

    return signature, generate


_fill_step: Any = intrinsic(_step)
