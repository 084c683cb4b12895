"""The checkers of notebook 17 know the mistakes that people make."""

import argparse
import codecs
import dataclasses
from typing import Any

import torch
from kill_table import assert_exercise, assert_right

from bhushgpt.exercises.nb17_command_line import flags_of, min_p_chances, whole_characters

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


FLAGS_WRONG = [
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


def by_the_default(kind):
    parser = argparse.ArgumentParser(description=kind.__doc__)
    for name, default in vars(kind()).items():
        settings: dict[str, Any] = {"type": type(default)}
        if isinstance(default, bool):
            settings = {"action": Switch}
        parser.add_argument("--" + "-".join(name.split("_")), default=default, **settings)
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
    assert_right(flags_of, by_the_default, by_two_switches, by_set_defaults)


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


CHARACTERS_WRONG = [
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


# 3. min_p_chances


def min_p_stub(p, share): ...


def rows(kept):
    return kept / kept.sum(dim=-1, keepdim=True)


def bar(p, share):
    return share * p.max(dim=-1, keepdim=True).values


def by_top_p(p, share):
    values, ids = p.sort(dim=-1, descending=True)
    values = values * (values.cumsum(-1) - values < share)
    return rows(torch.zeros_like(p).scatter(-1, ids, values))


def overwrites(p, share):
    p[p < bar(p, share)] = 0
    return p.div_(p.sum(dim=-1, keepdim=True))


def loses_all_at_1(p, share):
    return rows(p * (p >= bar(p, share))) if share < 1 else torch.zeros_like(p)


def loses_some_at_0(p, share):
    return rows(p * (p >= bar(p, max(share, 0.1))))


MIN_P_WRONG = [
    (lambda p, share: rows(p * (p >= share)), "not a probability by itself"),
    (lambda p, share: p * (p >= bar(p, share)), "sum to 1 again"),
    (lambda p, share: rows(p * (p < bar(p, share))), "the tokens that should go"),
    (lambda p, share: rows(p * (p >= share * p.max())), "each row has its own"),
    (lambda p, share: rows(p * (p >= share * p.max(dim=0).values)), "down the columns"),
    (lambda p, share: rows(p * (p > bar(p, share))), ">= and not >"),
    (by_top_p, "that is top-p"),
    (lambda p, share: rows(p * (p >= bar(p, 1) - share)), "minus the share"),
    (lambda p, share: rows(p * (p >= share * p.mean(-1, keepdim=True))), "share of the mean"),
    (lambda p, share: p.masked_fill(p < bar(p, share), -torch.inf).softmax(-1), "softmax of"),
    (lambda p, share: (p >= bar(p, share)).float(), "ones and zeros"),
    (lambda p, share: rows((p >= bar(p, share)).float()), "equally likely"),
    (lambda p, share: (kept := p * (p >= bar(p, share))) / kept.sum(), "sum of the whole table"),
    (lambda p, share: rows(p * (p >= bar(p, 1 - share))), "1 - share was used"),
    (lambda p, share: p, "nothing was taken away"),
    (lambda p, share: p * (p >= bar(p, share)) / bar(p, 1), "divided by the likeliest"),
    (lambda p, share: rows(p**2 * (p >= bar(p, share))), "not those of the formula"),
    (lambda p, share: rows(p * (p >= bar(p, share)))[0], "the shape is (5,)"),
    (overwrites, "your code changes `p`"),
    (loses_all_at_1, "at a share of 1"),
    (loses_some_at_0, "at a share of 0"),
]


def test_the_kill_table_of_min_p_chances():
    assert_exercise(min_p_chances, min_p_stub, MIN_P_WRONG)
    assert_short(min_p_chances, MIN_P_WRONG)


def by_loops(p, share):
    result = torch.zeros_like(p)
    for row, new in zip(p, result, strict=True):
        for i, one in enumerate(row):
            new[i] = one if one >= share * max(row) else 0
        new /= sum(new)
    return result


def by_logits(p, share):
    logits = p.log()
    kept = logits.masked_fill(p / p.amax(-1, keepdim=True) < share, -torch.inf)
    return kept.softmax(dim=-1)


def by_product(p, share):
    return rows(p * (p >= bar(p, share)))


def test_other_ways_to_min_p_are_right():
    assert_right(min_p_chances, by_loops, by_logits, by_product)
