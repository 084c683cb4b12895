"""Sessions from names: a fresh run in a new folder, or an earlier one at a checkpoint.

Lesson: notebook 16.
"""

import dataclasses
from pathlib import Path

import torch

from bhushgpt.acceleration import Acceleration, pick_acceleration
from bhushgpt.checkpoints import expected_bytes, load_checkpoint
from bhushgpt.disk_space import check_room
from bhushgpt.distributed import World
from bhushgpt.float32_products import fast_float32_products
from bhushgpt.forecast import check_memory
from bhushgpt.full_memory import memory_explained
from bhushgpt.kept_memory import keep_freed_memory
from bhushgpt.parallel import wrap
from bhushgpt.precision import pick_precision
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.run_options import RunOptions, stored_options
from bhushgpt.run_records import first_record, machine_facts, run_of, text_of
from bhushgpt.runs import RECORD, RunFolder
from bhushgpt.self_check import device_notices
from bhushgpt.session import Session
from bhushgpt.texts import Text, open_text
from bhushgpt.training import LossFunction, TrainState


def start_session(
    preset_name: str,
    corpus_name: str,
    world: World,
    out: Path,
    *,
    steps: int | None = None,
    accumulation: int | None = None,
    options: RunOptions | None = None,
) -> Session:
    """Return a fresh run in the folder `out`.

    Args:
        preset_name: See `presets`.
        corpus_name: A registered corpus, a text file, or a folder of prepared tokens.
        world: Where to train, and with whom.
        out: The run's folder; it must not hold a run.
        steps: Instead of the preset's.
        accumulation: Parts that a batch is computed in, instead of the preset's.
        options: How it is computed and saved.

    Raises:
        UserError: For anything that cannot be used; nothing is written then.

    Lesson: notebook 16.
    """
    # A wrong name or number shows before the work.
    draft = _config(preset_name, 2, steps, accumulation)
    text = open_text(
        corpus_name, held_out=draft.held_out, context_length=draft.model.context_length
    )
    config = _config(preset_name, text.tokenizer.vocab_size, steps, accumulation)
    check_memory(config, world.device)
    options, acceleration, notices = accelerated(options or RunOptions(), config, world)
    state, loss = _built(config, acceleration, options, world)
    run = _new_folder(out, config, text, corpus_name, options, world)
    session = Session(run, config, text, state, world, options, loss, [*notices])
    try:
        session.save()  # from its first moment on a run can be gone on with
    except BaseException:
        if world.is_main:
            (out / RECORD).unlink(missing_ok=True)
        raise
    return session


def _config(name: str, vocab_size: int, steps: int | None, accumulation: int | None) -> RunConfig:
    return with_accumulation(preset(name, vocab_size, steps=steps), accumulation)


def with_accumulation(config: RunConfig, accumulation: int | None) -> RunConfig:
    """Return the settings with batches computed in so many parts; None leaves them.

    Lesson: notebook 16.
    """
    if accumulation is None:
        return config
    training = dataclasses.replace(config.training, accumulation_steps=accumulation)
    return dataclasses.replace(config, training=training)


def accelerated(
    options: RunOptions, config: RunConfig, world: World
) -> tuple[RunOptions, Acceleration, list[str]]:
    """Return the options with nothing left open, what they mean, and what cannot be had.

    Lesson: notebook 16.
    """
    precision = options.precision
    # Where it is decided by measuring, processes may differ: one float32 makes it float32 for all.
    if world.size > 1 and world.agree(pick_precision(world.device, precision) == "float32"):
        precision = "float32"
    acceleration, notices = pick_acceleration(world.device, config, precision, options.compile)
    # Both help training processes and nothing else, where they help at all.
    keep_freed_memory(world.device)
    quick = options.quick_products
    if acceleration.precision == "float32" and quick is not False:
        quick = fast_float32_products(world.device)
    settled = dataclasses.replace(
        options,
        precision=acceleration.precision,
        compile="on" if acceleration.compile else "off",
        quick_products=quick,
    )
    return settled, acceleration, [*notices, *device_notices(world.device)]


def _built(
    config: RunConfig, acceleration: Acceleration, options: RunOptions, world: World
) -> tuple[TrainState, LossFunction]:
    with memory_explained(config, world.device):
        model = build_model(config, world.device)
        parts = config.training.accumulation_steps
        loss = wrap(model, acceleration, world, options.strategy, accumulation_steps=parts)
        return TrainState.fresh(model, config.training), loss


def _new_folder(
    out: Path,
    config: RunConfig,
    text: Text,
    corpus_name: str,
    options: RunOptions,
    world: World,
) -> RunFolder:
    """Make the run's folder, by the main process; the others wait for it."""
    if world.is_main:
        check_room(
            out, (options.keep + 1) * expected_bytes(config), "A run that keeps its checkpoints"
        )
        record = first_record(config, text, corpus_name) | machine_facts(options, world)
        run = RunFolder.create(out, record)
    world.barrier()
    return run if world.is_main else RunFolder.open(out)


def open_session(folder: Path, device: torch.device) -> Session:
    """Return an earlier run at a checkpoint, with its text, to be looked at.

    Args:
        folder: A run's folder (its newest checkpoint is taken), or one of its checkpoints, `last`
            and `best` too.
        device: Where the model is wanted.

    Raises:
        UserError: If there is no run or no checkpoint, or the text is gone or no longer the same.

    Lesson: notebook 16.
    """
    run = run_of(folder)
    checkpoint = load_checkpoint(folder, device)
    text = text_of(run, checkpoint.config, checkpoint.tokenizer)
    world = World(device=device)
    return Session(
        run, checkpoint.config, text, checkpoint.state, world, stored_options(run.record)
    )
