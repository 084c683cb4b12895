"""Our GPT as a folder that transformers opens, and such folders as our GPT.

First the layout: the names and shapes that GPT-2's weights have in Hugging Face files, and what
that layout cannot hold. Then the files: safetensors only, since a pickle could run code (notebook
11), and judged by their headers before any weight is read. Last the hub: a file is fetched once and
then kept on the disk.

Letters: P positions, V vocabulary, C channels.

Lesson: notebook 16.
"""

import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bhushgpt.environment import python_command, written_out
from bhushgpt.errors import UserError
from bhushgpt.files import named_in_utf8, own_names, refuse_pointer
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop.tokenizer_json import (
    TOKENIZER,
    read_merges,
    read_tokenizer,
    write_tokenizer,
)
from bhushgpt.tokenizers import Tokenizer, end_of_text

# Our name in a block -> theirs. Their matrices lie the other way round: GPT-2 was written with a
# layer ("Conv1D") that multiplies x W, torch's Linear multiplies x W^T.
BLOCK_PARTS = {
    "norm_1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "norm_2": "ln_2",
    "mlp.widen": "mlp.c_fc",
    "mlp.projection": "mlp.c_proj",
}
TENSORS_PER_BLOCK, TENSORS_OUTSIDE = 2 * len(BLOCK_PARTS), 4
# What ours is built with; a file that says otherwise holds another model.
FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "tie_word_embeddings": (True,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
# Ours -> theirs, in config.json.
SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
}
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")


@dataclass(frozen=True)
class Stored:
    """Where one of our tensors lies in their file."""

    ours: str
    """Its name in our state dict."""
    shape: tuple[int, ...]
    """Its shape in their file."""
    transposed: bool
    """Whether it lies the other way round there."""


def stored_tensors(config: GPTConfig) -> dict[str, Stored]:
    """Return their name -> our tensor, for every tensor of a GPT-2; the tied head has no own.

    >>> table = stored_tensors(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_embd=12))
    >>> len(table), table["h.0.attn.c_attn.weight"]
    (16, Stored(ours='blocks.0.attention.qkv.weight', shape=(12, 36), transposed=True))
    """
    V, P, C = config.vocab_size, config.context_length, config.n_embd
    outputs = {"attention.qkv": 3 * C, "mlp.widen": 4 * C}
    inputs = {"mlp.projection": 4 * C}
    table = {
        "wte.weight": Stored("tokens.weight", (V, C), False),
        "wpe.weight": Stored("positions.weight", (P, C), False),
    }
    for block in range(config.n_layer):
        for ours, theirs in BLOCK_PARTS.items():
            is_norm, out = ours.startswith("norm"), outputs.get(ours, C)
            shape = (C,) if is_norm else (inputs.get(ours, C), out)
            name, place = f"blocks.{block}.{ours}", f"h.{block}.{theirs}"
            table[f"{place}.weight"] = Stored(f"{name}.weight", shape, not is_norm)
            table[f"{place}.bias"] = Stored(f"{name}.bias", (out,), False)
    table["ln_f.weight"] = Stored("norm.weight", (C,), False)
    table["ln_f.bias"] = Stored("norm.bias", (C,), False)
    return table


def check_holdable(model: nn.Module) -> GPT:
    """Return the model, if GPT-2's layout can hold it.

    Raises:
        UserError: If it cannot; the message names everything that does not fit.

    >>> check_holdable(GPT(GPTConfig(vocab_size=7, position="rotary")))
    Traceback (most recent call last):
    bhushgpt.errors.UserError: GPT-2's layout cannot hold this model: its positions are rotary, \
and GPT-2 learns a vector for each. Train one with position="learned", such as gpt-v2-mini.
    """
    wrong = []
    if type(model) is not GPT:
        wrong.append(f"it is a {type(model).__name__}, and only a GPT has that layout")
    elif type(model.config) is not GPTConfig:
        wrong.append(f"a {type(model.config).__name__} builds it of other parts than GPT-2 has")
    elif model.config.position != "learned":
        positions = model.config.position
        wrong.append(f"its positions are {positions}, and GPT-2 learns a vector for each")
    else:
        wrong += _other_tensors(model)
    if wrong:
        raise UserError(
            f"GPT-2's layout cannot hold this model: {'; '.join(wrong)}. Train one with "
            'position="learned", such as gpt-v2-mini.'
        )
    assert isinstance(model, GPT)
    return model


