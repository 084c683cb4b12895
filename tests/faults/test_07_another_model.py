"""Fault 7: a checkpoint of other sizes or of another alphabet: a table, and no traceback."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bhushgpt.bigram import BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import (
    MODEL,
    SETTINGS,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from bhushgpt.storage.run_folder import MANIFEST, write_manifest
from bhushgpt.tokenizers import CharTokenizer
from tests.small_runs import TOKENIZER, fresh_state, small_config

CONFIG = small_config(6)


@pytest.fixture
def saved(tmp_path):
    return save_checkpoint(tmp_path, fresh_state(CONFIG), CONFIG, TOKENIZER)


def test_other_sizes_give_a_table(saved) -> None:
    asked = dataclasses.replace(CONFIG.model, n_embd=256, context_length=64)
    with pytest.raises(UserError) as raised:
        load_checkpoint(saved, asked=asked)
    lines = str(raised.value).splitlines()
    assert lines[0] == "The checkpoint does not belong to what was asked for."
    assert lines[2:5] == [
        "setting         checkpoint says  you asked",
        "context_length  8                64",
        "n_embd          8                256",
    ]
    assert lines[-1].startswith("Nothing was loaded. Ask for what the checkpoint says")


def test_another_kind_of_model_is_named(saved) -> None:
    with pytest.raises(UserError, match=r"kind +GPTConfig +BigramConfig"):
        load_checkpoint(saved, asked=BigramConfig(vocab_size=10))


def test_as_many_characters_but_others_are_refused(saved) -> None:
    other = CharTokenizer("\n zyxwvuts")
    assert other.vocab_size == TOKENIZER.vocab_size
    with pytest.raises(UserError) as raised:
        load_checkpoint(saved, asked=CONFIG.model, asked_tokenizer=other)
    ours, theirs = TOKENIZER.digest[:8], other.digest[:8]
    assert f"10 tokens, sha256 {ours}  10 tokens, sha256 {theirs}" in str(raised.value)


def test_what_was_asked_for_loads(saved) -> None:
    loaded = load_checkpoint(saved, asked=CONFIG.model, asked_tokenizer=TOKENIZER)
    assert loaded.config == CONFIG


def test_weights_that_are_not_the_settings_ones_are_listed(saved) -> None:
    weights = load_file(saved / MODEL)
    weights["blocks.0.norm1.weight"] = weights.pop(next(iter(weights)))
    save_file(weights, saved / MODEL)
    (saved / MANIFEST).unlink()
    write_manifest(saved)
    with pytest.raises(UserError) as raised:
        load_checkpoint(saved)
    message = str(raised.value)
    assert f"do not have the sizes that its {SETTINGS} says. Nothing was loaded." in message
    assert "the checkpoint has no such weight" in message
    assert "Error" not in message


def test_weights_alone_are_compared_with_the_model_line_by_line(tmp_path) -> None:
    save_weights(nn.Linear(4, 3), tmp_path / "linear.safetensors")
    model = nn.Linear(5, 3, bias=False)
    before = model.weight.clone()
    with pytest.raises(UserError) as raised:
        load_weights(model, tmp_path / "linear.safetensors")
    assert str(raised.value).splitlines()[1:] == [
        "weight: the checkpoint has (3, 4), the model (3, 5)",
        "bias: the model has no such weight",
    ]
    assert torch.equal(model.weight, before)
