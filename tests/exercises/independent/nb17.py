"""Answers to the exercises of notebook 17, written from its cards alone."""

import argparse
import codecs
import dataclasses

import torch


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


def min_p_chances__right__where(p, share):
    kept = torch.where(p >= share * p.max(dim=-1, keepdim=True).values, p, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True)


def min_p_chances__right__rows(p, share):
    out = []
    for row in p.tolist():
        kept = [x if x >= share * max(row) else 0.0 for x in row]
        out.append([x / sum(kept) for x in kept])
    return torch.tensor(out)


def min_p_chances__wrong__not_shared_out(p, share):
    return p * (p >= share * p.amax(-1, keepdim=True))


def min_p_chances__wrong__share_alone(p, share):
    kept = p * (p >= share)
    return kept / kept.sum(-1, keepdim=True)


def min_p_chances__wrong__largest_of_all(p, share):
    kept = p * (p >= share * p.max())
    return kept / kept.sum(-1, keepdim=True)


def min_p_chances__wrong__softmax(p, share):
    return p.masked_fill(p < share * p.amax(-1, keepdim=True), -torch.inf).softmax(-1)


def min_p_chances__wrong__unlikely_kept(p, share):
    kept = p * (p <= share * p.amax(-1, keepdim=True))
    return kept / kept.sum(-1, keepdim=True).clamp(min=1e-9)


def min_p_chances__wrong__columns(p, share):
    kept = p * (p >= share * p.amax(0, keepdim=True))
    return kept / kept.sum(-1, keepdim=True).clamp(min=1e-9)


def min_p_chances__wrong__divided_by_all(p, share):
    kept = p * (p >= share * p.amax(-1, keepdim=True))
    return kept / kept.sum()


def min_p_chances__wrong__changes_p(p, share):
    p[p < share * p.amax(-1, keepdim=True)] = 0
    return p / p.sum(-1, keepdim=True)


def min_p_chances__wrong__top_p(p, share):
    s = p.sort(-1, descending=True)
    kept = p * 0
    kept.scatter_(-1, s.indices, s.values * (s.values.cumsum(-1) - s.values < share))
    return kept / kept.sum(-1, keepdim=True)


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
