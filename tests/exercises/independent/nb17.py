"""Answers to the exercises of notebook 17, from its cards alone; to what_is_kept, checker known."""

import argparse
import codecs
import collections
import dataclasses
import typing


def _flags(kind, *, hyphens=True, switch=True, default=True, types=True, bools=True):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        flag = "--" + (field.name.replace("_", "-") if hyphens else field.name)
        how = {"default": field.default} if default else {}
        if field.type is bool:
            if bools:
                how |= {"action": argparse.BooleanOptionalAction if switch else "store_true"}
            else:
                how |= {"type": bool}
        elif types:
            how |= {"type": field.type}
        parser.add_argument(flag, **how)
    return parser


def flags_of__right__plain(kind):
    return _flags(kind)


def flags_of__right__pair_of_flags(kind):
    parser = argparse.ArgumentParser(prog="settings")
    for field in dataclasses.fields(kind):
        name = field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(
                f"--{name}", dest=field.name, action="store_true", default=field.default
            )
            parser.add_argument(
                f"--no-{name}", dest=field.name, action="store_false", default=field.default
            )
        else:
            parser.add_argument(
                f"--{name}", dest=field.name, type=field.type, default=field.default
            )
    return parser


def flags_of__wrong__underscores(kind):
    return _flags(kind, hyphens=False)


def flags_of__wrong__store_true(kind):
    return _flags(kind, switch=False)


def flags_of__wrong__no_defaults(kind):
    return _flags(kind, default=False)


def flags_of__wrong__text_only(kind):
    return _flags(kind, types=False)


def flags_of__wrong__type_bool(kind):
    return _flags(kind, bools=False)


def flags_of__wrong__parsed(kind):
    return _flags(kind).parse_args([])


def flags_of__wrong__first_field_missing(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind)[1:]:
        how = (
            {"action": argparse.BooleanOptionalAction}
            if field.type is bool
            else {"type": field.type}
        )
        parser.add_argument("--" + field.name.replace("_", "-"), default=field.default, **how)
    return parser


