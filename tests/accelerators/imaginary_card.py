"""A graphics card that is not there: its tensors compute on the CPU and refuse all others.

A tensor on the device "card" holds one of the CPU. Each operation is done with what is held, and
the result is on the card again. Where a tensor of the CPU comes beside one of the card, it raises
what a real card raises. So every branch that only an accelerator takes runs on every machine, and
its numbers can be compared with the CPU's.

It is made of torch's place for devices of other makers (PrivateUse1), which is set up once in a
process and stays: no other test meets it, since nothing else names the device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from bhushgpt.devices import ABILITIES, Abilities

NAME = "card"
aten = torch.ops.aten
# What goes from one device to the other; and 0-dimensional tensors, which cards take as numbers.
BETWEEN = {aten.copy_.default, aten._to_copy.default}
# An index of a card's tensor may lie on the CPU.
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class _Module:
    """What torch asks a maker's module for."""

    generator = torch.Generator()

    @staticmethod
    def is_available() -> bool:
        return True

    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    @classmethod
    def get_rng_state(cls, device: Any = None) -> Tensor:
        return cls.generator.get_state()

    @classmethod
    def set_rng_state(cls, state: Tensor, device: Any = None) -> None:
        cls.generator.set_state(state)

    @classmethod
    def manual_seed(cls, seed: int) -> None:
        cls.generator.manual_seed(seed)


class CardTensor(Tensor):
    """A tensor on the card."""

    held: Tensor
    """What it is, on the CPU."""

    @staticmethod
    def __new__(cls, held: Tensor) -> "CardTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return cast(CardTensor, made)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:  # by way of the CPU, as from every card
        return off_card(self).tolist()

    def __repr__(self, **more: Any) -> str:  # type: ignore[override]
        return f"card({self.held})"


class _Card(TorchDispatchMode):
    """Makes new tensors on the card, too, of which no operation on one has told it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, CardTensor)]
    others = [t for t in tensors if not isinstance(t, CardTensor) and t.dim()]
    if ours and others and func not in BETWEEN:
        if func not in INDEXED or not isinstance(args[0], CardTensor):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{NAME}:0 and cpu! ({func})"
            )
    generator = kwargs.get("generator")
    if ours and generator is not None and generator.device.type != NAME:
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
    if (device := kwargs.get("device")) is not None:
        on_card = torch.device(device).type == NAME
        if on_card:
            kwargs = {**kwargs, "device": torch.device("cpu")}
    else:
        on_card = isinstance(args[0], CardTensor) if func is aten.copy_.default else bool(ours)
    known = {id(tensor.held): tensor for tensor in ours}
    held = (tree_map_only(CardTensor, lambda tensor: tensor.held, part) for part in (args, kwargs))
    args, kwargs = held
    if func is aten._pin_memory.default:  # pinned: a copy that a card fetches by itself
        return args[0].clone()
    result = func(*args, **kwargs)

    def back(tensor: Tensor) -> Tensor:
        if id(tensor) in known:  # changed in place
            return known[id(tensor)]
        return CardTensor(tensor) if on_card else tensor

    return tree_map_only(Tensor, back, result)


@cache
def _set_up() -> None:
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module)
    rest = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    rest.fallback(torch.library.fallthrough_kernel)
    library = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")

    def in_small_type(function: Any) -> Any:
        def computed(*operands: Any) -> Any:
            dtype = torch.get_autocast_dtype(NAME)
            with torch.autocast(NAME, enabled=False):
                cast_ones = [one.to(dtype) if isinstance(one, Tensor) else one for one in operands]
                return function(*cast_ones)

        return computed

    for name, function in (("linear", F.linear), ("matmul", torch.matmul)):
        library.impl(name, in_small_type(function))
    _set_up.kept = rest, library  # type: ignore[attr-defined]  # they work as long as they are


@contextmanager
def imaginary_card(**able: Any) -> Iterator[torch.device]:
    """Inside the `with`, a device "card" is there, and this course's code knows what it can do.

    Args:
        able: What it can do, as in `Abilities`; left out, what every card can.
    """
    _set_up()
    before = ABILITIES.get(NAME, Abilities())
    ABILITIES[NAME] = Abilities(**{"own_random": True, **able})
    swap = torch.__future__.get_swap_module_params_on_conversion()
    # A weight that is moved stays the same object, so that tied ones stay tied.
    torch.__future__.set_swap_module_params_on_conversion(True)
    # `torch.tensor` makes its tensor on the CPU, and then lets the card have it.
    inference, torch.inference_mode = torch.inference_mode, torch.no_grad  # which it cannot
    lifts = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with _Card():
            yield torch.device(NAME, 0)
    finally:
        torch.inference_mode = inference
        torch._C._set_only_lift_cpu_tensors(lifts)
        torch.__future__.set_swap_module_params_on_conversion(swap)
        ABILITIES[NAME] = before


def off_card(value: Tensor) -> Tensor:
    """Return what a tensor holds, wherever it is."""
    value = value.detach()
    return value.held if isinstance(value, CardTensor) else value
