"""Exercises of notebook 17: flags from settings, whole characters, and min-p.

Lesson: notebook 17.
"""

import argparse
import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.exercises.same_numbers import mistake_in

Answer = Callable[..., Any]


# 1. A flag for each field of some settings


@dataclass(frozen=True, kw_only=True)
class _Settings:
    n_steps: int = 7
    learning_rate: float = 0.25
    text: str = "moor"
    shuffle: bool = True


@dataclass(frozen=True, kw_only=True)
class _Others:
    width: int = 3
    least_width_seen: int = 1
    loud: bool = False


def _flags_of(kind: type) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(flag, type=field.type, default=field.default)  # pyright: ignore
    return parser


def _typed(parser: argparse.ArgumentParser, *words: str) -> dict[str, Any] | str:
    """Return what the words give, or what the parser says of them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return vars(parser.parse_args(list(words)))
    except SystemExit:
        return said.getvalue().strip().rpartition("error: ")[2]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _check_flags_of(answer: Answer) -> str | None:
    parser = answer(_Settings)
    if isinstance(parser, argparse.Namespace):
        return "return the parser itself; whoever calls you parses with it."
    if not isinstance(parser, argparse.ArgumentParser):
        return f"return an argparse.ArgumentParser; a {type(parser).__name__} came."
    expected = vars(_Settings())
    alone = _typed(parser)
    if isinstance(alone, str):
        if "required" in alone and "--" not in alone:
            return "without -- in front argparse makes arguments that must be given in order."
        return f"with nothing typed the defaults must come; yours says: {alone}"
    if set(alone) != set(expected):
        missing, more = sorted(set(expected) - set(alone)), sorted(set(alone) - set(expected))
        if [name.replace("-", "_") for name in more] == missing:
            return f"the value must be found under the field's own name, not {more[0]!r}."
        if missing:
            return f"a field has no flag: {missing[0]}."
        return f"a flag belongs to no field: {more[0]}."
    return _check_values(parser, alone, expected) or _check_others(answer)


def _check_values(
    parser: argparse.ArgumentParser, alone: dict[str, Any], expected: dict[str, Any]
) -> str | None:
    """Return what is wrong about the defaults, or about a flag that is typed."""
    if all(value is None for value in alone.values()):
        return "with nothing typed every value is None: hand on the field's default."
    for name, value in expected.items():
        if alone[name] != value or type(alone[name]) is not type(value):
            return (
                f"with nothing typed {name} is {alone[name]!r}; the field's default is {value!r}."
            )
    typed = _typed(parser, "--learning-rate", "0.5")
    if isinstance(typed, str):
        if not isinstance(_typed(parser, "--learning_rate", "0.5"), str):
            return "on the command line names have hyphens: --learning-rate, not --learning_rate."
        if not isinstance(_typed(parser, "-learning-rate", "0.5"), str):
            return "a flag of more than one letter begins with two hyphens."
        return f"--learning-rate 0.5 is not understood: {typed}"
    if typed["learning_rate"] == "0.5":
        return "what is typed stays text: give argparse the field's type."
    if typed["learning_rate"] != 0.5:
        return f"--learning-rate 0.5 gives {typed['learning_rate']!r}."
    steps = _typed(parser, "--n-steps", "9")
    if isinstance(steps, str) or type(steps["n_steps"]) is not int or steps["n_steps"] != 9:
        given = steps if isinstance(steps, str) else repr(steps["n_steps"])
        return f"--n-steps 9 must give the whole number 9: {given}"
    text = _typed(parser, "--text", "5")
    if isinstance(text, str) or text["text"] != "5":
        return "--text 5 must give the text '5': its field is a str."
    return _check_switch(parser)


def _check_switch(parser: argparse.ArgumentParser) -> str | None:
    off = _typed(parser, "--no-shuffle")
    if not isinstance(off, str):
        if off["shuffle"] is not False:
            return "--no-shuffle is understood, but shuffle is not False after it."
        on = _typed(parser, "--shuffle")
        if isinstance(on, str) or on["shuffle"] is not True:
            return "--no-shuffle works, but --shuffle alone does not say True."
        return None
    word = _typed(parser, "--shuffle", "False")
    if not isinstance(word, str) and word["shuffle"] is True:
        return "bool('False') is True: any text that is not empty is. A switch takes no word."
    if not isinstance(word, str):
        return "shuffle takes a word after it; a switch is --shuffle and --no-shuffle."
    on = _typed(parser, "--shuffle")
    if not isinstance(on, str) and on["shuffle"] is False:
        return "--shuffle switches it off: that is the opposite of what it says."
    return "what is on by default cannot be switched off: --no-shuffle is not understood."


def _check_others(answer: Answer) -> str | None:
    typed = _typed(answer(_Others), "--width", "5", "--loud")
    if typed != {"width": 5, "least_width_seen": 1, "loud": True}:
        return f"it fits one class alone: of width and loud, --width 5 --loud gives {typed}."
    typed = _typed(answer(_Others), "--least-width-seen", "2")
    if isinstance(typed, str) or typed["least_width_seen"] != 2:
        return "every _ of a name is a hyphen: --least-width-seen, not --least-width_seen."
    return None


flags_of = Exercise(
    name="flags_of",
    question="Return an argparse parser with a flag for each field of a settings class.",
    hints=(
        "dataclasses.fields(kind) gives the fields; each has a name, a type and a default.",
        "field.name.replace('_', '-') is the name as it is typed.",
        "For a bool: action=argparse.BooleanOptionalAction, and no type.",
    ),
    praise="the settings are written once, and the flags follow.",
    reference=_flags_of,
    checks=_check_flags_of,
)


# 2. Characters that arrive in parts


def _whole_characters(chunks: list[bytes]) -> list[str]:
    texts, rest = [], b""
    for chunk in chunks:
        rest += chunk
        try:
            texts.append(rest.decode())
            rest = b""
        except UnicodeDecodeError as error:  # at its start the character begins that is not whole
            texts.append(rest[: error.start].decode())
            rest = rest[error.start :]
    return texts


def _held_until_all_is_whole(chunks: list[bytes]) -> list[str]:
    texts, rest = [], b""
    for chunk in chunks:
        rest += chunk
        try:
            texts.append(rest.decode())
            rest = b""
        except UnicodeDecodeError:
            texts.append("")
    return texts


def _so_far(chunks: list[bytes]) -> Iterable[bytes]:
    for n in range(1, len(chunks) + 1):
        yield b"".join(chunks[:n])


def _one_by_one(chunks: list[bytes], errors: str, encoding: str = "utf-8") -> list[str]:
    return [chunk.decode(encoding, errors) for chunk in chunks]


def _character_mistakes(chunks: list[bytes]) -> dict[str, list[Any]]:
    """Return what each known mistake gives, by the sentence that names it."""
    right, whole = _whole_characters(chunks), b"".join(chunks).decode()
    shown = _one_by_one(chunks, "replace")
    return {
        "each chunk is decoded by itself, and parts of characters become signs.": shown,
        "errors='ignore' drops the parts, and the character never comes.": (
            _one_by_one(chunks, "ignore")
        ),
        "latin-1 makes a character of every byte; the text is UTF-8.": (
            _one_by_one(chunks, "replace", "latin-1")
        ),
        "letters before an unfinished character wait with it: give them at once.": (
            _held_until_all_is_whole(chunks)
        ),
        "each chunk shows the whole text so far; give only what is new.": (
            [text.decode("utf-8", "ignore") for text in _so_far(chunks)]
        ),
        "each chunk shows the whole text so far, parts as signs.": (
            [text.decode("utf-8", "replace") for text in _so_far(chunks)]
        ),
        "all comes at the end: a reader would wait for the whole text.": (
            [""] * (len(chunks) - 1) + [whole]
        ),
        "one text came at once: give one piece for each chunk.": [whole],
        "the pieces without text are missing: give '' while a character is not whole.": (
            [text for text in right if text]
        ),
        "that is one piece for each character, not for each chunk.": list(whole),
        "those are bytes; decode them.": list(chunks),
        "None came for an unfinished character; give ''.": [text or None for text in right],
        "the parts are replaced by question marks.": [one.replace("\ufffd", "?") for one in shown],
        "backslashes came for the parts of characters.": _one_by_one(chunks, "backslashreplace"),
        "the right pieces come one chunk late.": ["", *right[:-1]],
    }


def _check_whole_characters(answer: Answer) -> str | None:
    chunks = [b"A", b"B\xc3", b"\xa9C", b"\xe5\xb1", b"\xb1", b"\xf0", b"\x9f", b"\x99\x82", b"!"]
    result = answer(list(chunks))
    if not isinstance(result, list):
        return f"give back a list, one piece for each chunk; a {type(result).__name__} came."
    for sentence, wrong in _character_mistakes(chunks).items():
        if result == wrong:
            return sentence
    expected = _whole_characters(chunks)
    if len(result) != len(expected):
        return f"{len(chunks)} chunks came and {len(result)} pieces went."
    for chunk, piece, right in zip(chunks, result, expected, strict=True):
        if piece != right:
            return f"after the chunk {chunk!r} comes {right!r}, yours gives {piece!r}."
    long = [bytes([byte]) for byte in "é山🙂".encode()] * 3
    if answer(long) != _whole_characters(long):
        return "it loses its place when several such characters follow each other."
    if answer([]) != []:
        return "of no chunk at all comes no piece."
    return None


whole_characters = Exercise(
    name="whole_characters",
    question="Return one text for each chunk of UTF-8, and hold back what is not whole yet.",
    hints=(
        "Keep the bytes that are left over, and put the next chunk behind them.",
        "bytes.decode raises a UnicodeDecodeError, and its .start says where the trouble begins.",
        "Decode what stands before error.start; the rest is what is left over.",
    ),
    praise="no reader ever sees half a character.",
    reference=_whole_characters,
    checks=_check_whole_characters,
)


# 3. min-p


def _min_p_chances(p: Tensor, share: float) -> Tensor:
    kept = torch.where(p >= share * p.max(dim=-1, keepdim=True).values, p, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True)


def _min_p_mistakes(p: Tensor, share: float) -> dict[str, Tensor]:
    """Return what each known mistake computes, by the sentence that names it."""
    top = p.max(dim=-1, keepdim=True).values

    def shared(kept: Tensor) -> Tensor:
        return kept / kept.sum(dim=-1, keepdim=True)

    def only(condition: Tensor) -> Tensor:
        return torch.where(condition, p, 0.0)

    order = p.sort(dim=-1, descending=True)
    before = order.values.cumsum(-1) - order.values
    top_p = torch.zeros_like(p).scatter(-1, order.indices, order.values * (before < share))
    return {
        "the bar is a share of the likeliest token, not a probability by itself.": (
            shared(only(p >= share))
        ),
        "what is left must sum to 1 again.": only(p >= share * top),
        "those are the tokens that should go.": shared(only(p < share * top)),
        "the likeliest is looked for in all rows together; each row has its own.": (
            shared(only(p >= share * p.max()))
        ),
        "the likeliest is looked for down the columns (dim=0).": (
            shared(only(p >= share * p.max(dim=0).values))
        ),
        "a token exactly at the bar stays: >= and not >.": shared(only(p > share * top)),
        "that is top-p: it adds up from the likeliest down.": shared(top_p),
        "the bar is the likeliest minus the share; multiply.": shared(only(p >= top - share)),
        "the bar is a share of the mean; of the likeliest is meant.": (
            shared(only(p >= share * p.mean(dim=-1, keepdim=True)))
        ),
        "softmax of probabilities flattens them: only divide by the sum.": (
            torch.where(p >= share * top, p, -torch.inf).softmax(dim=-1)
        ),
        "those are ones and zeros: keep the probabilities.": (p >= share * top).float(),
        "tokens that stay have become equally likely.": shared((p >= share * top).float()),
        "you divided by the sum of the whole table; each row sums to 1.": (
            only(p >= share * top) / only(p >= share * top).sum()
        ),
        "1 - share was used: at a larger share fewer tokens stay.": (
            shared(only(p >= (1 - share) * top))
        ),
        "nothing was taken away.": p,
        "you divided by the likeliest; divide by the sum.": only(p >= share * top) / top,
    }


def _check_min_p_chances(answer: Answer) -> str | None:
    # Sixty-fourths, so that no rounding decides; 7 is exactly at the bar of 28.
    counts = [[22, 7, 21, 13, 1], [17, 35, 3, 3, 6], [10, 18, 28, 7, 1]]
    p = torch.tensor(counts) / 64
    share = 0.25
    mistake = mistake_in(answer(p, share), _min_p_chances(p, share), _min_p_mistakes(p, share))
    if mistake:
        return mistake
    one = answer(p.clone(), 1.0)
    if not torch.allclose(one, _min_p_chances(p, 1.0)):
        return "at a share of 1 only the likeliest token stays."
    if not torch.allclose(answer(p.clone(), 0.0), p):
        return "at a share of 0 every token stays."
    return None


min_p_chances = Exercise(
    name="min_p_chances",
    question="Return the chances (B, V) after min-p: 0 below `share` of the row's likeliest token.",
    hints=(
        "p.max(dim=-1, keepdim=True).values is the likeliest of each row, (B, 1).",
        "torch.where(condition, p, 0.0) keeps some.",
        "Divide by the sum of each row at the end.",
    ),
    praise="where the model is sure few stay, and where it is not, many.",
    reference=_min_p_chances,
    keeps_inputs=True,
    checks=_check_min_p_chances,
)
