import math

import numpy as np
import torch

from bhushgpt.mixing import Mixer, Refinement
from bhushgpt.online_counters import squash


def test_the_mixers_step_is_the_gradient_of_the_code_length() -> None:
    x = np.array([[0.5, -1.0, 2.0]])
    mixer = Mixer([1], np.full(3, 0.2), rate=0.1, first_rate=0.1, second_rate=0.0)
    w = torch.full((3,), 0.2, dtype=torch.float64, requires_grad=True)
    loss = -torch.nn.functional.logsigmoid(torch.from_numpy(x[0]) @ w)
    loss.backward()
    assert w.grad is not None
    odds = mixer.predict(x, np.zeros((1, 1), dtype=np.int64))
    assert math.isclose(float(-np.log(squash(odds))[0]), loss.item())
    mixer.learn(np.array([1]))
    np.testing.assert_allclose(mixer.weights[0], 0.2 - 0.1 * w.grad.numpy(), rtol=1e-12)


def test_the_mixer_learns_whom_to_trust() -> None:
    generator = np.random.default_rng(0)
    mixer = Mixer([1, 1], np.full(2, 0.5))
    cost = []
    for _ in range(2000):
        bit = int(generator.random() < 0.5)
        knows, guesses = (2.0 if bit else -2.0), generator.normal() * 2
        choices = np.zeros((1, 2), dtype=np.int64)
        p = squash(mixer.predict(np.array([[knows, guesses]]), choices))[0]
        cost.append(-math.log2(p if bit else 1 - p))
        mixer.learn(np.array([bit]))
    assert np.mean(cost[-200:]) < 0.5 * np.mean(cost[:50])
    assert mixer.weights[0, 0] > 5 * abs(mixer.weights[0, 1])


def test_rows_named_twice_are_moved_twice() -> None:
    x, choices = np.ones((3, 2)), np.array([[0], [1], [0]])
    mixer = Mixer([2], np.zeros(2), rate=0.1, first_rate=0.1)
    mixer.predict(x, choices)
    mixer.learn(np.array([1, 1, 1]))
    np.testing.assert_allclose(mixer.weights, [[0.1, 0.1], [0.05, 0.05]])


def test_a_refinement_starts_as_the_identity_and_learns_the_truth() -> None:
    refinement = Refinement(2)
    odds = np.array([0.3])
    np.testing.assert_allclose(refinement.predict(odds, np.array([1])), squash(odds), atol=0.003)
    for _ in range(300):
        refinement.predict(odds, np.array([1]))
        refinement.learn(np.array([0]))
    assert refinement.predict(odds, np.array([1]))[0] < 0.3
    np.testing.assert_allclose(refinement.predict(odds, np.array([0])), squash(odds), atol=0.003)
