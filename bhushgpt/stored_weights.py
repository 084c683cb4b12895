"""The weights of a GPT-2 in safetensors files, judged by their headers before any is read.

Lesson: notebook 15.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPTConfig
from bhushgpt.gpt2_layout import TENSORS_OUTSIDE, TENSORS_PER_BLOCK, stored_tensors

PREFIX, HEAD = "transformer.", "lm_head.weight"
# Old files hold the causal mask of every block as if it were a weight.
MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
NUMBER_TYPES = ("F32", "F16", "BF16")
LONGEST_INDEX = 2**24  # bytes


class StoredWeights:
    """A GPT-2's tensors on the disk, under their names without the prefix "transformer.".

    Use `open`, which compares names, shapes and number types with what the sizes ask for.

    Lesson: notebook 15.
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
    try:
        return safe_open(file, framework="pt")
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
