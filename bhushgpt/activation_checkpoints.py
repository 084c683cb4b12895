"""Memory for time: keep only what goes into a block, and compute the rest again on the way back.

Letters: B batch, T time, C channels.

Lesson: notebook 14. Source: Chen et al., "Training deep nets with sublinear memory cost",
arXiv 1604.06174.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from bhushgpt.errors import UserError


@contextmanager
def recomputed_blocks(model: nn.Module) -> Iterator[None]:
    """Inside the `with`, a forward keeps only the input (B, T, C) of every block for backward.

    A third more arithmetic, and activations of one block at a time instead of all. Dropout draws
    the same mask again. Backward may come after the `with`, and the model is left as it was.

    Args:
        model: With its blocks in `model.blocks`, as a GPT has them.

    Raises:
        UserError: If it has no blocks.

    Lesson: notebook 14.

    >>> import torch
    >>> from bhushgpt.gpt import GPT, GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=4, n_layer=2, n_head=1, n_embd=8))
    >>> with recomputed_blocks(model):
    ...     logits = model(torch.zeros(1, 4, dtype=torch.long))
    >>> logits.sum().backward()
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise UserError(
            "Only a model of blocks, such as a GPT, can compute its blocks again; this one is a "
            f"{type(model).__name__}. Leave activation checkpointing off."
        )
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is back
