"""What every model of the course has in common.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 04.
"""

from torch import Tensor, nn


class LanguageModel(nn.Module):
    """Scores every possible next token at every position: ids (B, T) in, logits (B, T, V) out.

    Anything that keeps this promise can be trained, evaluated and sampled from by the same
    functions: a bigram table, a GPT, a GPT behind a cache.

    Attributes:
        context_length: The most tokens the model looks at.
    """

    context_length: int

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for ids (B, T)."""
        raise NotImplementedError
