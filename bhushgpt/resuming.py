"""Going on with a run: what may be other than before, and which value holds.

Lesson: notebook 16.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bhushgpt.checkpoints import Checkpoint, load_checkpoint
from bhushgpt.distributed import World
from bhushgpt.distributed_checkpoints import load_distributed
from bhushgpt.errors import UserError
from bhushgpt.full_memory import memory_explained
from bhushgpt.parallel import wrap
from bhushgpt.run_options import RunOptions, changed_options, option_changes, stored_options
from bhushgpt.run_records import corpus_place, machine_facts, run_of, text_of
from bhushgpt.runs import RunFolder
from bhushgpt.session import Session
from bhushgpt.session_setup import accelerated, with_accumulation


def refuse_other_run(run: RunFolder, asked: Mapping[str, Any]) -> None:
    """Refuse to go on with a run as if it had been started otherwise.

    Args:
        run: The run.
        asked: preset, corpus and steps as typed; None where nothing was typed.

    Raises:
        UserError: Naming each difference, and which value holds.

    Lesson: notebook 16.
    """
    config = run.record.get("config", {})
    its = {
        "preset": run.record.get("preset"),
        "corpus": run.record.get("corpus"),
        "steps": config.get("training", {}).get("steps") if isinstance(config, dict) else None,
    }
    if asked.get("corpus") is not None:
        asked = {**asked, "corpus": corpus_place(asked["corpus"])}
    other = [
        f"--{name} is {value} in the run, and you asked for {asked[name]}"
        for name, value in its.items()
        if asked.get(name) is not None and asked[name] != value
    ]
    if other:
        raise UserError(
            f"The run in {run.path} was started with other settings: {'; '.join(other)}. The "
            "steps that are done were made with the run's own, so these hold: leave what differs "
            "out to go on, or leave --resume out to train a new run. What may change on the way: "
            "--device, --precision, --compile, --strategy, --accumulation, --save-every, --keep "
            "and --tensorboard."
        )


def resume_session(
    folder: Path,
    world: World,
    *,
    asked: Mapping[str, Any] | None = None,
    accumulation: int | None = None,
    skip_batch: int | None = None,
) -> Session:
    """Return an earlier run at a checkpoint, ready to go on.

    Args:
        folder: A run's folder, or one of its checkpoints.
        world: Where to train, and with whom; it may be other than before.
        asked: Options that are wanted now (fields of `RunOptions`); None is as before.
        accumulation: Parts that a batch is computed in from now on.
        skip_batch: A batch to leave out, such as one that made the loss infinite.

    Returns:
        The session; its notices name each difference to before. What is asked for now holds.

    Raises:
        UserError: If there is no run or no checkpoint, the text is gone or no longer the same, or
            what is asked for cannot be had.

    Lesson: notebook 16.
    """
    run = run_of(folder)
    before = stored_options(run.record)
    options = changed_options(before, asked or {})
    checkpoint = _loaded(folder, world, options)
    config = with_accumulation(checkpoint.config, accumulation)
    options, acceleration, notices = accelerated(options, config, world)
    changes = option_changes(before, options) + _other_changes(run, checkpoint, config, world)
    if changes:
        notices.append(f"Other than before, as it is asked for now: {'; '.join(changes)}.")
    text = text_of(run, config, checkpoint.tokenizer)
    with memory_explained(config, world.device):
        parts = config.training.accumulation_steps
        model = checkpoint.state.model
        loss = wrap(model, acceleration, world, options.strategy, accumulation_steps=parts)
    if checkpoint.random is not None:
        checkpoint.random.restore(world.device)
    _note(run, options, world, skip_batch)
    return Session(run, config, text, checkpoint.state, world, options, loss, notices)


def _loaded(folder: Path, world: World, options: RunOptions) -> Checkpoint:
    if world.size > 1:
        return load_distributed(folder, world, options.strategy)
    return load_checkpoint(folder, world.device)


def _other_changes(run: RunFolder, checkpoint: Checkpoint, config: Any, world: World) -> list[str]:
    before = run.record
    parts, were = (c.training.accumulation_steps for c in (config, checkpoint.config))
    pairs = (
        ("--accumulation", parts, were),
        ("the device", world.device.type, before.get("device", world.device.type)),
        ("the number of processes", world.size, before.get("processes", world.size)),
    )
    return [f"{name} is {now} (it was {then})" for name, now, then in pairs if now != then]


def _note(run: RunFolder, options: RunOptions, world: World, skip_batch: int | None) -> None:
    """Write down how the run goes on; every process needs to know what is skipped."""
    skipped = run.record.get("skipped_batches", [])
    if skip_batch is not None:
        skipped = sorted({*skipped, skip_batch})
        run.record["skipped_batches"] = skipped
    if world.is_main:
        run.update(**machine_facts(options, world))
