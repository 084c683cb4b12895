"""Looking at a model without changing it.

Lesson: notebook 04.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off inside the `with`, and give the model back as it was.

    Forgetting one of the three steps (eval, no_grad, back to train) is the classic silent bug, so
    they live in one place. An exception inside restores the mode, too, and a part that was in
    another mode than the whole keeps its own.

    Lesson: notebook 04.

    >>> layer = nn.Dropout(0.5)
    >>> with eval_mode(layer):
    ...     layer.training, torch.is_grad_enabled()
    (False, False)
    >>> layer.training, torch.is_grad_enabled()
    (True, True)
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training
