"""Answers to the exercises of notebook 16, written from its cards alone."""

import math
import re


def bits_per_byte__right__whole_text(nats_per_token, n_tokens, n_bytes):
    return (nats_per_token * n_tokens) * math.log2(math.e) / n_bytes


def bits_per_byte__right__density(nats_per_token, n_tokens, n_bytes):
    return nats_per_token / (math.log(2) * (n_bytes / n_tokens))


def bits_per_byte__wrong__nats(nats_per_token, n_tokens, n_bytes):
    return nats_per_token * n_tokens / n_bytes


def bits_per_byte__wrong__times_ln_2(nats_per_token, n_tokens, n_bytes):
    return nats_per_token * math.log(2) * n_tokens / n_bytes


def bits_per_byte__wrong__upside_down(nats_per_token, n_tokens, n_bytes):
    return nats_per_token / math.log(2) * n_bytes / n_tokens


def bits_per_byte__wrong__per_token(nats_per_token, n_tokens, n_bytes):
    return nats_per_token / math.log(2)


def bits_per_byte__wrong__divided_by_eight(nats_per_token, n_tokens, n_bytes):
    return nats_per_token / math.log(2) * n_tokens / (8 * n_bytes)


def bits_per_byte__wrong__log2_of_the_loss(nats_per_token, n_tokens, n_bytes):
    return math.log2(nats_per_token) * n_tokens / n_bytes


