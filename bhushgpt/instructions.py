"""Questions with answers as training data: one form for all, and a loss on the answers only.

A model that continues text becomes one that answers by being shown many questions followed by their
answers, in a fixed form (the chat template). The question is given, so its tokens are read and not
learned; what counts is the answer and the mark that ends it.

Letters: B rows, T time, V vocabulary.

Lesson: notebook 18.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.files import read_file
from bhushgpt.language_model import LanguageModel, eval_mode, next_token_loss
from bhushgpt.sources import decode_text
from bhushgpt.tokenizers import Tokenizer

# The target of a position that is not learned. Other libraries have the same number for it.
NOT_LEARNED = -100


@dataclass(frozen=True)
class Exchange:
    """A question and the answer to it.

    Raises:
        UserError: If either is missing.
    """

    question: str
    """What a person types."""
    answer: str
    """What the model should say."""

    def __post_init__(self) -> None:
        for name in ("question", "answer"):
            text = getattr(self, name)
            if not (isinstance(text, str) and text.strip()):
                other = self.question if name == "answer" else self.answer
                raise UserError(
                    f"There is no {name} beside {other!r}, and both are needed: the model is to "
                    f"learn the one from the other. Write the {name}, or leave this pair out."
                )


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    r"""The form in which a model is shown who says what.

    Large models have tokens of their own for the marks, which no text can hold. Here they are a few
    characters, so texts that hold the end mark are refused.

    >>> chat = ChatTemplate()
    >>> chat.prompt("What is 1 + 1?")
    'Q: What is 1 + 1?\nA: '
    >>> chat.text(Exchange("What is 1 + 1?", "2"))
    'Q: What is 1 + 1?\nA: 2\n'
    """

    user: str = "Q: "
    """Stands before what the person says."""
    assistant: str = "\nA: "
    """Stands between that and the answer."""
    end: str = "\n"
    """Ends the answer; without it the model would not know when to stop."""

    def prompt(self, question: str) -> str:
        """Return what the model is given: all up to where its answer begins."""
        return f"{self.user}{question}{self.assistant}"

    def completion(self, answer: str) -> str:
        """Return what the model is to write: the answer and the mark that ends it."""
        return f"{answer}{self.end}"

    def text(self, exchange: Exchange) -> str:
        """Return an exchange as a whole.

        Raises:
            UserError: If question or answer hold the end mark.
        """
        if self.end in exchange.question + exchange.answer:
            raise UserError(
                f"{exchange} holds the end mark {self.end!r}, which would end it too early. Take "
                "it out, or give the template another mark."
            )
        return self.prompt(exchange.question) + self.completion(exchange.answer)


def read_exchanges(file: Path) -> list[Exchange]:
    """Return the pairs in a file with one JSON object a line: {"question": ..., "answer": ...}.

    Raises:
        UserError: If the file is no text, or a line is no such object or has no answer; it says
            which line.
    """
    raw = read_file(file)
    text = decode_text(raw, str(file)) if raw.strip() else ""
    # Not splitlines: a JSON text may hold other marks that it takes for the end of a line.
    lines = text.split("\n")
    found = [
        _exchange(line, f"{file}, line {n}") for n, line in enumerate(lines, 1) if line.strip()
    ]
    if not found:
        raise UserError(f"{file} is empty. {_FORM}")
    return found


_FORM = 'Write one pair a line: {"question": "What is 1 + 1?", "answer": "2"}.'


def _exchange(line: str, where: str) -> Exchange:
    try:
        data: Any = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise UserError(f"{where} is not a JSON object. {_FORM}")
    try:
        return Exchange(data.get("question", ""), data.get("answer", ""))
    except UserError as error:
        raise UserError(f"{where}: {error} {_FORM}") from None


class InstructionBatches:
    r"""Random rows of exchanges with their targets; batch n is always the same.

    A row is a whole exchange, filled up at its end to the longest. A target is `NOT_LEARNED` where
    the next token belongs to the question or the template before the answer, or is filling.

    Args:
        exchanges: At least one.
        tokenizer: Of the model.
        batch_size: B.
        template: The form.
        seed: Another seed gives other batches.
        device: Where they are wanted.
        context_length: The most tokens that the model takes, if rows are to be checked for it.

    Attributes:
        rows: Inputs (_, T) and targets (_, T) of all exchanges.

    Raises:
        UserError: If there is no exchange, or one is too long for the context or cannot be spelled.

    >>> from bhushgpt.tokenizers import ByteTokenizer
    >>> batches = InstructionBatches([Exchange("1+1?", "2")], ByteTokenizer(), batch_size=1)
    >>> inputs, targets = batches[0]
    >>> ByteTokenizer().decode(inputs[0]), ByteTokenizer().decode(targets[0][targets[0] >= 0])
    ('Q: 1+1?\nA: 2', '2\n')
    """

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        tokenizer: Tokenizer,
        batch_size: int,
        *,
        template: ChatTemplate | None = None,
        seed: int = 1337,
        device: torch.device | str = "cpu",
        context_length: int | None = None,
    ) -> None:
        inputs, targets = instruction_rows(exchanges, tokenizer, template)  # 2 x (_, T)
        if context_length is not None and inputs.shape[1] > context_length:
            raise UserError(
                f"The longest exchange has {inputs.shape[1]} tokens before its last, and the model "
                f"looks at {context_length}. Leave out what is longer, or take a model with a "
                "longer context."
            )
        self.rows = inputs.to(device), targets.to(device)
        self.batch_size = batch_size
        self.seed = seed

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return `(inputs, targets)` of a step, (B, T) each."""
        inputs, targets = self.rows
        random = np.random.default_rng((self.seed, step))
        chosen = torch.from_numpy(random.integers(0, len(inputs), size=self.batch_size))
        chosen = chosen.to(inputs.device)
        pair = inputs[chosen], targets[chosen]  # 2 x (B, T)
        return pair


