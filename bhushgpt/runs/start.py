"""Sessions from names: a fresh run in a new folder, or an earlier one at a checkpoint.

`start_session` makes everything of a preset and a text; `resume_session` finds everything in a
folder, and decides what may be other than before; `open_session` only looks at a run.

Lesson: notebook 17.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bhushgpt.cpu_settings import fast_float32_products, keep_freed_memory
from bhushgpt.diagnosis import device_notices, memory_explained
from bhushgpt.errors import UserError
from bhushgpt.files import check_room
from bhushgpt.forecast import check_memory, expected_bytes
from bhushgpt.gpt import GPT
from bhushgpt.language_model import LanguageModel
from bhushgpt.lora import LoRAConfig
from bhushgpt.presets import CHANGEABLE, RunConfig, build_model, preset, with_changes
from bhushgpt.replay import shared_out
from bhushgpt.runs.fine_tuning import (
    FineTuning,
    Origin,
    held_out_loss,
    origin_facts,
    plain_model,
    second_text,
    stored_origin,
    tuned_model,
)
from bhushgpt.runs.folder import (
    RECORD,
    RunFolder,
    RunOptions,
    changed_options,
    corpus_place,
    first_record,
    machine_facts,
    option_changes,
    run_of,
    stored_options,
    text_of,
)
from bhushgpt.runs.session import Session
from bhushgpt.runs.training_text import Text, open_text
from bhushgpt.speed import (
    AcceleratedLoss,
    Acceleration,
    World,
    pick_acceleration,
    pick_precision,
    sharing_notices,
    wrap,
)
from bhushgpt.storage import (
    Checkpoint,
    config_to_dict,
    load_checkpoint,
    load_distributed,
    refuse_other_model,
    save_checkpoint,
)
from bhushgpt.tokenizers import Tokenizer, UnknownCharacter
from bhushgpt.training import TrainState

IMPORTED = "imported"


def start_session(
    preset_name: str,
    corpus_name: str,
    world: World,
    out: Path,
    *,
    steps: int | None = None,
    accumulation: int | None = None,
    changes: Mapping[str, Any] | None = None,
    init_from: Path | None = None,
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
        changes: Other settings than the preset's, by name: see `presets.CHANGEABLE`.
        init_from: A run, or a checkpoint of one, whose weights it begins with; of the same sizes.
        options: How it is computed and saved.

    Raises:
        UserError: For anything that cannot be used; nothing is written then.
    """
    # A wrong name or number shows before the work.
    asked = (steps, accumulation, changes or {})
    draft = _config(preset_name, 2, *asked)
    first = None
    if init_from is not None:
        first = load_checkpoint(init_from, world.device, optimizer=False)
    try:
        text = open_text(
            corpus_name,
            held_out=draft.held_out,
            context_length=draft.model.context_length,
            tokenizer=first and first.tokenizer,
        )
    except UnknownCharacter as error:
        raise UserError(
            f"{error.found} The command finetune can leave such characters out: --unknown skip."
        ) from error
    config = _config(preset_name, text.tokenizer.vocab_size, *asked)
    given = (config, text, corpus_name, world, out, options or RunOptions())
    if first is None:
        return begin_session(*given)
    return begin_session(
        *given,
        model=_with_weights(config, first, world),
        notices=[f"It begins with the weights of {first.folder}, and with nothing else of it."],
        facts={"init_from": str(first.folder.absolute())},
    )


def _with_weights(config: RunConfig, first: Checkpoint, world: World) -> LanguageModel:
    """Return the model of a run with the weights of another one in it, whatever its dropout was.

    Raises:
        UserError: If they do not fit; the message names each difference.
    """
    trained = plain_model(first.state.model)
    asked, had = config.model, first.config.model
    had = had.plain if isinstance(had, LoRAConfig) else had
    if type(asked) is type(had) and (dropout := getattr(had, "dropout", None)) is not None:
        asked = dataclasses.replace(asked, dropout=dropout)  # type: ignore[call-arg]
    refuse_other_model(had, asked, first.tokenizer)
    model = build_model(config, world.device)
    model.load_state_dict(trained.state_dict())
    return model


