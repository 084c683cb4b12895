"""The smallest language models that learn: the next token from the last one alone.

Two roads to one table: count pairs and divide, or descend the gradient. Both reach the same loss.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 04.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError, is_whole
from bhushgpt.language_model import LanguageModel, ModelConfig, check_ids
from bhushgpt.ngrams import token_ids


class CountedBigram:
    """A table of probabilities p(next | last), counted from a text.

    Args:
        tokens: One-dimensional token ids to count.
        vocab_size: V.
        alpha: Added to every count, so that a pair never seen keeps a little probability
            ("add-alpha smoothing"); without it one new pair makes the loss infinite.

    Attributes:
        probabilities: (V, V) tensor; row = last token, column = next token; rows sum to 1. A row
            that nothing was counted in is even.

    Raises:
        UserError: If alpha is negative, an id is outside the vocabulary, or `loss` gets fewer than
            two tokens.

    >>> model = CountedBigram(np.array([0, 1, 0, 1, 1]), vocab_size=2, alpha=0)
    >>> model.probabilities.tolist()
    [[0.0, 1.0], [0.5, 0.5]]
    """

    def __init__(self, tokens: np.ndarray, vocab_size: int, alpha: float = 0.01) -> None:
        if not alpha >= 0:
            raise UserError(f"alpha is {alpha}: it is added to counts, so it must be 0 or more.")
        tokens = token_ids(tokens, vocab_size)
        pairs = tokens[:-1] * vocab_size + tokens[1:]
        table = np.bincount(pairs, minlength=vocab_size**2).reshape(vocab_size, vocab_size)
        counts = torch.from_numpy(table).double() + alpha  # (V, V)
        # What tiny alphas tend to; 0 / 0 would be no number.
        counts[counts.sum(dim=1) == 0] = 1.0
        self.probabilities = counts / counts.sum(dim=1, keepdim=True)  # (V, V)

    def loss(self, tokens: np.ndarray) -> float:
        """Return the mean -ln p in nats over tokens[1:]; infinite if a pair has probability 0."""
        if len(tokens) < 2:
            raise UserError(
                f"The text has {len(tokens)} tokens; it needs at least 2 to predict one."
            )
        ids = torch.from_numpy(token_ids(tokens, len(self.probabilities)))
        return -self.probabilities[ids[:-1], ids[1:]].log().mean().item()


@dataclass(frozen=True, kw_only=True)
class BigramConfig(ModelConfig):
    """What a `Bigram` is made from."""

    vocab_size: int
    """V, how many different tokens there are."""
    context_length: int = 8
    """T, tokens in a training window. The prediction itself looks at the last token only."""

    def __post_init__(self) -> None:
        sizes = (self.vocab_size, self.context_length)
        if not all(is_whole(size) and size >= 1 for size in sizes):
            raise UserError(
                f"vocab_size is {self.vocab_size} and context_length {self.context_length}: "
                "both must be at least 1, and whole numbers."
            )

    def build(self) -> "Bigram":
        """Return the untrained model."""
        return Bigram(self)


class Bigram(LanguageModel):
    """A (V, V) table of logits, learned by gradient descent.

    Row i holds the scores of what may follow token i, so the whole forward pass is one look-up.

    Args:
        config: Sizes.

    >>> Bigram(BigramConfig(vocab_size=7))(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, config: BigramConfig) -> None:
        super().__init__()
        self.config = config
        self.context_length = config.context_length
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
        # All zeros: before training every token is equally likely, a loss of exactly ln V.
        nn.init.zeros_(self.table.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for ids (B, T)."""
        check_ids(ids, self.table.weight)
        logits = self.table(ids)  # (B, T, V)
        return logits
