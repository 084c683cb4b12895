"""A step of generation that an NVIDIA GPU replays by itself.

A small model is done with an operation before Python has handed over the next one. A CUDA graph is
a recording of all operations of a step: one launch replays them. It works on memory in fixed
places, so the inputs are copied into the place that was recorded.

Lesson: notebook 09. Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable

import torch
from torch import Tensor

StepFunction = Callable[[Tensor, Tensor], Tensor]


class RecordedStep:
    """Replays a step (ids, at) -> logits; the first call records it.

    Args:
        step: Has the same shapes at every call, and changes only memory that stays in its place.

    Lesson: notebook 09.
    """

    def __init__(self, step: StepFunction) -> None:
        self._step = step
        self._graph: torch.cuda.CUDAGraph | None = None
        self._ids: Tensor
        self._at: Tensor
        self._logits: Tensor

    def __call__(self, ids: Tensor, at: Tensor) -> Tensor:
        """Return the logits; they are overwritten by the next call."""
        if self._graph is None:
            self._record(ids, at)
        self._ids.copy_(ids)
        self._at.copy_(at)
        assert self._graph is not None
        self._graph.replay()
        return self._logits

    def _record(self, ids: Tensor, at: Tensor) -> None:
        self._ids, self._at = ids.clone(), at.clone()
        # Libraries set themselves up in their first calls, which must not be recorded. A step may
        # be repeated: it writes the same keys and values to the same places.
        side = torch.cuda.Stream(ids.device)
        side.wait_stream(torch.cuda.current_stream(ids.device))
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step(self._ids, self._at)
        torch.cuda.current_stream(ids.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._logits = self._step(self._ids, self._at)
        self._graph = graph
