"""How wrong a prediction is: the negative log-likelihood of the token that really came next.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 04.
"""

import torch.nn.functional as F
from torch import Tensor


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each position by itself, in nats: (B, T).

    Args:
        logits: (B, T, V), any real numbers; softmax over V turns them into probabilities.
        targets: (B, T), the id of the token that follows each position.

    Lesson: notebook 04.

    >>> import torch
    >>> sure_of_1 = torch.tensor([[[0.0, 9.0], [0.0, 9.0]]])
    >>> token_losses(sure_of_1, torch.tensor([[1, 0]]))
    tensor([[1.2337e-04, 9.0001e+00]])
    """
    # float32 whatever the model computes in: a softmax over many classes loses digits in bf16.
    flat = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    losses = flat.view(targets.shape)  # (B, T)
    return losses


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of the true next tokens.

    Args:
        logits: (B, T, V).
        targets: (B, T).

    Returns:
        A scalar: the mean of -ln p(target). A guesser that spreads its bets evenly gets ln V.

    Lesson: notebook 04.

    >>> import math, torch
    >>> even = torch.zeros(2, 5, 7)
    >>> round(next_token_loss(even, torch.zeros(2, 5, dtype=torch.long)).item(), 4)
    1.9459
    >>> round(math.log(7), 4)
    1.9459
    """
    return token_losses(logits, targets).mean()
