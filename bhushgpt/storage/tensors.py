"""What a file of tensors says it holds, checked before any of it is loaded.

A safetensors file begins with the length of its header (8 bytes), then the header (JSON: of each
tensor the name, kind of number, shape, and place), then the numbers. No code anywhere.

What of a training state is tensors: each once and under a name, as a file of weights wants it.

An optimizer's state as tensors with names and plain numbers, and back.

Where the random numbers stand: Python's, numpy's and torch's, as tensors that can be saved.

Training does not need them, since every step draws from its own seed (notebook 05). The caller's
own draws between the steps do, such as a text that is sampled now and then.

Lesson: notebook 11. Source: github.com/huggingface/safetensors, "Format".
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.files import open_regular
from bhushgpt.training import TrainState

# The largest GPT-2 has 580 tensors, and AdamW three for each: a few hundred kilobytes of header.
LONGEST_HEADER = 2**22
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 8
KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PICKLES = (b"\x80", b"PK\x03\x04", b"\x93NUMPY")


@dataclass(frozen=True)
class TensorFacts:
    """What a header says of one tensor."""

    dtype: torch.dtype
    """Kind of its numbers."""
    shape: tuple[int, ...]
    """Its sizes."""

    @property
    def count(self) -> int:
        """How many numbers it has; never overflows."""
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, TensorFacts]:
    """Return what a safetensors file holds, after checking that it can be true.

    Nothing but the header is read, and no more of it than a checkpoint could need.

    Raises:
        UserError: If it is no such file, too much for one, or its sizes contradict each other.

    >>> import tempfile
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"a": torch.zeros(2, 3)}, Path(folder, "a.safetensors"))
    ...     read_header(Path(folder, "a.safetensors"))
    {'a': TensorFacts(dtype=torch.float32, shape=(2, 3))}
    """
    with open_regular(file) as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        size = stream.seek(0, 2)
        if start.startswith(PICKLES) and length > LONGEST_HEADER:
            raise UserError(_pickle_message(file))
        if len(start) < 8 or length > size - 8:
            raise UserError(f"{file} is not a safetensors file, or it is cut off: {size:,} bytes.")
        if length > LONGEST_HEADER:
            raise UserError(
                f"{file} has a header of {length:,} bytes; at most {LONGEST_HEADER:,} are read. It "
                "is not a checkpoint of this course."
            )
        stream.seek(8)
        text = stream.read(length)
    try:
        return _facts(json.loads(text.decode("utf-8")), size - 8 - length)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"The header of {file} makes no sense ({error}). Not loaded.") from error


def _facts(header: dict[str, Any], data_bytes: int) -> dict[str, TensorFacts]:
    """Return the tensors of a header, if they fill the rest of the file without gap or overlap."""
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if len(entries) > MOST_TENSORS:
        raise ValueError(f"{len(entries):,} tensors, at most {MOST_TENSORS:,} are read")
    places = []
    facts = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"{name!r} has {len(shape):,} dimensions")
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise ValueError(f"sizes of {name!r} are not whole numbers from 0")
        facts[name] = TensorFacts(KINDS[entry["dtype"]], shape)
        if end - begin != facts[name].count * facts[name].dtype.itemsize:
            raise ValueError(f"{name!r} of shape {list(shape)} does not fit into its place")
        places.append((begin, end))
    places.sort()
    ends = [0, *(end for _, end in places)]
    if [begin for begin, _ in places] != ends[:-1] or ends[-1] != data_bytes:
        raise ValueError(f"its tensors do not fill the {data_bytes:,} bytes of the file")
    return facts


def load_tensors(file: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, its header checked first.

    Raises:
        UserError: See `read_header`.
    """
    read_header(file)
    try:
        return load_file(file, device=str(device))
    except SafetensorError as error:
        raise UserError(f"{file} is no sound safetensors file: {error}. Get it again.") from error


def _pickle_message(file: Path) -> str:
    return (
        f"{file} is not a safetensors file but looks like a pickle, a format that runs the code "
        "in it when it is loaded (notebook 11 shows how). It was not opened. Ask for the weights "
        "as a .safetensors file."
    )


COMPILED, PARALLEL = "_orig_mod", "module"


def plain_name(name: str) -> str:
    """Return a tensor's name without what wrappers put before it.

    `torch.compile` puts `_orig_mod.` before the names of what it compiles, DistributedDataParallel
    `module.` before all.

    >>> plain_name("module._orig_mod.blocks.0._orig_mod.norm.weight")
    'blocks.0.norm.weight'
    """
    parts = [part for part in name.split(".") if part != COMPILED]
    while len(parts) > 1 and parts[0] == PARALLEL:
        parts = parts[1:]
    return ".".join(parts)


