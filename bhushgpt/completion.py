"""Text in, text out: a prompt continued by a model, piece by piece.

Lesson: notebook 16.
"""

from collections.abc import Iterator

import torch

from bhushgpt.generation import Sampling, generate
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import LanguageModel
from bhushgpt.tokenizers import Tokenizer


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    r"""Return the prompt's ids; an empty prompt starts from a newline, where texts start.

    Raises:
        UserError: If the prompt has a character that the tokenizer does not know.

    Lesson: notebook 16.

    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> prompt_ids(CharTokenizer("\nab"), ""), prompt_ids(CharTokenizer("\nab"), "ab")
    ([0], [1, 2])
    """
    # A text without a single newline has no line starts: any token will do, so the first.
    return tokenizer.encode(prompt) or tokenizer.encode("\n", unknown="skip") or [0]


def complete_text(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, n_tokens: int, sampling: Sampling
) -> Iterator[str]:
    """Continue a prompt and yield the new text token by token, as it is drawn.

    Raises:
        UserError: If the prompt has a character that the tokenizer does not know.

    Lesson: notebook 16.
    """
    device = next(model.parameters()).device
    ids = torch.tensor([prompt_ids(tokenizer, prompt)], device=device)
    for new in generate(Cached(model), ids, n_tokens, sampling):
        yield tokenizer.decode(new[0].tolist())
