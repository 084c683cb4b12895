"""Every wrong answer of notebook 08 fails with a message of its own."""

import torch
from kill_table import assert_exercise
from torch.nn import functional as F

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.exercises.nb08_layer_norm import layer_norm
from bhushgpt.exercises.nb08_transformer_block import block_parameters, pre_norm_block
from bhushgpt.transformer import MLP, Block

# 1. LayerNorm


def stub_layer_norm(x, gain, bias):
    return ...


def normalised(x, axes, unbiased=False):
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / torch.sqrt(x.var(axes, keepdim=True, unbiased=unbiased) + 1e-5)


def over_the_batch(x, gain, bias):
    return normalised(x, 0) * gain + bias


def over_time(x, gain, bias):
    return normalised(x, 1) * gain + bias


def over_time_and_channels(x, gain, bias):
    return normalised(x, (1, 2)) * gain + bias


def over_everything(x, gain, bias):
    return normalised(x, (0, 1, 2)) * gain + bias


def unbiased_variance(x, gain, bias):
    return normalised(x, -1, unbiased=True) * gain + bias


def divides_by_the_variance(x, gain, bias):
    variance = x.var(-1, keepdim=True, unbiased=False)
    return (x - x.mean(-1, keepdim=True)) / (variance + 1e-5) * gain + bias


def keeps_the_mean(x, gain, bias):
    return x / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * gain + bias


def squares_of_x(x, gain, bias):
    square = (x**2).mean(-1, keepdim=True)
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(square + 1e-5) * gain + bias


def no_gain_no_bias(x, gain, bias):
    return normalised(x, -1)


def no_gain(x, gain, bias):
    return normalised(x, -1) + bias


def no_bias(x, gain, bias):
    return normalised(x, -1) * gain


def gain_last(x, gain, bias):
    return (normalised(x, -1) + bias) * gain


def epsilon_outside(x, gain, bias):
    spread = x.var(-1, keepdim=True, unbiased=False).sqrt() + 1e-5
    return (x - x.mean(-1, keepdim=True)) / spread * gain + bias


def epsilon_missing(x, gain, bias):
    spread = x.var(-1, keepdim=True, unbiased=False).sqrt()
    return (x - x.mean(-1, keepdim=True)) / spread * gain + bias


def epsilon_of_another_library(x, gain, bias):
    return F.layer_norm(x, x.shape[-1:], gain, bias, eps=1e-3)


def only_for_six_channels(x, gain, bias):
    return F.layer_norm(x, (6,), gain, bias) if x.shape[-1] == 6 else normalised(x, 1)


def forgets_keepdim(x, gain, bias):
    return x - x.mean(-1)


def test_the_kill_table_of_layer_norm():
    wrong = {
        over_the_batch: "over the batch",
        over_time: "over time:",
        over_time_and_channels: "each text as a whole",
        over_everything: "one mean for everything",
        unbiased_variance: "C - 1",
        divides_by_the_variance: "by the variance, not",
        keeps_the_mean: "mean is not subtracted",
        squares_of_x: "squares are taken of x",
        no_gain_no_bias: "gain and bias are not used",
        no_gain: "the gain is not used",
        no_bias: "the bias is not used",
        gain_last: "also multiplies the bias",
        epsilon_outside: "outside the root",
        epsilon_missing: "1e-5 is missing",
        epsilon_of_another_library: "not those of the formula",
        only_for_six_channels: "not for (2, 5, 7)",
        forgets_keepdim: "stopped with RuntimeError",
    }
    assert_exercise(layer_norm, stub_layer_norm, wrong)


def test_the_librarys_layer_norm_is_right():
    outcome = layer_norm.judge(lambda x, gain, bias: F.layer_norm(x, x.shape[-1:], gain, bias))
    assert outcome.status == "right"


# 2. A pre-norm block


def stub_block(x, attention, mlp, norm_1, norm_2):
    return ...


def post_norm(x, attention, mlp, norm_1, norm_2):
    x = norm_1(x + attention(x))
    return norm_2(x + mlp(x))


