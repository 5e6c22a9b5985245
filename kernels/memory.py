"""Loads, stores and calls at addresses, for kernels that take few arguments.

A compiled call that takes thirty arrays spends 3 us on unpacking them; one that takes two integers spends 0.15 us. So a
hot kernel gets the address of a header (an int64 array of table addresses and counters, laid out in
kernels/layout.py) and reads through these four loads and three stores. Nothing here checks a bound: the objects that
own the tables keep them alive and large enough (compile/tables.py, runtime/arena.py). What several threads count
together they count with `fetch_add`.

`call` is for kernels that would be compiled again, as a part of the caller, at each place that names them (kernels/jit.py:
`address_of`).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir as llvm
from numba import types
from numba.extending import intrinsic

__all__ = [
    "call",
    "count_bits",
    "fetch_add",
    "float_of_bits",
    "load_i32",
    "load_i64",
    "load_u8",
    "load_u64",
    "store_i32",
    "store_i64",
    "store_u8",
]


def _element(builder: Any, address: Any, index: Any, width: int) -> Any:
    pointer = builder.inttoptr(address, llvm.IntType(width).as_pointer())
    return builder.gep(pointer, [index])


def _loader(result: Any, width: int) -> Any:
    def load(typing_context: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.load(_element(builder, arguments[0], arguments[1], width))
            if width == 64:
                return value
            extend = builder.zext if width == 8 else builder.sext
            return extend(value, llvm.IntType(64))

        return result(types.int64, types.int64), codegen

    return load


def _storer(width: int) -> Any:
    def store(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            stored = arguments[2] if width == 64 else builder.trunc(arguments[2], llvm.IntType(width))
            builder.store(stored, _element(builder, arguments[0], arguments[1], width))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return store


def _fetch_add(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    """The int64 at address[index], to which `value` is added, as one step: no other thread comes between."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", _element(builder, arguments[0], arguments[1], 64), arguments[2], "monotonic")

    return types.int64(types.int64, types.int64, types.int64), codegen


def _call(typing_context: Any, address: Any, first: Any, second: Any, third: Any) -> Any:
    """What the kernel at an address answers to three integers."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = llvm.IntType(64)
        function = llvm.FunctionType(integer, [integer] * 3).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], function), arguments[1:])

    return types.int64(types.int64, types.int64, types.int64, types.int64), codegen


def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 whose bits are those of an int32."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], llvm.FloatType())

    return types.float32(types.int32), codegen


def _count_bits(typing_context: Any, bits: Any) -> Any:
    """How many bits of an int32 are 1."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.ctpop(arguments[0]), llvm.IntType(64))

    return types.int64(types.int32), codegen


call = intrinsic(_call)
count_bits = intrinsic(_count_bits)
fetch_add = intrinsic(_fetch_add)
float_of_bits = intrinsic(_float_of_bits)
load_u8 = intrinsic(_loader(types.int64, 8))
load_i32 = intrinsic(_loader(types.int64, 32))
load_i64 = intrinsic(_loader(types.int64, 64))
load_u64 = intrinsic(_loader(types.uint64, 64))
store_u8 = intrinsic(_storer(8))
store_i32 = intrinsic(_storer(32))
store_i64 = intrinsic(_storer(64))
