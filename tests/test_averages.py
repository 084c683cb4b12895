"""Our averages against torch's own, and against what probabilities must do."""

import math

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bhushgpt.averages import Ensemble, WeightAverage
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import next_token_loss

CONFIG = GPTConfig(vocab_size=11, context_length=7, n_layer=2, n_head=2, n_embd=12)


def gpt(seed: int) -> GPT:
    torch.manual_seed(seed)
    model = GPT(CONFIG)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def shaken(model: nn.Module, seed: int) -> None:
    """Move the weights as a step would."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_the_moving_average_equals_torchs(decay):
    model = gpt(0)
    ours = WeightAverage(model, decay)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    for step in range(6):
        shaken(model, step)
        ours.update(model)
        theirs.update_parameters(model)
        pairs = zip(ours.model.parameters(), theirs.module.parameters(), strict=True)
        for mine, torchs in pairs:
            torch.testing.assert_close(mine, torchs, rtol=1e-6, atol=1e-6)


def test_averaging_leaves_the_model_alone_and_tied_weights_tied():
    model = gpt(1)
    average = WeightAverage(model, 0.9)
    before = [parameter.clone() for parameter in model.parameters()]
    average.update(model)
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new) and new.requires_grad
    assert isinstance(average.model, GPT)
    assert average.model.head.weight is average.model.tokens.weight
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_buffers_are_taken_as_they_are():
    layer = nn.BatchNorm1d(3)
    average = WeightAverage(layer, 0.9)
    layer(torch.randn(5, 3))
    average.update(layer)
    for kept, buffer in zip(average.model.buffers(), layer.buffers(), strict=True):
        assert torch.equal(kept, buffer)
    assert dict(average.model.named_buffers())["num_batches_tracked"] == 1


@pytest.mark.parametrize("decay", [1.0, 1.5, -0.1, float("nan")])
def test_a_decay_that_cannot_be_is_refused(decay):
    with pytest.raises(UserError, match=r"decay is .* such as 0\.99"):
        WeightAverage(nn.Linear(2, 2), decay)


def test_an_ensemble_gives_the_mean_of_the_probabilities():
    models = [gpt(seed) for seed in range(3)]
    ids = torch.randint(11, (5, 7))
    wanted = sum(model(ids).softmax(dim=-1) for model in models) / 3
    torch.testing.assert_close(Ensemble(models)(ids).exp(), wanted)


def test_an_ensemble_of_one_predicts_what_it_alone_predicts():
    model, ids = gpt(4), torch.randint(11, (5, 7))
    torch.testing.assert_close(Ensemble([model])(ids), model(ids).log_softmax(dim=-1))


def test_an_ensemble_loses_no_more_than_its_members_on_average():
    models, ids = [gpt(5), gpt(6)], torch.randint(11, (5, 8))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    alone = [next_token_loss(model(inputs), targets).item() for model in models]
    together = next_token_loss(Ensemble(models)(inputs), targets).item()
    assert together < sum(alone) / 2
    assert together > min(alone) - math.log(2)


def test_an_ensemble_looks_as_far_as_its_nearest_sighted_member():
    short = GPT(GPTConfig(vocab_size=11, context_length=5, n_layer=1, n_head=1, n_embd=4))
    assert Ensemble([gpt(0), short]).context_length == 5
    with pytest.raises(UserError, match="at least one"):
        Ensemble([])