def plain_names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same tensors, or facts about them, under their plain names.

    Raises:
        UserError: If two of them would have the same name.
    """
    plain = {plain_name(name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        raise UserError("Two of the weights have the same name but for a wrapper's prefix.")
    return plain


def weights_once(state: TrainState) -> dict[str, Tensor]:
    """Return the model's tensors by their plain names, each storage once."""
    tied = tied_names(state.model)
    weights = {n: tensor for n, tensor in state.model.state_dict().items() if n not in tied}
    return plain_names(weights)


def tied_names(model: nn.Module) -> set[str]:
    """Return second names of tensors that have two, such as the head tied to the embedding."""
    unique = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - unique


def misfits(found: Mapping[str, TensorFacts], model: nn.Module) -> list[str]:
    """Return what of a file's tensors does not fit a model, a line each; an empty list is good.

    Args:
        found: The file's header, plain names.
        model: It may be on the device "meta", where it has shapes but takes no memory.

    >>> import torch
    >>> found = {"weight": TensorFacts(torch.float32, (3, 2)), "more": TensorFacts(torch.int8, ())}
    >>> misfits(found, nn.Linear(4, 3, bias=False))
    ['weight: the checkpoint has (3, 2), the model (3, 4)', 'more: the model has no such weight']
    """
    tied = tied_names(model)
    wanted = {plain_name(n): tensor for n, tensor in model.state_dict().items() if n not in tied}
    lines = []
    for name, tensor in wanted.items():
        if name not in found:
            lines.append(f"{name}: the checkpoint has no such weight")
        elif found[name].shape != tuple(tensor.shape):
            sizes = f"{found[name].shape}, the model {tuple(tensor.shape)}"
            lines.append(f"{name}: the checkpoint has {sizes}")
        elif found[name].dtype.is_floating_point != tensor.dtype.is_floating_point:
            kinds = f"{found[name].dtype}, the model {tensor.dtype}"
            lines.append(f"{name}: the checkpoint has {kinds}")
    return lines + [f"{name}: the model has no such weight" for name in found if name not in wanted]


# How a step is computed, not what: that is this machine's to decide.
MANNERS = ("foreach", "fused", "capturable", "differentiable")


