"""A token for each row of logits, drawn from what its mask allows, where the logits are.

    draws = sample_tokens(logits, table, rows=rows, temperature=0.8, seed=seeds, position=positions)
    draws.token, draws.logprob, draws.log_valid_mass

One pass over the logits does mask, temperature, noise and maximum; nothing is normalised or sorted first. Filters are a
number a row, the lowest logit that is kept:

    cutoff = filter_cutoffs(logits, table, rows=rows, temperature=0.8, top_p=0.9, min_p=0.01)
    draws = sample_tokens(logits, table, rows=rows, temperature=0.8, cutoff=cutoff, ...)

What is the same everywhere, to the last bit: `token` and `cutoff`, on every back end, for float32, bfloat16 and float16
logits of any strides, whatever else is in the batch. `logprob` and `log_valid_mass` are sums, and may differ in their last
bits (1e-5 between back ends); within one back end they do not depend on the batch.

In the step of a CUDA graph, pass tensors for temperature, seed and position, and `out=`: then nothing is allocated, and
nothing waits for the device.
"""

# Callees: 8d01cad268b5

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from maskwright.kernels.backends import (
    Backend,
    a_row,
    backend_for,
    check_logits,
    check_rows,
    check_table,
    raise_where_none,
)
from maskwright.kernels.noise import TOKEN_STREAM

if TYPE_CHECKING:
    import torch

__all__ = ["Draws", "filter_cutoffs", "sample_tokens"]


