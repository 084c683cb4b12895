"""Continuing a text, one token at a time, with a say in how daring it is.

`generate` works on ids and yields every new one as it is drawn; `complete_text` takes a prompt and
yields text.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 10.
"""

import codecs
import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bhushgpt.errors import UserError, is_whole
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import LanguageModel, check_tensor, draw, eval_mode
from bhushgpt.sources import plain_lines
from bhushgpt.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen from the model's scores.

    They are applied in this order: divide by the temperature, keep the top k, keep the top p of
    what is left, keep of that what reaches min p.

    Raises:
        UserError: If a setting means nothing; it names all that are wrong.

    >>> Sampling(temperature=0.8, top_k=20).top_p is None
    True
    """

    temperature: float = 1.0
    """Below 1 plays safe, above 1 takes risks; 0 always takes the likeliest token (greedy)."""
    top_k: int | None = None
    """Draw among this many likeliest tokens only."""
    top_p: float | None = None
    """Draw among the fewest likeliest tokens that together have this probability."""
    min_p: float | None = None
    """Draw among the tokens only that are at least this many times as likely as the likeliest."""
    seed: int = 0
    """The same seed gives the same text."""

    def __post_init__(self) -> None:
        wrong = []
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            wrong.append(
                f"temperature is {self.temperature}: 0 is greedy, 0.8 is usual, below 0 means "
                "nothing"
            )
        if self.top_k is not None and not (is_whole(self.top_k) and self.top_k >= 1):
            wrong.append(f"top_k is {self.top_k}: it is a whole number, at least 1 token must stay")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            wrong.append(f"top_p is {self.top_p}: it is a share, above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            wrong.append(f"min_p is {self.min_p}: it is a share, 0 keeps all and 1 the likeliest")
        if not (is_whole(self.seed) and 0 <= self.seed < 2**63):
            wrong.append(f"seed is {self.seed}: it is a whole number of at least 0")
        if wrong:
            raise UserError("These sampling settings cannot be used: " + "; ".join(wrong) + ".")


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Return logits (B, V) with all but the k highest of each row at -infinity.

    Exactly k stay, ties or not; a k above V keeps all.

    Source: Fan et al., arXiv 1805.04833.

    >>> keep_top_k(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    tensor([[-inf, 3., 2.]])
    """
    values, ids = logits.topk(min(k, logits.shape[-1]), dim=-1)  # 2 x (B, _)
    return torch.full_like(logits, -torch.inf).scatter(-1, ids, values)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Return logits (B, V) with all but the smallest set of probability >= p at -infinity.

    The likeliest token always stays, and at p = 1 all do.

    Source: Holtzman et al., arXiv 1904.09751.

    >>> keep_top_p(torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.6).isfinite()
    tensor([[ True,  True, False]])
    """
    if p >= 1:  # rounding must not take the last of the tail
        return logits
    values, ids = logits.sort(dim=-1, descending=True)  # 2 x (B, V)
    probabilities = values.float().softmax(dim=-1)  # (B, V)
    before = probabilities.cumsum(dim=-1) - probabilities  # (B, V)
    # A token stays if what stands before it has not reached p yet; nothing stands before the first.
    # A p too small for float32 would be 0 there and leave nothing.
    smallest = torch.finfo(torch.float32).tiny
    values = values.masked_fill(before >= max(p, smallest), -torch.inf)  # (B, V)
    return torch.full_like(logits, -torch.inf).scatter(-1, ids, values)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Return logits (B, V) with all that are less than p times as likely as the likeliest at -inf.

    Where the model is sure, few stay, and where it is not, many. The likeliest always stays, and at
    p = 0 all do.

    Source: Nguyen et al., arXiv 2407.01082.

    >>> keep_min_p(torch.tensor([[0.5, 0.3, 0.2]]).log(), 0.5).isfinite()
    tensor([[ True,  True, False]])
    """
    if p == 0:
        return logits
    lowest = logits.amax(dim=-1, keepdim=True) + math.log(p)  # (B, 1)
    return logits.masked_fill(logits < lowest, -torch.inf)


def sampling_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return the logits (B, V) whose softmax is each token's chance to be drawn.

    Raises:
        UserError: If a row holds something that is not a number, or leaves no token to choose.

    >>> scores = torch.tensor([[0.0, 2.0, 1.0]])
    >>> sampling_logits(scores, Sampling(temperature=0.5, top_k=2)).softmax(dim=-1)
    tensor([[0.0000, 0.8808, 0.1192]])
    """
    highest = logits.amax(dim=-1, keepdim=True)  # (B, 1) NaN if any score is
    spoilt = [value for value in highest.flatten().tolist() if not math.isfinite(value)]
    if spoilt:
        raise UserError(
            f"The model's highest score is {spoilt[0]}, so no token can be chosen: its weights "
            "were spoilt, usually by a diverged training run. Load an earlier checkpoint."
        )
    if sampling.temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)  # (B, 1)
        return torch.full_like(logits, -torch.inf).scatter(-1, best, 0.0)
    # From the highest down, so that a tiny temperature does not divide its way to infinity; one
    # that float32 cannot hold would be 0 there, and 0 / 0 is no number.
    temperature = max(sampling.temperature, torch.finfo(torch.float32).tiny)
    logits = (logits.float() - highest.float()) / temperature  # (B, V)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)  # (B, V)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)  # (B, V)
    if sampling.min_p is not None:
        logits = keep_min_p(logits, sampling.min_p)  # (B, V)
    return logits


def next_ids(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Choose one token a row: (B, 1) for logits (B, V).

    A score of -infinity is allowed and says "never this one".

    Raises:
        UserError: If a row holds something that is not a number, or leaves no token to choose.

    >>> scores = torch.tensor([[0.0, 2.0, 1.0]])
    >>> next_ids(scores, Sampling(temperature=0), torch.Generator())
    tensor([[1]])
    """
    logits = sampling_logits(logits, sampling)  # (B, V)
    if sampling.temperature == 0:  # nothing is left to chance, and none is used up
        return logits.argmax(dim=-1, keepdim=True)
    return draw(logits, generator)


