r"""Several processes that train one model: each computes a part of the batch.

`torchrun` starts them and tells each of the others:

    torchrun --nproc-per-node 2 -m bhushgpt train ...

"ddp" gives every process the whole model and averages the gradients. "fsdp" gives every process a
share of each weight and collects a block's weights when they are needed: less memory, more talk.
The batch of a step is the same for any number of processes, and so is its loss. The main process
alone prints (`one_voice`).

It is for several computers, or several GPUs. On one computer without a GPU the processes share the
cores that one process would use alone: there two of them reached 0.94 (ddp) and 0.63 (fsdp) of the
speed of one with two threads.

On several computers the same command runs on each, with how many there are, which one this is, and
where the first one listens:

    torchrun --nnodes 2 --node-rank 0 --nproc-per-node 8 \
        --rdzv-backend c10d --rdzv-endpoint FIRST_COMPUTER:29500 --rdzv-id my-run \
        -m bhushgpt train ...

Letters: B batch, T time.

Lesson: notebook 15. Sources: Li et al., arXiv 2006.15704 (DDP); Zhao et al., arXiv 2304.11277
(FSDP).
"""

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from bhushgpt.devices import abilities, pick_device, seed_random
from bhushgpt.errors import UserError, nearest
from bhushgpt.speed.acceleration import AcceleratedLoss, Acceleration, accelerate
from bhushgpt.training import LossFunction, Report, StepBatches


@dataclass(frozen=True, kw_only=True)
class World:
    """All processes of a run, seen from one of them. Without torchrun it is alone.

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

    def gather(self, sentence: str) -> list[str]:
        """Return what each process says, in the order of their numbers; all must say something."""
        found = [sentence] * self.size
        if self.size > 1:
            dist.all_gather_object(found, sentence)
        return found

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
        abilities(chosen).together,
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


def sharing_notices(world: World) -> list[str]:
    """Return what to say where processes share the cores of one computer.

    >>> sharing_notices(World(device=torch.device("cpu")))
    []
    """
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if world.size == 1 or beside == 1 or not abilities(world.device).host:
        return []
    return [
        f"{beside} processes share this computer's cores. One process with all of them is as fast "
        "or faster: several help over several computers, or GPUs."
    ]


def _own_device(name: str, local_rank: int) -> torch.device:
    chosen = pick_device(name)
    if abilities(chosen).together is None:  # Apple's GPU computes for one process only
        if name != "auto":
            raise UserError(
                f"Several processes cannot compute together on {chosen.type}. Train with one "
                "process, or with --device cpu."
            )
        chosen = torch.device("cpu")
    if abilities(chosen).host:
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


Strategy = Literal["ddp", "fsdp"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def wrap(
    model: nn.Module,
    acceleration: Acceleration,
    world: World,
    strategy: str = "ddp",
    *,
    accumulation_steps: int = 1,
) -> AcceleratedLoss:
    """Prepare a model for several processes, and return the loss function to train it with.

    Call it before the optimizer is made. The model keeps its class and the names of its weights.
    Under "fsdp" each process has a share of them, so that whatever calls the model (evaluating,
    sampling) must be done by all processes; under "ddp" each may do it by itself.

    Args:
        model: The same in every process, on `world.device`.
        acceleration: See `accelerate`, which this is for a process that is alone.
        world: From `join_world`.
        strategy: "ddp" or "fsdp".
        accumulation_steps: Of the run: with "ddp" the gradients travel once a step, not in every
            part of it.

    Raises:
        UserError: If there is no such strategy, or it cannot do what the acceleration asks.
    """
    if strategy not in STRATEGIES:
        raise UserError(f"There is no strategy {strategy!r}. {nearest(strategy, STRATEGIES)}")
    if world.size == 1:
        return accelerate(model, acceleration)
    if strategy == "fsdp":
        if acceleration.precision == "float16":
            raise UserError(
                "float16 scales gradients on their way, which fsdp takes another way. Use "
                "--precision bfloat16 or float32, or --strategy ddp."
            )
        shard(model, world)
    return _TogetherLoss(model, accelerate(model, acceleration), world, accumulation_steps)


def shard(model: nn.Module, world: World) -> None:
    """Share a model's weights out among all processes, in place, block by block."""
    if is_sharded(model):
        return
    from torch.distributed.fsdp import fully_shard  # a second to load, and few need it

    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in getattr(model, "blocks", ()):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Return whether a model's weights are shared out among processes.

    >>> is_sharded(nn.Linear(3, 2))
    False
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")  # where it is not loaded, nothing is sharded
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)


