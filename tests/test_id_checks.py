"""Ids that no model can look up are refused in words, before a device sees them."""

import numpy as np
import pytest
import torch

from bhushgpt.batches import Batches
from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig

GPT_5 = GPT(GPTConfig(vocab_size=5, context_length=4, n_layer=1, n_head=1, n_embd=4))
BIGRAM_5 = Bigram(BigramConfig(vocab_size=5))


@pytest.mark.parametrize("model", [GPT_5, BIGRAM_5], ids=["gpt", "bigram"])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[0, 5]]), "hold 5, but the model knows 5 tokens, 0 to 4"),
        (torch.tensor([[0, -1]]), "hold -1, but"),
        (torch.tensor([[0.0, 1.0]]), "are float32, but must be int64 or int32: use ids.long()"),
        (torch.tensor([[True]]), "are bool"),
        (torch.tensor([[1]], dtype=torch.int16), "are int16, but must be int64 or int32"),
        (
            torch.tensor([[0]], device="meta"),
            r"are on meta, the model on cpu: use ids\.to\('cpu'\)",
        ),
    ],
)
def test_bad_ids_are_refused_with_what_to_do(model, ids, message):
    with pytest.raises(UserError, match=message):
        model(ids)


@pytest.mark.parametrize("model", [GPT_5, BIGRAM_5], ids=["gpt", "bigram"])
def test_every_good_id_and_no_id_pass(model):
    for dtype in (torch.int64, torch.int32):
        assert model(torch.tensor([[0, 4]], dtype=dtype)).shape == (1, 2, 5)
    assert model(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 5)


@pytest.mark.filterwarnings("ignore")  # what torch's compiler warns about is its own code
def test_the_check_does_not_break_a_compiled_graph():
    graph = torch.compile(GPT_5, backend="eager", fullgraph=True)
    assert torch.equal(graph(torch.tensor([[0, 4]])), GPT_5(torch.tensor([[0, 4]])))


def test_batches_check_ids_before_they_go_to_the_device():
    tokens = np.arange(100) % 6
    assert Batches(tokens, 4, 8, vocab_size=6)[0][0].max() < 6
    with pytest.raises(UserError, match=r"token id 5, but a vocabulary of 5 .* 0 to 4"):
        # A device without storage: had the ids reached it, the error would be another one.
        Batches(tokens, 4, 8, vocab_size=5, device="meta")[0]


def test_another_batch_takes_the_place_of_one_left_out_always_the_same():
    batches = Batches(np.arange(1000), batch_size=4, context_length=8)
    without = Batches(np.arange(1000), batch_size=4, context_length=8, skip={3})
    assert torch.equal(without[2][0], batches[2][0])
    assert not torch.equal(without[3][0], batches[3][0])
    again = Batches(np.arange(1000), batch_size=4, context_length=8, skip=[3, 7])
    assert torch.equal(without[3][0], again[3][0])
    assert not torch.equal(without[7][0], again[7][0])
    with pytest.raises(UserError, match="a batch to skip is -1, it must be at least 0"):
        Batches(np.arange(1000), batch_size=4, context_length=8, skip=[-1])
