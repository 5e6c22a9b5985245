"""The mask table's copy on the device that holds the logits: rows come once, and then only their numbers.

    host table: 17 new rows            sync()     rows[numbers] = words, from pinned memory, behind the kernels launched so far
    numbers of a step, int32 [B]       ship()     4 bytes a sequence
    apply_mask(logits, copy.rows, rows=shipped)

Copies go on the stream that computes. So a row whose place is given to another mask is overwritten after the kernels that
read it, and before those that come later; the host waits for none of them. Threads may share a copy if they share the stream.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceMaskTable", "HostMaskTable", "sent", "stream_of"]

_BLOCK_BYTES = 4 << 20


def sent(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on a device, without waiting for what runs there. torch keeps its pinned copy until the device has read it."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def stream_of(device: Any) -> int:
    """Which stream of a device this thread computes on; 0 where there are none."""
    import torch

    return torch.cuda.current_stream(device).cuda_stream if torch.device(device).type == "cuda" else 0


class HostMaskTable(Protocol):
    """What is copied: maskwright.MaskTable, or anything like it."""

    words: int
    """int32 in a row."""

    def __len__(self) -> int:
        """Rows so far; their numbers are below it."""
        ...

    def rows_since(self, version: int) -> tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """The version now, and the rows written after `version`: their numbers int32 [n], ascending, and int32 [n, words]."""
        ...


class DeviceMaskTable:
    """A copy of a host's mask table.

    Args:
        host: the table, of whatever many grammars.
        device: where the copy is.
        reserve_rows: rows to make room for at once. A CUDA graph that was captured reads the memory of its time: reserve as
            many as the host's `max_rows`, and it will not move unless more than those are held.

    Attributes:
        rows: int32 [capacity, words] on the device; what is not in the host's table is zero, and allows nothing.
        growths: how often `rows` has moved.
        rows_shipped: rows copied so far.
    """

    def __init__(self, host: HostMaskTable, device: Any, *, reserve_rows: int = 0) -> None:
        import torch

        self._host, self._device, self._version = host, torch.device(device), 0
        self._block_rows = max(1, _BLOCK_BYTES // (4 * host.words))
        self._lock = threading.Lock()
        self.growths = self.rows_shipped = 0
        self.rows = self._zeros(reserve_rows)
        self.sync()

    def sync(self) -> None:
        """Fetch the rows that have come since; call it after the numbers of a step are known and before they are used."""
        with self._lock:
            self._version, numbers, words = self._host.rows_since(self._version)
            if not len(numbers):
                return
            needed = int(numbers[-1]) + 1
            if needed > len(self.rows):
                grown = self._zeros(max(needed, len(self.rows) + len(self.rows) // 2))
                grown[: len(self.rows)] = self.rows
                self.rows = grown
                self.growths += 1
            self.rows.index_copy_(0, sent(numbers.astype(np.int64), self._device), sent(words, self._device))
            self.rows_shipped += len(numbers)

    def ship(self, numbers: Sequence[int] | npt.NDArray[np.int32], out: torch.Tensor | None = None) -> torch.Tensor:
        """Row numbers on the device, int32 [B]; -1 stands for no mask.

        Args:
            numbers: of this step.
            out: int32 [B] on the device, written and returned: what a CUDA graph reads.

        Raises:
            ValueError: a number that no row has.
        """
        given = np.asarray(numbers, np.int32)
        if given.size and not (given.min() >= -1 and given.max() < len(self.rows)):
            raise ValueError(f"rows must lie in -1..{len(self.rows) - 1}: call sync() after the numbers are known")
        shipped = sent(given, self._device)
        return shipped if out is None else out.copy_(shipped, non_blocking=True)

    def _zeros(self, rows: int) -> torch.Tensor:
        """int32, rows rounded up to whole blocks."""
        import torch

        blocks = -(-max(rows, 1) // self._block_rows)
        return torch.zeros((blocks * self._block_rows, self._host.words), dtype=torch.int32, device=self._device)
