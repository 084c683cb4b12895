"""The checkers of notebook 17 know the mistakes that people make."""

import argparse
import codecs
import dataclasses
from typing import Any, get_type_hints

import torch
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb17_command_line import flags_of, what_is_kept, whole_characters

fields = dataclasses.fields
Switch = argparse.BooleanOptionalAction


def assert_short(exercise, wrong):
    assert len(wrong) >= 12
    for answer, _ in wrong:
        assert len(exercise.judge(answer).message) < 300


# 1. flags_of


def parser_with(flag="--{}", **changes):
    """Return a parser maker with some settings of add_argument changed; None leaves one out."""

    def build(kind, only=None):
        parser = argparse.ArgumentParser()
        for field in fields(kind)[:only]:
            name = flag.format(field.name.replace("_", "-"))
            settings: dict[str, Any] = {"type": field.type, "default": field.default}
            if field.type is bool:
                settings = {"action": Switch, "default": field.default}
            settings |= changes
            if settings.get("action") is not None:
                settings.pop("type", None)
            parser.add_argument(name, **{k: v for k, v in settings.items() if v is not None})
        return parser

    return build


def flags_stub(kind): ...


def underscores(kind):
    parser = argparse.ArgumentParser()
    for field in fields(kind):
        parser.add_argument("--" + field.name, type=field.type, default=field.default)
    return parser


def bool_by_its_type(kind):
    parser = argparse.ArgumentParser()
    for field in fields(kind):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=field.type, default=field.default)
    return parser


def with_switch(**settings):
    def build(kind):
        parser = argparse.ArgumentParser()
        for field in fields(kind):
            flag = "--" + field.name.replace("_", "-")
            chosen: dict[str, Any] = {"type": field.type, "default": field.default}
            if field.type is bool:
                chosen = {"default": field.default, **settings}
            parser.add_argument(flag, **chosen)
        return parser

    return build


def read_word(text):
    return text == "True"


def typed_as(kind_of, only=None):
    def build(kind):
        parser = argparse.ArgumentParser()
        for field in fields(kind):
            flag = "--" + field.name.replace("_", "-")
            if field.type is bool:
                parser.add_argument(flag, action=Switch, default=field.default)
            else:
                wrong = only is None or field.name == only
                made = kind_of if wrong else field.type
                parser.add_argument(flag, type=made, default=field.default)
        return parser

    return build


def one_class_alone(kind):
    parser = argparse.ArgumentParser()
    parser.add_argument("--n-steps", type=int, default=7)
    parser.add_argument("--learning-rate", type=float, default=0.25)
    parser.add_argument("--text", default="moor")
    parser.add_argument("--shuffle", action=Switch, default=True)
    return parser


def parses_already(kind):
    return flags_of.reference(kind).parse_args([])


def parses_the_command_line(kind):
    return flags_of.reference(kind).parse_args(["--no-such-flag"])


def one_more(kind):
    parser = flags_of.reference(kind)
    parser.add_argument("--verbose", action="store_true")
    return parser


def under_another_name(kind):
    parser = argparse.ArgumentParser()
    for field in fields(kind):
        name = field.name.replace("_", "-")
        parser.add_argument("--" + name, dest=name, type=field.type, default=field.default)
    return parser


def by_the_default(kind):
    parser = argparse.ArgumentParser(description=kind.__doc__)
    for name, default in vars(kind()).items():
        settings: dict[str, Any] = {"type": type(default)}
        if isinstance(default, bool):
            settings = {"action": Switch}
        parser.add_argument("--" + "-".join(name.split("_")), default=default, **settings)
    return parser


def only_defaults_that_are_something(kind):
    parser = flags_of.reference(kind)
    parser.set_defaults(**{field.name: field.default or None for field in fields(kind)})
    return parser


FLAGS_WRONG = [
    (only_defaults_that_are_something, "may be empty or 0"),
    (by_the_default, "not that of the default"),
    (underscores, "names have hyphens: --learning-rate"),
    (parser_with(type=None, action=None), "what is typed stays text"),
    (parser_with(default=None), "every value is None"),
    (parser_with(required=True), "arguments are required"),
    (parser_with("{}", action=None), "that must be given in order"),
    (parser_with("-{}"), "begins with two hyphens"),
    (bool_by_its_type, "bool('False') is True"),
    (with_switch(action="store_true"), "cannot be switched off"),
    (with_switch(action="store_false"), "switches it off"),
    (with_switch(type=read_word), "takes a word after it"),
    (typed_as(float, only="n_steps"), "--n-steps 9 must give the whole number 9"),
    (typed_as(int, only="learning_rate"), "--learning-rate 0.5 is not understood"),
    (typed_as(float, only="text"), "invalid float value: 'moor'"),
    (lambda kind: parser_with()(kind, only=3), "a field has no flag: shuffle"),
    (one_more, "a flag belongs to no field: verbose"),
    (under_another_name, "under the field's own name"),
    (one_class_alone, "it fits one class alone"),
    (parses_already, "return the parser itself"),
    (parses_the_command_line, "your code stopped with SystemExit"),
    (lambda kind: [field.name for field in fields(kind)], "a list came"),
]


