"""How kernels are compiled: kept on disk, and once for all constants that other kernels call them with.

numba compiles a callee anew for each constant among its arguments: `f(x, 0)` and `f(x, y)` are two functions to it. For
most kernels that only takes time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

__all__ = ["kernel"]


def kernel(function: Callable[..., Any]) -> Any:
    """A decorator, for functions of numbers and arrays."""
    dispatcher = njit(cache=True)(function)
    template = dispatcher.get_call_template

    def of_types(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return template(
            tuple(map(types.unliteral, arguments)), {name: types.unliteral(kind) for name, kind in named.items()}
        )

    dispatcher.get_call_template = of_types
    return dispatcher
