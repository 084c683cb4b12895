"""Exercises of notebook 16: GPT-2's names, bits per byte, days on a card.

Lesson: notebook 16.
"""

import math

from bhushgpt.exercises.exercise import Exercise
from bhushgpt.interop import BLOCK_PARTS


def _their_name(ours: str) -> str:
    path, kind = ours.rsplit(".", 1)  # kind: weight or bias
    if not path.startswith("blocks."):
        return {"tokens": "wte", "positions": "wpe", "norm": "ln_f"}[path] + "." + kind
    _, number, part = path.split(".", 2)
    return f"h.{number}.{BLOCK_PARTS[part]}.{kind}"


def _check_their_name(answer) -> str | None:
    got = {
        ours: answer(ours)
        for ours in (
            "blocks.0.attention.qkv.weight",
            "blocks.11.mlp.projection.bias",
            "blocks.2.attention.projection.weight",
            "blocks.2.mlp.widen.weight",
            "blocks.2.norm_1.weight",
            "blocks.2.norm_2.bias",
        )
    }
    first = got["blocks.0.attention.qkv.weight"]
    if first == "transformer.h.0.attn.c_attn.weight":
        return "leave the prefix transformer. away: the table of this notebook has names without."
    if first == "h.0.attn.c_attn":
        return "the end is missing: .weight or .bias belongs to the name."
    if got["blocks.2.mlp.widen.weight"] == "h.2.mlp.c_proj.weight":
        return "in the MLP, c_fc widens and c_proj comes back; you have them the wrong way round."
    if got["blocks.2.norm_2.bias"] in ("h.2.ln_f.bias", "ln_f.bias"):
        return "ln_f is the norm after the last block; the second norm of a block is ln_2."
    eleventh = got["blocks.11.mlp.projection.bias"]
    if eleventh in ("h.1.mlp.c_proj.bias", "h.0.mlp.c_proj.bias"):
        return "the number of a block can have two digits: blocks.11 became another block."
    for ours, theirs in got.items():
        if theirs != _their_name(ours):
            return f"{ours} is {_their_name(ours)!r} there, yours is {theirs!r}."
    for ours in ("tokens.weight", "positions.weight", "norm.weight", "norm.bias"):
        if answer(ours) != _their_name(ours):
            return f"outside the blocks: {ours} is {_their_name(ours)!r} there."
    return None


their_name = Exercise(
    name="their_name",
    question="Return GPT-2's name of one of our tensors.",
    hints=(
        "The last part, weight or bias, stays: ours.rsplit('.', 1) cuts it off.",
        "Of blocks.3.attention.qkv, split('.', 2) makes 'blocks', '3' and 'attention.qkv'.",
        "A dictionary for the six parts of a block, one for the three things outside.",
    ),
    reference=_their_name,
    checks=_check_their_name,
    praise="every tensor finds its place.",
)


def _judged(got: float, right: float, mistakes: dict[float, str], otherwise: str) -> str | None:
    """Return None for the right number, a known mistake's sentence, or what came instead."""
    for wrong, sentence in mistakes.items():
        if math.isclose(got, wrong, rel_tol=1e-6):
            return sentence
    return None if math.isclose(got, right, rel_tol=1e-6) else otherwise


def _bits_per_byte(nats_per_token: float, n_tokens: int, n_bytes: int) -> float:
    return nats_per_token / math.log(2) * n_tokens / n_bytes


