"""How kernels are compiled: `kernel` what Python calls, `part` what only other kernels call.

To numba every function is a program of its own: it optimises and generates machine code for each, and for each again with
all that it calls copied into it. A part is left at the intermediate code, which the kernels that call it take over. What
a kernel has taken over is its own: LLVM need not leave it callable from elsewhere, so that it can drop what is never used
of it, and pass results in registers. Together that halves the time of the first compilation, and masks are the faster for it.

Numba compiles a callee anew for each constant among its arguments, too: `f(x, 0)` and `f(x, y)` are two functions to it.
Here there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from llvmlite.binding import Linkage
from numba import njit, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

__all__ = ["address_of", "kernel", "nogil_kernel", "part", "part_with"]


def kernel(function: Callable[..., Any]) -> Any:
    """A decorator, for functions of numbers and arrays that Python calls; the machine code is kept on disk."""
    return _compiled_once(njit(cache=True, pipeline_class=_KernelCompiler)(function))


def nogil_kernel(function: Callable[..., Any]) -> Any:
    """As `kernel`; it runs without the interpreter lock."""
    return _compiled_once(njit(cache=True, nogil=True, pipeline_class=_KernelCompiler)(function))


def part(function: Callable[..., Any]) -> Any:
    """A decorator, for functions of numbers and arrays that only kernels call."""
    return part_with()(function)


def part_with(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`part` with options of numba's (fastmath=...)."""
    return partial(_part, options)


def _part(options: dict[str, Any], function: Callable[..., Any]) -> Any:
    dispatcher = _compiled_once(njit(pipeline_class=_PartCompiler, **options)(function))

    def add_overload(compiled: Any) -> None:  # numba's own would make it callable from Python
        dispatcher.overloads[tuple(compiled.signature.args)] = compiled

    dispatcher.add_overload = add_overload
    return dispatcher


@lru_cache(maxsize=8)  # there are two
def address_of(kernel: Any) -> int:
    """Where a kernel of three int64 that answers with one lies, for other kernels to call it (kernels/memory.py)."""
    compiled = kernel.get_compile_result(types.int64(types.int64, types.int64, types.int64))
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name))


def _compiled_once(dispatcher: Any) -> Any:
    """The function, which is not compiled for constants."""
    template = dispatcher.get_call_template

    def of_types(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return template(
            tuple(map(types.unliteral, arguments)), {name: types.unliteral(kind) for name, kind in named.items()}
        )

    dispatcher.get_call_template = of_types
    return dispatcher


class _KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A kernel with all that it calls."""

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if function.linkage == Linkage.linkonce_odr:  # taken over
                function.linkage = Linkage.internal
        super()._optimize_final_module()


class _PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A part with all that it calls, for kernels to take over; never machine code."""

    def finalize(self) -> None:
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class _KernelCompiler(Compiler):  # type: ignore[misc]
    def define_pipelines(self) -> Any:
        state = self.state
        state.library = _KernelLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().define_pipelines()


class _PartCompiler(Compiler):  # type: ignore[misc]
    """Compiles up to the intermediate code, without what Python or C would call it by."""

    def define_pipelines(self) -> Any:
        state = self.state
        state.library = _PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = state.flags.no_cpython_wrapper = state.flags.no_cfunc_wrapper = True
        return super().define_pipelines()

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        compiled = super().compile_extra(function)

        def entry_point(*_: object) -> None:
            raise TypeError(f"{function.__name__} is a part of kernels: only they can call it")

        self.state.targetctx.insert_user_function(entry_point, compiled.fndesc, [compiled.library])
        return compiled._replace(entry_point=entry_point)
