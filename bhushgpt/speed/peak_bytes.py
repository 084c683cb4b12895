"""How much memory the tensors of a computation need at once, counted on any device.

PyTorch calls a *dispatch mode* for every operation. Each tensor that an operation makes adds the
bytes of its storage, and each one that goes takes them away; the most that was there at once is
the peak. Tensors that were there before are not counted.

Lesson: notebook 15.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class PeakBytes(TorchDispatchMode):
    """Inside the `with`, counts the bytes of the tensors that operations make.

    Two tensors of a million numbers, of which one goes before the third is made:

    >>> import torch
    >>> with PeakBytes() as watch:
    ...     one = torch.zeros(1_000_000)
    ...     two = one + 1
    ...     del one
    ...     three = two + 1
    >>> watch.peak
    8000000
    """

    peak: int
    """The most bytes that were there at once."""

    def __enter__(self) -> Self:
        """Begin to count, at zero."""
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        return super().__enter__()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do one operation, and count what it made."""
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, list | tuple) else [result]:
            if isinstance(made, Tensor):
                # A view of a tensor is in memory once: its storage counts, under its address.
                storage = made.untyped_storage()
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {key: one for key, one in self._alive.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result
