"""Several processes that train one model: each computes a part of the batch.

`torchrun` starts them and tells each of the others:

    torchrun --nproc-per-node 2 -m bhushgpt train ...

"ddp" gives every process the whole model and averages the gradients. "fsdp" gives every process a
share of each weight and collects a block's weights when they are needed: less memory, more talk.
The batch of a step is the same for any number of processes, and so is its loss.

On several computers the same command runs on each, with how many there are, which one this is, and
where the first one listens:

    torchrun --nnodes 2 --node-rank 0 --nproc-per-node 8 \
        --rdzv-backend c10d --rdzv-endpoint FIRST_COMPUTER:29500 --rdzv-id my-run \
        -m bhushgpt train ...

Letters: B batch, T time.

Lesson: notebook 14. Sources: Li et al., arXiv 2006.15704 (DDP); Zhao et al., arXiv 2304.11277
(FSDP).
"""

import atexit
import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from bhushgpt.devices import pick_device
from bhushgpt.errors import UserError
from bhushgpt.training import Report, StepBatches


@dataclass(frozen=True, kw_only=True)
class World:
    """All processes of a run, seen from one of them. Without torchrun it is alone.

    Lesson: notebook 14.

    >>> world = World(device=torch.device("cpu"))
    >>> world.is_main, world.agree(False), world.agree(True)
    (True, False, True)
    """

    device: torch.device
    """Where this process computes."""
    rank: int = 0
    """Its number, from 0."""
    size: int = 1
    """How many processes there are."""
    local_rank: int = 0
    """Its number on its own computer, which is also that of its GPU."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and keeps the record."""
        return self.rank == 0

    def agree(self, flag: bool) -> bool:
        """Return whether any process says yes; all get the same answer, so all must ask."""
        if self.size == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return bool(votes.item())

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def barrier(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            dist.barrier()

    def batches(self, batches: StepBatches) -> StepBatches:
        """Return this process's rows of every step's batch."""
        return batches if self.size == 1 else RankBatches(batches, self.rank, self.size)

    def reports(self, reports: Iterable[Report]) -> Iterator[Report]:
        """Yield the reports of a run with the tokens of all processes counted."""
        for report in reports:
            yield replace(report, tokens=report.tokens * self.size)


@dataclass(frozen=True)
class RankBatches:
    """One process's equal part of each batch: together the parts are the whole.

    Lesson: notebook 14.

    >>> import numpy as np
    >>> from bhushgpt.batches import Batches
    >>> whole = Batches(np.arange(100), batch_size=4, context_length=8)
    >>> parts = [RankBatches(whole, rank, 2)[5][0] for rank in range(2)]
    >>> bool((torch.cat(parts) == whole[5][0]).all())
    True
    """

    batches: StepBatches
    rank: int
    size: int

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return this process's inputs and targets of a step, (B / processes, T) each."""
        inputs, targets = self.batches[step]
        if len(inputs) % self.size:
            raise UserError(
                f"A batch of {len(inputs)} windows cannot be shared out among {self.size} "
                f"processes. Take a batch size that {self.size} divides, or other processes."
            )
        rows = len(inputs) // self.size
        mine = slice(self.rank * rows, (self.rank + 1) * rows)
        return inputs[mine], targets[mine]


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Join the other processes that torchrun started; alone, nothing is set up.

    On leaving, the processes wait for each other, unless one of them failed: then none waits, and
    torchrun ends the others.

    Args:
        device: See `pick_device`. With "auto" or "cuda" each process takes a GPU of its own.

    Raises:
        UserError: If there are fewer GPUs than processes.

    Lesson: notebook 14.

    >>> with join_world("cpu") as world:
    ...     world.rank, world.size
    (0, 1)
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield World(device=pick_device(device))
        return
    size, local_rank = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    chosen = _own_device(device, local_rank)
    # What torchrun starts again must not read where the processes before it listened.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store, rank, _ = next(rendezvous("env://"))
    dist.init_process_group(
        "nccl" if chosen.type == "cuda" else "gloo",
        store=PrefixStore(f"attempt {attempt}", store),
        rank=rank,
        world_size=size,
    )
    try:
        yield World(device=chosen, rank=dist.get_rank(), size=size, local_rank=local_rank)
        # Without it a process may leave while another still talks to it: then that one aborts.
        dist.barrier()
    finally:
        dist.destroy_process_group()
        # Python must not end while gloo's threads still run: that aborts. Whatever holds them, such
        # as a sharded model, goes now, or at the latest when the program's functions have ended.
        gc.collect()
        atexit.register(gc.collect)


def _own_device(name: str, local_rank: int) -> torch.device:
    chosen = pick_device(name)
    if chosen.type != "cuda":
        return chosen
    there = torch.cuda.device_count()
    if local_rank >= there:
        raise UserError(
            f"Process {local_rank} finds {there} GPUs: there must be one for each process. Start "
            f"torchrun with --nproc-per-node {there}, or train with --device cpu."
        )
    chosen = torch.device("cuda", local_rank)
    torch.cuda.set_device(chosen)
    return chosen
