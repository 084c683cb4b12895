"""A run on disk: weights and optimizer as safetensors, everything else as JSON.

Neither format can carry code, so a checkpoint from a stranger cannot run any (notebook 11 shows
what a pickle can do). A checkpoint is one folder, complete or not there at all.

The files of one checkpoint, written and read; format 1 too, which had fewer.

    model.safetensors      weights
    optimizer.safetensors  AdamW's running means and step counts
    random.safetensors     where the random numbers stand (new in format 2)
    config.json            settings, step, the optimizer's plain numbers, and what the caller adds
    tokenizer.json         the alphabet or the merges (format 1 had it in config.json)

Model and optimizer of a checkpoint, read once their headers are known to be right.

The settings of a run as JSON and back, every value of the kind it must be.

What a checkpoint says beside what was asked for, as a table, where the two differ.

A model's weights alone, in one file: for models that are not a run's.

Lesson: notebook 11.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.files import flush, open_regular
from bhushgpt.forecast import check_memory, other_bytes
from bhushgpt.kinds import MODELS, class_of, name_of
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.storage.run_folder import (
    MANIFEST,
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
    optimizer_dict,
    optimizer_misfits,
    optimizer_parts,
    plain_names,
    read_header,
    tied_names,
    weights_once,
)
from bhushgpt.tokenizers import Tokenizer, tokenizer_from_dict
from bhushgpt.training import TrainState
from bhushgpt.training_config import TrainingConfig

SettingsKind = TypeVar("SettingsKind")


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the settings as plain objects for JSON, with the kind of the model."""
    return {"kind": name_of(MODELS, type(config.model), "model"), **dataclasses.asdict(config)}


def config_from_dict(data: dict[str, Any]) -> RunConfig:
    """Return the settings that `config_to_dict` described.

    Raises:
        UserError: If a setting is of the wrong kind or cannot be used.
        KeyError, TypeError: If settings are missing or unknown.

    >>> from bhushgpt.presets import preset
    >>> config_from_dict(config_to_dict(preset("gpt-v1", 79))) == preset("gpt-v1", 79)
    True
    """
    data = dict(data)
    sizes = class_of(MODELS, data.pop("kind"), "model")
    training = dict(data.pop("training"))
    training["betas"] = tuple(training["betas"])  # JSON knows lists only
    model = _made(sizes, data.pop("model"))
    return _made(RunConfig, data | {"model": model, "training": _made(TrainingConfig, training)})


def _made(kind: type[SettingsKind], data: dict[str, Any]) -> SettingsKind:
    """Return `kind(**data)` if whole numbers are whole and names are text."""
    allowed = {int: (int,), float: (int, float), str: (str,)}
    hints = get_type_hints(kind)
    for name, value in data.items():
        kinds = allowed.get(hints.get(name, object))
        if kinds and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise UserError(
                f"The setting {name} of the checkpoint is {value!r}: it was changed after it was "
                "saved. Take another checkpoint."
            )
    return kind(**data)


MODEL, OPTIMIZER, RANDOM = "model.safetensors", "optimizer.safetensors", "random.safetensors"
SETTINGS, TOKENIZER = "config.json", "tokenizer.json"
PARTS = {
    1: (MODEL, OPTIMIZER, SETTINGS),
    2: (MODEL, OPTIMIZER, RANDOM, SETTINGS, TOKENIZER),
}
# A vocabulary of 50,000 merges takes about 3 MB.
LONGEST_JSON = 2**26


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
        groups: The optimizer's plain numbers, `state_dict()["param_groups"]`.
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
    def read(cls, folder: Path, version: int) -> "Settings":
        """Read them from a checkpoint of format 1 or 2.

        Raises:
            UserError: If something was changed or does not belong together.
        """
        found = _read_json(folder / SETTINGS)
        described = found["tokenizer"] if version == 1 else _read_json(folder / TOKENIZER)
        config, tokenizer = config_from_dict(found["config"]), tokenizer_from_dict(described)
        step, extra = found["step"], found.get("extra", {})
        if type(step) is not int or not 0 <= step <= config.training.steps:
            raise UserError(
                f"{folder / SETTINGS} says step {step!r} of {config.training.steps}: it was "
                "changed. Take another checkpoint."
            )
        if tokenizer.vocab_size != config.model.vocab_size:
            raise UserError(
                f"The tokenizer in {folder} has {tokenizer.vocab_size} tokens, its model "
                f"{config.model.vocab_size}: they do not belong together. Take another checkpoint."
            )
        if not isinstance(extra, dict):
            raise UserError(f"{folder / SETTINGS} was changed. Take another checkpoint.")
        return cls(config, tokenizer, step, found["optimizer_groups"], extra)


def read_random(folder: Path, version: int) -> RandomState | None:
    """Return the random state of a checkpoint; format 1 had none."""
    return None if version == 1 else RandomState(load_tensors(folder / RANDOM))


def _json(data: Any) -> bytes:
    try:
        return (json.dumps(data, indent=1) + "\n").encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"This cannot be saved as JSON: {error}. Save numbers, texts, lists and dictionaries."
        ) from error


def _read_json(file: Path) -> Any:
    with open_regular(file) as stream:
        text = stream.read(LONGEST_JSON + 1)
    if len(text) > LONGEST_JSON:
        raise UserError(f"{file} has more than {LONGEST_JSON:,} bytes. It is not read.")
    return json.loads(text.decode("utf-8"))


# Returns the training state of a verified folder, on a device.
StateReader = Callable[[Path, Settings, torch.device], TrainState]


