"""A probe is the one best linear layer, and nonsense stays nonsense."""

import pytest
import torch
import torch.nn.functional as F

from bhushgpt.errors import UserError
from bhushgpt.probing import control_labels, fit_probe, probe_accuracy


def clouds(n=600, classes=3, channels=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    centres = 2 * torch.randn(classes, channels, generator=torch.Generator().manual_seed(9))
    return centres[labels] + torch.randn(n, channels, generator=generator), labels


def test_the_probe_stands_at_the_only_minimum():
    vectors, labels = clouds()
    penalty = 0.01
    probe = fit_probe(vectors, labels, penalty=penalty).double()
    mean, spread = vectors.double().mean(0), vectors.double().std(0, correction=0)
    weight = (probe.weight * spread).detach().requires_grad_()
    bias = (probe.bias + probe.weight @ mean).detach().requires_grad_()
    level = (vectors.double() - mean) / spread
    loss = F.cross_entropy(level @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
    slopes = torch.autograd.grad(loss, (weight, bias))
    # The loss is convex: where its slope is 0 there is nothing better anywhere.
    assert all(slope.abs().max() < 1e-4 for slope in slopes)


def test_a_probe_finds_what_is_there_and_nothing_where_there_is_nothing():
    vectors, labels = clouds()
    new_vectors, new_labels = clouds(seed=1)
    assert probe_accuracy(fit_probe(vectors, labels), new_vectors, new_labels) > 0.9
    noise = torch.randn(600, 5, generator=torch.Generator().manual_seed(4))
    assert probe_accuracy(fit_probe(noise, labels), noise.flip(0), labels) < 0.45


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_units_of_the_channels_do_not_matter(scale):
    vectors, labels = clouds()
    moved = vectors * torch.tensor([1, scale, 1, scale, 1]) + 100
    a = fit_probe(vectors, labels)(vectors).argmax(1)
    b = fit_probe(moved, labels)(moved).argmax(1)
    assert (a == b).float().mean() > 0.99


def test_a_channel_that_never_changes_does_no_harm():
    vectors, labels = clouds()
    wide = torch.cat([vectors, torch.full((600, 1), 7.0)], dim=1)
    probe = fit_probe(wide, labels)
    assert torch.isfinite(probe.weight).all() and probe_accuracy(probe, wide, labels) > 0.9


def test_fitting_changes_neither_the_vectors_nor_what_is_learned_elsewhere():
    vectors, labels = clouds()
    vectors.requires_grad_()
    with torch.no_grad():
        probe = fit_probe(vectors, labels)
    assert vectors.grad is None and probe(vectors.detach()).shape == (600, 3)


def test_control_labels_depend_on_the_kind_alone_and_are_as_frequent():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(4000, (20000,), generator=generator)
    labels = (torch.rand(20000, generator=generator) < 0.3).long()
    nonsense = control_labels(kinds, labels, seed=1)
    for kind in range(0, 4000, 97):
        assert nonsense[kinds == kind].unique().numel() <= 1
    assert abs(nonsense.float().mean() - 0.3) < 0.03
    assert not torch.equal(nonsense, control_labels(kinds, labels, seed=2))
    assert torch.equal(nonsense, control_labels(kinds, labels, seed=1))


@pytest.mark.parametrize(
    ("vectors", "labels", "part"),
    [
        (torch.ones(4, 3), torch.tensor([0, 1, 0]), "(4, 3)"),
        (torch.ones(2, 4, 3), torch.zeros(2, 4).long(), "flatten(0, 1)"),
        (torch.ones(0, 3), torch.zeros(0).long(), "(0, 3)"),
        (torch.tensor([[1.0], [torch.nan]]), torch.tensor([0, 1]), "nan"),
        (torch.ones(2, 3), torch.tensor([1, 1]), "two different"),
        (torch.ones(2, 3), torch.tensor([-1, 1]), "from 0"),
        (torch.ones(2, 3), torch.tensor([0.0, 1.0]), "whole numbers"),
    ],
)
def test_what_cannot_be_probed_is_refused(vectors, labels, part):
    with pytest.raises(UserError) as caught:
        fit_probe(vectors, labels)
    assert part in str(caught.value)
