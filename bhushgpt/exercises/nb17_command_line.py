"""Exercises of notebook 17: flags from settings, whole characters, what a chat keeps.

Lesson: notebook 17.
"""

import argparse
import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bhushgpt.exercises.exercise import Exercise

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
    rate: float = 1  # a whole number, but the field is a float
    note: str = ""


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
    if isinstance(typed, dict) and (typed.get("rate"), typed.get("note")) != (1, ""):
        return "a default may be empty or 0 and still is the default: hand it on as it is."
    if typed != {"width": 5, "least_width_seen": 1, "loud": True, "rate": 1, "note": ""}:
        return f"it fits one class alone: of width and loud, --width 5 --loud gives {typed}."
    typed = _typed(answer(_Others), "--least-width-seen", "2")
    if isinstance(typed, str) or typed["least_width_seen"] != 2:
        return "every _ of a name is a hyphen: --least-width-seen, not --least-width_seen."
    typed = _typed(answer(_Others), "--rate", "0.5")
    if isinstance(typed, str) or typed["rate"] != 0.5:
        said = typed if isinstance(typed, str) else f"it gives {typed['rate']!r}."
        return f"of `rate: float = 1` the type is float, not that of the default: {said}"
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
    if answer([b"a", b"", b"\xc3", b"", b"\xa9"]) != ["a", "", "", "", "é"]:
        return "an empty chunk is a chunk, too: its text is '', and what was held back stays."
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


# 3. What is kept of a talk


def _what_is_kept(turns: list[list[int]], room: int) -> list[int]:
    first, *later = turns
    left = room - len(first)
    kept: list[int] = []
    for turn in reversed(later):
        if len(turn) > left:
            break
        kept = turn + kept
        left -= len(turn)
    if later and not kept:  # not even the newest fits whole
        kept = later[-1][len(later[-1]) - left :]
    return first + kept


def _talk(*lengths: int) -> list[list[int]]:
    """Return turns of these lengths; the third id of the second turn is 23."""
    return [[10 * n + i for i in range(1, length + 1)] for n, length in enumerate(lengths, 1)]


def _joined(turns: Iterable[list[int]]) -> list[int]:
    return [one for turn in turns for one in turn]


def _those_that_fit(
    turns: Iterable[list[int]], left: int, *, skip: bool = False
) -> list[list[int]]:
    """Return turns in the order they come in; with `skip` a long one does not end the count."""
    fit = []
    for turn in turns:
        if len(turn) <= left:
            fit.append(turn)
            left -= len(turn)
        elif not skip:
            break
    return fit


def _kept_mistakes(turns: list[list[int]], room: int) -> dict[str, list[int]]:
    """Return what each known mistake keeps of a long talk, by the sentence that names it."""
    first, *later = turns
    left = room - len(first)
    everything, ids = _joined(turns), _joined(later)
    right = _those_that_fit(reversed(later), left)

    def in_order(newest_first: list[list[int]]) -> list[int]:
        return _joined(reversed(newest_first))

    crossing = later[: len(later) - len(right)][-1]
    return {
        "that is a window that slides: the first turn is lost, and an older one is cut.": (
            everything[-room:]
        ),
        "the room is filled up with the end of an older turn; each stays whole or goes.": (
            first + ids[-left:]
        ),
        "those are the first ids of the talk; the newest turns are wanted.": everything[:room],
        "you count from the oldest turn; begin with the newest.": (
            first + _joined(_those_that_fit(later, left))
        ),
        "you count from the oldest turn, and leave out long ones; begin with the newest.": (
            first + _joined(_those_that_fit(later, left, skip=True))
        ),
        "a turn that does not fit ends the count: yours goes on past it and leaves a gap.": (
            first + in_order(_those_that_fit(reversed(later), left, skip=True))
        ),
        "you forgot that the first turn takes room, too: more ids came than fit.": (
            first + in_order(_those_that_fit(reversed(later), room))
        ),
        "the turn that no longer fits is in; ask before you add it.": (
            first + crossing + in_order(right)
        ),
        "nothing was left out: add up the lengths of the turns, in ids.": everything,
        "the turns are the right ones, but the newest comes first.": first + _joined(right),
        "behind the first one each turn runs backwards: put it in front as a whole.": (
            first + _joined(turn[::-1] for turn in reversed(right))
        ),
        "all turns stand the wrong way round: the newest at the head, the first at the end.": (
            _joined(right) + first
        ),
        "the first turn stands at the end; it was said first.": in_order(right) + first,
        "the first turn is missing, though you kept room for it.": in_order(right),
        "the first turn was treated as any other; it always stays.": (
            in_order(_those_that_fit(reversed(turns), room))
        ),
        "the newest turn is missing.": (
            first + in_order(_those_that_fit(reversed(later[:-1]), left))
        ),
        "only the newest turn came behind the first, and others fit, too.": first + later[-1],
        "only the first turn came; the newest ones that fit stand behind it.": first,
        "you took the shortest turns; which ones stay is decided by how new they are.": (
            first + _joined(sorted(_those_that_fit(sorted(later, key=len), left), key=later.index))
        ),
        "those are the turns that should go.": _joined(later[: len(later) - len(right)]),
    }