def test_the_kill_table_of_flags_of():
    assert_exercise(flags_of, flags_stub, FLAGS_WRONG)
    assert_short(flags_of, FLAGS_WRONG)


def by_type_hints(kind):
    parser = argparse.ArgumentParser(description=kind.__doc__)
    for name, wanted in get_type_hints(kind).items():
        settings: dict[str, Any] = {"action": Switch} if wanted is bool else {"type": wanted}
        parser.add_argument(
            "--" + "-".join(name.split("_")), default=getattr(kind, name), **settings
        )
    return parser


def by_two_switches(kind):
    parser = argparse.ArgumentParser()
    for field in kind.__dataclass_fields__.values():
        flag = field.name.replace("_", "-")
        if field.type is bool:
            both = {"dest": field.name, "default": field.default}
            parser.add_argument(f"--{flag}", action="store_true", **both)
            parser.add_argument(f"--no-{flag}", action="store_false", **both)
        else:
            parser.add_argument(f"--{flag}", type=field.type, default=field.default)
    return parser


def by_set_defaults(kind):
    parser = argparse.ArgumentParser()
    for field in fields(kind):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action=Switch)
        else:
            parser.add_argument(flag, dest=field.name, type=field.type)
    parser.set_defaults(**vars(kind()))
    return parser


def test_other_ways_to_flags_are_right():
    assert_right(flags_of, by_type_hints, by_two_switches, by_set_defaults)


# 2. whole_characters


def characters_stub(chunks): ...


def decoded(chunks, errors="replace", encoding="utf-8"):
    return [chunk.decode(encoding, errors) for chunk in chunks]


def right(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(chunk) for chunk in chunks]


def waits_for_all(chunks):
    texts, rest = [], b""
    for chunk in chunks:
        rest += chunk
        try:
            texts.append(rest.decode())
            rest = b""
        except UnicodeDecodeError:
            texts.append("")
    return texts


def so_far(chunks, errors):
    return [b"".join(chunks[: n + 1]).decode("utf-8", errors) for n in range(len(chunks))]


def two_bytes_at_most(chunks):
    texts, rest = [], b""
    for chunk in chunks:
        rest += chunk
        cut = len(rest) - 1 if rest[-1] >= 0xC0 else len(rest)
        texts.append(rest[:cut].decode("utf-8", "replace"))
        rest = rest[cut:]
    return texts


def forgets_after_ten(chunks):
    return right(chunks) if len(chunks) < 10 else decoded(chunks)


def adds_a_piece_at_the_end(chunks):
    return right(chunks) + ([] if chunks else [""])


def skips_empty_chunks(chunks):
    return right([chunk for chunk in chunks if chunk])


CHARACTERS_WRONG = [
    (skips_empty_chunks, "an empty chunk is a chunk"),
    (lambda chunks: decoded(chunks), "parts of characters become signs"),
    (lambda chunks: decoded(chunks, "ignore"), "the character never comes"),
    (lambda chunks: decoded(chunks, encoding="latin-1"), "latin-1 makes a character"),
    (waits_for_all, "wait with it"),
    (lambda chunks: so_far(chunks, "ignore"), "give only what is new"),
    (lambda chunks: so_far(chunks, "replace"), "so far, parts as signs"),
    (lambda chunks: [""] * (len(chunks) - 1) + [b"".join(chunks).decode()], "all comes at the end"),
    (lambda chunks: [b"".join(chunks).decode()], "one text came at once"),
    (lambda chunks: [one for one in right(chunks) if one], "the pieces without text are missing"),
    (lambda chunks: list("".join(right(chunks))), "one piece for each character"),
    (lambda chunks: chunks, "those are bytes"),
    (lambda chunks: [one or None for one in right(chunks)], "None came"),
    (lambda chunks: [t.replace("\ufffd", "?") for t in decoded(chunks)], "question marks"),
    (lambda chunks: decoded(chunks, "backslashreplace"), "backslashes came"),
    (lambda chunks: ["", *right(chunks)[:-1]], "one chunk late"),
    (lambda chunks: b"".join(chunks).decode(), "a str came"),
    (lambda chunks: decoded(chunks, "strict"), "stopped with UnicodeDecodeError"),
    (lambda chunks: [*right(chunks), "x"], "9 chunks came and 10 pieces went"),
    (two_bytes_at_most, "after the chunk"),
    (forgets_after_ten, "loses its place"),
    (adds_a_piece_at_the_end, "of no chunk at all"),
]


