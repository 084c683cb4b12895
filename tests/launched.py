"""What the tests of several processes run under torchrun: `torchrun ... tests/launched.py TASK`.

Not a test itself. Every task writes what the first process saw to a JSON file.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPTConfig
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.runs.session import first_cause
from bhushgpt.speed.acceleration import Acceleration
from bhushgpt.speed.distributed import World, join_world, wrap
from bhushgpt.storage.distributed import load_distributed, save_distributed
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import NonFinite, TrainState, train
from bhushgpt.training_config import TrainingConfig

TOKENIZER = CharTokenizer.from_text("abcdefghijk")
ALONE = World(device=torch.device("cpu"))
SCENARIOS: dict[str, dict[str, Any]] = {
    "ddp": {"strategy": "ddp"},
    "fsdp": {"strategy": "fsdp"},
    "ddp in 2 parts": {"strategy": "ddp", "parts": 2},
    "fsdp in 2 parts": {"strategy": "fsdp", "parts": 2},
    "ddp, everything": {
        "strategy": "ddp",
        "acceleration": {"chunk_tokens": 7, "activation_checkpointing": True},
    },
    "fsdp, everything": {
        "strategy": "fsdp",
        "acceleration": {"chunk_tokens": 7, "activation_checkpointing": True},
    },
    "ddp, float16": {"strategy": "ddp", "acceleration": {"precision": "float16"}},
    "fsdp, bfloat16": {"strategy": "fsdp", "acceleration": {"precision": "bfloat16"}},
}


def settings(parts: int = 1, dropout: float = 0.0) -> RunConfig:
    return RunConfig(
        preset="test",
        model=GPTConfig(
            vocab_size=TOKENIZER.vocab_size,
            context_length=8,
            n_layer=2,
            n_head=2,
            n_embd=16,
            dropout=dropout,
        ),
        training=TrainingConfig(
            steps=8,
            batch_size=8,
            learning_rate=1e-2,
            warmup_steps=2,
            schedule="wsd",
            accumulation_steps=parts,
        ),
    )


def batches(config: RunConfig) -> Batches:
    text = np.random.default_rng(0).integers(0, TOKENIZER.vocab_size, 500)
    return Batches(text, config.training.batch_size, config.model.context_length)


def losses(
    world: World,
    strategy: str,
    parts: int = 1,
    acceleration: dict[str, Any] | None = None,
    dropout: float = 0.0,
) -> list[list[float]]:
    """Train from the start; of each step its loss, the gradient's length, and the tokens."""
    config = settings(parts, dropout)
    model = build_model(config, world.device)
    chosen = Acceleration(**(acceleration or {}))
    loss = wrap(model, chosen, world, strategy, accumulation_steps=parts)
    state = TrainState.fresh(model, config.training)
    reports = world.reports(train(state, world.batches(batches(config)), config.training, loss))
    return [[report.loss, report.grad_norm, report.tokens] for report in reports]


def compare(world: World, folder: Path) -> dict[str, Any]:
    """Run all scenarios, and what must be refused or named."""
    found: dict[str, Any] = {name: losses(world, **how) for name, how in SCENARIOS.items()}
    found["votes"] = [world.agree(False), world.agree(world.rank == world.size - 1)]
    found["dropout"] = losses(world, "ddp", dropout=0.5)
    found["masks"] = _masks(world)
    for strategy in ("ddp", "fsdp"):
        found[f"bad {strategy}"] = _spoilt(world, strategy)
    try:
        wrap(build_model(settings()), Acceleration(precision="float16"), world, "fsdp")
    except UserError as error:
        found["float16 under fsdp"] = str(error)
    blocked = folder / "a_file"
    if world.is_main:
        blocked.write_text("in the way")
    world.barrier()
    config = settings()
    state = TrainState.fresh(build_model(config), config.training)
    try:
        save_distributed(blocked / "run", state, config, TOKENIZER, world)
    except UserError as error:
        found["blocked"] = str(error)
    found["all refused"] = not world.agree("blocked" not in found)
    found["handed over"] = _hand_over(world, folder / "handed")
    return found


