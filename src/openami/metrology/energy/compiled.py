"""How the functions of the energy path are compiled.

They work on arrays that their caller keeps, so no reference is counted: numba's counts are atomic operations
at every call and every view, and would cost more than the window itself. Rule never to be broken: a function
that is compiled here makes no array and returns none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])
Int: TypeAlias = "int | np.int64"
"""An integer of compiled code."""

_njit = cast(Callable[..., Any], njit)  # the stubs of numba do not know the option without references
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(function: Function) -> Function:
    """Compile a function."""
    return cast(Function, _njit(**_OPTIONS)(function))


def kernel_part(function: Function) -> Function:
    """Compile a function into whatever calls it."""
    return cast(Function, _njit(**_OPTIONS, forceinline=True)(function))