def test_the_kill_table_of_whole_characters():
    assert_exercise(whole_characters, characters_stub, CHARACTERS_WRONG)
    assert_short(whole_characters, CHARACTERS_WRONG)


def by_lengths(chunks):
    texts, rest = [], b""
    for chunk in chunks:
        rest += chunk
        at = 0
        while at < len(rest):
            first = rest[at]
            need = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            if at + need > len(rest):
                break
            at += need
        texts.append(rest[:at].decode())
        rest = rest[at:]
    return texts


def by_ignoring(chunks):
    shown, texts = 0, []
    for n in range(len(chunks)):
        text = b"".join(chunks[: n + 1]).decode("utf-8", "ignore")
        texts.append(text[shown:])
        shown = len(text)
    return texts


def test_other_ways_to_whole_characters_are_right():
    assert_right(whole_characters, right, by_lengths, by_ignoring)


# 3. what_is_kept


def kept_stub(turns, room): ...


def joined(turns):
    return [one for turn in turns for one in turn]


def newest_that_fit(turns, left, *, ends=True, exactly=True):
    """Return the newest turns that fit, oldest first; with a switch off, a mistake."""
    kept = []
    for turn in turns[::-1]:
        if len(turn) < left or (exactly and len(turn) == left):
            kept.insert(0, turn)
            left -= len(turn)
        elif ends:
            break
    return kept


def by_the_rules(turns, room, **switches):
    first, later = turns[0], turns[1:]
    left = room - len(first)
    if later and len(later[-1]) > left:
        return first + later[-1][len(later[-1]) - left :]
    return first + joined(newest_that_fit(later, left, **switches))


def where_short(wrong):
    """Return an answer that goes wrong only where the newest turn does not fit."""

    def answer(turns, room):
        left = room - len(turns[0])
        if len(turns) > 1 and len(turns[-1]) > left:
            return wrong(turns, room, left)
        return by_the_rules(turns, room)

    return answer


def with_the_one_that_crosses(turns, room):
    kept, left = [], room - len(turns[0])
    for turn in turns[:0:-1]:
        if left <= 0:
            break
        kept, left = turn + kept, left - len(turn)
    return turns[0] + kept


def from_the_oldest(turns, room, *, ends=True):
    kept = newest_that_fit(turns[:0:-1], room - len(turns[0]), ends=ends)
    return turns[0] + joined(kept[::-1])


def one_by_one(turns, room):
    """Put each id, and not each turn, in front."""
    kept = []
    for turn in newest_that_fit(turns[1:], room - len(turns[0]))[::-1]:
        for one in turn:
            kept.insert(0, one)
    return turns[0] + kept


def shortest(turns, room):
    kept = newest_that_fit(sorted(turns[1:], key=len, reverse=True), room - len(turns[0]))
    return turns[0] + joined(turn for turn in turns[1:] if turn in kept)


def forgets_the_first_where_all_fits(turns, room):
    if len(joined(turns)) <= room:
        return turns[0] + joined(turns)
    return by_the_rules(turns, room)


def ends_one_early(turns, room):
    if len(turns) > 2:
        turns = turns[:1] + turns[2:]
    return by_the_rules(turns, room)


def newest_is_the_first(turns, room):
    if len(turns) == 1:
        return turns[0] + turns[-1]
    return by_the_rules(turns, room)


def stops_at_what_is_equal(turns, room):
    kept, left = [], room - len(turns[0])
    for turn in reversed(turns):
        if turn == turns[0]:
            break
        if len(turn) > left:
            return turns[0] + (kept or turn[len(turn) - left :])
        kept, left = turn + kept, left - len(turn)
    return turns[0] + kept


def grows_the_first(turns, room):
    ids = turns[0]
    ids += by_the_rules(turns, room)[len(ids) :]
    return ids


def indices_of_the_ids(turns, room):
    return list(range(len(by_the_rules(turns, room))))


