"""Checkpoints that several processes write and read together, in the form of any other checkpoint.

Every process writes its share of each tensor through torch.distributed.checkpoint, as safetensors;
then the first one joins the shares into `model.safetensors` and `optimizer.safetensors`. So any
number of processes, under any strategy, or one alone, can go on from what any other wrote, and
nothing of it is a pickle. On several computers the run's folder must be one that all of them see.

Lesson: notebook 15.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from bhushgpt.environment import written_out
from bhushgpt.errors import UserError
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.speed import World, shard
from bhushgpt.storage.checkpoints import (
    MODEL,
    OPTIMIZER,
    Checkpoint,
    Settings,
    check_weights,
    load_checkpoint,
    refuse,
    save_checkpoint,
    write_settings,
)
from bhushgpt.storage.run_folder import new_checkpoint
from bhushgpt.storage.tensors import (
    merged_groups,
    optimizer_misfits,
    optimizer_parts,
    optimizer_slots,
    read_header,
    restore_optimizer,
    weights_once,
)
from bhushgpt.tokenizers import Tokenizer
from bhushgpt.training import TrainState


def save_distributed(
    folder: Path,
    state: TrainState,
    config: RunConfig,
    tokenizer: Tokenizer,
    world: World,
    *,
    keep: int = 2,
    best: bool = False,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write `folder/step_00001000` together and return it; all processes must call it.

    It appears whole or not at all, and is an ordinary checkpoint. See `save_checkpoint` for the
    arguments.

    Raises:
        UserError: In every process, if one of them cannot write; what was saved before stays.
    """
    if world.size == 1:
        return save_checkpoint(folder, state, config, tokenizer, keep=keep, best=best, extra=extra)
    weights = weights_once(state)
    tensors, groups = optimizer_parts(state)
    needed = 2 * sum(tensor.nbytes for tensor in (*weights.values(), *tensors.values()))
    making = new_checkpoint(folder, state.step, keep=keep, best=best, needed=needed)
    stack = ExitStack()  # of the first process: it leaves the folder whole, or takes it away
    temporary = _on_main(world, lambda: stack.enter_context(making))
    trouble = _write(weights, temporary, MODEL, world)
    trouble = trouble or _write(tensors, temporary, OPTIMIZER, world)

    def finish() -> None:
        with stack:
            if trouble is not None:
                raise trouble
            facts = {"step": state.step, "config": config, "tokenizer": tokenizer}
            write_settings(temporary, **facts, groups=groups, extra=extra or {})

    _on_main(world, finish)
    return written_out(folder) / f"step_{state.step:08d}"


def _on_main(world: World, action: Callable[[], Any]) -> Any:
    """Do something in the first process and return its result in all; its error comes to all."""
    outcome: list[Any] = [None, None]
    if world.is_main:
        try:
            outcome[0] = action()
        except (UserError, OSError) as error:
            outcome[1] = str(error)
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise UserError(outcome[1])
    return outcome[0]


def _write(tensors: dict[str, Tensor], folder: Path, name: str, world: World) -> UserError | None:
    """Write tensors, of which every process has a share, into one file; return what went wrong."""
    # Here and below: a second to load, and a process that is alone needs none of it.
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    parts = folder / f"{name}.parts"

    def join() -> None:
        if not tensors:  # an optimizer that has not made a step
            return save_file({}, folder / name)
        (whole,) = parts.glob("*.safetensors")
        whole.replace(folder / name)
        return shutil.rmtree(parts)

    try:
        if tensors:
            writer = HuggingFaceStorageWriter(
                str(parts), save_distributed=True, enable_consolidation=True
            )
            save(tensors, storage_writer=writer)
        _on_main(world, join)
    except (CheckpointException, OSError, UserError) as error:  # the same in all processes
        return UserError(
            f"The checkpoint cannot be written to {folder.parent}: {_reason(error)}. Earlier "
            "checkpoints are as they were."
        )
    return None


def _reason(error: BaseException) -> str:
    failures = getattr(error, "failures", {})
    first = next((failure for failure, _ in failures.values()), error)
    return str(getattr(first, "strerror", None) or first).partition("\n")[0]


def load_distributed(folder: Path, world: World, strategy: str = "ddp") -> Checkpoint:
    """Return a checkpoint's state for these processes; all of them must call it.

    Args:
        folder: As for `load_checkpoint`; any checkpoint, written by any number of processes.
        world: From `join_world`.
        strategy: Under "fsdp" each process reads its share of the weights, and the model is ready
            for `wrap`.

    Raises:
        UserError: See `load_checkpoint`.
    """
    if world.size == 1 or strategy != "fsdp":
        return load_checkpoint(folder, world.device)

    def read(path: Path, settings: Settings, device: torch.device) -> TrainState:
        return _read_shares(path, settings, world)

    return load_checkpoint(folder, world.device, read=read)


def _read_shares(folder: Path, settings: Settings, world: World) -> TrainState:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    check_weights(folder, settings.config)
    model = build_model(settings.config, world.device)
    shard(model, world)
    state = TrainState(model, settings.config.training.optimizer(model), settings.step)
    reader = HuggingFaceStorageReader(str(folder))
    load(weights_once(state), storage_reader=reader)  # into the model's own tensors
    found = read_header(folder / OPTIMIZER)
    if found:
        slots, groups = optimizer_slots(state)
        refuse(folder, optimizer_misfits(found, slots))
        tensors = {name: slots[name] if slots[name].dim() else slots[name][None] for name in found}
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
        restore_optimizer(state, slots, tensors, merged_groups(settings.groups, groups))
    return state