def _too_long_mistakes(turns: list[list[int]], room: int) -> dict[str, list[int]]:
    """Return the mistakes where not even the newest turn fits behind the first one."""
    first, *older, newest = turns
    left = room - len(first)
    return {
        "the newest turn does not fit, and nothing of it is left: its last ids stay.": first,
        "of a newest turn that is too long its last ids stay, and not its beginning.": (
            first + newest[:left]
        ),
        "an older turn came in place of the newest, which is too long: cut the newest.": (
            first + _joined(older)
        ),
        "a newest turn that is too long came whole.": first + newest,
        "a newest turn that is too long shares the room with the first: fewer of its ids fit.": (
            first + newest[-room:]
        ),
        "where the newest turn is too long, you lose the first one.": newest[-room:],
        "where the newest turn is too long, its last ids came without the first turn.": (
            newest[-left:]
        ),
    }


def _kept_otherwise(
    answer: Answer, turns: list[list[int]], room: int, mistakes: dict[str, list[int]]
) -> str | None:
    """Return what is wrong about the ids that an answer keeps of one talk."""
    result = answer(turns, room)
    ids = result.tolist() if isinstance(result, Tensor) else list(result)
    if any(isinstance(one, list | tuple) for one in ids):
        return "a list of turns came; join their ids into one list."
    right = _what_is_kept(turns, room)
    if ids == right:
        return None
    for sentence, wrong in mistakes.items():
        if ids == wrong:
            return sentence
    if len(ids) > room:
        return f"{len(ids)} ids came, and there is room for {room}."
    lengths = ", ".join(str(len(turn)) for turn in turns)
    return (
        f"of turns with {lengths} ids and room for {room}, {right} should come; yours gives {ids}."
    )


def _check_what_is_kept(answer: Answer) -> str | None:
    talk = _talk(6, 9, 2, 5, 1, 8, 4)
    first = talk[0]
    short, full, alone = _talk(2, 1, 3, 9), _talk(5, 2, 3, 9), _talk(5)
    cases: list[tuple[list[list[int]], int, dict[str, list[int]]]] = [
        (talk, 21, _kept_mistakes(talk, 21)),
        (
            talk,
            50,
            {
                "when all of the talk fits, the first turn comes twice.": first + _joined(talk),
                "when all of the talk fits, the second turn is missing.": first + _joined(talk[2:]),
                "their ids decide how many turns fit; yours is always the same number.": (
                    first + _joined(talk[-3:])
                ),
            },
        ),
        (
            talk,
            24,
            {"a turn that fills the room exactly fits: <= and not <.": first + _joined(talk[-3:])},
        ),
        (short, 7, _too_long_mistakes(short, 7)),
        (
            full,
            5,
            {"where no room is left, all of the newest came: x[-0:] is x[0:].": full[0] + full[-1]},
        ),
        (alone, 12, {"when the first turn is the only one, it comes twice.": 2 * alone[0]}),
    ]
    for turns, room, mistakes in cases:
        if mistake := _kept_otherwise(answer, turns, room, mistakes):
            return mistake
    again = [[5, 3], [6, 1, 4, 2], [5, 3], [7, 5, 7], [3], [3]]
    if _kept_otherwise(answer, again, 11, {}):
        return "it goes wrong where the same turn or id comes again: go by place, not by content."
    return None


what_is_kept = Exercise(
    name="what_is_kept",
    question="Return at most `room` ids: the first turn, and the newest ones that fit whole.",
    hints=(
        "The first turn takes its part of the room. Go through the others from the newest back.",
        "What fits makes the rest of the room smaller; at the first that does not fit, `break`.",
        "Each turn you meet was said before those you have: it goes in front of them.",
        "With n places left, a newest turn that is too long keeps turn[len(turn) - n :].",
    ),
    praise="the talk may grow for ever, and its first turn is never forgotten.",
    reference=_what_is_kept,
    keeps_inputs=True,
    checks=_check_what_is_kept,
)
