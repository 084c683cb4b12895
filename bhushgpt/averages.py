"""Averages that are better than their parts: of one model's weights over time, of models' votes.

The last weights of a run still shake with every batch. Their mean over the last steps shakes less.
And two models that were trained apart make different mistakes, so that the mean of what they expect
makes fewer.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 20. Sources: Polyak and Juditsky, 1992 (averaged weights); Dietterich, 2000
(ensembles).
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.language_model import LanguageModel


class WeightAverage:
    """The exponential moving average (EMA) of a model's weights.

    After each step

        average <- decay * average + (1 - decay) * weight

    so that about the last 1 / (1 - decay) steps count. It starts as the weights of the first
    update. Whole numbers and other buffers are taken as they are.

    Args:
        model: Whose weights are averaged; it is not changed.
        decay: How much of the old average stays, from 0 (the newest weights) to below 1.

    Attributes:
        model: A copy that holds the average; evaluate or save that one.

    Raises:
        UserError: If the decay is not from 0 to below 1.

    >>> line = nn.Linear(1, 1, bias=False)
    >>> average = WeightAverage(line, decay=0.75)
    >>> for weight in (1.0, 5.0, 5.0):
    ...     _ = line.weight.data.fill_(weight)
    ...     average.update(line)
    >>> average.model.weight.item()  # 1, then 1 + (5 - 1) / 4 = 2, then 2 + (5 - 2) / 4
    2.75
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"decay is {decay}: it must be at least 0 and below 1, such as 0.99.")
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the model's weights, as they are now, into the average."""
        new = 1 - self.decay if self.updates else 1.0
        for average, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(weight, new)
        for kept, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            kept.copy_(buffer)
        self.updates += 1


class Ensemble(LanguageModel):
    """Several models that predict together: the mean of their probabilities.

    Its logits are ln of that mean, so that whatever evaluates or draws from a model takes it, too.

    Args:
        models: At least one, all with the same vocabulary.

    Raises:
        UserError: If there is none.

    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> sure, other = (Bigram(BigramConfig(vocab_size=2)) for _ in range(2))
    >>> _ = sure.table.weight.data.copy_(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]))
    >>> Ensemble([sure, other])(torch.tensor([[0]])).exp()  # of 1/4, 3/4 and 1/2, 1/2
    tensor([[[0.3750, 0.6250]]], grad_fn=<ExpBackward0>)
    """

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        super().__init__()
        if not models:
            raise UserError("An ensemble needs at least one model.")
        self.models = nn.ModuleList(models)
        self.context_length = min(model.context_length for model in models)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for ids (B, T)."""
        votes = [model(ids).log_softmax(dim=-1) for model in self.models]
        together = torch.logsumexp(torch.stack(votes), dim=0)  # (B, T, V)
        return together - math.log(len(votes))
