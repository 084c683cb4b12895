"""GPT-2's layout: the table of names and shapes against transformers, and what does not fit."""

import dataclasses

import pytest
import torch
from torch import nn

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.interop.gpt2 import (
    DROPOUTS,
    TENSORS_OUTSIDE,
    TENSORS_PER_BLOCK,
    check_holdable,
    config_from_hf,
    config_to_hf,
    stored_tensors,
)
from bhushgpt.presets import GPT2_SIZES, preset

SMALL = GPTConfig(vocab_size=11, context_length=8, n_layer=2, n_head=2, n_embd=16, dropout=0.1)
SIZES = [SMALL, *(preset(name, 50_257).model for name in GPT2_SIZES)]


@pytest.mark.filterwarnings("ignore")  # what transformers warns of is not ours to mend
@pytest.mark.parametrize("sizes", SIZES, ids=["small", *GPT2_SIZES])
def test_names_and_shapes_are_those_of_transformers_in_every_size(sizes):
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):  # 1.5 billion numbers, and none of them in memory
        theirs = transformers.GPT2LMHeadModel(
            transformers.GPT2Config.from_dict(config_to_hf(sizes, None))
        )
        ours = GPT(sizes)
    wanted = {
        name.removeprefix("transformer."): tuple(tensor.shape)
        for name, tensor in theirs.named_parameters()
    }
    table = stored_tensors(sizes)
    assert {name: stored.shape for name, stored in table.items()} == wanted
    assert len(table) == TENSORS_PER_BLOCK * sizes.n_layer + TENSORS_OUTSIDE
    shapes = {name: tuple(tensor.shape) for name, tensor in ours.named_parameters()}
    for stored in table.values():
        turned = stored.shape[::-1] if stored.transposed else stored.shape
        assert shapes[stored.ours] == turned
    assert {stored.ours for stored in table.values()} == set(shapes)


@pytest.mark.filterwarnings("ignore")
def test_the_described_model_has_the_activation_epsilon_and_tying_of_ours():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config.from_dict(config_to_hf(SMALL, 10))
    theirs, ours = transformers.GPT2LMHeadModel(config), GPT(SMALL)
    assert theirs.transformer.h[0].ln_1.eps == ours.blocks[0].norm_1.eps  # type: ignore[union-attr]
    x = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(
        theirs.transformer.h[0].mlp.act(x),
        ours.blocks[0].mlp.activation(x),  # type: ignore[union-attr]
    )
    assert theirs.lm_head.weight is theirs.transformer.wte.weight
    assert (config.bos_token_id, config.eos_token_id, config.n_positions) == (10, 10, 8)


def test_a_config_goes_there_and_back():
    for sizes in SIZES:
        assert isinstance(sizes, GPTConfig)
        assert config_from_hf(config_to_hf(sizes, None)) == sizes


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model_type": "llama"}, "model_type is 'llama' and must be 'gpt2'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"activation_function": "gelu"}, "activation_function is 'gelu'"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06 and must be 1e-05"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"n_inner": 48}, "n_inner is 48 and must be 4 n_embd = 64"),
        ({"n_layer": "2"}, "n_layer is '2' and must be a whole number"),
        ({"n_layer": True}, "n_layer is True and must be a whole number"),
        ({"n_positions": "7"}, "n_positions is '7' and must be a whole number"),
        ({"n_head": 3}, "n_embd 16 is not a multiple of n_head 3"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({name: [] for name in DROPOUTS}, "resid_pdrop, embd_pdrop, attn_pdrop must be numbers"),
    ],
)
def test_a_config_of_another_layout_is_refused_by_name(changes, part):
    with pytest.raises(UserError) as caught:
        config_from_hf(config_to_hf(SMALL, None) | changes)
    assert part in str(caught.value)


def test_all_that_is_wrong_with_a_config_comes_at_once():
    with pytest.raises(UserError, match=r"model_type is missing.*n_layer is None.*n_embd is None"):
        config_from_hf({})


def test_the_other_name_of_the_same_activation_is_accepted():
    described = config_to_hf(SMALL, None) | {"activation_function": "gelu_pytorch_tanh"}
    assert config_from_hf(described) == SMALL


@pytest.mark.parametrize("position", ["rotary", "sinusoidal"])
def test_other_positions_are_refused_by_name(position):
    with pytest.raises(UserError, match=f"its positions are {position}"):
        check_holdable(GPT(dataclasses.replace(SMALL, position=position)))


def test_a_bigram_is_refused_by_name():
    with pytest.raises(UserError, match="it is a Bigram, and only a GPT has that layout"):
        check_holdable(Bigram(BigramConfig(vocab_size=11)))


def test_a_gpt_that_was_changed_is_refused_by_name():
    added = GPT(SMALL)
    added.blocks[1].adapter = nn.Linear(16, 2)
    with pytest.raises(UserError, match=r"a tensor blocks\.1\.adapter\.bias that GPT-2 has not"):
        check_holdable(added)
    poorer = GPT(SMALL)
    poorer.blocks[0].mlp.widen = nn.Linear(16, 64, bias=False)  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"its tensor blocks\.0\.mlp\.widen\.bias is missing"):
        check_holdable(poorer)
    untied = GPT(SMALL)
    untied.head = nn.Linear(16, 11, bias=False)
    with pytest.raises(UserError, match="its head is not tied"):
        check_holdable(untied)
    assert check_holdable(plain := GPT(SMALL)) is plain


def test_an_older_name_of_the_context_is_read() -> None:
    described = config_to_hf(SMALL, None)
    described["n_ctx"] = described.pop("n_positions")
    assert config_from_hf(described) == SMALL


def test_three_dropouts_that_differ_are_said_and_the_first_is_taken() -> None:
    with pytest.warns(UserWarning, match=r"three dropouts of this GPT-2 differ.*one, 0\.1"):
        found = config_from_hf(
            config_to_hf(SMALL, None) | dict(zip(DROPOUTS, (0.1, 0.1, 0.5), strict=True))
        )
    assert found.dropout == 0.1