def _other_tensors(model: GPT) -> list[str]:
    """Return what was added to a GPT, or taken out of it, or untied, since it was built."""
    expected = {stored.ours for stored in stored_tensors(model.config).values()} | {"head.weight"}
    found = set(model.state_dict())
    wrong = [f"it has a tensor {name} that GPT-2 has not" for name in sorted(found - expected)[:3]]
    wrong += [f"its tensor {name} is missing" for name in sorted(expected - found)[:3]]
    if not wrong and model.head.weight is not model.tokens.weight:
        wrong.append("its head is not tied to its token table, as GPT-2's is")
    return wrong


def config_to_hf(config: GPTConfig, end_of_text: int | None) -> dict[str, Any]:
    """Return the contents of config.json for a model of these sizes.

    Args:
        config: With learned positions.
        end_of_text: The id that stands between documents, None if there is none.

    >>> described = config_to_hf(GPTConfig(vocab_size=7, context_length=5), None)
    >>> described["n_positions"], described["n_ctx"], described["activation_function"]
    (5, 5, 'gelu_new')
    """
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{name: allowed[0] for name, allowed in FIXED.items()},
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "n_ctx": config.context_length,  # what llama.cpp's converter reads
        "n_inner": None,
        **dict.fromkeys(DROPOUTS, config.dropout),
        "initializer_range": 0.02,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": "float32",
    }


def config_from_hf(described: Mapping[str, Any]) -> GPTConfig:
    """Return the sizes that a config.json tells, if a GPT of ours can have them.

    Raises:
        UserError: If it describes another kind of model or sizes that cannot be; all named.

    >>> sizes = GPTConfig(vocab_size=7, context_length=5)
    >>> config_from_hf(config_to_hf(sizes, None)) == sizes
    True
    """
    wrong = [
        f"{name} is {described[name]!r} and must be {allowed[0]!r}"
        for name, allowed in FIXED.items()
        if name in described and described[name] not in allowed
    ]
    if "model_type" not in described:
        wrong.append("model_type is missing and must be 'gpt2'")
    sizes: dict[str, Any] = {ours: described.get(theirs) for ours, theirs in SIZES.items()}
    if sizes["context_length"] is None:
        sizes["context_length"] = described.get("n_ctx")  # its name in the first files
    wrong += [
        f"{SIZES[ours]} is {size!r} and must be a whole number"
        for ours, size in sizes.items()
        if type(size) is not int
    ]
    width, inner = sizes["n_embd"], described.get("n_inner")
    if type(width) is int and inner not in (None, 4 * width):
        wrong.append(f"n_inner is {inner!r} and must be 4 n_embd = {4 * width}")
    dropouts = [described.get(name, 0.1) for name in DROPOUTS]  # 0.1 is GPT-2's own
    if not all(type(share) in (int, float) for share in dropouts):
        wrong.append(f"{', '.join(DROPOUTS)} must be numbers")
    if wrong:
        raise UserError(f"This config.json is not one of GPT-2's layout: {'; '.join(wrong)}.")
    if len({*dropouts}) > 1:
        warnings.warn(
            f"The three dropouts of this GPT-2 differ ({dropouts}); a model here has one, "
            f"{dropouts[0]}. It matters only if it is trained further.",
            stacklevel=3,
        )
    return GPTConfig(**sizes, dropout=dropouts[0])


PREFIX, HEAD = "transformer.", "lm_head.weight"
# Old files hold the causal mask of every block as if it were a weight.
MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
NUMBER_TYPES = ("F32", "F16", "BF16")
LONGEST_INDEX = 2**24  # bytes


