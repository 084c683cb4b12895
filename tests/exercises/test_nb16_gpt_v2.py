"""Each wrong answer of notebook 16's exercises meets its own sentence; the references are true."""

import math

from kill_table import assert_exercise

from bhushgpt.evaluation import Evaluation
from bhushgpt.exercises.nb16_gpt_v2 import bits_per_byte, their_name, training_days
from bhushgpt.gpt import GPTConfig
from bhushgpt.interop.gpt2 import stored_tensors


def test_the_kill_table_of_their_name():
    def stub(ours): ...

    right = their_name.reference

    def swapped(ours):
        name = right(ours)
        for old, new in (("c_fc", "?"), ("mlp.c_proj", "mlp.c_fc"), ("?", "c_proj")):
            name = name.replace(old, new)
        return name

    def last_norm_everywhere(ours):
        return "ln_f.bias" if ours.endswith("norm_2.bias") else right(ours)

    def one_digit(ours):
        return right(ours.replace("blocks.11", "blocks.1"))

    def same_projection(ours):
        return right(ours).replace("attn.c_proj", "attn.proj")

    def nothing_outside(ours):
        return right(ours) if ours.startswith("blocks.") else ours

    assert_exercise(
        their_name,
        stub,
        {
            (lambda ours: "transformer." + right(ours)): "leave the prefix",
            (lambda ours: right(ours).rsplit(".", 1)[0]): "the end is missing",
            swapped: "the wrong way round",
            last_norm_everywhere: "the norm after the last block",
            one_digit: "two digits",
            same_projection: "'h.2.attn.c_proj.weight' there",
            nothing_outside: "outside the blocks",
        },
    )


def test_the_reference_names_every_tensor_of_the_layout():
    table = stored_tensors(GPTConfig(vocab_size=7, n_layer=12))
    assert all(their_name.reference(stored.ours) == theirs for theirs, stored in table.items())


def test_the_kill_table_of_bits_per_byte():
    def stub(nats_per_token, n_tokens, n_bytes): ...

    two = math.log(2)
    assert_exercise(
        bits_per_byte,
        stub,
        {
            (lambda nats, n, size: nats * n / size): "nats for each byte",
            (lambda nats, n, size: nats * two * n / size): "not by ln 2 x",
            (lambda nats, n, size: nats / two): "bits for each token",
            (lambda nats, n, size: nats / two * size / n): "fewer bits a byte",
            (lambda nats, n, size: nats / two / size): "the loss is a mean",
            (lambda nats, n, size: nats / math.log(10) * n / size): "base 10",
            (lambda nats, n, size: 1.0): "yours 1.0000",
        },
    )


def test_the_reference_equals_what_evaluate_reports():
    measured = Evaluation(nats_per_token=3.3, tokens=77, text_bytes=300)
    found = bits_per_byte.reference(3.3, 77, 300)
    assert measured.bits_per_byte is not None and math.isclose(found, measured.bits_per_byte)


def test_the_kill_table_of_training_days():
    def stub(parameters, tokens, flops, mfu): ...

    assert_exercise(
        training_days,
        stub,
        {
            (lambda n, d, f, m: 2 * n * d / (f * m) / 86_400): "the forward pass alone",
            (lambda n, d, f, m: 6 * n * d / f / 86_400): "divide by flops times mfu",
            (lambda n, d, f, m: 6 * n * d / f * m / 86_400): "below the line",
            (lambda n, d, f, m: 6 * n * d / (f * m) / 3_600): "these are hours",
            (lambda n, d, f, m: 6 * n * d / (f * m)): "these are seconds",
            (lambda n, d, f, m: 6 * n * d / (f * m) / 60): "these are minutes",
            (lambda n, d, f, m: 1.0): "yours 1.000",
        },
    )
