"""What every model of the course promises."""

import pytest
import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.evaluation import evaluate
from bhushgpt.language_model import LanguageModel, sample


def test_the_base_class_leaves_forward_to_the_models():
    with pytest.raises(NotImplementedError):
        LanguageModel()(torch.zeros(1, 1, dtype=torch.long))


def test_the_bigram_is_one():
    assert issubclass(Bigram, LanguageModel)
    assert Bigram(BigramConfig(vocab_size=3)).context_length == 8


def test_a_model_of_anybodys_own_can_be_sampled_and_evaluated():
    class Repeats(LanguageModel):
        """Is sure that the last token comes again; it has no weights at all."""

        context_length = 4

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return 50 * torch.nn.functional.one_hot(ids, 5).float()

    assert sample(Repeats(), torch.tensor([[3]]), 4).tolist() == [[3] * 5]
    assert evaluate(Repeats(), torch.full((9,), 2).numpy()).nats_per_token < 1e-6