def start_fine_tuning(
    base: Path,
    corpus_name: str,
    world: World,
    out: Path,
    settings: FineTuning | None = None,
    *,
    options: RunOptions | None = None,
) -> Session:
    """Return a run in the folder `out` that begins with another run's model, on a second text.

    Args:
        base: The folder of the first run, or of one of its checkpoints.
        corpus_name: See `start_session`; the tokenizer stays that of the first run.
        world: Where to train, and with whom.
        out: The new run's folder.
        settings: How it is learned.
        options: How it is computed and saved.

    Raises:
        UserError: For anything that cannot be used; nothing is written then.
    """
    settings = settings or FineTuning()
    run, checkpoint = run_of(base), load_checkpoint(base, world.device, optimizer=False)
    model, tokenizer = plain_model(checkpoint.state.model), checkpoint.tokenizer
    config = settings.config(checkpoint.config)
    shared_out(config.training.batch_size, settings.replay)  # a share that cannot be had
    tuned = tuned_model(model, settings, config.training.seed)
    text = second_text(corpus_name, config, tokenizer, settings.unknown)
    old = text_of(run, checkpoint.config, tokenizer)
    origin = Origin(
        base=str(checkpoint.folder.absolute()),
        old=old,
        replay=settings.replay,
        old_before=held_out_loss(model, old),
        new_before=held_out_loss(model, text),
    )
    return begin_session(
        config,
        text,
        corpus_name,
        world,
        out,
        options or RunOptions(),
        model=tuned,
        origin=origin,
        facts={"fine_tuning": origin_facts(origin, run, settings)},
    )


def import_run(model: GPT, tokenizer: Tokenizer, source: str, corpus_name: str, out: Path) -> Text:
    """Make a run in the folder `out` of a model that was trained elsewhere, at its step 0.

    It can be completed, measured and fine-tuned like any other, and trained on as `gpt-v2-mini` is.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        source: Where it comes from, for the record.
        corpus_name: The text that it is measured on, and that fine-tuning does not forget.
        out: The run's folder, new or empty.

    Returns:
        The text, as the model reads it.

    Raises:
        UserError: If tokenizer, text and model do not fit together, or the folder is not free.
    """
    if tokenizer.vocab_size != model.config.vocab_size:
        raise UserError(
            f"The model in {source} has {model.config.vocab_size:,} tokens and its tokenizer "
            f"{tokenizer.vocab_size:,}: they do not belong together."
        )
    usual = preset("gpt-v2-mini", tokenizer.vocab_size)
    config = dataclasses.replace(usual, preset=IMPORTED, model=model.config)
    length = model.config.context_length
    try:
        text = open_text(
            corpus_name, held_out=config.held_out, context_length=length, tokenizer=tokenizer
        )
    except UserError as error:
        raise UserError(f"{error} To measure the model on another text: --corpus FILE.") from error
    world = World(device=torch.device("cpu"))
    record = first_record(config, text, corpus_name) | {"imported_from": source}
    check_room(out, expected_bytes(config), "The run")
    RunFolder.create(out, record | machine_facts(RunOptions(), world))
    try:
        save_checkpoint(out, TrainState.fresh(model, config.training), config, tokenizer)
    except BaseException:
        (out / RECORD).unlink(missing_ok=True)
        raise
    return text