def training_days__right__six(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / (mfu * flops) / 60 / 60 / 24


def training_days__right__seconds_per_token(parameters, tokens, flops, mfu):
    per_token = 6.0 * parameters / (flops * mfu)
    return tokens * per_token / 86_400


def training_days__wrong__seconds(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / (mfu * flops)


def training_days__wrong__hours(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / (mfu * flops) / 3600


def training_days__wrong__mfu_multiplied(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens * mfu / flops / 86400


def training_days__wrong__no_mfu(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / flops / 86400


def training_days__wrong__two(parameters, tokens, flops, mfu):
    return 2 * parameters * tokens / (mfu * flops) / 86400


def training_days__wrong__no_six(parameters, tokens, flops, mfu):
    return parameters * tokens / (mfu * flops) / 86400


def training_days__wrong__whole_days(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens // (mfu * flops) // 86400


def training_days__wrong__percent(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / (mfu / 100 * flops) / 86400


WORDS = {
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "norm_1": "ln_1",
    "norm_2": "ln_2",
    "mlp.widen": "mlp.c_fc",
    "mlp.projection": "mlp.c_proj",
}
OUTER = {"tokens": "wte", "positions": "wpe", "norm": "ln_f"}


def their_name__right__table(ours):
    path, kind = ours.rsplit(".", 1)
    if path in OUTER:
        return f"{OUTER[path]}.{kind}"
    _, number, rest = path.split(".", 2)
    return f"h.{number}.{WORDS[rest]}.{kind}"


def their_name__right__regex(ours):
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", ours):
        return "h." + found[1] + "." + WORDS[found[2]] + "." + found[3]
    first, kind = ours.split(".")
    return ".".join((OUTER[first], kind))


def their_name__wrong__replace_norm_everywhere(ours):
    for a, b in {
        "blocks": "h",
        "norm": "ln_f",
        **WORDS,
        "tokens": "wte",
        "positions": "wpe",
    }.items():
        ours = ours.replace(a, b)
    return ours


def their_name__wrong__with_prefix(ours):
    return "transformer." + their_name__right__table(ours)


def their_name__wrong__one_digit(ours):
    if ours.startswith("blocks."):
        return f"h.{ours[7]}." + their_name__right__table(ours).split(".", 2)[2]
    return their_name__right__table(ours)


def their_name__wrong__always_weight(ours):
    return their_name__right__table(ours).rsplit(".", 1)[0] + ".weight"


def their_name__wrong__kind_lost(ours):
    return their_name__right__table(ours).rsplit(".", 1)[0]


def their_name__wrong__blocks_only(ours):
    return their_name__right__table(ours) if ours.startswith("blocks") else ours


def their_name__wrong__projections_mixed_up(ours):
    name = their_name__right__table(ours)
    return name.replace("mlp.c_proj", "attn.c_proj")


def their_name__wrong__counted_from_one(ours):
    name = their_name__right__table(ours)
    return re.sub(r"^h\.(\d+)", lambda m: f"h.{int(m[1]) + 1}", name)


def their_name__wrong__norms_exchanged(ours):
    return their_name__right__table(ours.replace("norm_1", "norm_2"))


def their_name__wrong__the_example(ours):
    return "h.3.attn.c_attn.weight"


# The third set.


def bits_per_byte__right__formula(nats_per_token, n_tokens, n_bytes):
    return nats_per_token / math.log(2) * n_tokens / n_bytes


def bits_per_byte__right__log2_e(nats_per_token, n_tokens, n_bytes):
    whole_text = math.log2(math.e) * (nats_per_token * n_tokens)
    return whole_text / n_bytes


# wrong for 1000 tokens of 3500 bytes: 3 bytes a token instead of 3.5
def bits_per_byte__wrong__whole_bytes_a_token(nats_per_token, n_tokens, n_bytes):
    return nats_per_token / math.log(2) / (n_bytes // n_tokens)


_BLOCK = {
    "norm_1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "norm_2": "ln_2",
    "mlp.widen": "mlp.c_fc",
    "mlp.projection": "mlp.c_proj",
}


_OUTSIDE = {"tokens": "wte", "positions": "wpe", "norm": "ln_f"}


def their_name__right__tables(ours):
    path, kind = ours.rsplit(".", 1)
    if path in _OUTSIDE:
        return f"{_OUTSIDE[path]}.{kind}"
    _, number, part = path.split(".", 2)
    return f"h.{number}.{_BLOCK[part]}.{kind}"


def their_name__right__replaced_word_by_word(ours):
    words = ours.split(".")
    if words[0] != "blocks":
        words[0] = _OUTSIDE[words[0]]
        return ".".join(words)
    small = {"attention": "attn", "norm_1": "ln_1", "norm_2": "ln_2"}
    small |= {"qkv": "c_attn", "widen": "c_fc", "projection": "c_proj", "blocks": "h"}
    return ".".join(small.get(word, word) for word in words)


# wrong for blocks.11.mlp.widen.bias: the number is taken as one digit, should be h.11.mlp.c_fc.bias
def their_name__wrong__number_of_one_digit(ours):
    path, kind = ours.rsplit(".", 1)
    if path in _OUTSIDE:
        return f"{_OUTSIDE[path]}.{kind}"
    number, part = path[7], path[9:].lstrip(".")
    return f"h.{number}.{_BLOCK.get(part, part)}.{kind}"


# wrong for blocks.0.norm_1.bias: h.0.ln_1.weight, should end in .bias
def their_name__wrong__third_always_weight(ours):
    path = ours.rsplit(".", 1)[0]
    if path in _OUTSIDE:
        return f"{_OUTSIDE[path]}.weight"
    _, number, part = path.split(".", 2)
    return f"h.{number}.{_BLOCK[part]}.weight"


# wrong for blocks.3.norm_1.weight: h.3.ln_f_1.weight, should be h.3.ln_1.weight
def their_name__wrong__norm_replaced_first(ours):
    name = ours.replace("blocks", "h")
    for old, new in (_OUTSIDE | _BLOCK).items():
        name = name.replace(old, new)
    return name


# wrong for blocks.3.mlp.projection.weight: h.3.attn.c_proj.weight, should be h.3.mlp.c_proj.weight
def their_name__wrong__one_projection_for_both(ours):
    words = ours.split(".")
    if words[0] != "blocks":
        return ".".join([_OUTSIDE[words[0]], *words[1:]])
    last = {"norm_1": "ln_1", "norm_2": "ln_2", "qkv": "attn.c_attn"}
    last |= {"projection": "attn.c_proj", "widen": "mlp.c_fc"}
    return f"h.{words[1]}.{last[words[-2]]}.{words[-1]}"


def training_days__right__formula(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / (flops * mfu) / 86_400


def training_days__right__tokens_a_day(parameters, tokens, flops, mfu):
    tokens_a_second = mfu * flops / parameters / 6
    return tokens / (tokens_a_second * 24 * 60 * 60)


# wrong for every input: hours, should be divided by 24 once more
def training_days__wrong__third_hours(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / (flops * mfu) / 3600


# wrong for mfu < 1: a less used card would be faster; should be divided by mfu
def training_days__wrong__times_mfu(parameters, tokens, flops, mfu):
    return 6 * parameters * tokens / flops * mfu / 86_400


# wrong for every input: a third, since only the forward pass is counted
def training_days__wrong__two_operations(parameters, tokens, flops, mfu):
    return 2 * parameters * tokens / (flops * mfu) / 86_400


# wrong for a run of 0.48 days: 1, should be 0.48
def training_days__wrong__third_whole_days(parameters, tokens, flops, mfu):
    return math.ceil(6 * parameters * tokens / (flops * mfu) / 86_400)
