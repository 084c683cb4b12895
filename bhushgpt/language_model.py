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

    def parameter_count(self) -> int:
        """Return how many numbers are trained; a tied weight counts once.

        >>> model = LanguageModel()
        >>> model.table = nn.Embedding(7, 7)
        >>> model.parameter_count()
        49
        """
        return sum(parameter.numel() for parameter in self.parameters())