class StoredWeights:
    """A GPT-2's tensors on the disk, under their names without the prefix "transformer.".

    Use `open`, which compares names, shapes and number types with what the sizes ask for.
    """

    def __init__(self, places: Mapping[str, tuple[Any, str]]) -> None:
        self._places = places

    @classmethod
    def open(cls, path: Path, config: GPTConfig) -> "StoredWeights":
        """Return the weights in a file, or in the files that an index lists, if they fit.

        Raises:
            UserError: If a file is damaged, or holds other tensors than a GPT-2 of these sizes.
        """
        files = [path] if path.suffix == ".safetensors" else _listed(path)
        places = {}
        for file in files:
            opened = _opened(file)
            for name in opened.keys():
                plain = name.removeprefix(PREFIX)
                if not MASK.fullmatch(plain):
                    places[plain] = (opened, name)
        _check_names(places, config, path)
        _check_shapes(places, config, path)
        weights = cls(places)
        if HEAD in places and not torch.equal(weights.tensor(HEAD), weights.tensor("wte.weight")):
            raise UserError(
                f"{path.name} has a head of its own ({HEAD} is not wte.weight): that is not "
                "GPT-2's layout, in which the head is the token table."
            )
        return weights

    def tensor(self, name: str) -> Tensor:
        """Return one tensor as float32, in memory of its own."""
        opened, stored = self._places[name]
        return opened.get_tensor(stored).to(torch.float32, copy=True)


def _opened(file: Path) -> Any:
    """Open a file; safetensors checks its header against its length."""
    if not file.is_file():
        raise UserError(f"There is no file {file.name} in {file.parent}.")
    refuse_pointer(file)
    try:
        with named_in_utf8(file) as name:
            return safe_open(name, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{file} is damaged or no safetensors file ({error}). Get it again."
        ) from None


def _listed(index: Path) -> list[Path]:
    """Return the files that an index names, each of them beside it."""
    try:
        if index.stat().st_size > LONGEST_INDEX:
            raise ValueError
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{index} is damaged: it lists no files.") from None
    for name in names:
        if not (isinstance(name, str) and re.fullmatch(r"[\w.-]+\.safetensors", name)):
            raise UserError(f"{index.name} names {name!r}, which is no file beside it.")
    return [index.parent / name for name in sorted(names)]


def _check_names(places: Mapping[str, Any], config: GPTConfig, path: Path) -> None:
    """Compare the names; first their number, so that no absurd size makes a long table."""
    wanted = TENSORS_PER_BLOCK * config.n_layer + TENSORS_OUTSIDE
    found = len(places) - (HEAD in places)
    if found != wanted:
        raise UserError(
            f"{path} holds {found} tensors, but a GPT-2 of {config.n_layer} blocks has {wanted}. "
            "The file and its config.json do not belong together."
        )
    missing = sorted(set(stored_tensors(config)) - set(places))
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing[:3])}: it is not of GPT-2's layout.")


def _check_shapes(places: Mapping[str, tuple[Any, str]], config: GPTConfig, path: Path) -> None:
    wanted = {name: stored.shape for name, stored in stored_tensors(config).items()}
    if HEAD in places:
        wanted[HEAD] = wanted["wte.weight"]
    for name, shape in wanted.items():
        opened, stored = places[name]
        header = opened.get_slice(stored)
        if tuple(header.get_shape()) != shape:
            raise UserError(
                f"In {path} {name} is {tuple(header.get_shape())}, but config.json asks for "
                f"{shape}. The file and its config.json do not belong together."
            )
        if header.get_dtype() not in NUMBER_TYPES:
            raise UserError(
                f"In {path} {name} has numbers of type {header.get_dtype()}; readable are "
                f"{', '.join(NUMBER_TYPES)}."
            )


# What the hub allows: "gpt2" or "owner/name".
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