def instruction_rows(
    exchanges: Iterable[Exchange], tokenizer: Tokenizer, template: ChatTemplate | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return inputs and targets of exchanges, (B, T) each, with `NOT_LEARNED` where it belongs.

    Prompt and answer are encoded apart, so that no token can lie across the border.

    Raises:
        UserError: If there is no exchange, or one cannot be spelled by the tokenizer.

    >>> from bhushgpt.tokenizers import CharTokenizer
    >>> inputs, targets = instruction_rows([Exchange("b", "ab")], CharTokenizer("\n ab:AQ"))
    >>> inputs.tolist(), targets.tolist()
    ([[6, 4, 1, 3, 0, 5, 4, 1, 2, 3]], [[-100, -100, -100, -100, -100, -100, -100, 2, 3, 0]])
    """
    template = template or ChatTemplate()
    pairs = []
    for exchange in exchanges:
        template.text(exchange)  # refuses what holds the end mark
        prompt = tokenizer.encode(template.prompt(exchange.question))
        pairs.append((prompt, tokenizer.encode(template.completion(exchange.answer))))
    if not pairs:
        raise UserError("There is no exchange to learn from. Give at least one question.")
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.full((len(pairs), longest), pairs[0][1][-1])  # (B, T+1)
    learned = torch.zeros(len(pairs), longest, dtype=torch.bool)  # (B, T+1)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        learned[row, len(prompt) : end] = True
    targets = ids.masked_fill(~learned, NOT_LEARNED)  # (B, T+1)
    return ids[:, :-1], targets[:, 1:]


def answer_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss (nats) over the targets that are learned; a loss function for `train`.

    Args:
        model: Maps ids (B, T) to logits (B, T, V).
        inputs: (B, T).
        targets: (B, T), `NOT_LEARNED` where nothing is to be learned.
    """
    weights = (targets != NOT_LEARNED).float()  # (B, T)
    return next_token_loss(model(inputs), targets.clamp(min=0), weights)


def answered_right(
    model: LanguageModel,
    exchanges: Sequence[Exchange],
    tokenizer: Tokenizer,
    *,
    template: ChatTemplate | None = None,
    batch_size: int = 256,
) -> list[bool]:
    """Return for each exchange whether the model, always taking the likeliest token, says it.

    The answer must be exact and ended. No text is drawn for it: the model writes the answer if and
    only if, given the prompt and the answer so far, the next true token is its likeliest each time.
    So one look at prompt and answer together decides.

    Args:
        model: Maps ids (B, T) to logits (B, T, V).
        exchanges: Questions, and what counts as right.
        tokenizer: Of the model.
        template: The form that it was trained with.
        batch_size: Rows at a time.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    found: list[bool] = []
    with eval_mode(model):
        for first in range(0, len(exchanges), batch_size):
            some = exchanges[first : first + batch_size]
            inputs, targets = instruction_rows(some, tokenizer, template)  # 2 x (B, T)
            likeliest = model(inputs.to(device)).argmax(dim=-1).cpu()  # (B, T)
            hits = (likeliest == targets) | (targets == NOT_LEARNED)  # (B, T)
            found += hits.all(dim=1).tolist()
    return found
