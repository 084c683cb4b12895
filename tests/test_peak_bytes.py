import torch
from torch import nn

from bhushgpt.speed import PeakBytes

MILLION = torch.zeros(1_000_000)


def test_what_goes_is_taken_away_and_a_view_is_no_memory():
    with PeakBytes() as watch:
        for _ in range(5):
            last = MILLION + 1  # each takes the name of the one before, which goes after it is made
        halves = last.view(2, -1), last[:10]
    assert watch.peak == 2 * 4_000_000 and halves[1].numel() == 10


def test_work_in_place_makes_nothing():
    own = torch.zeros(1_000_000)
    with PeakBytes() as watch:
        own.add_(1).mul_(2)
    assert watch.peak <= 4_000_000  # its own storage, at most


def test_backward_keeps_what_it_needs():
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(100, 100), nn.Tanh()) for _ in range(4)])
    x = torch.randn(1000, 100)
    peaks = []
    for learns in (False, True):
        with PeakBytes() as watch, torch.set_grad_enabled(learns):
            layers(x)
        peaks.append(watch.peak)
    one = 4 * x.numel()
    assert peaks[0] < 3.9 * one < 4 * one <= peaks[1]  # what one layer needs, or all four


def test_a_second_use_begins_at_zero():
    watch = PeakBytes()
    with watch:
        torch.zeros(1000)
    with watch:
        torch.zeros(10)
    assert watch.peak == 40
