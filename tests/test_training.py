"""A run is a function of (config, step): nothing that happens between two steps can change it."""

import copy
import math
import weakref
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bhushgpt.batches import Batches
from bhushgpt.bigram import CountedBigram
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.language_model import LanguageModel, next_token_loss, sample
from bhushgpt.training import Report, TrainState, batch_loss, train
from bhushgpt.training_config import TrainingConfig, learning_rate

V, T = 9, 6
TEXT = np.random.default_rng(0).integers(0, V, 400) ** 2 % V
CONFIG = TrainingConfig(
    steps=12, batch_size=8, learning_rate=0.05, warmup_steps=3, schedule="cosine"
)


class Dropping(LanguageModel):
    """A small model with dropout, so that its training uses random numbers."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.context_length = T
        self.embed, self.head = nn.Embedding(V, 16), nn.Linear(16, V)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.embed(ids)))


def fresh(config: TrainingConfig = CONFIG, dropout: float = 0.3) -> TrainState:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TrainState.fresh(Dropping(dropout), config)


def batches(config: TrainingConfig = CONFIG) -> Batches:
    return Batches(TEXT, config.batch_size, T, seed=config.seed)


def run(state: TrainState, config: TrainingConfig = CONFIG) -> list[Report]:
    return list(train(state, batches(config), config))


def assert_same_weights(model: nn.Module, other: nn.Module) -> None:
    for weight, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_two_runs_are_bit_identical():
    one, other = fresh(), fresh()
    assert run(one) == run(other)
    assert_same_weights(one.model, other.model)


def test_a_loop_by_hand_is_the_same_run():
    config = TrainingConfig(
        steps=8, batch_size=8, learning_rate=0.05, schedule="linear", max_grad_norm=0.2
    )
    state, by_hand = fresh(config, dropout=0.0), fresh(config, dropout=0.0)
    reports = run(state, config)
    for step in range(8):
        inputs, targets = batches(config)[step]
        for group in by_hand.optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        loss = next_token_loss(by_hand.model(inputs), targets)
        by_hand.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(by_hand.model.parameters(), 0.2)
        by_hand.optimizer.step()
        assert reports[step].loss == loss.item()
        assert reports[step].grad_norm == norm.item()
    assert_same_weights(state.model, by_hand.model)


def test_what_happens_between_steps_changes_no_loss():
    quiet, disturbed = fresh(), fresh()
    expected = run(quiet)
    reports = []
    for report in train(disturbed, batches(), CONFIG):
        reports.append(report)
        evaluate(disturbed.model, TEXT[:50])  # type: ignore[arg-type]
        sample(disturbed.model, torch.zeros(1, 1, dtype=torch.long), 5)  # type: ignore[arg-type]
        torch.rand(7)
        torch.manual_seed(report.step)
        np.random.seed(report.step)
        disturbed.model.eval()
    assert reports == expected
    assert_same_weights(quiet.model, disturbed.model)


def test_training_does_not_touch_the_global_random_state():
    state = fresh()
    before = torch.get_rng_state()
    run(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_on_and_different_each_step():
    masks = []

    def watched(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        masks.append(model.dropout(torch.ones(50)).tolist())
        return batch_loss(model, inputs, targets)

    list(train(fresh(), batches(), CONFIG, watched))
    assert len({tuple(mask) for mask in masks}) == CONFIG.steps
    assert all(0.0 in mask for mask in masks)


@pytest.mark.parametrize("k", [1, 5, 11])
def test_resuming_a_copy_of_the_state_at_step_k_is_bit_identical(k):
    whole = fresh()
    expected = run(whole)
    interrupted = fresh()
    for report in train(interrupted, batches(), CONFIG):
        if report.step == k:
            break
    model = Dropping()
    model.load_state_dict(copy.deepcopy(interrupted.model.state_dict()))
    resumed = TrainState.fresh(model, CONFIG)
    resumed.optimizer.load_state_dict(copy.deepcopy(interrupted.optimizer.state_dict()))
    resumed.step = interrupted.step
    assert run(resumed) == expected[k:]
    assert_same_weights(whole.model, resumed.model)


def test_breaking_off_and_training_again_goes_on():
    whole, broken = fresh(), fresh()
    expected = run(whole)
    reports = []
    for stop in (2, 7, 12):
        for report in train(broken, batches(), CONFIG):
            reports.append(report)
            if report.step == stop:
                break
    assert reports == expected
    assert run(broken) == []


def test_the_step_is_counted_when_the_report_comes():
    state = fresh()
    for number, report in enumerate(train(state, batches(), CONFIG), start=1):
        assert report.step == state.step == number
    assert state.step == CONFIG.steps


def test_the_reported_rate_is_the_schedules_and_is_the_one_used():
    state = fresh()
    for report in train(state, batches(), CONFIG):
        assert report.learning_rate == learning_rate(report.step - 1, CONFIG)
        assert {group["lr"] for group in state.optimizer.param_groups} == {report.learning_rate}


def test_a_report_counts_its_tokens_and_holds_the_loss_before_the_step():
    state = fresh(dropout=0.0)
    first = batch_loss(state.model, *batches()[0]).item()
    report = next(train(state, batches(), CONFIG))
    assert report.loss == first
    assert report.tokens == CONFIG.batch_size * T
    assert batch_loss(state.model, *batches()[0]).item() < first


class Marked(torch.autograd.Function):
    """Passes a loss through; its place in the graph holds a mark for as long as the graph lives."""

    marks: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        ctx.mark = nn.Module()
        Marked.marks.add(ctx.mark)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def test_no_part_of_a_batch_leaves_its_graph_to_the_next():
    # Between the next part's tensors it would cut the memory up: a process took a third more.
    alive = []

    def marked_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        alive.append(len(Marked.marks))
        marked = cast(Tensor, Marked.apply(batch_loss(model, inputs, targets)))
        assert Marked.marks
        return marked

    config = TrainingConfig(steps=2, batch_size=8, accumulation_steps=4)
    list(train(fresh(config), Batches(TEXT, 8, T), config, marked_loss))
    assert alive == [0] * 8


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulation_equals_the_whole_batch(parts):
    config = TrainingConfig(steps=12, batch_size=8, learning_rate=0.05, accumulation_steps=parts)
    plain = TrainingConfig(steps=12, batch_size=8, learning_rate=0.05)
    cut, whole = fresh(config, dropout=0.0), fresh(plain, dropout=0.0)
    for report, expected in zip(run(cut, config), run(whole, plain), strict=True):
        assert report.loss == pytest.approx(expected.loss, abs=1e-6)
        assert report.grad_norm == pytest.approx(expected.grad_norm, abs=1e-6)
        assert report.tokens == expected.tokens
    for weight, other in zip(cut.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(weight, other, atol=1e-5, rtol=0)


def test_batches_that_cannot_be_cut_into_the_parts_are_refused():
    config = TrainingConfig(steps=1, batch_size=8, accumulation_steps=4)
    with pytest.raises(UserError, match=r"batch of 6 windows.* accumulation_steps = 4 .*\(8\)"):
        next(train(fresh(config), Batches(TEXT, 6, T), config))


def test_clipping_shortens_the_step_but_reports_the_true_length():
    clipped = TrainingConfig(steps=1, batch_size=8, max_grad_norm=1e-3)
    free = TrainingConfig(steps=1, batch_size=8, max_grad_norm=math.inf)
    states = {config.max_grad_norm: fresh(config, dropout=0.0) for config in (clipped, free)}
    norms = {
        limit: run(state, c)[0].grad_norm
        for (limit, state), c in zip(states.items(), (clipped, free), strict=True)
    }
    assert norms[1e-3] == norms[math.inf] > 1e-3

    def length(state: TrainState) -> float:
        gradients = [p.grad.flatten() for p in state.model.parameters() if p.grad is not None]
        return torch.cat(gradients).norm().item()

    assert length(states[1e-3]) == pytest.approx(1e-3, rel=1e-2)
    assert length(states[math.inf]) == pytest.approx(norms[math.inf], rel=1e-6)


def test_a_gradient_from_before_does_not_leak_into_the_step():
    clean, dirty = fresh(), fresh()
    for weight in dirty.model.parameters():
        weight.grad = torch.full_like(weight, 7.0)
    assert run(clean) == run(dirty)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(bad):
    def spoilt(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = batch_loss(model, inputs, targets)
        return loss * bad if state.step == 4 else loss

    state, expected = fresh(), fresh()
    message = rf"stopped at step 5: the loss is {bad} .*before this step. Lower the learning rate"
    with pytest.raises(UserError, match=message):
        list(train(state, batches(), CONFIG, spoilt))
    for report in train(expected, batches(), CONFIG):
        if report.step == 4:
            break
    assert state.step == 4
    assert_same_weights(state.model, expected.model)
    assert all(torch.isfinite(weight).all() for weight in state.model.parameters())
    # The state is whole: with a sound loss the same run goes on.
    assert run(state) == run(expected)


def test_a_loss_that_is_no_number_stops_even_with_a_finite_gradient():
    def spoilt(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        return batch_loss(model, inputs, targets) + math.inf

    with pytest.raises(UserError, match="the loss is inf"):
        next(train(fresh(), batches(), CONFIG, spoilt))


def test_a_gradient_that_is_no_number_stops_too():
    def spoilt(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = batch_loss(model, inputs, targets)
        return loss + (model.head.weight[0, 0] * 0).sqrt()  # value 0, slope 0 * inf

    state = fresh()
    with pytest.raises(UserError, match=r"gradient's length nan"):
        list(train(state, batches(), CONFIG, spoilt))
    assert state.step == 0
    assert_same_weights(state.model, fresh().model)


def test_the_loss_falls_to_the_floor_of_the_text():
    config = TrainingConfig(steps=300, batch_size=16, learning_rate=0.1, schedule="linear")
    state = fresh(config, dropout=0.0)
    run(state, config)
    floor = CountedBigram(TEXT, V, alpha=0).loss(TEXT)
    reached = evaluate(state.model, TEXT).nats_per_token  # type: ignore[arg-type]
    assert floor - 1e-6 <= reached < floor + 0.05