def optimizer_parts(state: dict[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Split an optimizer's state into tensors, named `<parameter>.<what>`, and plain settings."""
    tensors = {}
    for number, entry in state["state"].items():
        for name, tensor in entry.items():
            if not isinstance(tensor, Tensor):
                raise UserError(
                    f"The optimizer keeps {name} as {type(tensor).__name__}, and a checkpoint "
                    "holds tensors only. Train with `make_optimizer`, as `TrainState.fresh` does."
                )
            tensors[f"{number}.{name}"] = tensor.contiguous()
    return tensors, state["param_groups"]


def optimizer_misfits(found: Mapping[str, TensorFacts], shapes: list[tuple[int, ...]]) -> list[str]:
    """Return what of an optimizer's file does not fit the parameters it is for, a line each.

    Args:
        found: The file's header.
        shapes: Of the parameters in the optimizer's order. Each may have numbers of its own shape
            (the running means) and single numbers (the count of steps).
    """
    lines = []
    names: dict[str, set[str]] = {}
    for key, facts in found.items():
        number, _, name = key.partition(".")
        if not (number.isascii() and number.isdecimal() and int(number) < len(shapes)):
            lines.append(f"{key}: there is no such parameter")
        elif facts.shape not in ((), (1,), shapes[int(number)]):
            lines.append(f"{key}: has {facts.shape}, its parameter {shapes[int(number)]}")
        names.setdefault(number, set()).add(name)
    # A parameter that was never trained has none; one that was has what the others have.
    complete = set().union(*names.values())
    for number, found_names in names.items():
        lines += [f"{number}.{name}: is missing" for name in sorted(complete - found_names)]
    return lines


def optimizer_dict(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Put an optimizer's state together again."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".")
        # Written by several processes it has a dimension (notebook 15).
        state.setdefault(int(number), {})[name] = tensor.reshape(()) if name == "step" else tensor
    return {"state": state, "param_groups": groups}


def merged_groups(saved: Any, fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the saved numbers of an optimizer's groups in the form that a fresh one has here.

    Raises:
        UserError: If they belong to other parameters, or are no numbers.

    >>> fresh = [{"lr": 0.1, "fused": True, "params": [0, 1]}]
    >>> merged_groups([{"lr": 0.2, "fused": False, "params": [0, 1]}], fresh)
    [{'lr': 0.2, 'fused': True, 'params': [0, 1]}]
    """
    if not isinstance(saved, list) or len(saved) != len(fresh):
        raise UserError("The optimizer's settings in the checkpoint are of another optimizer.")
    groups = []
    for group, here in zip(saved, fresh, strict=True):
        if group["params"] != here["params"]:
            raise UserError("The optimizer's settings in the checkpoint are of another model.")
        groups.append(
            {
                name: value if name in MANNERS else _alike(name, group.get(name, value), value)
                for name, value in here.items()
            }
        )
    return groups


def _alike(name: str, saved: Any, fresh: Any) -> Any:
    """Return a saved value if it is of the kind that a fresh one is."""
    if isinstance(fresh, tuple | list):
        if isinstance(saved, tuple | list) and len(saved) == len(fresh):
            return type(fresh)(_alike(name, a, b) for a, b in zip(saved, fresh, strict=True))
    elif isinstance(fresh, bool) or not isinstance(fresh, int | float):
        if type(saved) is type(fresh):
            return saved
    elif isinstance(saved, int | float) and not isinstance(saved, bool):
        return saved
    raise UserError(f"The optimizer's {name} in the checkpoint is {saved!r}: it was changed.")


@dataclass(frozen=True)
class RandomState:
    """The state of all global generators at one moment.

    >>> state = RandomState.now()
    >>> first = random.random(), np.random.rand(), torch.rand(1).item()
    >>> state.restore()
    >>> first == (random.random(), np.random.rand(), torch.rand(1).item())
    True
    """

    tensors: dict[str, Tensor]
    """By name: `python`, `python.normal`, `numpy`, `numpy.normal`, `torch`, and `cuda` or `mps`."""

    @classmethod
    def now(cls) -> "RandomState":
        """Return the state as it is; nothing is drawn."""
        version, numbers, normal = random.getstate()
        keys = np.random.get_state(legacy=False)
        assert isinstance(keys, dict)
        twister = keys["state"]
        tensors = {
            # Both draw normal numbers in pairs and keep the second one for the next call.
            "python": torch.tensor([version, *numbers]),
            "python.normal": torch.tensor([] if normal is None else [normal], dtype=torch.float64),
            "numpy": torch.tensor([*twister["key"].tolist(), twister["pos"], keys["has_gauss"]]),
            "numpy.normal": torch.tensor([keys["gauss"]], dtype=torch.float64),
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            tensors["cuda"] = torch.cuda.get_rng_state()  # of the card that this process uses
        if torch.backends.mps.is_available():
            tensors["mps"] = torch.mps.get_rng_state()
        return cls(tensors)

    def restore(self, device: torch.device | str = "cpu") -> None:
        """Put all generators where they stood; a GPU's too, if the run goes on with `device` there.

        Raises:
            UserError: If one cannot be restored; then none is changed.
        """
        before = RandomState.now()
        try:
            self._restore(torch.device(device))
        except (LookupError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            before._restore(torch.device("cpu"))
            raise UserError(
                f"The random state of the checkpoint cannot be restored here: {error}. What is "
                "drawn at random from here on would not be what the unbroken run draws. Take "
                "another checkpoint, or start a new run."
            ) from error

    def _restore(self, device: torch.device) -> None:
        version, *numbers = self.tensors["python"].tolist()
        normal = self.tensors["python.normal"].tolist()
        random.setstate((version, tuple(numbers), normal[0] if normal else None))
        *key, position, has_gauss = self.tensors["numpy"].tolist()
        gauss = self.tensors["numpy.normal"].item()
        if len(key) != 624 or not (0 <= position <= 624 and has_gauss in (0, 1)):
            raise ValueError("numpy's state has a wrong size")
        state = (np.array(key, dtype=np.uint32), position, has_gauss, gauss)
        np.random.set_state(("MT19937", *state))
        torch.set_rng_state(self.tensors["torch"].cpu())
        # A run that moves from the CPU to a GPU has nothing to restore there.
        if device.type == "cuda" and "cuda" in self.tensors:
            torch.cuda.set_rng_state(self.tensors["cuda"].cpu(), device)
        if device.type == "mps" and "mps" in self.tensors:
            torch.mps.set_rng_state(self.tensors["mps"].cpu())
