"""A run on disk: weights and optimizer as safetensors, everything else as JSON.

Neither format can carry code, so a checkpoint from a stranger cannot run any (notebook 11 shows
what a pickle can do). A checkpoint is one folder, complete or not there at all:

    model.safetensors      the weights
    optimizer.safetensors  what the optimizer keeps of each weight
    random.safetensors     where the random numbers stand; it may be missing
    config.json            the settings, the step, the optimizer's plain numbers, and an extra
    tokenizer.json         the alphabet or the merges
    manifest.json          the list of these files, which vouches for them

What is read is compared with what the files say of each other before anything large is made.

Lesson: notebook 11.
"""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from bhushgpt.environment import written_out
from bhushgpt.errors import UserError
from bhushgpt.files import look_alike, of_kind, read_json
from bhushgpt.forecast import (
    loading_memory,
    other_bytes,
    refuse_too_large,
    weights_without_memory,
    without_memory,
)
from bhushgpt.kinds import MODELS, TRAININGS, class_of, name_of
from bhushgpt.presets import RunConfig
from bhushgpt.storage.run_folder import (
    MANIFEST,
    FileFacts,
    followed,
    latest_checkpoint,
    new_checkpoint,
    verify_manifest,
)
from bhushgpt.storage.tensors import (
    RandomState,
    load_tensors,
    merged_groups,
    misfits,
    optimizer_misfits,
    optimizer_parts,
    optimizer_slots,
    plain_names,
    read_header,
    restore_optimizer,
    save_tensors,
    tied_names,
    weights_once,
    write_tensors,
)
from bhushgpt.tokenizers import Tokenizer, tokenizer_from_dict
from bhushgpt.training import TrainState