def begin_session(
    config: RunConfig,
    text: Text,
    corpus_name: str,
    world: World,
    out: Path,
    options: RunOptions,
    *,
    notices: Sequence[str] = (),
    model: LanguageModel | None = None,
    origin: Origin | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Session:
    """Return a fresh run of these settings on a text that is open, in the folder `out`.

    Args:
        config: The run.
        text: What it learns from.
        corpus_name: The text's name, to find it again.
        world: Where to train, and with whom.
        out: The run's folder; it must not hold a run.
        options: How it is computed and saved.
        notices: What people should know before it starts.
        model: What it begins with, instead of an untrained one.
        origin: Where that came from.
        facts: What its record holds besides.

    Raises:
        UserError: For anything that cannot be used; nothing is written then.
    """
    options, acceleration, more = accelerated(options, config, world)
    check_memory(share_of(config, world), world.device, acceleration)
    state, loss = _built(config, acceleration, options, world, model)
    record = {**first_record(config, text, corpus_name), **(facts or {})}
    run = _new_folder(out, config, record, options, world)
    session = Session(run, config, text, state, world, options, loss, [*notices, *more], origin)
    try:
        session.save()  # from its first moment on a run can be gone on with
    except BaseException:
        if world.is_main:
            (out / RECORD).unlink(missing_ok=True)
        raise
    return session


def _config(
    name: str,
    vocab_size: int,
    steps: int | None,
    accumulation: int | None,
    changes: Mapping[str, Any],
) -> RunConfig:
    return with_accumulation(
        with_changes(preset(name, vocab_size, steps=steps), changes), accumulation
    )


def share_of(config: RunConfig, world: World) -> RunConfig:
    """Return the settings of what one of several processes computes: its part of each batch."""
    if world.size == 1:
        return config
    parts = config.training.accumulation_steps
    rows = parts * max(1, config.training.batch_size // (parts * world.size))
    training = dataclasses.replace(config.training, batch_size=rows)
    return dataclasses.replace(config, training=training)


def with_accumulation(config: RunConfig, accumulation: int | None) -> RunConfig:
    """Return the settings with batches computed in so many parts; None leaves them."""
    if accumulation is None:
        return config
    training = dataclasses.replace(config.training, accumulation_steps=accumulation)
    return dataclasses.replace(config, training=training)


def accelerated(
    options: RunOptions, config: RunConfig, world: World
) -> tuple[RunOptions, Acceleration, list[str]]:
    """Return the options with nothing left open, what they mean, and what cannot be had."""
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
    notices = [*notices, *device_notices(world.device), *sharing_notices(world)]
    return settled, acceleration, notices


def _built(
    config: RunConfig,
    acceleration: Acceleration,
    options: RunOptions,
    world: World,
    model: LanguageModel | None,
) -> tuple[TrainState, AcceleratedLoss]:
    with memory_explained(config, world.device, acceleration):
        model = model or build_model(config, world.device)
        parts = config.training.accumulation_steps
        loss = wrap(model, acceleration, world, options.strategy, accumulation_steps=parts)
        return TrainState.fresh(model, config.training), loss


def _new_folder(
    out: Path,
    config: RunConfig,
    record: Mapping[str, Any],
    options: RunOptions,
    world: World,
) -> RunFolder:
    """Make the run's folder, by the main process; the others wait for it."""
    if world.is_main:
        check_room(
            out, (options.keep + 1) * expected_bytes(config), "A run that keeps its checkpoints"
        )
        run = RunFolder.create(out, {**record, **machine_facts(options, world)})
    world.barrier()
    return run if world.is_main else RunFolder.open(out)


def open_session(folder: Path, device: torch.device, corpus: str | None = None) -> Session:
    """Return an earlier run at a checkpoint, with its text, to be looked at.

    Args:
        folder: A run's folder (its newest checkpoint is taken), or one of its checkpoints, `last`
            and `best` too.
        device: Where the model is wanted.
        corpus: Where the text is now, if it was moved.

    Raises:
        UserError: If there is no run or no checkpoint, or the text is gone or no longer the same.
    """
    run = run_of(folder)
    checkpoint = load_checkpoint(folder, device, optimizer=False)
    text = text_of(run, checkpoint.config, checkpoint.tokenizer, corpus)
    world = World(device=device)
    return Session(
        run, checkpoint.config, text, checkpoint.state, world, stored_options(run.record)
    )


def refuse_other_run(run: RunFolder, asked: Mapping[str, Any]) -> None:
    """Refuse to go on with a run as if it had been started otherwise.

    Args:
        run: The run.
        asked: preset, steps and `presets.CHANGEABLE` as typed; None where nothing was typed.

    Raises:
        UserError: Naming each difference, and which value holds.
    """
    its, done = run.record.get("preset"), run.record.get("steps_done", 0)
    other = []
    if asked.get("preset") not in (None, its):
        other.append(f"--preset is {its} in the run, and you asked for {asked['preset']}")
    if asked.get("steps") is not None and asked["steps"] < done:
        other.append(f"--steps is {done} so far in the run, and you asked for {asked['steps']}")
    other += [
        f"--{name.replace('_', '-')} is {value} in the run, and you asked for {asked[name]}"
        for name, value in _changeable(run.record.get("config")).items()
        if asked.get(name) not in (None, value)
    ]
    if other:
        raise UserError(
            f"The run in {run.path} was started with other settings: {'; '.join(other)}. The "
            "steps that are done were made with the run's own, so these hold: leave what differs "
            "out to go on, or leave --resume out to train a new run. What may change on the way: "
            "--steps (more of them), where the same --corpus lies, --device, --precision, "
            "--compile, --strategy, --accumulation, --save-every, --keep and --tensorboard."
        )


def _changeable(config: Any) -> dict[str, Any]:
    """Return what a run's record says of the settings that can be asked for."""
    whole = config if isinstance(config, dict) else {}
    found = {}
    for name, part in CHANGEABLE.items():
        place = whole if part == "run" else whole.get(part)
        if isinstance(place, dict) and name in place:
            found[name] = place[name]
    return found


def resume_session(
    folder: Path,
    world: World,
    *,
    asked: Mapping[str, Any] | None = None,
    corpus: str | None = None,
    steps: int | None = None,
    accumulation: int | None = None,
    skip_batch: int | None = None,
) -> Session:
    """Return an earlier run at a checkpoint, ready to go on.

    Args:
        folder: A run's folder, or one of its checkpoints.
        world: Where to train, and with whom; it may be other than before.
        asked: Options that are wanted now (fields of `RunOptions`); None is as before.
        corpus: Where the text is now, if it was moved.
        steps: More steps than were planned, also for a run that is finished; or fewer, but not
            fewer than are done.
        accumulation: Parts that a batch is computed in from now on.
        skip_batch: A batch to leave out, such as one that made the loss infinite.

    Returns:
        The session; its notices name each difference to before. What is asked for now holds.

    Raises:
        UserError: If there is no run or no checkpoint, the text is gone or no longer the same, or
            what is asked for cannot be had.
    """
    run = run_of(folder)
    before = stored_options(run.record)
    options = changed_options(before, asked or {})
    checkpoint = _loaded(folder, world, options)
    done = checkpoint.state.step
    if steps is not None and steps < done:
        raise UserError(
            f"{steps} steps were asked for, and {done} are done. Ask for at least those."
        )
    config = _with_steps(with_accumulation(checkpoint.config, accumulation), steps)
    options, acceleration, notices = accelerated(options, config, world)
    changes = option_changes(before, options) + _other_changes(run, checkpoint, config, world)
    if changes:
        notices.append(f"Other than before, as it is asked for now: {'; '.join(changes)}.")
    origin = stored_origin(run, config, checkpoint.tokenizer)
    text = text_of(run, config, checkpoint.tokenizer, corpus)
    with memory_explained(config, world.device, acceleration):
        parts = config.training.accumulation_steps
        model = checkpoint.state.model
        loss = wrap(model, acceleration, world, options.strategy, accumulation_steps=parts)
    if checkpoint.random is not None:
        checkpoint.random.restore(world.device)
    _note(run, config, options, world, skip_batch, corpus)
    session = Session(run, config, text, checkpoint.state, world, options, loss, notices, origin)
    if config.training.steps != checkpoint.config.training.steps:
        notices.append(_longer(config))
        session.save()  # from now on the run has so many, also if it is stopped at once
    return session


def _with_steps(config: RunConfig, steps: int | None) -> RunConfig:
    if steps is None:
        return config
    return dataclasses.replace(config, training=dataclasses.replace(config.training, steps=steps))


def _longer(config: RunConfig) -> str:
    if config.training.schedule == "constant":
        return "The learning rate is the same all along, so it is as if planned so from the start."
    return (
        "The learning rate follows the new number of steps from here on, so the result is near, "
        "but not equal, to that of a run planned so from the start."
    )


def _loaded(folder: Path, world: World, options: RunOptions) -> Checkpoint:
    if world.size > 1:
        return load_distributed(folder, world, options.strategy)
    return load_checkpoint(folder, world.device)


def _other_changes(run: RunFolder, checkpoint: Checkpoint, config: Any, world: World) -> list[str]:
    before = run.record
    parts, were = (c.training.accumulation_steps for c in (config, checkpoint.config))
    pairs = (
        ("--steps", config.training.steps, checkpoint.config.training.steps),
        ("--accumulation", parts, were),
        ("the device", world.device.type, before.get("device", world.device.type)),
        ("the number of processes", world.size, before.get("processes", world.size)),
    )
    return [f"{name} is {now} (it was {then})" for name, now, then in pairs if now != then]


def _note(
    run: RunFolder,
    config: RunConfig,
    options: RunOptions,
    world: World,
    skip_batch: int | None,
    corpus: str | None,
) -> None:
    """Write down how the run goes on; every process needs to know what is skipped."""
    skipped = run.record.get("skipped_batches", [])
    if skip_batch is not None:
        skipped = sorted({*skipped, skip_batch})
        run.record["skipped_batches"] = skipped
    if corpus is not None:
        run.record["corpus"] = corpus_place(corpus)
    if world.is_main:
        run.update(config=config_to_dict(config), **machine_facts(options, world))
