"""Our GPT as a folder that transformers opens, and such folders as our GPT.

Only safetensors are read and written: a pickle could run code (notebook 10).

Lesson: notebook 15.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.gpt2_layout import check_holdable, config_from_hf, config_to_hf, stored_tensors
from bhushgpt.hub_files import HUB_NAME, hub_file
from bhushgpt.stored_weights import StoredWeights
from bhushgpt.tokenizer_interface import Tokenizer
from bhushgpt.tokenizer_json import end_of_text, write_tokenizer

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
LONGEST_CONFIG = 2**20  # bytes; a real one has about a thousand


def to_hf(model: nn.Module, tokenizer: Tokenizer, folder: str | Path) -> Path:
    """Write a GPT and its tokenizer as a folder that `AutoModelForCausalLM` and others open.

    The folder holds config.json, model.safetensors, tokenizer.json and tokenizer_config.json. It
    appears whole or not at all.

    Args:
        model: A `GPT` with learned positions, on any device.
        tokenizer: The one it was trained with.
        folder: A new or an empty folder.

    Returns:
        The folder.

    Raises:
        UserError: If GPT-2's layout cannot hold the model, the tokenizer is another's or has no
            tokenizer.json, or the folder holds something or cannot be written.

    Lesson: notebook 15.

    >>> from bhushgpt.tokenizers import ByteTokenizer
    >>> model = GPT(GPTConfig(vocab_size=256, context_length=8, n_layer=1, n_head=2, n_embd=4))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = to_hf(model, ByteTokenizer(), f"{place}/mine")
    ...     sorted(file.name for file in folder.iterdir())
    ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']
    """
    folder = Path(folder)
    gpt = check_holdable(model)
    if tokenizer.vocab_size != gpt.config.vocab_size:
        raise UserError(
            f"The tokenizer has {tokenizer.vocab_size:,} tokens and the model "
            f"{gpt.config.vocab_size:,}: they do not belong together. Give the tokenizer that the "
            "model was trained with."
        )
    check_empty(folder)
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        _write_files(gpt, tokenizer, temporary)
        temporary.chmod(0o755)  # mkdtemp keeps its folders from everybody else
        if folder.exists():
            folder.rmdir()  # empty, or this says so
        temporary.replace(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{folder} cannot be written: {reason}. Name another folder.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds something, and a file of that name.

    Raises:
        UserError: If it is not free to be written to.

    Lesson: notebook 15.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder} exists and is no folder. Name a new folder.")
    found = sorted(file.name for file in folder.iterdir())
    if found:
        raise UserError(
            f"{folder} is not empty: it holds {found[0]!r}. An export overwrites nothing; name a "
            "new folder."
        )


def _write_files(model: GPT, tokenizer: Tokenizer, folder: Path) -> None:
    end = end_of_text(tokenizer)
    text = json.dumps(config_to_hf(model.config, end), indent=2) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    # transformers refuses files without this note; "pt" says that the tensors are torch's.
    save_file(tensors_to_hf(model), folder / WEIGHTS, metadata={"format": "pt"})
    write_tokenizer(tokenizer, folder, model.context_length)


def tensors_to_hf(model: GPT) -> dict[str, Tensor]:
    """Return a GPT's tensors under GPT-2's names and lying as they do there.

    Lesson: notebook 15.
    """
    ours = model.state_dict()
    return {
        f"transformer.{name}": _turned(ours[stored.ours].cpu(), stored.transposed)
        for name, stored in stored_tensors(model.config).items()
    }


def _turned(tensor: Tensor, transposed: bool) -> Tensor:
    return (tensor.T if transposed else tensor).contiguous()


def from_hf(source: str | Path, *, revision: str | None = None) -> GPT:
    """Return the GPT-2 in a folder, or of that name on the Hugging Face hub.

    Names, shapes and number types in the file are compared with config.json before anything is
    allocated. Weights of 16 bits become float32.

    Args:
        source: A folder with config.json and model.safetensors, or a name such as
            "openai-community/gpt2" (needs the library huggingface_hub and a network).
        revision: Branch, tag or commit on the hub.

    Raises:
        UserError: If there is no such folder or model, it has no safetensors, a file is damaged,
            or it is no model of GPT-2's layout.

    Lesson: notebook 15.
    """
    description, weights = _files(source, revision)
    config = config_from_hf(_read_config(description))
    return _filled(config, StoredWeights.open(weights, config))


def _filled(config: GPTConfig, weights: StoredWeights) -> GPT:
    """Return a GPT that takes the stored tensors as its own, without drawing others first."""
    with torch.device("meta"):
        model = GPT(config)
    state = {
        stored.ours: _turned(weights.tensor(name), stored.transposed)
        for name, stored in stored_tensors(config).items()
    }
    model.load_state_dict(state | {"head.weight": state["tokens.weight"]}, assign=True)
    model.head.weight = model.tokens.weight  # assigning gave each a parameter of its own
    return model


def _files(source: str | Path, revision: str | None) -> tuple[Path, Path]:
    """Return config.json and the file of weights (or the index of several)."""
    folder, found = Path(source), dict[str, Path | None]()
    if folder.is_dir():
        for name in (CONFIG, WEIGHTS, INDEX):
            found[name] = folder / name if (folder / name).is_file() else None
    elif HUB_NAME.fullmatch(str(source)):
        found[CONFIG] = hub_file(str(source), CONFIG, revision)
        found[WEIGHTS] = hub_file(str(source), WEIGHTS, revision)
        found[INDEX] = None if found[WEIGHTS] else hub_file(str(source), INDEX, revision)
    else:
        raise UserError(f"There is no folder {source}, and it is no name of a model on the hub.")
    description, weights = found[CONFIG], found[WEIGHTS] or found[INDEX]
    if description is None or weights is None:
        missing = CONFIG if description is None else WEIGHTS
        raise UserError(
            f"{source} holds no {missing}. Files such as pytorch_model.bin are not read: a pickle "
            "can run code. Save the model as safetensors."
        )
    return description, weights


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LONGEST_CONFIG:
            raise ValueError
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise UserError(f"{path.name} in {path.parent} is damaged: it is not one JSON object.")
    return described