def _hand_over(world: World, run: Path) -> list[list[float]]:
    """Begin a run with two processes, go on with four; the test itself does the rest alone."""
    if world.size == 2:
        # Saved by two, before the first step and after the second.
        return go_on(world, run, "fsdp", 2)
    return go_on(world, run, "ddp", 4) + go_on(world, run, "fsdp", 6)


def _masks(world: World) -> list[list[bool]]:
    """Return what the first dropout of each process lets through in the first step."""
    config = settings(dropout=0.5)
    model = build_model(config)
    seen: list[torch.Tensor] = []
    loss = wrap(model, Acceleration(), world, "ddp")
    model.get_submodule("dropout").register_forward_hook(lambda *given: seen.append(given[-1]))
    next(
        train(
            TrainState.fresh(model, config.training),
            world.batches(batches(config)),
            config.training,
            loss,
        )
    )
    masks: list[list[bool]] = [[]] * world.size
    torch.distributed.all_gather_object(masks, (seen[0] != 0).flatten().tolist())
    return masks


def _spoilt(world: World, strategy: str) -> str:
    """Return the message when the last process alone meets a number that is not finite."""
    config = settings()
    model = build_model(config)
    if world.rank == world.size - 1:
        model.get_submodule("blocks.1.mlp.activation").register_forward_hook(
            lambda *given: given[-1] * torch.inf
        )
    loss = wrap(model, Acceleration(), world, strategy)
    state = TrainState.fresh(model, config.training)
    mine = world.batches(batches(config))
    try:
        next(train(state, mine, config.training, loss))
    except NonFinite as error:
        cause = first_cause(state, mine, config.training, loss, world)
        whole = all(_local(weight).isfinite().all() for weight in model.parameters())
        return f"{error} {cause} (step {state.step}, whole {whole})"
    return "nothing was noticed"


def _local(weight: Any) -> torch.Tensor:
    return weight.to_local() if hasattr(weight, "to_local") else weight


def go_on(world: World, folder: Path, strategy: str, until: int) -> list[list[float]]:
    """Go on from the newest checkpoint, or begin, and save at step `until`."""
    config = settings()
    if (folder / "last").exists():
        state = load_distributed(folder / "last", world, strategy).state
        loss = wrap(state.model, Acceleration(), world, strategy)
    else:
        model = build_model(config, world.device)
        loss = wrap(model, Acceleration(), world, strategy)
        state = TrainState.fresh(model, config.training)
        save_distributed(folder, state, config, TOKENIZER, world)  # before a step was made
    found = []
    reports = world.reports(train(state, world.batches(batches(config)), config.training, loss))
    for report in reports:
        found.append([report.loss, report.grad_norm, report.tokens])
        if report.step == until:
            break
    save_distributed(folder, state, config, TOKENIZER, world, extra={"note": strategy})
    return found


def killed(world: World, folder: Path, strategy: str) -> list[list[float]]:
    """Train with a save at every step; in the first attempt the last process dies at step 5."""
    config = settings()
    first_attempt = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    found = []
    if first_attempt:
        go_on(world, folder / "quiet", strategy, 8)  # what should come out
        go_on(world, folder / "broken", strategy, 1)
    folder = folder / "broken"
    state = load_distributed(folder / "last", world, strategy).state
    loss = wrap(state.model, Acceleration(), world, strategy)
    for report in train(state, world.batches(batches(config)), config.training, loss):
        found.append([report.step, report.loss])
        if first_attempt and report.step == 5 and world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        save_distributed(folder, state, config, TOKENIZER, world)
    return found


def main() -> None:
    torch.set_num_threads(1)
    task, folder, result, *rest = sys.argv[1:]
    with join_world("cpu") as world:
        if task == "compare":
            found: Any = compare(world, Path(folder))
        elif task == "killed":
            found = killed(world, Path(folder), rest[0])
        else:
            assert task == "nothing"
            found = losses(world, rest[0])
        if world.is_main:
            Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