def flags_of__wrong__required(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        how = (
            {"action": argparse.BooleanOptionalAction}
            if field.type is bool
            else {"type": field.type}
        )
        parser.add_argument("--" + field.name.replace("_", "-"), required=True, **how)
    return parser


def flags_of__wrong__always_off(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        how = (
            {"action": argparse.BooleanOptionalAction, "default": False}
            if field.type is bool
            else {"type": field.type, "default": field.default}
        )
        parser.add_argument("--" + field.name.replace("_", "-"), **how)
    return parser


def whole_characters__right__incremental(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(chunk) for chunk in chunks]


def whole_characters__right__longest_prefix(chunks):
    held, texts = b"", []
    for chunk in chunks:
        held += chunk
        for cut in range(len(held), -1, -1):
            try:
                texts.append(held[:cut].decode())
            except UnicodeDecodeError:
                continue
            held = held[cut:]
            break
    return texts


def whole_characters__wrong__replaced(chunks):
    return [chunk.decode(errors="replace") for chunk in chunks]


def whole_characters__wrong__dropped(chunks):
    return [chunk.decode(errors="ignore") for chunk in chunks]


def whole_characters__wrong__joined(chunks):
    return b"".join(chunks).decode()


def whole_characters__wrong__latin(chunks):
    return [chunk.decode("latin-1") for chunk in chunks]


def whole_characters__wrong__all_or_nothing(chunks):
    held, texts = b"", []
    for chunk in chunks:
        held += chunk
        try:
            texts.append(held.decode())
            held = b""
        except UnicodeDecodeError:
            texts.append("")
    return texts


def whole_characters__wrong__all_so_far(chunks):
    decoder, text, texts = codecs.getincrementaldecoder("utf-8")(), "", []
    for chunk in chunks:
        text += decoder.decode(chunk)
        texts.append(text)
    return texts


def whole_characters__wrong__empty_left_out(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [text for chunk in chunks if (text := decoder.decode(chunk))]


def whole_characters__wrong__two_bytes_at_most(chunks):
    held, texts = b"", []
    for chunk in chunks:
        held += chunk
        cut = len(held) - 1 if held and held[-1] >= 192 else len(held)
        texts.append(held[:cut].decode(errors="ignore"))
        held = held[cut:]
    return texts


def flags_of__wrong__second_set_one_underscore(kind):
    parser = argparse.ArgumentParser()
    for f in dataclasses.fields(kind):
        flag = "--" + f.name.replace("_", "-", 1)
        if f.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=f.default)
        else:
            parser.add_argument(flag, type=f.type, default=f.default)
    return parser


def what_is_kept__right__deque(turns, room):
    note, newest_first = turns[0], turns[1:][::-1]
    free, ids = room - len(note), collections.deque()
    for n, turn in enumerate(newest_first):
        if len(turn) <= free:
            ids.extendleft(turn[::-1])
            free -= len(turn)
            continue
        if n == 0:
            ids.extend(turn[len(turn) - free :])
        break
    return note + list(ids)


def what_is_kept__right__try_each_start(turns, room):
    for start in range(1, len(turns)):
        ids = sum(turns[start:], list(turns[0]))
        if len(ids) <= room:
            return ids
    if len(turns) == 1:
        return turns[0][:]
    missing = len(turns[0]) + len(turns[-1]) - room
    return turns[0] + turns[-1][missing:]


def _start(turns, room, first=1):
    """Return the oldest turn from which on all fit into the room."""
    start = len(turns)
    while start > first and sum(map(len, turns[start - 1 :])) <= room:
        start -= 1
    return start


def _rest(turns, start):
    return [one for turn in turns[start:] for one in turn]


def what_is_kept__wrong__last_ids(turns, room):
    return _rest(turns, 0)[-room:]


def what_is_kept__wrong__last_ids_behind_the_note(turns, room):
    free = room - len(turns[0])
    return turns[0] + (_rest(turns, 1)[-free:] if free else [])


def what_is_kept__wrong__first_ids(turns, room):
    return _rest(turns, 0)[:room]


def what_is_kept__wrong__newest_never_cut(turns, room):
    return turns[0] + _rest(turns, _start(turns, room - len(turns[0])))


def what_is_kept__wrong__newest_cut_with_minus_zero(turns, room):
    free = room - len(turns[0])
    start = _start(turns, free)
    if start == len(turns) > 1:
        return turns[0] + turns[-1][-free:]
    return turns[0] + _rest(turns, start)


def what_is_kept__wrong__note_for_nothing(turns, room):
    return turns[0] + _rest(turns, _start(turns, room))


def what_is_kept__wrong__note_may_go(turns, room):
    return _rest(turns, _start(turns, room, first=0))


def what_is_kept__wrong__gaps(turns, room):
    free, kept = room - len(turns[0]), []
    for turn in reversed(turns[1:]):
        if len(turn) <= free:
            kept = turn + kept
            free -= len(turn)
    return turns[0] + (kept or (turns[-1][-free:] if free and turns[1:] else []))


def what_is_kept__wrong__newest_first(turns, room):
    free, ids = room - len(turns[0]), list(turns[0])
    for turn in reversed(turns[1:]):
        if len(turn) > free:
            break
        ids += turn
        free -= len(turn)
    return ids


def what_is_kept__wrong__as_many_turns(turns, room):
    return turns[0] + _rest(turns, max(1, len(turns) - room))


def what_is_kept__wrong__three_turns(turns, room):
    return turns[0] + _rest(turns, max(1, len(turns) - 3))


def what_is_kept__wrong__nested(turns, room):
    return [turns[0], *turns[_start(turns, room - len(turns[0])) :]]


def what_is_kept__wrong__room_for_one_more(turns, room):
    free = room - 1 - len(turns[0])
    start = _start(turns, free)
    if start == len(turns) > 1:
        return turns[0] + turns[-1][len(turns[-1]) - max(0, free) :]
    return turns[0] + _rest(turns, start)


def what_is_kept__wrong__no_id_twice(turns, room):
    return list(dict.fromkeys(what_is_kept__right__try_each_start(turns, room)))


def what_is_kept__wrong__sorted(turns, room):
    return sorted(what_is_kept__right__try_each_start(turns, room))


def what_is_kept__wrong__note_changed(turns, room):
    start = _start(turns, room - len(turns[0]))
    if start == len(turns) > 1:
        return what_is_kept__right__try_each_start(turns, room)
    turns[0] += _rest(turns, start)
    return turns[0]


# The third set.


def flags_of__right__boolean_optional_action(kind):
    parser = argparse.ArgumentParser()
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        flag = "--" + field.name.replace("_", "-")
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if types[field.name] is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(flag, type=types[field.name], default=default)
    return parser


def flags_of__right__two_switches_by_hand(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        words = "-".join(field.name.split("_"))
        if field.type in (bool, "bool"):
            parser.add_argument(f"--{words}", dest=field.name, action="store_true")
            parser.add_argument(f"--no-{words}", dest=field.name, action="store_false")
        else:
            as_type = {"int": int, "float": float, "str": str}.get(field.type, field.type)
            parser.add_argument(f"--{words}", dest=field.name, type=as_type)
    parser.set_defaults(**{f.name: f.default for f in dataclasses.fields(kind)})
    return parser


# wrong for a field `rate: float = 1`: the type is int, so --rate 0.5 is refused; should be float
def flags_of__wrong__type_of_the_default(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=action, default=field.default)
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    return parser


# wrong for --compile without a word and for --compile False (True): should be a switch
def flags_of__wrong__third_type_bool(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=field.type, default=field.default)
    return parser


# wrong for --no-compile: not understood; should set compile to False
def flags_of__wrong__store_true_only(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action="store_true", default=field.default)
        else:
            parser.add_argument(flag, type=field.type, default=field.default)
    return parser


# wrong for a field with two underscores, max_grad_norm: --max-grad_norm, should be --max-grad-norm
def flags_of__wrong__first_underscore_only(kind):
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(kind):
        flag = "--" + field.name.replace("_", "-", 1)
        if field.type is bool:
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, dest=field.name, action=action, default=field.default)
        else:
            parser.add_argument(flag, dest=field.name, type=field.type, default=field.default)
    return parser


def whole_characters__right__first_byte_says_how_many(chunks):
    held, texts = b"", []
    for chunk in chunks:
        held, end = held + chunk, 0
        while end < len(held):
            first = held[end]
            need = 1 + (first >= 192) + (first >= 224) + (first >= 240)
            if end + need > len(held):
                break
            end += need
        texts.append(held[:end].decode())
        held = held[end:]
    return texts


# wrong for [b"\xc3", b"\xa9"]: ["", ""], should be ["", "é"]
def whole_characters__wrong__halves_are_dropped(chunks):
    return [chunk.decode("utf-8", errors="ignore") for chunk in chunks]


# wrong for [b"\xc3", b"\xa9"]: ["é"], should be ["", "é"], one text for each chunk
def whole_characters__wrong__empty_texts_left_out(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [text for text in map(decoder.decode, chunks) if text]


def whole_characters__wrong__one_byte_held_back(chunks):
    held, texts = b"", []
    for chunk in chunks:
        held += chunk
        try:
            texts.append(held.decode())
            held = b""
        except UnicodeDecodeError:
            texts.append(held[:-1].decode(errors="replace"))
            held = held[-1:]
    return texts