def read_state(folder: Path, settings: Settings, device: torch.device) -> TrainState:
    """Return the training state in a checkpoint's folder.

    Args:
        folder: Its files are already verified.
        settings: What its JSON files say.
        device: Where the model is wanted.

    Raises:
        UserError: If the tensors are not those of the settings' model, or would not fit into the
            memory; nothing of them was allocated then.
    """
    config = settings.config
    check_headers(folder, config)
    # As little as using it takes: a run from a larger machine may be completed on a smaller one.
    one_row = dataclasses.replace(config.training, batch_size=1, accumulation_steps=1)
    check_memory(dataclasses.replace(config, training=one_row), device)
    model = build_model(config, device)
    weights = plain_names(load_tensors(folder / MODEL, device))
    # A tied weight is stored once, under the name it has first.
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= tied_names(model), "the header was checked"
    state = TrainState.fresh(model, config.training)
    groups = merged_groups(settings.groups, state.optimizer.state_dict()["param_groups"])
    tensors = load_tensors(folder / OPTIMIZER, device)
    state.optimizer.load_state_dict(optimizer_dict(tensors, groups))
    state.step = settings.step
    return state


def check_headers(folder: Path, config: RunConfig) -> None:
    """Compare what the files say they hold with the model of the settings, allocating nothing.

    Raises:
        UserError: If something does not fit; the message lists it.
    """
    found = plain_names(read_header(folder / MODEL))
    layers = getattr(config.model, "n_layer", 1)
    if layers > len(found):  # before even a model without memory is built: it has as many parts
        _refuse(folder, [f"{MODEL} has {len(found):,} tensors, {SETTINGS} {layers:,} layers"])
    try:
        with torch.device("meta"):
            state = TrainState.fresh(build_model(config, "meta"), config.training)
    except RuntimeError:  # a size of more bytes than 64 bits can count
        _refuse(folder, [f"{SETTINGS} has sizes that no model has"])
        raise
    _refuse(folder, misfits(found, state.model))
    shapes = [tuple(p.shape) for group in state.optimizer.param_groups for p in group["params"]]
    _refuse(folder, optimizer_misfits(read_header(folder / OPTIMIZER), shapes))


def _refuse(folder: Path, wrong: list[str]) -> None:
    if wrong:
        lines = "\n".join([*wrong[:5], f"and {len(wrong) - 5} more"] if len(wrong) > 5 else wrong)
        raise UserError(
            f"The tensors in {folder} do not have the sizes that its {SETTINGS} says. Nothing was "
            f"loaded. Take another checkpoint.\n{lines}"
        )


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
    """Where the global random numbers stood; `restore` it to go on. Format 1 had none."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the caller added when saving."""
    folder: Path = Path()
    """The folder it was read from."""


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
    weights = {name: tensor.contiguous() for name, tensor in weights_once(state).items()}
    tensors, groups = optimizer_parts(state.optimizer.state_dict())
    needed = sum(t.nbytes for t in [*weights.values(), *tensors.values()]) + other_bytes(config)
    with new_checkpoint(folder, state.step, keep=keep, best=best, needed=needed) as temporary:
        write_settings(
            temporary,
            step=state.step,
            config=config,
            tokenizer=tokenizer,
            groups=groups,
            extra=extra or {},
        )
        save_file(weights, temporary / MODEL)
        save_file(tensors, temporary / OPTIMIZER)
    return folder.expanduser() / f"step_{state.step:08d}"


def load_checkpoint(
    folder: Path,
    device: torch.device | str = "cpu",
    *,
    asked: Any = None,
    asked_tokenizer: Tokenizer | None = None,
    read: StateReader = read_state,
) -> Checkpoint:
    """Return the state, settings and tokenizer of a checkpoint, its files verified first.

    Args:
        folder: A `step_...` folder, `last` or `best`, or a run's folder (its newest checkpoint).
        device: Where the model is wanted.
        asked: Model settings that it must have, such as a `GPTConfig`.
        asked_tokenizer: The tokenizer that it must have been trained with.
        read: Reads the tensors, given the verified folder (notebook 15 has another way).

    Raises:
        UserError: If the folder holds no checkpoint, a file is missing, damaged or foreign, or the
            checkpoint is not the one asked for.
    """
    folder = _checkpoint_folder(folder.expanduser())
    manifest = verify_manifest(folder)
    version, files = manifest["format"], manifest["files"]
    missing = [name for name in PARTS[version] if name not in files]
    if missing:
        raise UserError(f"{folder} is not a checkpoint of a run: it has no {missing[0]}.")
    try:
        settings = Settings.read(folder, version)
        refuse_other_model(settings.config.model, asked, settings.tokenizer, asked_tokenizer)
        state = read(folder, settings, torch.device(device))
        random = read_random(folder, version)
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
    if folder.is_file() or folder.is_symlink():
        found = followed(folder.parent, folder.name)
        if found is None:
            raise UserError(
                f"{folder} is not a checkpoint, which is a folder with a {MANIFEST} in it. A file "
                "such as .pt is not opened: it can carry code that runs when it is loaded."
            )
        return found
    return latest_checkpoint(folder)


def save_weights(model: nn.Module, file: Path) -> None:
    """Write a model's tensors to a safetensors file, in one step.

    Wrappers' prefixes are left out, and a tied weight is stored once.
    """
    tied = tied_names(model)
    weights = {name: t.contiguous() for name, t in model.state_dict().items() if name not in tied}
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        save_file(plain_names(weights), temporary, metadata={"format": "pt"})
        temporary.chmod(0o644)
        flush(temporary)
        temporary.replace(file)
        flush(file.absolute().parent)
    finally:
        temporary.unlink(missing_ok=True)


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
        raise UserError(f"There is no file {file}.")
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
