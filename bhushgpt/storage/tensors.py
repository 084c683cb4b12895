"""What of a training state is tensors: each once, under a name, in a file that cannot carry code.

A safetensors file begins with the length of its header (8 bytes), then the header (JSON: of each
tensor the name, kind of number, shape and place), then the numbers. The header is looked at first,
so that nothing is loaded that does not fit. Weights have the names they have in the model, what an
optimizer keeps of a weight has the weight's name and its own (`head.bias.exp_avg`), and the random
numbers have those of their generators.

Lesson: notebook 11. Source: github.com/huggingface/safetensors, "Format".
"""

import hashlib
import json
import math
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bhushgpt.devices import restore_random
from bhushgpt.errors import UserError
from bhushgpt.files import flush, named_in_utf8, open_regular, refuse_pointer
from bhushgpt.storage.run_folder import FileFacts
from bhushgpt.training import TrainState

# The largest GPT-2 has 580 tensors, and AdamW three for each: a few hundred kilobytes of header.
# The library itself reads 100 MB of it, which become gigabytes of Python objects.
LONGEST_HEADER = 2**22
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 8
# In the order in which that library writes them.
KINDS = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
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
    refuse_pointer(file)
    with open_regular(file) as stream:
        start = stream.read(8)
        size = stream.seek(0, 2)
    length = int.from_bytes(start, "little")
    if start.startswith(PICKLES) and length > LONGEST_HEADER:
        raise UserError(
            f"{file} is not a safetensors file but looks like a pickle, a format that runs the "
            "code in it when it is loaded (notebook 11 shows how). It was not opened. Ask for the "
            "weights as a .safetensors file."
        )
    if LONGEST_HEADER < length <= size:
        raise UserError(
            f"{file} has a header of {length:,} bytes; at most {LONGEST_HEADER:,} are read. It "
            "is not a checkpoint of this course."
        )
    try:
        with named_in_utf8(file) as place, safe_open(place, "pt") as tensors:
            names = tensors.keys()
            if len(names) > MOST_TENSORS:
                raise UserError(
                    f"{file} has {len(names):,} tensors, at most {MOST_TENSORS:,} are read. It is "
                    "not a checkpoint of this course."
                )
            return {name: _facts(file, name, tensors.get_slice(name)) for name in names}
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise UserError(
            f"{file} is no sound safetensors file of {size:,} bytes: {reason}. Nothing was loaded. "
            "Get it again."
        ) from error


def _facts(file: Path, name: str, tensor: Any) -> TensorFacts:
    shape, kind = tuple(tensor.get_shape()), tensor.get_dtype()
    if len(shape) > MOST_DIMENSIONS or kind not in KINDS:
        found = f"{len(shape):,} dimensions" if kind in KINDS else f"numbers of the kind {kind}"
        raise UserError(f"{name!r} in {file} has {found}, which no model here has. Not loaded.")
    return TensorFacts(KINDS[kind], shape)


