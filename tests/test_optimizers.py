"""AdamW by hand equals torch's; every parameter is in one group."""

import copy

import pytest
import torch
from torch import nn

from bhushgpt.optimizers import AdamW, parameter_groups
from bhushgpt.training_config import TrainingConfig

SETTINGS = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 7))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    data = torch.Generator().manual_seed(1)
    for _ in range(steps):
        ids = torch.randint(7, (6,), generator=data)
        loss = nn.functional.cross_entropy(model(ids), (ids + 1) % 7)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def assert_equal(model: nn.Module, other: nn.Module) -> None:
    for weight, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-6)


def test_by_hand_equals_torch_over_50_steps():
    ours, theirs = small_model(), small_model()
    train(ours, AdamW(ours.parameters(), **SETTINGS), 50)
    train(theirs, torch.optim.AdamW(theirs.parameters(), **SETTINGS), 50)
    assert_equal(ours, theirs)


def test_by_hand_equals_torch_with_parameter_groups_and_a_changing_rate():
    ours, theirs = small_model(), small_model()
    optimizers = [
        AdamW(parameter_groups(ours, 0.5), lr=0.05),
        torch.optim.AdamW(parameter_groups(theirs, 0.5), lr=0.05),
    ]
    for step in range(1, 11):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 / step
            train(model, optimizer, 5)
    assert_equal(ours, theirs)


def test_the_two_means_are_torchs_and_in_its_order():
    ours, theirs = small_model(), small_model()
    by_hand = AdamW(parameter_groups(ours, 0.5), **SETTINGS)
    library = torch.optim.AdamW(parameter_groups(theirs, 0.5), **SETTINGS)
    train(ours, by_hand, 10)
    train(theirs, library, 10)
    mine, torchs = by_hand.state_dict()["state"], library.state_dict()["state"]
    assert list(mine) == list(torchs)
    for number, state in torchs.items():
        assert mine[number]["step"].item() == state["step"].item() == 10
        torch.testing.assert_close(mine[number]["mean"], state["exp_avg"])
        torch.testing.assert_close(mine[number]["square"], state["exp_avg_sq"])


@pytest.mark.parametrize("changed", ["lr", "betas", "eps", "weight_decay"])
def test_each_setting_is_used(changed):
    other = {"lr": 0.01, "betas": (0.5, 0.5), "eps": 0.1, "weight_decay": 0.0}
    model, reference = small_model(), small_model()
    train(model, AdamW(model.parameters(), **{**SETTINGS, changed: other[changed]}), 5)
    train(reference, AdamW(reference.parameters(), **SETTINGS), 5)
    assert not torch.allclose(model[1].weight, reference[1].weight, atol=1e-5)  # type: ignore[index]


def test_the_first_step_is_the_learning_rate_whatever_the_gradients_size():
    for size in (1e-3, 1.0, 1e3):
        weight = nn.Parameter(torch.zeros(3))
        weight.grad = torch.tensor([1.0, -2.0, 3.0]) * size
        AdamW([weight], lr=0.1, weight_decay=0).step()
        assert weight.tolist() == pytest.approx([-0.1, 0.1, -0.1], rel=1e-4)


def test_decay_shrinks_a_weight_that_has_no_gradient_to_speak_of():
    weight = nn.Parameter(torch.tensor([2.0]))
    weight.grad = torch.zeros(1)
    AdamW([weight], lr=0.1, weight_decay=0.5).step()
    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5))


def test_a_parameter_without_gradient_stays_and_keeps_no_state():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = AdamW([used, unused], lr=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert unused.tolist() == [1, 1] and list(optimizer.state) == [used]


def test_a_saved_state_goes_on_as_if_never_interrupted():
    whole, first = small_model(), small_model()
    straight, broken = AdamW(whole.parameters(), **SETTINGS), AdamW(first.parameters(), **SETTINGS)
    train(whole, straight, 5)
    train(whole, straight, 5)
    train(first, broken, 5)
    second = copy.deepcopy(first)
    resumed = AdamW(second.parameters())
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    train(second, resumed, 5)
    for weight, expected in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_matrices_decay_and_vectors_do_not_and_each_is_in_one_group():
    model = small_model()
    decays, stays = parameter_groups(model, 0.1)
    assert (decays["weight_decay"], stays["weight_decay"]) == (0.1, 0.0)
    assert all(p.dim() >= 2 for p in decays["params"])
    assert all(p.dim() < 2 for p in stays["params"])
    grouped = [id(p) for p in decays["params"] + stays["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_a_tied_weight_is_grouped_once_and_a_frozen_one_not_at_all():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    decays, stays = parameter_groups(model, 0.1)
    assert [len(decays["params"]), len(stays["params"])] == [1, 2]


def test_make_optimizer_takes_the_settings_and_equals_the_one_by_hand():
    config = TrainingConfig(steps=1, learning_rate=0.03, betas=(0.7, 0.8), weight_decay=0.2)
    ours, theirs = small_model(), small_model()
    optimizer = config.optimizer(theirs)
    assert [group["lr"] for group in optimizer.param_groups] == [0.03, 0.03]
    assert [group["betas"] for group in optimizer.param_groups] == [(0.7, 0.8)] * 2
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]
    train(theirs, optimizer, 50)
    train(ours, AdamW(parameter_groups(ours, 0.2), lr=0.03, betas=(0.7, 0.8)), 50)
    assert_equal(ours, theirs)
