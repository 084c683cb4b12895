"""Drawing: the right frequencies, the same text from the same seed, nothing forgotten."""

import numpy as np
import pytest
import torch
from torch import nn

from bhushgpt.bigram import Bigram, BigramConfig, CountedBigram
from bhushgpt.language_model import LanguageModel, draw, sample


class Watched(LanguageModel):
    """Remembers what it was shown, and is certain of the sum of it modulo 7."""

    def __init__(self, context_length: int = 3) -> None:
        super().__init__()
        self.context_length = context_length
        self.dropout = nn.Dropout(0.5)
        self.seen: list[list[list[int]]] = []
        self.modes: set[tuple[bool, bool]] = set()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.seen.append(ids.tolist())
        self.modes.add((self.dropout.training, torch.is_grad_enabled()))
        logits = torch.zeros(*ids.shape, 7)
        logits[:, -1] = 1000 * nn.functional.one_hot(ids.sum(1) % 7, 7)
        return logits


def table_model() -> Bigram:
    model = Bigram(BigramConfig(vocab_size=6))
    nn.init.normal_(model.table.weight, generator=torch.Generator().manual_seed(3))
    return model


def test_frequencies_are_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    ids = draw(logits.expand(20_000, 4), torch.Generator().manual_seed(0))
    share = torch.bincount(ids[:, 0], minlength=4) / 20_000
    p = logits.softmax(0)
    assert ((share - p).abs() < 4.5 * (p * (1 - p) / 20_000).sqrt()).all()


def test_only_the_given_generator_moves():
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    own = generator.get_state()
    draw(torch.zeros(2, 5), generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(generator.get_state(), own)


def test_the_same_seed_gives_the_same_text_whatever_happened_before():
    model, prompt = table_model(), torch.tensor([[0], [1]])
    first = sample(model, prompt, 30, seed=4)
    torch.manual_seed(99)
    torch.rand(17)
    assert torch.equal(first, sample(model, prompt, 30, seed=4))
    assert not torch.equal(first, sample(model, prompt, 30, seed=5))


def test_a_loop_by_hand_gives_the_same_text():
    model, ids = table_model(), torch.tensor([[2]])
    generator = torch.Generator().manual_seed(11)
    by_hand = [2]
    for _ in range(25):
        p = model.table.weight[by_hand[-1]].detach().softmax(0)
        by_hand.append(int(torch.multinomial(p[None], 1, generator=generator)))
    assert sample(model, ids, 25, seed=11)[0].tolist() == by_hand


def test_the_prompt_is_kept_whole_and_only_the_view_is_cropped():
    model = Watched(context_length=3)
    text = sample(model, torch.tensor([[1, 2, 3, 4, 5]]), 3)
    assert text.tolist() == [[1, 2, 3, 4, 5, 5, 0, 3]]
    assert model.seen == [[[3, 4, 5]], [[4, 5, 5]], [[5, 5, 0]]]


def test_the_view_grows_up_to_the_context():
    model = Watched(context_length=3)
    sample(model, torch.tensor([[1]]), 4)
    assert [len(view[0]) for view in model.seen] == [1, 2, 3, 3]


def test_the_model_is_sampled_in_eval_mode_and_given_back_in_its_own():
    model = Watched().train()
    sample(model, torch.tensor([[1]]), 2)
    assert model.modes == {(False, False)}
    assert model.training and model.dropout.training


def test_the_global_random_state_is_untouched():
    model = table_model()
    before = torch.get_rng_state()
    sample(model, torch.tensor([[0]]), 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_add_gives_the_prompt():
    assert sample(table_model(), torch.tensor([[3, 1]]), 0).tolist() == [[3, 1]]


def test_counted_logits_and_their_shifted_copy_draw_the_same_text():
    counted = CountedBigram(np.random.default_rng(0).integers(0, 6, 300), 6)
    model, other = table_model(), table_model()
    model.table.weight.data = counted.probabilities.log().float()
    other.table.weight.data = model.table.weight.data + 2.0  # softmax ignores a constant
    prompt = torch.tensor([[0]])
    assert torch.equal(sample(model, prompt, 200), sample(other, prompt, 200))


def test_half_precision_logits_can_be_drawn_from():
    logits = torch.tensor([[0.0, 90.0]], dtype=torch.bfloat16)
    assert draw(logits, torch.Generator().manual_seed(0)).tolist() == [[1]]


@pytest.mark.parametrize("rows", [1, 3])
def test_every_row_gets_one_id(rows):
    assert draw(torch.zeros(rows, 5), torch.Generator().manual_seed(0)).shape == (rows, 1)


def test_half_precision_logits_are_drawn_as_the_same_numbers_in_float32():
    logits = (2 * torch.randn(4000, 30)).bfloat16()
    drawn = [draw(each, torch.Generator().manual_seed(1)) for each in (logits, logits.float())]
    assert torch.equal(*drawn)
