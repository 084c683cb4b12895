"""A language model with a memory of a few tokens: vectors for tokens, and an MLP that reads them.

Where counting needs to have seen a context, this one needs to have seen contexts that look like
it: tokens that behave alike get vectors that lie close together.

Letters: B batch, T time, N context length, C channels of a token's vector, M units of the hidden
layer ("middle"), V vocabulary.

Lesson: notebook 06.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.errors import UserError, is_whole
from bhushgpt.language_model import LanguageModel, ModelConfig, check_ids


@dataclass(frozen=True, kw_only=True)
class MLPConfig(ModelConfig):
    """The sizes of an `MLPModel`.

    Raises:
        UserError: If a size is not a whole number of at least 1; it names all that are wrong.

    >>> MLPConfig(vocab_size=79, n_embd=0, n_hidden=2.5)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: This MLP cannot be built: n_embd is 0, n_hidden is 2.5; each must \
be a whole number of at least 1.
    """

    vocab_size: int
    """V, how many different tokens there are."""
    context_length: int = 8
    """N, how many tokens the model reads to predict the next one."""
    n_embd: int = 32
    """C, the numbers that stand for a token."""
    n_hidden: int = 512
    """M, the units of the hidden layer."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {size}"
            for name, size in vars(self).items()
            if not (is_whole(size) and size >= 1)
        ]
        if wrong:
            raise UserError(
                f"This MLP cannot be built: {', '.join(wrong)}; each must be a whole number of at "
                "least 1."
            )

    def build(self) -> "MLPModel":
        """Return a model of these sizes, with fresh weights.

        >>> MLPConfig(vocab_size=7, n_embd=2, n_hidden=5).build().parameter_count()
        141
        """
        return MLPModel(self)


class MLPModel(LanguageModel):
    """Predicts the next token from the vectors of the last N tokens, laid side by side.

    With e(w) the row of the table for token w, and zeros where the text has not begun,

        x = [e(w_{t-N+1}), ..., e(w_t)],  h = tanh(W x + b),  logits = U h + c.

    Args:
        config: Sizes.

    Attributes:
        config: The same, for whoever saves the model.
        context_length: N. `forward` takes more tokens than that: each place reads the N that end
            there.

    Raises:
        UserError: From `forward`, if it is given ids that it cannot look up (`check_ids`).

    Source: Bengio et al., "A neural probabilistic language model", 2003,
    https://www.jmlr.org/papers/v3/bengio03a.html, without the direct connections.

    >>> model = MLPConfig(vocab_size=7, context_length=3, n_embd=2, n_hidden=5).build()
    >>> model(torch.zeros(2, 6, dtype=torch.long)).shape
    torch.Size([2, 6, 7])
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config = config
        self.context_length = config.context_length
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.hidden = nn.Linear(config.context_length * config.n_embd, config.n_hidden)
        self.head = nn.Linear(config.n_hidden, config.vocab_size)
        # No token is favoured before training: a first loss of exactly ln V.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for ids (B, T); those of place t depend on ids[:, : t + 1] alone.

        The first N - 1 places have fewer than N tokens to read; the missing ones count as vectors
        of zeros, which add nothing to any hidden unit.
        """
        check_ids(ids, self.tokens.weight)
        vectors = self.tokens(ids)  # (B, T, C)
        windows = last_vectors(vectors, self.context_length)  # (B, T, N*C)
        hidden = torch.tanh(self.hidden(windows))  # (B, T, M)
        logits = self.head(hidden)  # (B, T, V)
        return logits


def last_vectors(vectors: Tensor, n: int) -> Tensor:
    """Return for each place the `n` vectors that end there, oldest first, in one row.

    Args:
        vectors: (B, T, C).
        n: N, how many; where the text has not begun, zeros stand.

    Returns:
        (B, T, N*C).

    >>> last_vectors(torch.tensor([[[1.0], [2.0], [3.0]]]), 2)
    tensor([[[0., 1.],
             [1., 2.],
             [2., 3.]]])
    """
    # The last two axes of `pad` come first: none around C, n - 1 rows before T.
    padded = F.pad(vectors, (0, 0, n - 1, 0))  # (B, T+N-1, C)
    # `unfold` slides without copying, and puts the window last.
    windows = padded.unfold(1, n, 1).transpose(2, 3)  # (B, T, N, C)
    return windows.flatten(2)  # (B, T, N*C)
