"""What a checkpoint says beside what was asked for, as a table, where the two differ.

Lesson: notebook 10.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from bhushgpt.errors import UserError
from bhushgpt.tokenizers import Tokenizer

Row = tuple[str, Any, Any]


def differences(saved: Any, asked: Any) -> list[Row]:
    """Return (setting, saved, asked) for each setting in which two dataclasses differ.

    Lesson: notebook 10.

    >>> from bhushgpt.gpt import GPTConfig
    >>> differences(GPTConfig(vocab_size=79), GPTConfig(vocab_size=80, n_layer=4))
    [('vocab_size', 79, 80)]
    """
    if type(saved) is not type(asked):
        return [("kind", type(saved).__name__, type(asked).__name__)]
    rows: list[Row] = []
    for entry in dataclasses.fields(saved):
        one, other = getattr(saved, entry.name), getattr(asked, entry.name)
        if dataclasses.is_dataclass(one):
            rows += differences(one, other)
        elif one != other:
            rows.append((entry.name, one, other))
    return rows


def difference_table(rows: Iterable[Row]) -> str:
    """Return the differences under the headings "checkpoint says" and "you asked".

    Lesson: notebook 10.

    >>> print(difference_table([("n_layer", 4, 12)]))
    setting  checkpoint says  you asked
    n_layer  4                12
    """
    lines = [("setting", "checkpoint says", "you asked")]
    lines += [(name, str(saved), str(asked)) for name, saved, asked in rows]
    wide, middle = (max(len(line[column]) for line in lines) for column in (0, 1))
    return "\n".join(f"{a:<{wide}}  {b:<{middle}}  {c}" for a, b, c in lines)


def refuse_other_model(
    saved: Any, asked: Any, saved_tokenizer: Tokenizer, asked_tokenizer: Tokenizer | None = None
) -> None:
    """Refuse a checkpoint whose model or alphabet is not the one that was asked for.

    Args:
        saved: The checkpoint's model settings.
        asked: The settings wanted, or nothing if any will do.
        saved_tokenizer: The checkpoint's tokenizer.
        asked_tokenizer: The tokenizer wanted, or nothing.

    Raises:
        UserError: With the table of what differs.

    Lesson: notebook 10.
    """
    rows = [] if asked is None else differences(saved, asked)
    if asked_tokenizer is not None and asked_tokenizer.digest != saved_tokenizer.digest:
        # Two alphabets of one size would load, and every letter would mean another.
        rows.append(("alphabet", _described(saved_tokenizer), _described(asked_tokenizer)))
    if rows:
        raise UserError(
            "The checkpoint does not belong to what was asked for.\n\n"
            f"{difference_table(rows)}\n\n"
            "Nothing was loaded. Ask for what the checkpoint says, or train a new run."
        )


def _described(tokenizer: Tokenizer) -> str:
    return f"{tokenizer.vocab_size} tokens, sha256 {tokenizer.digest[:8]}"