class _Inside(nn.Module):
    """Model and loss as one module, which is what DistributedDataParallel wants to wrap."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of this process's part, (B, T) each."""
        return self.loss(self.model, inputs, targets)


class _TogetherLoss(AcceleratedLoss):
    """The mean loss over all processes, whose gradient is the mean of theirs."""

    def __init__(self, model: nn.Module, alone: AcceleratedLoss, world: World, parts: int) -> None:
        super().__init__(alone.acceleration)
        self.alone, self.scaler, self.world, self.parts = alone, alone.scaler, world, parts
        self.sharded = is_sharded(model)
        self.inside: nn.Module = _Inside(model, alone)
        if not self.sharded:
            cards = None if abilities(world.device).host else [world.device]
            self.inside = DistributedDataParallel(self.inside, device_ids=cards)
        self.first_weight = next(p for p in model.parameters() if p.requires_grad)
        self.part = 0

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over all processes of their inputs and targets, (B, T) each."""
        if self.first_weight.grad is None:  # the first part of a step, also of one that is repeated
            self.part = 0
            _own_randomness(self.world)
        self.part += 1
        if isinstance(self.inside, DistributedDataParallel):
            self.inside.require_backward_grad_sync = self.part >= self.parts
        return cast(Tensor, _Mean.apply(self.inside(inputs, targets), self.world))


def _own_randomness(world: World) -> None:
    """Give each process its own dropout: the seed of the step is the same for all of them."""
    if world.rank == 0:
        return
    own = (torch.initial_seed() + 7_919_000_003 * world.rank) % 2**63
    torch.default_generator.manual_seed(own)
    seed_random(world.device, own)


class _Mean(torch.autograd.Function):
    """The mean of a number over all processes; each sends its own gradient back unchanged."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, world: World) -> Tensor:
        return world.mean(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


# What the libraries of distributed computing say when a process that they wait for is gone.
GONE = ("gloo", "nccl", "connection", "timed out", "peer")


@contextmanager
def one_voice(world: World) -> Iterator[None]:
    """Let only the main process print inside the `with`, and errors say whose they are.

    Raises:
        UserError: If another process of the run is gone.
    """
    with contextlib.ExitStack() as stack:
        if not world.is_main:
            nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
        try:
            yield
        except KeyboardInterrupt as error:
            if world.is_main:
                raise
            raise SystemExit(getattr(error, "status", 130)) from None
        except UserError as error:
            if world.is_main:
                raise
            raise UserError(f"(process {world.rank}) {error}") from error
        except RuntimeError as error:
            if world.size == 1 or not any(word in str(error).lower() for word in GONE):
                raise
            raise UserError(
                f"(process {world.rank}) Another process of this run has ended, so this one cannot "
                "go on. What was saved is whole; torchrun --max-restarts 1 goes on by itself."
            ) from error


def agreed_path(path: Path, world: World) -> Path:
    """Return the path that the main process means: names with the time in them differ.

    >>> agreed_path(Path("runs/mine"), World(device=torch.device("cpu"))).name
    'mine'
    """
    if world.size == 1:
        return path
    size = 4096  # the longest path that systems take
    data = os.fsencode(path)[:size].ljust(size, b"\0")
    row = torch.tensor(list(data), dtype=torch.uint8, device=world.device)
    torch.distributed.broadcast(row, src=0)
    return Path(os.fsdecode(bytes(row.tolist()).rstrip(b"\0")))
