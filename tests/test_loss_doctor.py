"""Curves that are known to be sound or broken get the right verdict, made up and really trained."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch.nn import functional

from bhushgpt import attention
from bhushgpt.batches import Batches, split_tokens
from bhushgpt.corpus import load_text
from bhushgpt.diagnosis.loss_curves import LossCurve, SpikeDetector, diagnose, find_spikes, number
from bhushgpt.evaluation import evaluate
from bhushgpt.ngrams import NGramCounter, count_floors
from bhushgpt.presets import build_model, preset
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState, train

FLOORS = {"uniform": 4.37, "unigram": 3.06, "bigram": 2.37, "n-gram": 1.39}
STEPS = np.arange(1, 401)


def verdict(losses, held_out=None, rate=3e-3, **more):
    """Return mark and text for losses of the steps 1, 2, ...; held_out: step -> loss."""
    noise = np.random.default_rng(0).normal(0, 0.05, len(losses))
    rows = [
        {"step": n, "loss": float(loss), "learning_rate": rate, "tokens": 512}
        for n, loss in enumerate(np.asarray(losses) + noise, start=1)
    ]
    for step, value in (held_out or {}).items():
        rows[step - 1]["held_out"] = value
    first = diagnose(LossCurve.from_history(rows), FLOORS, **more)[0]
    return first.mark, first.text


def fall(start, end, pace=0.98):
    return end + (start - end) * pace**STEPS


SOUND = fall(4.37, 1.9)


def test_a_sound_curve_is_fine_and_placed_between_the_rungs():
    mark, text = verdict(SOUND)
    assert mark == "OK"
    assert text.startswith("fine: 1.9") and "between bigram (2.370) and n-gram (1.390)" in text
    assert "between" not in verdict(fall(4.37, 1.2, 0.97))[1]
    assert "below n-gram" in verdict(fall(4.37, 1.2, 0.97))[1]


def test_a_curve_that_still_falls_is_told_to_go_on():
    assert "still falls: more steps would help" in verdict(fall(4.37, 1.9, 0.995))[1]
    assert "still falls" not in verdict(fall(4.37, 1.9, 0.95))[1]


@pytest.mark.parametrize(
    ("losses", "mark", "words"),
    [
        (SOUND[:12], "look", "12 steps are too few"),
        (np.where(STEPS == 300, np.nan, SOUND), "broken", "loss of step 300 is no finite number"),
        (np.where(STEPS > 200, np.inf, SOUND), "broken", "loss of step 201 is no finite number"),
        (np.where(STEPS > 200, 3.8, SOUND), "broken", "diverged: the loss was 1.9"),
        (SOUND + 0.02 * np.maximum(STEPS - 250, 0), "broken", "rate is too high (it was 0.003)"),
        (np.full(400, 9.0), "broken", "diverged: the loss went up to 9"),
        (np.full(400, 4.36), "broken", "hardly anything learned: 4.3"),
        (fall(4.37, 3.9), "broken", "too low (it was 0.003): take ten times it"),
        (np.where(STEPS < 100, 6.0, 4.3), "broken", "too high"),
        (fall(4.37, 3.05, 0.9), "broken", "plateau at the unigram (3.060) from step"),
        (np.where(STEPS < 250, 3.06, SOUND), "look", "plateau at the unigram"),
        (fall(4.37, 2.5, 0.9), "look", "no longer falls: only a bigram table"),
    ],
)
def test_a_broken_curve_gets_its_own_verdict(losses, mark, words):
    found = verdict(losses)
    assert found[0] == mark
    assert words in found[1]


@pytest.mark.parametrize(
    ("losses", "mark", "words"),
    [
        (SOUND[:60], "look", "still falls: go on"),
        (np.full(90, 3.06), "look", "too few steps to judge: 3.0"),
        (np.full(90, 4.36), "look", "too few steps to judge: 4.3"),
        (6 * 0.99 ** STEPS[:30], "look", "above uniform"),  # a large start that comes down
        (np.where(STEPS[:60] > 30, 5.0, 3.5), "broken", "diverged"),
        (np.where(STEPS[:60] > 30, np.nan, 3.5), "broken", "no finite number"),
    ],
)
def test_what_a_short_run_has_learned_is_not_judged(losses, mark, words):
    found = verdict(losses)
    assert found[0] == mark and words in found[1]


def test_a_warm_up_does_not_count_among_the_steps():
    rows = [{"step": n, "loss": 4.3, "learning_rate": n / 1e6, "tokens": 512} for n in STEPS]
    (found,) = diagnose(LossCurve.from_history(rows), FLOORS)
    assert found.mark == "look" and "too few steps to judge" in found.text


def test_a_curve_that_rests_with_its_rate_is_not_said_to_ignore_its_past():
    rows = [
        {"step": int(n), "loss": float(loss), "learning_rate": 3e-3 * (1 - n / 401)}
        for n, loss in zip(STEPS, fall(4.37, 2.5, 0.97), strict=True)
    ]
    (found,) = diagnose(LossCurve.from_history(rows), FLOORS)
    assert found.mark == "OK" and "came to rest with its learning rate" in found.text


def test_memorising_is_said_with_the_step_it_began():
    glances = {step: 1.8 + 0.002 * abs(step - 160) for step in range(40, 401, 40)}
    mark, text = verdict(SOUND, glances)
    assert mark == "look"
    assert (
        "memorising since step 160: the held-out loss was 1.800 there and has risen by 0.4" in text
    )
    assert "checkpoint `best`" in text
    # Noise of a few hundredths is no memorising.
    assert verdict(SOUND, {100: 1.93, 200: 1.9, 300: 1.92, 400: 1.93})[0] == "OK"


def test_a_leak_is_told_from_learning_by_what_counting_reaches():
    def counted(tokens):
        return 1.7

    mark, text = verdict(fall(4.37, 0.2), counted=counted)
    assert mark == "broken"
    assert "the model sees the answer (a leak)" in text and "reaches only 1.700" in text
    assert verdict(SOUND, counted=counted)[0] == "OK"
    # Without the tokens, only what no honest model reaches at all is called a leak.
    assert "a leak" in verdict(fall(4.37, 0.2), {400: 0.3})[1]
    assert "a leak" not in verdict(fall(4.37, 0.9), {400: 1.3})[1]


def test_spikes_are_listed_beside_the_verdict():
    losses = np.where(STEPS == 300, 6.0, fall(4.37, 1.9, 0.9))
    rows = [{"step": n, "loss": float(loss)} for n, loss in enumerate(losses, start=1)]
    first, spikes = diagnose(LossCurve.from_history(rows), FLOORS)
    assert first.text.startswith("fine")
    assert (spikes.mark, spikes.part) == ("look", "spikes")
    assert "curve: 1" in spikes.text and "step 300: the loss is 6.000" in spikes.text


def test_a_history_with_odd_lines_is_read_as_far_as_it_goes():
    odd = [
        {"step": 1, "loss": "x"},
        {"step": 2, "loss": 3.0, "learning_rate": None, "tokens": "many"},
        {"step": 3, "loss": 2.0, "held_out": "soon"},
    ]
    curve = LossCurve.from_history(odd)
    assert curve.steps.tolist() == [2, 3]
    assert len(curve.held_out) == 0
    assert np.isnan(number(10**400))
    assert diagnose(LossCurve.from_history([]), FLOORS)[0].mark == "look"


def test_a_spike_needs_a_neighbourhood_and_leaves_it_usable():
    assert not list(find_spikes([(1, 1.0), (2, 50.0)]))
    detector = SpikeDetector(window=10)
    for step in range(10):
        assert detector.look(step, 2.0 + 0.01 * (step % 3)) is None
    assert detector.look(10, float("nan")) is not None
    assert detector.look(11, 2.02) is None  # the NaN did not spoil the median
    found = [detector.look(12 + n, 4.0) is not None for n in range(10)]
    assert found[0] and not found[-1]  # a level that stays becomes the usual one


# Real runs: a small GPT on the book, sound and spoilt.


@functools.cache
def book():
    text = load_text("sherlock").text
    tokenizer = CharTokenizer.from_text(text)
    ids = np.array(tokenizer.encode(text), dtype=np.uint16)
    parts = split_tokens(ids, context_length=32)
    return (*parts, tokenizer.vocab_size)


class Unshifted:
    """Targets that are the inputs: the classic slip."""

    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, step):
        inputs, _ = self.batches[step]
        return inputs, inputs


def real_run(*, steps=150, slip=lambda batches: batches, **training):
    learn, judge, vocab_size = book()
    config = preset("gpt-v1", vocab_size, steps=steps)
    sizes = dataclasses.replace(config.model, context_length=32, n_layer=2, n_embd=64)
    config = dataclasses.replace(config, model=sizes)
    settings = dataclasses.replace(config.training, batch_size=16, warmup_steps=10, **training)
    model = build_model(config)
    state = TrainState.fresh(model, settings)
    rows = []
    for report in train(state, slip(Batches(learn, 16, 32)), settings):
        rows.append(dataclasses.asdict(report))
        if report.step % 50 == 0:
            rows[-1]["held_out"] = evaluate(model, judge[:2000]).nats_per_token
    floors = count_floors(learn[:200_000], judge[:20_000], vocab_size).rungs()

    def counted(tokens):
        orders = [NGramCounter(n, vocab_size).fit(learn[:tokens]) for n in (2, 3, 4)]
        return min(counter.loss(judge[:20_000]) for counter in orders)

    first = diagnose(LossCurve.from_history(rows), floors, counted)[0]
    return first.mark, first.text


def test_a_real_sound_run_is_fine():
    assert real_run()[0] == "OK"


@pytest.mark.parametrize(
    ("name", "steps"),
    [("gpt-v1-smoke", None), ("gpt-v1-smoke", 120), ("bigram", 25), ("bigram", 150)],
)
def test_a_preset_of_the_course_is_never_called_broken(name, steps):
    learn, judge, vocab_size = book()
    config = preset(name, vocab_size, steps=steps)
    model, rows = build_model(config), []
    batches = Batches(learn, config.training.batch_size, config.model.context_length)
    for report in train(TrainState.fresh(model, config.training), batches, config.training):
        rows.append(dataclasses.asdict(report))
    floors = count_floors(learn[:200_000], judge[:20_000], vocab_size).rungs()
    (found, *_) = diagnose(LossCurve.from_history(rows), floors)
    assert found.mark == "OK" or found.text.startswith("too few steps to judge"), found.text


def test_a_real_run_whose_targets_are_not_shifted_is_a_leak():
    mark, text = real_run(slip=Unshifted)
    assert mark == "broken"
    assert "the model sees the answer (a leak)" in text


def test_a_real_run_without_a_causal_mask_is_a_leak(monkeypatch):
    monkeypatch.setattr(attention, "causal_mask", lambda t, s, device=None: torch.zeros(t, s))
    plain = functional.scaled_dot_product_attention

    def seeing(q, k, v, *args, **kwargs):
        return plain(q, k, v)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", seeing)
    layer, x = attention.CausalSelfAttention(8, 2).eval(), torch.randn(1, 4, 8)
    assert not torch.allclose(layer(x)[:, 0], layer(x[:, :1])[:, 0])  # the future is seen
    mark, text = real_run()
    assert mark == "broken"
    assert "the model sees the answer (a leak)" in text


@pytest.mark.parametrize(
    ("rate", "words"), [(1.0, "rate"), (1e-5, "hardly anything learned"), (0.3, "rate")]
)
def test_a_real_run_with_a_senseless_rate_is_not_fine(rate, words):
    mark, text = real_run(learning_rate=rate)
    assert mark != "OK"
    assert words in text and f"{rate:.2g}" in text
