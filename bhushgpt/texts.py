"""A corpus as the numbers that a model reads, cut into what it learns and what it is judged on.

Lesson: notebook 16.
"""

from dataclasses import dataclass

import numpy as np

from bhushgpt.batches import split_tokens
from bhushgpt.corpus import Corpus
from bhushgpt.tokenizers import Tokenizer


@dataclass(frozen=True)
class Text:
    """A corpus as tokens, cut in two.

    Lesson: notebook 16.
    """

    corpus: Corpus
    tokenizer: Tokenizer
    train: np.ndarray
    held_out: np.ndarray

    @property
    def held_out_bytes(self) -> int:
        """UTF-8 bytes of the held-out text that a model predicts: all but its first token."""
        return len(self.tokenizer.decode(self.held_out[1:]).encode())


def tokenize(corpus: Corpus, tokenizer: Tokenizer, held_out: float, context_length: int) -> Text:
    """Encode a corpus and cut off its held-out part.

    Raises:
        UserError: If the text is too short for the context, or has characters that the tokenizer
            does not know.

    Lesson: notebook 16.
    """
    ids = tokenizer.encode(corpus.text)
    # The smallest type that holds every id: a long text need not fill the memory.
    tokens = np.array(ids, dtype=np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    train_tokens, held_out_tokens = split_tokens(tokens, held_out, context_length=context_length)
    return Text(corpus, tokenizer, train_tokens, held_out_tokens)
