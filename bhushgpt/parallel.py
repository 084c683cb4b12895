"""One model in several processes: whole in each (DDP), or shared out among them (FSDP).

Letters: B batch, T time.

Lesson: notebook 14.
"""

from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from bhushgpt.acceleration import AcceleratedLoss, Acceleration, accelerate
from bhushgpt.distributed import World
from bhushgpt.errors import UserError, nearest
from bhushgpt.non_finite import explain_non_finite
from bhushgpt.training import LossFunction

Strategy = Literal["ddp", "fsdp"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def wrap(
    model: nn.Module,
    acceleration: Acceleration,
    world: World,
    strategy: str = "ddp",
    *,
    accumulation_steps: int = 1,
) -> LossFunction:
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

    Lesson: notebook 14.
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
    """Share a model's weights out among all processes, in place, block by block.

    Lesson: notebook 14.
    """
    if isinstance(model, FSDPModule):
        return
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in getattr(model, "blocks", ()):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


class _Inside(nn.Module):
    """Model and loss as one module, which is what DistributedDataParallel wants to wrap."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of this process's part, (B, T) each."""
        return self.loss(self.model, inputs, targets)


class _TogetherLoss:
    """The mean loss over all processes, whose gradient is the mean of theirs."""

    def __init__(self, model: nn.Module, loss: LossFunction, world: World, parts: int) -> None:
        assert isinstance(loss, AcceleratedLoss)
        self.local, self.world, self.parts = loss, world, parts
        self.sharded = isinstance(model, FSDPModule)
        self.inside: nn.Module = _Inside(model, loss)
        if not self.sharded:
            cards = [world.device] if world.device.type == "cuda" else None
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
        return _Mean.apply(self.inside(inputs, targets), self.world)

    def retry(self) -> bool:
        """Say whether the step is computed again; all processes say the same."""
        return self.local.retry()

    def explain(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, step: int) -> str:
        """Return the sentence of the first process that finds a number that is not finite."""
        # Without the way back, in which a process that has found it would leave the others waiting.
        watched = _forward_only(self.local) if self.sharded else self.local
        mine = explain_non_finite(model, inputs, targets, watched, step=step)
        found: list[Any] = [None] * self.world.size
        dist.all_gather_object(found, mine)
        return next((text for text in found if "not finite" in text), mine)


def _forward_only(loss: LossFunction) -> LossFunction:
    def value(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(model, inputs, targets).detach().requires_grad_()

    return value


def _own_randomness(world: World) -> None:
    """Give each process its own dropout: the seed of the step is the same for all of them."""
    if world.rank == 0:
        return
    own = (torch.initial_seed() + 7_919_000_003 * world.rank) % 2**63
    torch.default_generator.manual_seed(own)
    if world.device.type == "cuda":
        torch.cuda.manual_seed(own)


class _Mean(torch.autograd.Function):
    """The mean of a number over all processes; each sends its own gradient back unchanged."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, world: World) -> Tensor:
        return world.mean(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None