def generate(
    model: LanguageModel,
    ids: Tensor,
    n_tokens: int,
    sampling: Sampling | None = None,
) -> Iterator[Tensor]:
    """Continue prompts token by token, as an iterator that the caller reads and stops.

    Args:
        model: Maps ids (B, T) to logits whose last position predicts the next token, and has a
            `context_length`: a GPT, or the same behind a cache (notebook 10).
        ids: (B, T) prompts, at least one token. They stay whole; the model sees the last
            `context_length` tokens.
        n_tokens: How many to draw at most.
        sampling: Temperature, filters and seed.

    Yields:
        (B, 1) ids, one column at a time.

    Raises:
        UserError: When the first token is asked for: if the prompt is empty or not (B, T), or
            n_tokens is negative.

    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> steps = generate(Bigram(BigramConfig(vocab_size=5)), torch.tensor([[3]]), 4)
    >>> [tuple(new.shape) for new in steps]
    [(1, 1), (1, 1), (1, 1), (1, 1)]
    """
    _check_request(ids, n_tokens)
    sampling = sampling or Sampling()
    generator = torch.Generator().manual_seed(sampling.seed)
    for _ in range(n_tokens):
        # Inside the loop: while the caller holds the token, the model is as the caller left it.
        with eval_mode(model):
            logits = model(ids[:, -model.context_length :])[:, -1]  # (B, V)
        new = next_ids(logits, sampling, generator)  # (B, 1)
        ids = torch.cat([ids, new], dim=1)
        yield new


def _check_request(ids: Tensor, n_tokens: int) -> None:
    check_tensor(ids)
    if ids.dim() != 2:
        raise UserError(
            f"The prompts have the shape {tuple(ids.shape)}, but (B, T) is needed: one row for "
            "each prompt. One prompt is torch.tensor([tokenizer.encode(text)])."
        )
    if ids.shape[1] == 0:
        raise UserError("The prompt has no token. Start from a newline: tokenizer.encode('\\n').")
    if not (is_whole(n_tokens) and n_tokens >= 0):
        raise UserError(f"n_tokens is {n_tokens}: give a whole number, 0 or more tokens to draw.")


def as_in_texts(tokenizer: Tokenizer, prompt: str) -> str:
    r"""Return a prompt as the text that the tokenizer knows would have it.

    Ends of lines become a newline, and a byte order mark goes, as when a text is read. An accented
    letter may be one character or a letter and its accent; the two look the same. Where the
    tokenizer knows one of them only, that one is taken.

    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> as_in_texts(CharTokenizer("\naé"), "\ufeffae\u0301\r\n") == "aé\n"
    True
    """
    text = plain_lines(prompt)
    if _knows(tokenizer, text):
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(_known_form(tokenizer, character) for character in composed)


def _known_form(tokenizer: Tokenizer, character: str) -> str:
    apart = unicodedata.normalize("NFD", character)
    if apart == character or _knows(tokenizer, character) or not _knows(tokenizer, apart):
        return character
    return apart


def _knows(tokenizer: Tokenizer, text: str) -> bool:
    try:
        tokenizer.encode(text)
    except UserError:
        return False
    return True


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    r"""Return the prompt's ids; an empty prompt starts from a newline, where texts start.

    Raises:
        UserError: If the prompt has a character that the tokenizer does not know.

    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> prompt_ids(CharTokenizer("\nab"), ""), prompt_ids(CharTokenizer("\nab"), "ab")
    ([0], [1, 2])
    """
    # A text without a single newline has no line starts: any token will do, so the first.
    ids = tokenizer.encode(as_in_texts(tokenizer, prompt))
    return ids or tokenizer.encode("\n", unknown="skip") or [0]


def decode_stream(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Yield the text of ids one by one, never a part of a character.

    A token may be some bytes of a character alone: then an empty piece comes, until the character
    is whole. Joined, the pieces are what `tokenizer.decode` makes of all ids.

    >>> from bhushgpt.tokenizers import ByteTokenizer
    >>> list(decode_stream(ByteTokenizer(), [0x41, 0xC3, 0xA9, 0x42]))
    ['A', '', 'é', 'B']
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for one in ids:
        yield decoder.decode(tokenizer.decode_bytes([one]))
    if rest := decoder.decode(b"", final=True):
        yield rest


def complete_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    n_tokens: int,
    sampling: Sampling,
    *,
    exact: bool = True,
) -> Iterator[str]:
    """Continue a prompt and yield the new text token by token, as it is drawn.

    A token that is only a part of a character yields an empty piece, and the last part the whole.
    Once the text is longer than the context, `exact=False` is as fast as before, see `Cached`.

    Raises:
        UserError: If the prompt has a character that the tokenizer does not know.
    """
    device = next(model.parameters()).device
    ids = torch.tensor([prompt_ids(tokenizer, prompt)], device=device)
    new = generate(Cached(model, exact=exact), ids, n_tokens, sampling)
    yield from decode_stream(tokenizer, (int(one) for one in new))
