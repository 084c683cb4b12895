"""One loop for encoder and decoder: score, code, and only then learn.

A text is cut into lanes that are read side by side, which makes one batch of them. What predicts
is a language model, counters mixed with it, or both; characters that the tokenizer does not know
are escaped.

Letters: L lanes, T time, V vocabulary, K lanes that still read.

Lesson: notebook 19. Source: Krause et al., "Dynamic evaluation of neural sequence models", 2018
and arXiv 1904.08378.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch

from bhushgpt.arithmetic_coding import TOTAL, Coder, frequencies
from bhushgpt.errors import UserError
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import LanguageModel, token_losses
from bhushgpt.mixing import MixedPredictor
from bhushgpt.tokenizers import Tokenizer


class ModelReader:
    """A language model that reads L texts side by side and predicts each next token.

    Args:
        model: Any of the course's models; it is not changed.
        vocab_size: V of the tokenizer.
        learning_rate: 0 leaves the weights alone. Otherwise each stretch of half a context is
            learned from once, after it was scored.
    """

    def __init__(
        self, model: LanguageModel, vocab_size: int, *, learning_rate: float = 0.0
    ) -> None:
        self.model = copy.deepcopy(model).float().cpu().eval()
        self.vocab_size, self.learning_rate = vocab_size, learning_rate
        self.stride = max(1, model.context_length // 2)
        self._optimizer = torch.optim.SGD(self.model.parameters(), lr=learning_rate or 1.0)

    def restart(self, lanes: int, past: np.ndarray | None = None) -> None:
        """Begin L texts; `past` (ids) stands before each of them, or else the token 0."""
        start = np.zeros(1, dtype=np.int64) if past is None or not len(past) else past
        start = torch.from_numpy(np.asarray(start[-self.stride :], dtype=np.int64))
        self.ids = start.repeat(lanes, 1)  # (L, T)
        self._fresh = 0  # tokens that were scored and not yet learned
        self._renew()

    def distribution(self) -> np.ndarray:
        """Return the probabilities of the next token in each lane: (L, V), float64."""
        with torch.no_grad():
            logits = self._reader(self.ids)[:, -1, : self.vocab_size].double()  # (L, V)
        if logits.shape[1] < self.vocab_size:
            raise UserError(
                f"The model knows {logits.shape[1]} tokens and the tokenizer {self.vocab_size}: "
                "they do not belong together."
            )
        return logits.softmax(dim=-1).numpy()

    def push(self, tokens: np.ndarray) -> None:
        """Let each lane read its token (L,); after every stride learn, if asked to."""
        self.ids = torch.cat([self.ids, torch.from_numpy(tokens)[:, None]], dim=1)
        self._fresh += 1
        longest = self.model.context_length
        if self._fresh == self.stride and self.learning_rate:
            self._learn()
        if self._fresh == self.stride:
            self._fresh = 0
        if self.ids.shape[1] > longest:
            # The window moves by half, so that most tokens cost one step and not a whole window.
            self.ids = self.ids[:, -self.stride :]

    def _learn(self) -> None:
        """Take one step down the loss of what was just scored."""
        logits = self.model(self.ids[:, :-1])  # (L, T, V)
        losses = token_losses(logits, self.ids[:, 1:])[:, -self._fresh :]
        self._optimizer.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._renew()

    def _renew(self) -> None:
        """Forget keys and values that older weights computed."""
        self._reader = Cached(self.model)


class Escapes:
    """Characters that the tokenizer does not know: how often they come, and which they are."""

    def __init__(self) -> None:
        self.known, self.unknown = 0.5, 0.5
        self.digits = np.ones((3, 256), dtype=np.int64)

    def flag(self, coder: Coder, escaped: bool) -> bool:
        """Code whether the next symbol is escaped; nearly free where that never happens."""
        share = self.unknown / (self.known + self.unknown)
        ones = min(max(int(share * TOTAL), 1), TOTAL - 1)
        escaped = bool(coder.code((0, TOTAL - ones, TOTAL), int(escaped)))
        self.unknown += escaped
        self.known += not escaped
        return escaped

    def character(self, coder: Coder, number: int) -> int:
        """Code a character's number as three digits to the base 256, each learned by itself."""
        result = 0
        for place, shift in enumerate((16, 8, 0)):
            counts = self.digits[place]
            bounds = [0, *np.cumsum(counts).tolist()]
            digit = coder.code(bounds, number >> shift & 255)
            counts[digit] += 32
            if counts.sum() > TOTAL // 256:
                self.digits[place] = (counts + 1) // 2
            result = result << 8 | digit
        return result


class Listener:
    """A coder that writes nothing: with it, the loop only learns from a text."""

    def code(self, bounds: Sequence[int], symbol: int) -> int:
        """Return the symbol."""
        return symbol


