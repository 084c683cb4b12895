"""The machine's own limits: what a perfect program could reach on it.

Lesson: notebook 16.
"""

from collections.abc import Callable

import torch

from bhushgpt import roofline
from bhushgpt.bench_jobs import MODELS, TRAINING_SHAPES
from bhushgpt.devices import describe_device
from bhushgpt.float32_products import fast_float32_products, float32_products_as_shipped

Limits = dict[str, dict[str, float]]  # kind of product -> what was multiplied -> FLOP/s
SHIPPED, QUICK, TF32 = "float32 as shipped", "float32", "tf32"


def measure_limits(
    device: str, *, quick: bool = False, progress: Callable[[str], object] = lambda line: None
) -> Limits:
    """Return kind of product -> what was multiplied -> FLOP/s, of the fastest repetition.

    "float32" is the best that true float32 products can do here, "float32 as shipped" what torch
    does without being told, where that is less. Each holds "large" (square matrices) and the wide
    layer of every model.

    Lesson: notebook 16.
    """
    kinds = {QUICK: torch.float32}
    if fast_float32_products(device):
        kinds |= {SHIPPED: torch.float32}
    if device == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        kinds |= {TF32: torch.float32}
    if "bfloat16" in describe_device(device).dtypes:
        kinds |= {"bfloat16": torch.bfloat16}
    found = {}
    for kind, dtype in kinds.items():
        progress(f"matrix products, {kind}")
        before = torch.get_float32_matmul_precision() if kind == TF32 else None
        try:
            if before is not None:
                torch.set_float32_matmul_precision("high")
            if kind == SHIPPED:
                with float32_products_as_shipped():
                    found[kind] = _products(device, dtype, quick)
            else:
                found[kind] = _products(device, dtype, quick)
        finally:
            if before is not None:
                torch.set_float32_matmul_precision(before)
    return found


def _products(device: str, dtype: torch.dtype, quick: bool) -> dict[str, float]:
    sizes = (1024,) if quick else None
    rates = {"large": roofline.matmul_limit(device, dtype, sizes=sizes)}
    for name, (rows, tokens) in TRAINING_SHAPES.items():
        width = MODELS[name].n_embd
        shape = (rows * tokens, width, 4 * width)
        fastest = min(roofline.matmul_timing(*shape, device, dtype).seconds)
        rates[f"{name}: " + " x ".join(map(str, shape))] = roofline.matmul_flops(*shape) / fastest
    return rates


def best_of(first: Limits, second: Limits) -> Limits:
    """Return the higher of two measurements of the same limits, each product by itself.

    Lesson: notebook 16.

    >>> best_of({"float32": {"large": 1.0}}, {"float32": {"large": 2.0}})
    {'float32': {'large': 2.0}}
    """
    return {
        kind: {what: max(rate, second.get(kind, {}).get(what, 0)) for what, rate in rates.items()}
        for kind, rates in first.items()
    }
