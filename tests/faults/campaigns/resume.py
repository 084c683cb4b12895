"""60 steps in one go, and 60 steps with stops: the same to the last bit, or it is noticed.

python -m tests.faults.campaigns.resume
"""

import dataclasses
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bhushgpt.presets import RunConfig, build_model
from bhushgpt.storage.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from bhushgpt.training import TrainState
from tests.small_runs import (
    TOKENIZER,
    Moment,
    fresh_state,
    moments,
    same_weights,
    small_config,
)

Forget = Callable[[Checkpoint], Checkpoint]


def seed_everything(number: int) -> None:
    """Set all global generators: a process starts with some state, and another with another."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def unbroken(config: RunConfig) -> tuple[list[Moment], TrainState]:
    """Return what is seen of a run without a stop, and its last state."""
    seed_everything(1)
    state = fresh_state(config)
    return list(moments(state, config)), state


def broken(
    config: RunConfig,
    stops: Sequence[int],
    folder: Path,
    forget: Forget = lambda checkpoint: checkpoint,
) -> tuple[list[Moment], TrainState]:
    """Return the same of a run that is saved, thrown away and loaded at some steps.

    Args:
        config: The run.
        stops: Steps after which it stops.
        folder: Where it is saved.
        forget: Leaves out a part of what was loaded, to see that it is missed.
    """
    seed_everything(1)
    state = fresh_state(config)
    seen: list[Moment] = []
    for stop in [*stops, config.training.steps]:
        for moment in moments(state, config):
            seen.append(moment)
            if moment.step == stop:
                break
        if stop == config.training.steps:
            break
        save_checkpoint(folder, state, config, TOKENIZER)
        seed_everything(1000 + stop)  # another process begins
        checkpoint = forget(load_checkpoint(folder))
        if checkpoint.random is not None:
            checkpoint.random.restore()
        state, config = checkpoint.state, checkpoint.config
    return seen, state


def interrupted_evaluation(config: RunConfig, folder: Path) -> tuple[list[float], TrainState]:
    """Return the losses of a run that is stopped in the middle of looking at the held-out text."""
    state = fresh_state(config)
    losses: list[float] = []

    def stop(*_: Any) -> None:
        if not state.model.training and state.step == 28:
            raise KeyboardInterrupt

    handle = state.model.register_forward_pre_hook(stop)
    try:
        for moment in moments(state, config):
            losses.append(moment.loss)
    except KeyboardInterrupt:
        losses.append(float("nan"))  # the step was done, its report not yet handed out
    handle.remove()
    save_checkpoint(folder, state, config, TOKENIZER)
    loaded = load_checkpoint(folder)
    losses += [moment.loss for moment in moments(loaded.state, loaded.config)]
    return losses, loaded.state


def _without_weights(checkpoint: Checkpoint) -> Checkpoint:
    fresh = build_model(checkpoint.config).state_dict()
    checkpoint.state.model.load_state_dict(fresh)
    return checkpoint


def _without_means(checkpoint: Checkpoint) -> Checkpoint:
    for entry in checkpoint.state.optimizer.state.values():
        entry["exp_avg"].zero_()
        entry["exp_avg_sq"].zero_()
    return checkpoint


def _without_counts(checkpoint: Checkpoint) -> Checkpoint:
    for entry in checkpoint.state.optimizer.state.values():
        entry["step"].zero_()
    return checkpoint


def _without_step(checkpoint: Checkpoint) -> Checkpoint:
    checkpoint.state.step = 0
    return checkpoint


def _without_seed(checkpoint: Checkpoint) -> Checkpoint:
    training = dataclasses.replace(checkpoint.config.training, seed=0)
    config = dataclasses.replace(checkpoint.config, training=training)
    return dataclasses.replace(checkpoint, config=config)


def _without_random(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, random=None)


FORGOTTEN: dict[str, Forget] = {
    "the weights": _without_weights,
    "AdamW's running means": _without_means,
    "AdamW's count of steps": _without_counts,
    "the step": _without_step,
    "the seed": _without_seed,
    "the random numbers' state": _without_random,
}
STOPS = {"30 + 30": (30,), "in the warm-up": (3,), "20 + 20 + 20": (20, 40), "twice": (30, 31)}


def equal_parts(
    one: tuple[list[Moment], TrainState], other: tuple[list[Moment], TrainState]
) -> dict[str, bool]:
    """Return which of what can be seen of two runs is the same, bit for bit."""
    (seen, state), (again, resumed) = one, other
    return {
        "losses": [m.loss for m in seen] == [m.loss for m in again],
        "texts": [m.text for m in seen] == [m.text for m in again],
        "numbers drawn": [m.drawn for m in seen] == [m.drawn for m in again],
        "held out": [m.held_out for m in seen] == [m.held_out for m in again],
        "weights": same_weights(state, resumed),
    }


def main() -> int:
    """Run all ways to stop and all ways to forget, and print what came of them."""
    config = small_config(60)
    whole = unbroken(config)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, stops in STOPS.items():
            equal = equal_parts(whole, broken(config, stops, Path(folder, name)))
            failed |= not all(equal.values())
            print(f"{name:<28} {'identical' if all(equal.values()) else f'DIFFERS: {equal}'}")
        losses, state = interrupted_evaluation(config, Path(folder, "evaluation"))
        same = losses[:27] + losses[28:] == [m.loss for m in whole[0] if m.step != 28]
        same &= same_weights(state, whole[1])
        failed |= not same
        print(f"{'stopped while evaluating':<28} {'identical' if same else 'DIFFERS'}")
        for name, forget in FORGOTTEN.items():
            equal = equal_parts(whole, broken(config, (30,), Path(folder, name), forget))
            noticed = [part for part, holds in equal.items() if not holds]
            failed |= not noticed
            print(f"without {name:<20} noticed by: {', '.join(noticed) or 'NOTHING'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