def _check_bits_per_byte(answer) -> str | None:
    nats, tokens, size = 4.0, 1000, 3500
    right = _bits_per_byte(nats, tokens, size)
    mistakes = {
        nats * tokens / size: "that is nats for each byte: one bit is ln 2 nats.",
        nats * math.log(2) * tokens / size: "nats become bits by dividing by ln 2, not by ln 2 x.",
        nats / math.log(2): "that is bits for each token; a token has several bytes.",
        nats
        / math.log(2)
        * size
        / tokens: "more bytes for each token must give fewer bits a byte.",
        nats / math.log(2) / size: "the loss is a mean: multiply by how many tokens there were.",
        nats / math.log(10) * tokens / size: "that is the logarithm to base 10; a bit is base 2.",
        nats / math.log(2) * tokens: "that is bits for the whole text; divide by its bytes.",
        right * 8: "that is eight times too much: per byte is asked for, whatever bits it has.",
        right / 8: "that is bits per bit of text: a byte counts once, not eight times.",
        math.exp(nats) * tokens / size: "exp(loss) is the perplexity; here the loss itself counts.",
        2**nats * tokens / size: "2**loss is a perplexity; here the loss itself counts.",
        math.log2(nats) * tokens / size: "the loss is a logarithm already: divide it by ln 2.",
        nats: "that is the loss in nats per token, as it came.",
        tokens / size: "that is tokens per byte; each of them costs nats / ln 2 bits.",
        size / tokens: "that is bytes per token; the loss plays no part yet.",
        nats * size / tokens: "bytes per token stand on their head, and nats are not bits yet.",
    }
    got = float(answer(nats, tokens, size))
    told = f"4 nats for each of 1,000 tokens over 3,500 bytes are {right:.4f}, yours {got:.4f}."
    return _judged(got, right, mistakes, told)


bits_per_byte = Exercise(
    name="bits_per_byte",
    question="Return the bits per byte of a loss in nats per token.",
    hints=(
        "A loss in nats divided by ln 2 is the loss in bits.",
        "All bits together are bits per token times the number of tokens.",
        "Share them out among the bytes of the text.",
    ),
    reference=_bits_per_byte,
    checks=_check_bits_per_byte,
    praise="now models with different vocabularies can be compared.",
)


def _training_days(parameters: float, tokens: float, flops: float, mfu: float) -> float:
    return 6 * parameters * tokens / (flops * mfu) / 86_400


def _check_training_days(answer) -> str | None:
    arguments = (124e6, 9e9, 390e12, 0.37)
    right = _training_days(*arguments)
    mistakes = {
        right / 3: "2 N D is the forward pass alone; training costs 6 N D.",
        right * 0.37: "no run reaches the card's limit: divide by flops times mfu.",
        right * 0.37**2: "a smaller mfu must take longer: it belongs below the line.",
        right * 24: "these are hours; a day has 24.",
        right * 86_400: "these are seconds; a day has 86,400.",
        right * 1440: "these are minutes; a day has 1,440.",
        right / 2: "3 N D counts the multiplications only: each comes with an addition.",
        right * 2 / 3: "4 N D is the backward pass alone; with forward it is 6 N D.",
        right * 4 / 3: "8 N D computes forward twice, to save memory; plain training is 6 N D.",
        right / 6: "a weight is used in six operations for each token, not in one.",
        right / 9e9: "the tokens are missing: 6 N D.",
        right / 124e6: "the parameters are missing: 6 N D.",
        right / 7: "these are weeks.",
        1 / right: "upside down: that is how many trainings fit into a day.",
        right * 0.37 / 0.63: "1 - mfu is the share that is lost; divide by the one that is used.",
        right * 390e12: "divide by the speed of the card, too.",
        right / 100: "mfu is a share from 0 to 1 already, not per cent.",
        right * 10: "a day has 86,400 seconds; you took 8,640.",
    }
    got = float(answer(*arguments))
    told = (
        f"124e6 parameters, 9e9 tokens, 390e12 FLOP/s at 0.37: {right:.3f} days, yours {got:.3f}."
    )
    return _judged(got, right, mistakes, told)


training_days = Exercise(
    name="training_days",
    question="Return how many days a training takes.",
    hints=(
        "Forward and backward cost about 6 operations for each parameter and token.",
        "The card makes flops * mfu useful operations a second.",
        "A day has 86,400 seconds.",
    ),
    reference=_training_days,
    checks=_check_training_days,
    praise="counted before anything was rented.",
)