def code_symbols(
    coder: Coder,
    count: int,
    lanes: int,
    *,
    wanted: np.ndarray | None = None,
    reader: ModelReader | None = None,
    mixed: MixedPredictor | None = None,
) -> Iterator[np.ndarray]:
    """Write `wanted`, or read as many symbols: the one loop of encoder and decoder.

    Symbols are tokens, or -1 - character for what is escaped. Lane l has the symbols from
    l * ceil(count / lanes) on.

    Yields:
        After each step the symbols of the lanes that still read, (K,).
    """
    escapes = Escapes()
    length = -(-count // lanes)
    starts = np.arange(lanes) * length
    for step in range(length):
        reading = np.flatnonzero((starts + step < count) & (step < length))  # (K,)
        hoped = np.zeros(len(reading), dtype=np.int64)
        if wanted is not None:
            hoped = wanted[starts[reading] + step]
        symbols = hoped.copy()
        probabilities = None if reader is None else reader.distribution()  # (L, V)
        flags = [escapes.flag(coder, bool(symbol < 0)) for symbol in hoped]
        for row in np.flatnonzero(flags):
            symbols[row] = -1 - escapes.character(coder, max(0, -1 - int(hoped[row])))
        plain = np.flatnonzero(np.logical_not(flags))
        if mixed is not None:
            symbols[plain] = _decide(
                coder, mixed, probabilities, reading[plain], hoped[plain], lanes
            )
        elif len(plain):
            assert probabilities is not None, "there must be something that predicts"
            rows = frequencies(probabilities[reading[plain]]).tolist()
            symbols[plain] = [
                coder.code(row, int(symbol)) for row, symbol in zip(rows, hoped[plain], strict=True)
            ]
        # Only now, when the symbols are known on both sides, may anything be learned from them.
        tokens = np.zeros(lanes, dtype=np.int64)  # (L,) a lane at its end, or an escape: token 0
        tokens[reading] = np.maximum(symbols, 0)
        if reader is not None:
            reader.push(tokens)
        if mixed is not None:
            alive = np.zeros(lanes, dtype=bool)
            alive[reading] = True
            mixed.finish_token(tokens, alive)
        yield symbols


def _decide(
    coder: Coder,
    mixed: MixedPredictor,
    probabilities: np.ndarray | None,
    lanes: np.ndarray,
    hoped: np.ndarray,
    n_lanes: int,
) -> np.ndarray:
    """Code a token in each of the lanes (K,) by decisions from the root of the tree: (K,)."""
    tree = mixed.tree
    below = None
    if probabilities is not None:
        below = np.zeros((n_lanes, probabilities.shape[1] + 1))
        np.cumsum(probabilities[:, np.argsort(tree.place)], axis=1, out=below[:, 1:])
    mixed.start_token(below)
    tokens = np.zeros(len(lanes), dtype=np.int64)
    if not len(tree.children):
        return tokens  # an alphabet of one: nothing is left to tell
    rows = np.arange(len(lanes))
    nodes = np.full(len(lanes), len(tree.children) - 1)
    while len(rows):
        probability = mixed.predict(lanes[rows], nodes)
        ones = (probability * TOTAL).astype(np.int64).tolist()
        hopes = (tree.place[hoped[rows]] >= tree.bounds[nodes, 1]).astype(np.int64).tolist()
        bits = np.array(
            [coder.code((0, TOTAL - p, TOTAL), bit) for p, bit in zip(ones, hopes, strict=True)]
        )
        mixed.learn(bits)
        child = tree.children[nodes, bits]
        leaf = child < 0
        tokens[rows[leaf]] = -1 - child[leaf]
        rows, nodes = rows[~leaf], child[~leaf]
    return tokens


def to_symbols(data: bytes, tokenizer: Tokenizer) -> np.ndarray:
    """Return the data as tokens, and -1 - character for what the tokenizer cannot give back.

    Bytes that are no UTF-8 become the characters U+DC80 to U+DCFF, which no text has.

    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> to_symbols("cäb".encode(), CharTokenizer("abc")).tolist()
    [2, -229, 1]
    """
    text = data.decode("utf-8", errors="surrogateescape")
    known = {character for character in set(text) if _comes_back(character, tokenizer)}
    symbols: list[int] = []
    for is_known, run in groupby(text, known.__contains__):
        piece = "".join(run)
        if is_known and tokenizer.decode(ids := tokenizer.encode(piece)) == piece:
            symbols += ids
        else:
            symbols += [-1 - ord(character) for character in piece]
    return np.array(symbols, dtype=np.int64)


def _comes_back(character: str, tokenizer: Tokenizer) -> bool:
    try:
        return tokenizer.decode(tokenizer.encode(character)) == character
    except (UserError, UnicodeError):
        return False


def from_symbols(symbols: Sequence[int], tokenizer: Tokenizer) -> bytes:
    """Return what `to_symbols` took apart.

    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> from_symbols([2, -229, 1], CharTokenizer("abc")).decode()
    'cäb'
    """
    pieces = []
    for escaped, run in groupby(symbols, lambda symbol: symbol < 0):
        ids = list(run)
        pieces.append("".join(chr(-1 - s) for s in ids) if escaped else tokenizer.decode(ids))
    return "".join(pieces).encode("utf-8", errors="surrogateescape")
