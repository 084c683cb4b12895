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
    # Only what is switched is put back: a model that is in eval mode already, as in generation
    # where this happens once a token, costs no more than a look.
    switched = [module for module in model.modules() if module.training]
    for module in switched:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in switched:
            module.training = True
