"""Compile every Triton kernel for a GPU that need not be there, and print what became of it as JSON.

    compile_kernels.py cuda 90        for compute capability 9.0
    compile_kernels.py hip gfx942

The interpreter, which runs the kernels in the tests, takes much that the compiler refuses (types that change in a loop,
say). Run it in a process without TRITON_INTERPRET.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from maskwright.kernels import triton_cutoffs, triton_masks, triton_sampling, triton_trees

FLOATS = {
    "temperature",
    "cutoff",
    "floats",
    "logprob_out",
    "mass_out",
    "top_p",
    "log_min_p",
    "proposal",
    "drawn_logprob",
}
FLOATS |= {"rest", "logprob"}
INT32 = {"table", "rows", "top_k"}
INT64 = {
    "indices",
    "seed",
    "position",
    "token",
    "first_child",
    "next_sibling",
    "drawn",
    "path",
    "length",
    "last",
    "start",
}
INT64 |= {"token_out"}
SCALARS = {
    "columns",
    "words",
    "parts",
    "nodes",
    "size",
    "logits_stride",
    "column_stride",
    "table_stride",
    "tree_stride",
}
SCALARS |= {"node_stride", "row_stride", "head_stride", "place_stride", "size_stride"}

SAMPLING = {"stream": 0, "WORDS": 32, "TILES": 8}
KERNELS: list[tuple[Any, dict[str, Any], str]] = [
    (triton_masks._apply, {"WORDS": 64, "column_stride": 1}, "fp32"),
    (triton_masks._apply, {"WORDS": 64, "rows": None, "indices": None}, "bf16"),
    (triton_sampling._draw_parts, {**SAMPLING, "WITH_MASS": True, "cutoff": None, "column_stride": 1}, "bf16"),
    (triton_sampling._draw_parts, {**SAMPLING, "WITH_MASS": False, "rows": None}, "fp16"),
    (triton_sampling._join_parts, {"PARTS": 16, "WITH_MASS": True}, "fp32"),
    (triton_cutoffs._cutoffs, {"WORDS": 32, "column_stride": 1}, "fp32"),
    (triton_trees._match, {}, "fp32"),
    (triton_trees._ratio, {"WORDS": 64, "WITHOUT_REPLACEMENT": True, "column_stride": 1}, "fp32"),
    (triton_trees._ratio, {"WORDS": 64, "WITHOUT_REPLACEMENT": False}, "bf16"),
    (triton_trees._gather, {"BLOCK": 128, "size_stride": 1}, "fp32"),
]


def type_of(kernel: str, argument: str, logits: str) -> str:
    if argument in ("logits", "cache"):
        return f"*{logits}"
    if argument == "tokens" or argument in INT32:
        return "*i32"
    if argument == "out" or argument in FLOATS:
        return "*fp32"
    if argument in INT64:
        return "*i64"
    assert argument in SCALARS, f"{kernel}: what is {argument}?"
    return "i32"


def compiled(kernel: Any, constants: dict[str, Any], logits: str, target: GPUTarget) -> dict[str, Any]:
    names = kernel.arg_names
    types = {name: "constexpr" if name in constants else type_of(kernel.__name__, name, logits) for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, types, constexprs=places)
    code = triton.compile(source, target=target, options={"enable_fp_fusion": False}).asm
    text = code.get("ptx") or code.get("amdgcn")
    return {"kernel": kernel.__name__, "fused": len(re.findall(r"\bfma\.rn\.f32|\bv_fma_f32|\bv_fmac_f32", text))}


if __name__ == "__main__":
    backend, architecture = sys.argv[1:]
    target = GPUTarget(
        backend, int(architecture) if backend == "cuda" else architecture, 32 if backend == "cuda" else 64
    )
    print(json.dumps([compiled(*kernel, target) for kernel in KERNELS]))