def residual_from_the_normed(x, attention, mlp, norm_1, norm_2):
    x = norm_1(x)
    x = x + attention(x)
    x = norm_2(x)
    return x + mlp(x)


def no_residuals(x, attention, mlp, norm_1, norm_2):
    return mlp(norm_2(attention(norm_1(x))))


def first_residual_missing(x, attention, mlp, norm_1, norm_2):
    x = attention(norm_1(x))
    return x + mlp(norm_2(x))


def second_residual_missing(x, attention, mlp, norm_1, norm_2):
    return mlp(norm_2(x + attention(norm_1(x))))


def both_read_the_old_stream(x, attention, mlp, norm_1, norm_2):
    return x + attention(norm_1(x)) + mlp(norm_2(x))


def loses_the_attention(x, attention, mlp, norm_1, norm_2):
    y = x + attention(norm_1(x))
    return x + mlp(norm_2(y))


def one_norm_for_both(x, attention, mlp, norm_1, norm_2):
    x = x + attention(norm_1(x))
    return x + mlp(norm_1(x))


def norms_exchanged(x, attention, mlp, norm_1, norm_2):
    x = x + attention(norm_2(x))
    return x + mlp(norm_1(x))


def parts_exchanged(x, attention, mlp, norm_1, norm_2):
    x = x + mlp(norm_1(x))
    return x + attention(norm_2(x))


def norms_behind(x, attention, mlp, norm_1, norm_2):
    x = x + norm_1(attention(x))
    return x + norm_2(mlp(x))


def no_norms(x, attention, mlp, norm_1, norm_2):
    x = x + attention(x)
    return x + mlp(x)


def attention_only(x, attention, mlp, norm_1, norm_2):
    return x + attention(norm_1(x))


def in_place(x, attention, mlp, norm_1, norm_2):
    x += attention(norm_1(x))
    x += mlp(norm_2(x))
    return x


def mean_of_the_two(x, attention, mlp, norm_1, norm_2):
    return (attention(norm_1(x)) + mlp(norm_2(x))) / 2


def test_the_kill_table_of_pre_norm_block():
    wrong = {
        post_norm: "this is post-norm",
        residual_from_the_normed: "starts from the normalised x",
        no_residuals: "no residuals",
        first_residual_missing: "first residual is missing",
        second_residual_missing: "second residual is missing",
        both_read_the_old_stream: "from before the attention",
        loses_the_attention: "what attention found is lost",
        one_norm_for_both: "norm_1 is used for both",
        norms_exchanged: "norms are exchanged",
        parts_exchanged: "parts are exchanged",
        norms_behind: "norms stand behind",
        no_norms: "no norm in it",
        attention_only: "only the attention",
        in_place: "your code changes `x`",
        mean_of_the_two: "not those of the formula",
    }
    assert_exercise(pre_norm_block, stub_block, wrong)


# 3. How many parameters?


def stub_block_parameters(n_embd):
    return ...


def counts(squares, lines):
    def wrong(n_embd):
        return squares * n_embd**2 + lines * n_embd

    wrong.__name__ = f"{squares}_C_squared_plus_{lines}_C"
    return wrong


def test_the_kill_table_of_block_parameters():
    wrong = {
        counts(12, 0): "matrices alone",
        counts(12, 9): "two norms are missing",
        counts(12, 11): "half of the norms",
        counts(12, 4): "biases of the linear layers",
        counts(12, 10): "biases of queries, keys and values",
        counts(6, 10): "middle of the MLP",
        counts(4, 4): "attention alone",
        counts(8, 5): "MLP alone",
        counts(12, 12): "one bias of C numbers",
        counts(11, 12): "projection is missing",
        counts(10, 11): "three layers; you counted one",
        counts(8, 12): "MLP's two matrices",
        counts(7, 7): "Count one part after the other",
    }
    assert_exercise(block_parameters, stub_block_parameters, wrong)


def test_the_reference_counts_what_the_package_builds():
    for C, heads in ((6, 2), (12, 3), (128, 4)):
        block = Block(C, CausalSelfAttention(C, heads), MLP(C))
        assert block_parameters.reference(C) == sum(p.numel() for p in block.parameters())
