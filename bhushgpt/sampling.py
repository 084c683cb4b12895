"""Drawing tokens from a model's predictions, in the plainest way.

Letters: B batch, T time, V vocabulary. Faster and with more say: notebook 09, `generation`.

Lesson: notebook 04.
"""

import torch
from torch import Tensor

from bhushgpt.eval_mode import eval_mode
from bhushgpt.language_model import LanguageModel


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one token id per row, each with its softmax probability.

    Args:
        logits: (B, V).
        generator: The source of randomness, on the CPU; a seeded one gives the same ids again on
            every device, since the draw itself is made on the CPU.

    Returns:
        (B, 1) ids on the device of the logits.

    Lesson: notebook 04.

    >>> certain = torch.tensor([[0.0, 100.0, 0.0]])
    >>> draw(certain, torch.Generator().manual_seed(0))
    tensor([[1]])
    """
    probabilities = logits.float().softmax(dim=-1).cpu()  # (B, V)
    ids = torch.multinomial(probabilities, num_samples=1, generator=generator)  # (B, 1)
    return ids.to(logits.device)


def sample(model: LanguageModel, ids: Tensor, n_tokens: int, seed: int = 0) -> Tensor:
    """Continue a text by `n_tokens` drawn tokens; the reference that faster ways must equal.

    Args:
        model: Maps ids (B, T) to logits (B, T, V) and has a `context_length`.
        ids: (B, T) the prompt, at least one token.
        n_tokens: How many to add.
        seed: The same seed gives the same text.

    Returns:
        (B, T + n_tokens): the prompt, whole, and what was drawn. Only what the model looks at is
        cropped to its context, never the text.

    Lesson: notebook 04.

    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> even = Bigram(BigramConfig(vocab_size=5))
    >>> text = sample(even, torch.tensor([[3, 4]]), n_tokens=6, seed=1)
    >>> text.shape, text[0, :2].tolist()
    (torch.Size([1, 8]), [3, 4])
    >>> bool((text == sample(even, torch.tensor([[3, 4]]), n_tokens=6, seed=1)).all())
    True
    """
    generator = torch.Generator().manual_seed(seed)
    with eval_mode(model):
        for _ in range(n_tokens):
            visible = ids[:, -model.context_length :]  # (B, _)
            logits = model(visible)[:, -1]  # (B, V)
            ids = torch.cat([ids, draw(logits, generator)], dim=1)
    return ids
