"""Taking turns with a model: a line of yours, then what it writes on, in one growing text.

Letters: T time.

Lesson: notebook 17.
"""

import dataclasses
from collections.abc import Iterator

import torch

from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, decode_stream, generate
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import LanguageModel
from bhushgpt.tokenizers import Tokenizer

END = "\n"  # of a line of yours, and of a reply


class Conversation:
    r"""One text that a person and a model write in turns; what was said stays in the context.

    Args:
        model: Any model of the course.
        tokenizer: The one it was trained with.
        sampling: How the model chooses. Each reply takes the next seed.
        n_tokens: The most tokens of one reply.
        exact: As in `Cached`: without it, a talk longer than the context stays as fast.

    Attributes:
        ids: The whole text so far.
        sampling: May be replaced between two replies.

    Raises:
        UserError: If a reply could have no token.

    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> model, tokenizer = Bigram(BigramConfig(vocab_size=3)), CharTokenizer("\nab")
    >>> talk = Conversation(model, tokenizer, Sampling(temperature=0), n_tokens=4)
    >>> "".join(talk.reply("ba")), talk.text
    ('', 'ba\n\n\n\n\n')
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        sampling: Sampling | None = None,
        *,
        n_tokens: int = 200,
        exact: bool = True,
    ) -> None:
        if n_tokens < 1:
            raise UserError(f"n_tokens is {n_tokens}: a reply has at least 1 token.")
        self.tokenizer = tokenizer
        self.sampling = sampling or Sampling()
        self.n_tokens = n_tokens
        self.ids: list[int] = []
        # Across turns: what was said is not computed again.
        self._cached = Cached(model, exact=exact)
        self._special = set(getattr(tokenizer, "special_ids", {}).values())
        self._replies = 0

    @property
    def text(self) -> str:
        """All that was said, by both."""
        return self.tokenizer.decode(self.ids)

    def unknown(self, line: str) -> list[str]:
        """Return the characters of a line, each once, that the model has never seen."""
        known = self.tokenizer.encode
        return [one for one in dict.fromkeys(line) if not known(one, unknown="skip")]

    def reply(self, line: str) -> Iterator[str]:
        """Add a line to the text, and yield what the model writes on, piece by piece.

        A reply ends where the model ends a line, or ends a document, or after `n_tokens`. Stopped
        in the middle, what was written stays in the text; the next line is a line of its own there,
        and an empty one only ends it. Unknown characters are left out.
        """
        last = self.tokenizer.decode_bytes(self.ids[-1:])
        if line and last and not last.endswith(END.encode()):
            line = END + line
        self.ids += self.tokenizer.encode(line + END, unknown="skip")
        if not self.ids:  # an alphabet without a line end, and nothing said yet
            self.ids = [0]
        yield from self._until_the_end(decode_stream(self.tokenizer, self._drawn()))

    def reset(self) -> None:
        """Forget all that was said."""
        self.ids = []

    def _drawn(self) -> Iterator[int]:
        device = next(self._cached.parameters()).device
        sampling = dataclasses.replace(self.sampling, seed=self.sampling.seed + self._replies)
        self._replies += 1
        ids = torch.tensor([self.ids], device=device)  # (1, T)
        for new in generate(self._cached, ids, self.n_tokens, sampling):
            if int(new) in self._special:
                return
            self.ids.append(int(new))
            yield self.ids[-1]

    def _until_the_end(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield pieces up to the end of the line; line ends before the first word do not count."""
        begun = False
        for piece in pieces:
            if not begun:
                piece = piece.lstrip(END)
                begun = bool(piece.strip())
            before, end, _ = piece.partition(END)
            yield before
            if begun and end:
                return