def load_tensors(file: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, its header checked first.

    Raises:
        UserError: See `read_header`.
    """
    names = read_header(file)
    try:
        with named_in_utf8(file) as place, safe_open(place, "pt") as tensors:
            # Copied, since on a CPU the library hands out the file itself as memory: it could not
            # be deleted on Windows, and its numbers begin wherever the header ends.
            return {name: tensors.get_tensor(name).to(device, copy=True) for name in names}
    except SafetensorError as error:
        raise UserError(f"{file} is no sound safetensors file: {error}. Get it again.") from error


def save_tensors(
    tensors: Mapping[str, Tensor], file: Path, facts: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file, in one step: it is there whole, or as it was.

    Args:
        tensors: By name.
        file: Where.
        facts: What else stands in the header, text by name; `read_facts` gives it back.

    Raises:
        UserError: If it cannot be written there.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        try:
            save_file(dict(tensors), temporary, metadata={"format": "pt", **(facts or {})})
        except SafetensorError as error:
            raise UserError(f"{file} cannot be written: {error}. Name another place.") from error
        with suppress(OSError):  # some disks have no modes
            temporary.chmod(0o644)
        flush(temporary)
        temporary.replace(file)
        flush(file.absolute().parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(tensors: Mapping[str, Tensor], file: Path) -> FileFacts:
    """Write a safetensors file, and return its size and its sha256, taken while it is written.

    One tensor after the other, so that no second copy of all is made, and nothing has to be read
    again to know what was written.

    Raises:
        UserError: If there are numbers of a kind that no model here has.
        OSError: If it cannot be written.

    >>> import hashlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.safetensors")
    ...     facts = write_tensors({"a": torch.arange(3.0)}, file)
    ...     facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest(), load_tensors(file)
    (True, {'a': tensor([0., 1., 2.])})
    """
    codes = {dtype: code for code, dtype in KINDS.items()}
    for name, tensor in tensors.items():
        if tensor.dtype not in codes:
            raise UserError(f"{name} has numbers of the kind {tensor.dtype}, which is not saved.")
    # The widest numbers first: so all begin where numbers of their width may. Then by name: what a
    # run holds in another order after it went on makes the same file, and the one that the
    # safetensors library makes.
    rank = {dtype: n for n, dtype in enumerate(KINDS.values())}
    ordered = sorted(tensors.items(), key=lambda pair: (rank[pair[1].dtype], pair[0]))
    header, place = {}, 0
    for name, tensor in ordered:
        offsets = [place, place := place + tensor.nbytes]
        kind, shape = codes[tensor.dtype], list(tensor.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with file.open("wb") as stream:
        for raw in _pieces(text, [tensor for _, tensor in ordered]):
            digest.update(raw)
            stream.write(raw)
    return {"bytes": 8 + len(text) + place, "sha256": digest.hexdigest()}


def _pieces(header: bytes, tensors: list[Tensor]) -> Iterator[Any]:
    yield len(header).to_bytes(8, "little")
    yield header
    for tensor in tensors:
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def read_facts(file: Path) -> dict[str, str]:
    """Return the texts in the header of a safetensors file, checked like its tensors.

    Raises:
        UserError: See `read_header`.
    """
    read_header(file)
    with named_in_utf8(file) as name, safe_open(name, "pt") as tensors:
        return dict(tensors.metadata() or {})


# Taken off by name: torch's get_model_state_dict looks at the wrapped model, and a file from
# elsewhere, in which the names have prefixes, comes without one.
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


def optimizer_slots(state: TrainState) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return what the optimizer keeps of each weight, `<weight>.<what>`, and its groups' numbers.

    One that keeps nothing yet gets zeros for it, as if it had made a step: see `optimizer_parts`.
    """
    # A second to load; whoever uses a model and trains none does without.
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    found: Any = get_optimizer_state_dict(state.model, state.optimizer)
    slots = {
        f"{plain_name(name)}.{what}": value
        for name, entry in found["state"].items()
        for what, value in entry.items()
    }
    names = [[plain_name(name) for name in group["params"]] for group in found["param_groups"]]
    groups = [g | {"params": n} for g, n in zip(found["param_groups"], names, strict=True)]
    return slots, groups


def optimizer_parts(state: TrainState) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return what a checkpoint keeps of an optimizer: tensors by name, and the groups' numbers.

    Any of torch's optimizers will do. One that has not made a step yet has nothing to keep.

    Raises:
        UserError: If it keeps something that is not a tensor.

    >>> model = nn.Linear(3, 2)
    >>> state = TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    >>> optimizer_parts(state)
    ({}, [])
    >>> model(torch.ones(3)).sum().backward()
    >>> state.optimizer.step()
    >>> list(optimizer_parts(state)[0])
    ['weight.momentum_buffer', 'bias.momentum_buffer']
    """
    # Asked for the state of a fresh optimizer, the library makes a step of zeros and counts it: the
    # run would not be the same with a checkpoint at its beginning as without.
    if not state.optimizer.state:
        return {}, []
    slots, groups = optimizer_slots(state)
    for name, value in slots.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"The optimizer keeps {name} as {type(value).__name__}, and a checkpoint holds "
                "tensors only. Train with one of torch's own, as `TrainState.fresh` does."
            )
    # A count of steps has no dimensions, and gets one: where several processes write (notebook 15),
    # torch 2.13 joins a tensor without dimensions as zero.
    return {n: t.contiguous() if t.dim() else t[None] for n, t in slots.items()}, groups


def optimizer_misfits(found: Mapping[str, TensorFacts], slots: Mapping[str, Tensor]) -> list[str]:
    """Return what of an optimizer's file does not fit the optimizer it is for, a line each.

    Args:
        found: The file's header.
        slots: From `optimizer_slots`.
    """
    lines = []
    for name, facts in found.items():
        if name not in slots:
            lines.append(f"{name}: the optimizer keeps no such numbers")
        elif facts.shape != (tuple(slots[name].shape) or (1,)):
            lines.append(f"{name}: has {facts.shape}, the optimizer {tuple(slots[name].shape)}")
    # A weight that was never trained has none; one that was has all.
    trained = {name.rpartition(".")[0] for name in found}
    missing = (n for n in slots if n not in found and n.rpartition(".")[0] in trained)
    return lines + [f"{name}: is missing" for name in missing]


def restore_optimizer(
    state: TrainState,
    slots: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    groups: list[dict[str, Any]],
) -> None:
    """Give an optimizer back what `optimizer_parts` has taken, known to fit its slots."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    kept: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, what = key.rpartition(".")
        # Counters stay where the optimizer wants them, which on some devices is the CPU.
        tensor = tensor.to(slots[key].device)
        kept.setdefault(name, {})[what] = tensor if slots[key].dim() else tensor.reshape(())
    set_optimizer_state_dict(
        state.model,
        state.optimizer,
        {"state": kept, "param_groups": groups},  # type: ignore[arg-type]
        options=StateDictOptions(strict=False),  # a weight that was never trained has no state
    )


def merged_groups(saved: Any, fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the saved numbers of an optimizer's groups in the form that a fresh one has here.

    Raises:
        UserError: If they belong to other weights, or are no numbers.

    >>> fresh = [{"lr": 0.1, "fused": True, "params": ["a"]}]
    >>> merged_groups([{"lr": 0.2, "fused": False, "params": ["a"]}], fresh)
    [{'lr': 0.2, 'fused': True, 'params': ['a']}]
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
    """Where the random numbers stand: Python's, numpy's and torch's.

    Training does not need them, since every step draws from its own seed (notebook 05). The
    caller's own draws between the steps do, such as a text that is sampled now and then.

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
        restore_random(device, self.tensors.get(device.type))