def hub_file(name: str, file: str, revision: str | None = None) -> Path | None:
    """Return where a file of a model lies after it was fetched, None if the model has no such file.

    Args:
        name: The model's name on the hub, such as "openai-community/gpt2".
        file: A file in it.
        revision: A branch, tag or commit; the newest state of the main branch if left out.

    Raises:
        UserError: If huggingface_hub is not installed, the hub cannot be reached, or there is no
            such model.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise UserError(
            f"{name!r} is no folder here, and to look for it on the hub the library "
            "huggingface_hub is missing:\n  "
            + python_command("-m", "pip", "install", "huggingface_hub")
        ) from None
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except LocalEntryNotFoundError:  # a kind of EntryNotFoundError: first
        reason = "the hub cannot be reached, and it is not in the cache"
    except EntryNotFoundError:
        return None
    except (RepositoryNotFoundError, HFValidationError):
        reason = "the hub has no model of that name that may be read without a password"
    except RevisionNotFoundError:
        reason = f"the model has no revision {revision!r}"
    except (HfHubHTTPError, OSError) as error:
        reason = f"the hub did not give it ({type(error).__name__})"
    raise UserError(
        f"{name!r} cannot be had: {reason}. Name a folder with config.json and model.safetensors, "
        "or try again with a network."
    )


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

    >>> from bhushgpt.tokenizers import ByteTokenizer
    >>> model = GPT(GPTConfig(vocab_size=256, context_length=8, n_layer=1, n_head=2, n_embd=4))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = to_hf(model, ByteTokenizer(), f"{place}/mine")
    ...     sorted(file.name for file in folder.iterdir())
    ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']
    """
    folder = written_out(folder)
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
        if not folder.exists():
            temporary.replace(folder)
        else:  # it may be a disk's own, or hold what a system puts into every folder
            for file in sorted(temporary.iterdir(), key=lambda file: file.name == CONFIG):
                file.replace(folder / file.name)
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
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder} exists and is no folder. Name a new folder.")
    found = sorted(name for name in own_names(folder) if not name.startswith("."))
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
    """Return a GPT's tensors under GPT-2's names and lying as they do there."""
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
    if not (written_out(source).is_dir() or HUB_NAME.fullmatch(str(source))):
        raise UserError(f"There is no folder {source}, and it is no name of a model on the hub.")
    description = _file(source, CONFIG, revision)
    weights = _file(source, WEIGHTS, revision) or _file(source, INDEX, revision)
    if description is None or weights is None:
        missing = CONFIG if description is None else WEIGHTS
        raise UserError(
            f"{source} holds no {missing}. Files such as pytorch_model.bin are not read: a pickle "
            "can run code. Save the model as safetensors."
        )
    return description, weights


def tokenizer_from_hf(source: str | Path, *, revision: str | None = None) -> Tokenizer:
    """Return the tokenizer that lies beside a model, in a folder or on the hub.

    Args:
        source: See `from_hf`.
        revision: Branch, tag or commit on the hub.

    Raises:
        UserError: If there is none, or it gives other ids than any tokenizer here.
    """
    if file := _file(source, TOKENIZER, revision):
        return read_tokenizer(file)
    merges, vocabulary = (_file(source, name, revision) for name in ("merges.txt", "vocab.json"))
    if merges is None or vocabulary is None:
        raise UserError(
            f"{source} holds no {TOKENIZER}, and not both of merges.txt and vocab.json: without a "
            "tokenizer the model's numbers mean no text."
        )
    return read_merges(merges, vocabulary)


def _file(source: str | Path, name: str, revision: str | None) -> Path | None:
    folder = written_out(source)
    if not folder.is_dir():
        return hub_file(str(source), name, revision)
    return folder / name if (folder / name).is_file() else None


def _read_config(path: Path) -> dict[str, Any]:
    refuse_pointer(path)
    try:
        if path.stat().st_size > LONGEST_CONFIG:
            raise ValueError
        described = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise UserError(f"{path.name} in {path.parent} is damaged: it is not one JSON object.")
    return described