class Draws:
    """What sample_tokens() found, and the memory that it needs on the way.

        Attributes:
            token: int64 [B]; NO_TOKEN (-1) where nothing could be drawn.
            logprob: float32 [B]: natural logarithm of the token's probability among the allowed tokens, at the temperature that
    X where nothing could be drawn.
            log_valid_mass: float32 [B]: natural logarithm of the probability that the allowed tokens have together before
                masking, at the same temperature; -inf where nothing could be drawn.
    """

    def __init__(self, batch: int, columns: int, device: Any = "cpu") -> None:
        """Memory for `batch` rows of `columns` logits on a device."""
        import torch

        parts = -(-columns // _PART)
        self.columns = columns
        self.token = torch.empty(batch, dtype=torch.int64, device=device)
        self.logprob = torch.empty(batch, dtype=torch.float32, device=device)
        self.log_valid_mass = torch.empty(batch, dtype=torch.float32, device=device)
        self.floats = torch.empty((6, batch, parts), dtype=torch.float32, device=device)
        self.tokens = torch.empty((batch, parts), dtype=torch.int32, device=device)


_PART = 8192  # columns of a program of triton_sampling.py, which this module must not import


def sample_tokens(
    logits: torch.Tensor,
    table: torch.Tensor,
    *,
    rows: torch.Tensor | None = None,
    temperature: torch.Tensor | float = 0.0,
    seed: torch.Tensor | int = 0,
    position: torch.Tensor | int = 0,
    cutoff: torch.Tensor | None = None,
    stream: int = TOKEN_STREAM,
    with_mass: bool = True,
    out: Draws | None = None,
    backend: Backend | None = None,
    raise_empty: bool | None = None,
) -> Draws:
    """Draw a token for each row.

    Args:
        logits: float32, bfloat16 or float16 [B, V], any strides; left as they are. Where the mask allows a token whose
            logit is NaN or infinite, nothing is drawn from the row; disallowed logits may be anything.
        table: int32 [R, W] on the same device: mask rows. Without `rows` R is B.
        rows: int32 [B]: which mask is whose; -1: none.
        temperature: a number, or float32 [B]. Below MIN_TEMPERATURE (1e-5) greedy: the first of the likeliest tokens.
        seed: a whole number, or int64 [B]: with `position` it decides on the random numbers.
        position: a whole number, or int64 [B]: where in its sequence the token will stand. Each (seed, position) must be
            drawn at once only.
        cutoff: float32 [B]: logits below count as -inf, disallowed or not (filter_cutoffs).
        stream: which random numbers of the position (kernels/noise.py).
        with_mass: False leaves `log_valid_mass` unwritten, for which all logits would be summed up, allowed or not.
        out: of an earlier call with as many rows and columns; it is written and returned.
        backend: "numba", "torch" or "triton"; None chooses by the device.
        raise_empty: whether to raise where nothing can be drawn; None: on the host only, since a device would be waited for.

    Raises:
        TypeError, ValueError: dtypes, shapes or devices that do not fit.
        BackendError: the back end is not installed, or does not work on this device.
        EmptyMaskError: nothing can be drawn from a row.
    """
    import torch

    check_logits(logits)
    check_table(table, logits)
    count, columns = logits.shape
    check_rows(rows, table, count)
    device = logits.device
    used = backend_for(logits, backend)
    heat = a_row("temperature", temperature, torch.float32, count, device)
    key = a_row("seed", _signed(seed), torch.int64, count, device)
    place = a_row("position", position, torch.int64, count, device)
    least = None if cutoff is None else a_row("cutoff", cutoff, torch.float32, count, device)
    draws = Draws(count, columns, device) if out is None else _fitting(out, count, columns, device)
    results = draws.token, draws.logprob, draws.log_valid_mass
    if used == "triton":
        from maskwright.kernels import triton_sampling

        assert triton_sampling.PART == _PART
        arguments = (logits, table, rows, heat, key, place, least, stream, draws.floats, draws.tokens)
        triton_sampling.sample(*arguments, draws.token, draws.logprob, draws.log_valid_mass if with_mass else None)
    elif used == "numba":
        from maskwright.kernels import numba_sampling

        arrays = [value.numpy() for value in (heat, key, place)]
        lowest = torch.full((count,), float("-inf")) if least is None else least
        numba_sampling.sample(
            logits.detach().float().numpy(),
            table.numpy(),
            _row_numbers(rows, count).numpy(),
            *arrays,
            lowest.numpy(),
            stream,
            with_mass,
            *(result.numpy() for result in results),
        )
    else:
        from maskwright.kernels import torch_sampling

        found = torch_sampling.sample(logits, table, rows, heat, key, place, least, stream, with_mass)
        for result, value in zip(results, found, strict=False):
            result.copy_(value)
    if raise_empty or (raise_empty is None and device.type == "cpu"):
        raise_where_none(draws.token)
    return draws


def filter_cutoffs(
    logits: torch.Tensor,
    table: torch.Tensor,
    *,
    rows: torch.Tensor | None = None,
    temperature: torch.Tensor | float = 1.0,
    top_k: torch.Tensor | int = 0,
    top_p: torch.Tensor | float = 1.0,
    min_p: torch.Tensor | float = 0.0,
    out: torch.Tensor | None = None,
    backend: Backend | None = None,
) -> torch.Tensor:
    """The lowest logit that each row keeps, float32 [B]; -inf where it keeps all.

    Top-k first, then top-p among what is left, then min-p, all over the allowed tokens. Tokens of equal logits stand or fall
    together: top-k keeps all that are as likely as the k-th, and top-p keeps a token where those strictly likelier than it
    have less than `top_p` together.

    Args:
        logits, table, rows, backend: as for sample_tokens(). Rows of -1 filter what the model gives, before any mask.
        temperature: a number, or float32 [B], at which top-p and min-p look.
        top_k: a whole number, or int32 [B]: this many likeliest; 0: all.
        top_p: a number, or float32 [B], above 0; 1: all.
        min_p: a number, or float32 [B]: at least this many times as likely as the likeliest; 0: all.
        out: float32 [B], written and returned.

    Raises:
        as sample_tokens(), but that nothing is raised for an empty row: its cutoff is -inf.
    """
    import torch

    check_logits(logits)
    check_table(table, logits)
    count, _ = logits.shape
    check_rows(rows, table, count)
    device = logits.device
    for name, value, valid in (("top_k", top_k, _natural), ("top_p", top_p, _share), ("min_p", min_p, _probability)):
        if not isinstance(value, torch.Tensor) and not valid(value):
            raise ValueError(f"{name}={value!r} is out of range")
    most = a_row("top_k", top_k, torch.int32, count, device)
    mass = a_row("top_p", top_p, torch.float32, count, device)
    if isinstance(min_p, torch.Tensor):
        log_least = a_row("min_p", min_p, torch.float32, count, device).log()
    else:
        log_least = a_row("min_p", math.log(min_p) if min_p > 0 else -math.inf, torch.float32, count, device)
    heat = a_row("temperature", temperature, torch.float32, count, device)
    used = backend_for(logits, backend)
    lowest = torch.empty(count, dtype=torch.float32, device=device) if out is None else out
    if used == "triton":
        from maskwright.kernels import triton_cutoffs

        triton_cutoffs.cutoffs(logits, table, rows, heat, most, mass, log_least, lowest)
    elif used == "numba":
        from maskwright.kernels import numba_sampling

        numba_sampling.cutoffs(
            logits.detach().float().numpy(),
            table.numpy(),
            _row_numbers(rows, count).numpy(),
            *(value.numpy() for value in (heat, most, mass, log_least, lowest)),
        )
    else:
        from maskwright.kernels import torch_sampling

        lowest.copy_(torch_sampling.cutoff(logits, table, rows, heat, most, mass, log_least))
    return lowest


def _natural(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _share(value: Any) -> bool:
    return 0 < value <= 1


def _probability(value: Any) -> bool:
    return 0 <= value <= 1


def _signed(seed: Any) -> Any:
    """A seed of up to 64 bits as the int64 of the same bits."""
    import torch

    if isinstance(seed, torch.Tensor):
        return seed
    return (int(seed) + 2**63) % 2**64 - 2**63


def _row_numbers(rows: torch.Tensor | None, count: int) -> torch.Tensor:
    import torch

    return torch.arange(count, dtype=torch.int32) if rows is None else rows


def _fitting(out: Draws, count: int, columns: int, device: torch.device) -> Draws:
    if len(out.token) != count or out.columns != columns or out.token.device != device:
        raise ValueError(
            f"out= is for {len(out.token)} rows of {out.columns} on {out.token.device}, and the logits are {count} rows of "
            f"{columns} on {device}: make Draws({count}, {columns}, {str(device)!r})"
        )
    return out
