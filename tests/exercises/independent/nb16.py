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