KEPT_WRONG = [
    (lambda turns, room: joined(turns)[-room:], "that is a window that slides"),
    (
        lambda turns, room: turns[0] + joined(turns[1:])[len(turns[0]) - room :],
        "filled up with the end of an older turn",
    ),
    (lambda turns, room: joined(turns)[:room], "the first ids of the talk"),
    (from_the_oldest, "from the oldest turn; begin"),
    (lambda turns, room: from_the_oldest(turns, room, ends=False), "and leave out long ones"),
    (lambda turns, room: by_the_rules(turns, room, ends=False), "and leaves a gap"),
    (
        lambda turns, room: turns[0] + joined(newest_that_fit(turns[1:], room)),
        "the first turn takes room, too",
    ),
    (with_the_one_that_crosses, "the turn that no longer fits is in"),
    (lambda turns, room: joined(turns), "nothing was left out"),
    (
        lambda turns, room: (
            turns[0] + joined(newest_that_fit(turns[1:], room - len(turns[0]))[::-1])
        ),
        "but the newest comes first",
    ),
    (one_by_one, "each turn runs backwards"),
    (
        lambda turns, room: (
            joined(newest_that_fit(turns[1:], room - len(turns[0]))[::-1]) + turns[0]
        ),
        "the wrong way round",
    ),
    (
        lambda turns, room: by_the_rules(turns, room)[len(turns[0]) :] + turns[0],
        "stands at the end",
    ),
    (lambda turns, room: by_the_rules(turns, room)[len(turns[0]) :], "though you kept room for it"),
    (lambda turns, room: joined(newest_that_fit(turns, room)), "treated as any other"),
    (
        lambda turns, room: by_the_rules(turns[:-1] if turns[1:] else turns, room),
        "the newest turn is missing",
    ),
    (lambda turns, room: turns[0] + turns[-1], "only the newest turn came"),
    (lambda turns, room: turns[0], "only the first turn came"),
    (shortest, "you took the shortest turns"),
    (
        lambda turns, room: joined(
            turns[1 : len(turns) - len(newest_that_fit(turns[1:], room - len(turns[0])))]
        ),
        "the turns that should go",
    ),
    (
        lambda turns, room: [turns[0], *newest_that_fit(turns[1:], room - len(turns[0]))],
        "a list of turns came",
    ),
    (lambda turns, room: by_the_rules(turns, room, exactly=False), "<= and not <"),
    (lambda turns, room: turns[0] + joined(turns[1:][-3:]), "always the same number"),
    (forgets_the_first_where_all_fits, "the first turn comes twice"),
    (ends_one_early, "the second turn is missing"),
    (where_short(lambda turns, room, left: turns[0]), "nothing of it is left"),
    (where_short(lambda turns, room, left: turns[0] + turns[-1][:left]), "and not its beginning"),
    (
        where_short(
            lambda turns, room, left: (
                turns[0] + joined(newest_that_fit(turns[1:], left, ends=False))
            )
        ),
        "in place of the newest",
    ),
    (where_short(lambda turns, room, left: turns[0] + turns[-1]), "too long came whole"),
    (
        where_short(lambda turns, room, left: turns[0] + turns[-1][-room:]),
        "shares the room with the first",
    ),
    (where_short(lambda turns, room, left: turns[-1][-room:]), "you lose the first one"),
    (where_short(lambda turns, room, left: turns[-1][-left:]), "came without the first turn"),
    (where_short(lambda turns, room, left: turns[0] + turns[-1][-left:]), "x[-0:] is x[0:]"),
    (newest_is_the_first, "is the only one, it comes twice"),
    (stops_at_what_is_equal, "go by place, not by content"),
    (grows_the_first, "your code changes `turns`"),
    (lambda turns, room: len(by_the_rules(turns, room)), "your function gives back an int"),
    (indices_of_the_ids, "[11, 12, 13, 14, 15, 16, 51, 61, 62, 63, 64"),
    (lambda turns, room: by_the_rules(turns, room) + turns[-1], "23 ids came"),
]


def test_the_kill_table_of_what_is_kept():
    assert_exercise(what_is_kept, kept_stub, KEPT_WRONG)
    assert_short(what_is_kept, KEPT_WRONG)


def by_dropping_the_oldest(turns, room):
    first, *later = turns
    while len(later) > 1 and len(first) + sum(map(len, later)) > room:
        del later[0]
    rest = joined(later)
    return [*first, *rest[max(0, len(first) + len(rest) - room) :]]


def by_sums_of_lengths(turns, room):
    sizes = torch.tensor([len(turn) for turn in turns[:0:-1]], dtype=torch.long)
    n = int((sizes.cumsum(0) <= room - len(turns[0])).sum())
    if len(turns) > 1 and n == 0:
        cut = len(turns[-1]) - (room - len(turns[0]))
        return turns[0] + turns[-1][cut:]
    return turns[0] + joined(turns[len(turns) - n :])


def by_calling_itself(turns, room):
    if len(turns) == 1:
        return list(turns[0])
    newest, left = turns[-1], room - len(turns[0])
    if len(newest) > left:
        return turns[0] + newest[len(newest) - left :]
    if len(turns) > 2 and len(turns[-2]) > left - len(newest):
        return turns[0] + newest
    return by_calling_itself(turns[:-1], room - len(newest)) + newest


def test_other_ways_to_what_is_kept_are_right():
    assert_right(
        what_is_kept, by_dropping_the_oldest, by_sums_of_lengths, by_calling_itself, by_the_rules
    )
