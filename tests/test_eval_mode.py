"""Looking at a model leaves it as it was."""

import pytest
import torch
from torch import nn

from bhushgpt.language_model import eval_mode


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_and_gradients_come_back(training):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train(training)
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    assert all(module.training is training for module in model.modules())
    assert torch.is_grad_enabled()


def test_an_exception_inside_restores_both():
    model = nn.Dropout(0.5)
    with pytest.raises(RuntimeError, match="inside"), eval_mode(model):
        raise RuntimeError("inside")
    assert model.training and torch.is_grad_enabled()


def test_a_part_in_another_mode_keeps_its_own():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    model[1].eval()
    with eval_mode(model):
        pass
    assert [module.training for module in model.modules()] == [True, True, False]


def test_one_inside_another_does_not_end_the_outer_one():
    model = nn.Dropout(0.5)
    with eval_mode(model):
        with eval_mode(model):
            pass
        assert not model.training and not torch.is_grad_enabled()


def test_dropout_is_off_and_no_graph_is_built():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9))
    x = torch.ones(2, 4)
    with eval_mode(model):
        first, second = model(x), model(x)
    assert torch.equal(first, second) and not first.requires_grad