MODEL, OPTIMIZER, RANDOM = "model.safetensors", "optimizer.safetensors", "random.safetensors"
SETTINGS, TOKENIZER = "config.json", "tokenizer.json"
MOST_TRIES = 20  # to read a checkpoint of a run that is saving meanwhile


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` gives back: enough to go on as if nothing had happened."""

    state: TrainState
    """Model, optimizer and step."""
    config: RunConfig
    """Settings that the model was built from."""
    tokenizer: Tokenizer
    """What turns text into the model's ids and back."""
    random: RandomState | None = None
    """Where the global random numbers stood; `restore` it to go on. None if the file is missing."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the caller added when saving."""
    folder: Path = Path()
    """The folder it was read from."""

    @property
    def unfinished(self) -> str:
        """Words for how far a run has come that has not come to its end, else empty."""
        step, steps = self.state.step, self.config.training.steps
        return f"after step {step:,} of {steps:,}" if 0 < step < steps else ""


def save_checkpoint(
    folder: Path,
    state: TrainState,
    config: RunConfig,
    tokenizer: Tokenizer,
    *,
    keep: int = 2,
    best: bool = False,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write `folder/step_00001000` and return it; it appears whole or not at all.

    The run's newest `keep` checkpoints stay, and those that `best` and `last` name. Older ones are
    deleted once the new one has been read again and found whole.

    Args:
        folder: The run's folder.
        state: Model, optimizer and step.
        config: Settings that the model was built from.
        tokenizer: Saved beside the weights: with another alphabet they would mean nothing.
        keep: The newest, and should it be damaged, those before it.
        best: Whether it is the best so far: `folder/best` will name it.
        extra: Anything more to remember that JSON can hold.

    Raises:
        UserError: If it cannot be written, or another run is writing there; what was saved before
            stays. A `NoRoom` if the disk is full.
    """
    weights = weights_once(state)
    tensors, groups = optimizer_parts(state)
    needed = sum(t.nbytes for t in [*weights.values(), *tensors.values()]) + other_bytes(config)
    known: dict[str, FileFacts] = {}
    parts = (folder, state.step)
    with new_checkpoint(*parts, keep=keep, best=best, needed=needed, known=known) as temporary:
        write_settings(
            temporary,
            step=state.step,
            config=config,
            tokenizer=tokenizer,
            groups=groups,
            extra=extra or {},
        )
        known[MODEL] = write_tensors(weights, temporary / MODEL)
        known[OPTIMIZER] = write_tensors(tensors, temporary / OPTIMIZER)
    return written_out(folder) / f"step_{state.step:08d}"


def write_settings(
    folder: Path,
    *,
    step: int,
    config: RunConfig,
    tokenizer: Tokenizer,
    groups: list[dict[str, Any]],
    extra: dict[str, Any],
) -> None:
    """Write all of a checkpoint but the tensors of model and optimizer.

    Args:
        folder: The checkpoint's folder, in the making.
        step: Steps done.
        config: Settings of the run.
        tokenizer: The tokenizer.
        groups: The optimizer's plain numbers, from `optimizer_parts`.
        extra: What the caller wants to find again.

    Raises:
        UserError: If `extra` holds what JSON cannot.
    """
    settings = {
        "step": step,
        "config": config_to_dict(config),
        "optimizer_groups": groups,
        "extra": extra,
    }
    (folder / SETTINGS).write_bytes(_json(settings))
    (folder / TOKENIZER).write_bytes(_json(tokenizer.to_dict()))
    save_file(RandomState.now().tensors, folder / RANDOM)


def _json(data: Any) -> bytes:
    try:
        return (json.dumps(data, indent=1) + "\n").encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"This cannot be saved as JSON: {error}. Save numbers, texts, lists and dictionaries."
        ) from error


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the settings as plain objects for JSON, with the kinds of model and training."""
    return {
        "kind": name_of(MODELS, type(config.model), "model"),
        "training_kind": name_of(TRAININGS, type(config.training), "training"),
        **dataclasses.asdict(config),
    }


def config_from_dict(data: Any, where: str = "The settings") -> RunConfig:
    """Return the settings that `config_to_dict` described.

    Args:
        data: What it returned.
        where: The file it was read from, for the message.

    Raises:
        UserError: If a kind or a setting is unknown, missing, or cannot be used; it is named.

    >>> from bhushgpt.presets import preset
    >>> config_from_dict(config_to_dict(preset("gpt-v1", 79))) == preset("gpt-v1", 79)
    True
    """
    data = of_kind(data, dict[str, Any], where)
    model_kind = class_of(MODELS, data.get("kind"), "model")
    training_kind = class_of(TRAININGS, data.get("training_kind"), "training")
    kinds = ("kind", "training_kind")
    run = of_kind({n: v for n, v in data.items() if n not in kinds}, RunConfig, where)
    # Of the two parts that knows what all models and all trainings have in common.
    model = of_kind(data["model"], model_kind, where)
    training = of_kind(data["training"], training_kind, where)
    return dataclasses.replace(run, model=model, training=training)


def load_checkpoint(
    folder: Path,
    device: torch.device | str = "cpu",
    *,
    asked: Any = None,
    asked_tokenizer: Tokenizer | None = None,
    optimizer: bool = True,
    read: "StateReader | None" = None,
) -> Checkpoint:
    """Return the state, settings and tokenizer of a checkpoint, its files verified first.

    Args:
        folder: A `step_...` folder, `last` or `best`, or a run's folder (its newest checkpoint).
        device: Where the model is wanted.
        asked: Model settings that it must have, such as a `GPTConfig`.
        asked_tokenizer: The tokenizer that it must have been trained with.
        optimizer: False leaves the optimizer's file alone, two thirds of what there is to read: for
            a model that is used and not trained on. The state's optimizer is a fresh one then.
        read: Reads the tensors, given the verified folder (notebook 15 has another way).

    A run may be in training meanwhile: where its newest checkpoint makes room for a newer one while
    it is read, that one is taken.

    Raises:
        UserError: If the folder holds no checkpoint, a file is missing, damaged or foreign, or the
            checkpoint is not the one asked for.
    """
    named = written_out(folder)
    wanted = (asked, asked_tokenizer, optimizer, read)
    for _ in range(MOST_TRIES):
        found = _checkpoint_folder(named)
        try:
            return _load(found, torch.device(device), *wanted)
        except (UserError, OSError):
            if found == named or (found / MANIFEST).is_file():
                raise
    raise UserError(
        f"{named} is being written faster than its checkpoints can be read. Try again when that "
        "run has ended, or let it save less often (--save-every)."
    )


def _load(
    folder: Path,
    device: torch.device,
    asked: Any,
    asked_tokenizer: Tokenizer | None,
    optimizer: bool,
    read: "StateReader | None",
) -> Checkpoint:
    files = verify_manifest(folder, skip=() if optimizer else (OPTIMIZER,))["files"]
    needed = (MODEL, SETTINGS, TOKENIZER, *((OPTIMIZER,) if optimizer else ()))
    missing = [name for name in needed if name not in files]
    if missing:
        raise UserError(f"{folder} is not a checkpoint of a run: it has no {missing[0]}.")
    try:
        settings = Settings.read(folder)
        refuse_other_model(settings.config.model, asked, settings.tokenizer, asked_tokenizer)
        if read is not None:
            state = read(folder, settings, device)
        else:
            state = read_state(folder, settings, device, optimizer=optimizer)
        random = RandomState(load_tensors(folder / RANDOM)) if RANDOM in files else None
    except UserError:
        raise
    except (
        SafetensorError,
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise UserError(
            f"{folder} cannot be read as a checkpoint of this version ({type(error).__name__}). "
            "Nothing was changed. Take another checkpoint, or train again."
        ) from error
    return Checkpoint(state, settings.config, settings.tokenizer, random, settings.extra, folder)


def _checkpoint_folder(folder: Path) -> Path:
    if (folder / MANIFEST).is_file():
        return folder
    if (found := followed(folder.parent, folder.name)) is not None:
        return found
    if folder.is_dir():
        return latest_checkpoint(folder)
    if folder.is_file() or folder.is_symlink():
        raise UserError(
            f"{folder} is not a checkpoint, which is a folder with a {MANIFEST} in it. A file "
            "such as .pt is not opened: it can carry code that runs when it is loaded."
        )
    return latest_checkpoint(folder)  # says that there is none


@dataclass(frozen=True)
class _Stored:
    """The fields of `config.json`."""

    step: int
    config: dict[str, Any]
    optimizer_groups: list[dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What the JSON files of a checkpoint say, each value of the kind it must be."""

    config: RunConfig
    """Settings of the run."""
    tokenizer: Tokenizer
    """The tokenizer, its fingerprint checked."""
    step: int
    """Steps done."""
    groups: list[dict[str, Any]]
    """The optimizer's plain numbers."""
    extra: dict[str, Any]
    """What the caller added when saving."""

    @classmethod
    def read(cls, folder: Path) -> "Settings":
        """Read them.

        Raises:
            UserError: If something was changed, is of a later version, or does not belong together.
        """
        file = folder / SETTINGS
        stored = read_json(file, _Stored)
        config = config_from_dict(stored.config, str(file))
        tokenizer = tokenizer_from_dict(read_json(folder / TOKENIZER, dict[str, Any]))
        if not 0 <= stored.step <= config.training.steps:
            raise UserError(
                f"{file} says step {stored.step} of {config.training.steps}: it was changed. Take "
                "another checkpoint."
            )
        if tokenizer.vocab_size != config.model.vocab_size:
            raise UserError(
                f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens, its model "
                f"{config.model.vocab_size}: they do not belong together. Take another checkpoint."
            )
        return cls(config, tokenizer, stored.step, stored.optimizer_groups, stored.extra)


# Returns the training state of a verified folder, on a device.
StateReader = Callable[[Path, Settings, torch.device], TrainState]


def read_state(
    folder: Path, settings: Settings, device: torch.device, *, optimizer: bool = True
) -> TrainState:
    """Return the training state in a checkpoint's folder.

    Args:
        folder: Its files are already verified.
        settings: What its JSON files say.
        device: Where the model is wanted.
        optimizer: Whether the optimizer's file is read, too.

    Raises:
        UserError: If the tensors are not those of the settings' model, or would not fit into the
            memory; nothing of them was allocated then.
    """
    config = settings.config
    check_weights(folder, config)
    # As little as holding it takes: a run from a larger machine may be completed on a smaller one.
    refuse_too_large(config, device, loading_memory(config, optimizer=optimizer))
    with weights_without_memory():
        model = config.model.build()
    _fill(model, plain_names(load_tensors(folder / MODEL, device)))
    if not optimizer:
        return TrainState(model.to(device), _NoOptimizer(), settings.step)
    state = TrainState(model.to(device), config.training.optimizer(model), settings.step)
    if found := read_header(folder / OPTIMIZER):
        slots, groups = optimizer_slots(state)
        refuse(folder, optimizer_misfits(found, slots))
        tensors = load_tensors(folder / OPTIMIZER, device)
        restore_optimizer(state, slots, tensors, merged_groups(settings.groups, groups))
    return state


class _NoOptimizer(torch.optim.Optimizer):
    """Stands where nobody trains: with a real one torch loads its compiler, which takes seconds."""

    def __init__(self) -> None:
        self.param_groups, self.state = [], defaultdict(dict)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Refuse.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "This checkpoint was read without its optimizer, so it cannot be trained on. Read it "
            "with load_checkpoint(folder, device), without optimizer=False."
        )


def check_weights(folder: Path, config: RunConfig) -> None:
    """Compare what the file of weights says it holds with the settings, allocating nothing.

    Raises:
        UserError: If something does not fit; the message lists it.
    """
    found = plain_names(read_header(folder / MODEL))
    layers = getattr(config.model, "n_layer", 1)
    if layers > len(found):  # before even a model without memory is built: it has as many parts
        refuse(folder, [f"{MODEL} has {len(found):,} tensors, {SETTINGS} {layers:,} layers"])
    try:
        model = without_memory(config.model)
    except RuntimeError as error:  # more numbers than can be counted
        refuse(folder, [f"{SETTINGS}: {str(error).partition(chr(10))[0]}"])
        raise
    refuse(folder, misfits(found, model))


def refuse(folder: Path, wrong: list[str]) -> None:
    """Raise the error that lists what does not fit, if anything does not.

    Raises:
        UserError: With at most five of the lines.
    """
    if wrong:
        lines = "\n".join([*wrong[:5], f"and {len(wrong) - 5} more"] if len(wrong) > 5 else wrong)
        raise UserError(
            f"The tensors in {folder} do not have the sizes that its {SETTINGS} says. Nothing was "
            f"loaded. Take another checkpoint.\n{lines}"
        )


def _fill(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put tensors that are known to fit in the place of a model's weights without memory."""
    own = model.state_dict(keep_vars=True)
    made: dict[
        int, torch.Tensor
    ] = {}  # by the weight whose place it takes: that may have two names
    for name, weight in own.items():
        if name in weights:
            tensor = weights[name].to(weight.dtype)
            is_parameter = isinstance(weight, nn.Parameter)
            made[id(weight)] = (
                nn.Parameter(tensor, weight.requires_grad) if is_parameter else tensor
            )
    model.load_state_dict({name: made[id(w)] for name, w in own.items()}, assign=True)


Row = tuple[str, Any, Any]


def settings_differences(saved: Any, asked: Any) -> list[Row]:
    """Return (setting, saved, asked) for each setting in which two dataclasses differ.

    >>> from bhushgpt.gpt import GPTConfig
    >>> settings_differences(GPTConfig(vocab_size=79), GPTConfig(vocab_size=80, n_layer=4))
    [('vocab_size', 79, 80)]
    """
    if type(saved) is not type(asked):
        return [("kind", type(saved).__name__, type(asked).__name__)]
    rows: list[Row] = []
    for entry in dataclasses.fields(saved):
        one, other = getattr(saved, entry.name), getattr(asked, entry.name)
        if dataclasses.is_dataclass(one):
            rows += settings_differences(one, other)
        elif one != other:
            rows.append((entry.name, one, other))
    return rows


def difference_table(rows: Iterable[Row]) -> str:
    """Return the differences under the headings "checkpoint says" and "you asked".

    >>> print(difference_table([("n_layer", 4, 12)]))
    setting  checkpoint says  you asked
    n_layer  4                12
    """
    lines = [("setting", "checkpoint says", "you asked")]
    lines += [(name, str(saved), str(asked)) for name, saved, asked in rows]
    wide, middle = (max(len(line[column]) for line in lines) for column in (0, 1))
    return "\n".join(f"{a:<{wide}}  {b:<{middle}}  {c}" for a, b, c in lines)


def refuse_other_model(
    saved: Any, asked: Any, saved_tokenizer: Tokenizer, asked_tokenizer: Tokenizer | None = None
) -> None:
    """Refuse a checkpoint whose model or alphabet is not the one that was asked for.

    Args:
        saved: The checkpoint's model settings.
        asked: The settings wanted, or nothing if any will do.
        saved_tokenizer: The checkpoint's tokenizer.
        asked_tokenizer: The tokenizer wanted, or nothing.

    Raises:
        UserError: With the table of what differs.
    """
    rows = [] if asked is None else settings_differences(saved, asked)
    if asked_tokenizer is not None and asked_tokenizer.digest != saved_tokenizer.digest:
        # Two alphabets of one size would load, and every letter would mean another.
        rows.append(("alphabet", _described(saved_tokenizer), _described(asked_tokenizer)))
    if rows:
        raise UserError(
            "The checkpoint does not belong to what was asked for.\n\n"
            f"{difference_table(rows)}\n\n"
            "Nothing was loaded. Ask for what the checkpoint says, or train a new run."
        )


def _described(tokenizer: Tokenizer) -> str:
    return f"{tokenizer.vocab_size} tokens, sha256 {tokenizer.digest[:8]}"


def save_weights(model: nn.Module, file: Path) -> None:
    """Write a model's tensors to a safetensors file, in one step.

    Wrappers' prefixes are left out, and a tied weight is stored once.
    """
    tied = tied_names(model)
    weights = {name: t.contiguous() for name, t in model.state_dict().items() if name not in tied}
    save_tensors(plain_names(weights), file)


def load_weights(model: nn.Module, file: Path) -> None:
    """Fill a model with the weights in a safetensors file, if they are its.

    Names, shapes and kinds are compared before anything is read. Prefixes that `torch.compile` and
    DistributedDataParallel put before names do not count, in the file or in the model.

    Raises:
        UserError: If the file is missing, of another format, or of another model (the message has
            a line for each difference); the model is unchanged then.

    >>> import tempfile, torch
    >>> one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(one, Path(folder, "linear.safetensors"))
    ...     load_weights(other, Path(folder, "linear.safetensors"))
    >>> torch.equal(one.weight, other.weight)
    True
    """
    if not file.exists():
        raise UserError(f"There is no file {file}.{look_alike(file)}")
    wrong = misfits(plain_names(read_header(file)), model)
    if wrong:
        more = [f"and {len(wrong) - 5} more"] if len(wrong) > 5 else []
        lines = "\n".join([*wrong[:5], *more])
        raise UserError(f"{file} holds the weights of another model. Nothing was loaded.\n{lines}")
    tied = tied_names(model)
    # A wrapped model wants the names with its own prefix.
    own = {name: name for name in model.state_dict() if name not in tied}
    names = {plain: name for plain, name in zip(plain_names(own), own, strict=True)}
    weights = plain_names(load_tensors(file))
    model.load_state_dict({names[plain]: t for plain, t in weights.items()}, strict=False)
