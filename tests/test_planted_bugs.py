"""Each planted bug is what its name says, and its symptom shows: live where that is quick."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bhushgpt import clinic as planted
from bhushgpt.clinic import Recipe
from bhushgpt.corpus import load_text
from bhushgpt.diagnosis import explain, share_found
from bhushgpt.kv_cache import LayerCache
from bhushgpt.language_model import eval_mode
from bhushgpt.training import batch_loss

EVERY = (*planted.TOO_BAD, *planted.TOO_GOOD)


@pytest.fixture(scope="module")
def healthy():
    text = load_text("sherlock").text[:50_000]
    return Recipe.of(text, steps=4, n_embd=32).but(glances=1, sample_length=24)


@pytest.fixture(scope="module")
def fit(healthy):
    return healthy.run()


@pytest.fixture(scope="module")
def floors(healthy):
    return healthy.floors()


def scores(model, ids):
    with eval_mode(model):
        return model(ids)


def looks_ahead(model, past=None):
    ids = torch.arange(20)[None] % 7
    other = ids.clone()
    other[0, -1] += 1
    with eval_mode(model):
        one, two = (model(x, past() if past else None) for x in (ids, other))
    return not torch.allclose(one[:, :-1], two[:, :-1], atol=1e-6)


def test_there_are_as_many_bugs_as_promised_and_each_says_what_it_is():
    assert len(planted.TOO_BAD) >= 14 and len(planted.TOO_GOOD) >= 6
    assert len({bug.__name__ for bug in EVERY}) == len(EVERY)
    assert all(bug.__doc__ for bug in EVERY)


def test_a_healthy_run_is_the_same_twice_and_starts_at_guessing(healthy, fit):
    again = healthy.run()
    assert again.rows == fit.rows and again.sample == fit.sample
    assert fit.rows[0]["loss"] == pytest.approx(math.log(healthy.model.vocab_size), abs=0.1)
    assert not looks_ahead(healthy.untrained())


def test_without_the_mask_a_later_token_moves_earlier_scores(healthy):
    assert looks_ahead(planted.no_mask(healthy).untrained())


def test_a_mask_on_one_path_is_missing_in_whole_windows_and_there_with_a_cache(healthy):
    model = planted.mask_on_one_path(healthy).untrained()
    assert looks_ahead(model)
    ids = torch.arange(12)[None]
    caches = [LayerCache(32) for _ in model.blocks]
    with eval_mode(model):
        model(ids[:, :1], caches)
        for n in range(1, 12):
            step = model(ids[:, n : n + 1], caches)
    clean = healthy.untrained()
    clean.load_state_dict(model.state_dict())
    torch.testing.assert_close(step[:, -1], scores(clean, ids)[:, -1], atol=1e-5, rtol=1e-5)


def test_the_layer_as_it_comes_attends_over_the_batch(healthy):
    model = planted.batch_is_time(healthy).untrained()
    ids = torch.randint(7, (3, 9))
    row, token = ids.clone(), ids.clone()
    row[1] += 1
    token[0, 0] += 1
    base = scores(model, ids)[0, -1]
    assert not torch.allclose(scores(model, row)[0, -1], base, atol=1e-6)
    assert torch.allclose(scores(model, token)[0, -1], base, atol=1e-6)
    clean = healthy.untrained()
    assert torch.allclose(scores(clean, row)[0], scores(clean, ids)[0], atol=1e-6)


def test_targets_that_are_the_inputs_or_belong_to_others(healthy):
    inputs, targets = healthy.windows()[0]
    model = healthy.untrained()
    loss = planted.not_shifted(healthy).loss(model, inputs, targets)
    assert loss == batch_loss(model, inputs, inputs) != batch_loss(model, inputs, targets)
    shuffled = planted.shuffled_targets(healthy)
    same, others = shuffled.batches_of(shuffled)[0]
    assert torch.equal(same, inputs) and torch.equal(others[1:], targets[:-1])


def test_rates_are_a_thirtieth_and_far_too_high(healthy):
    assert planted.tiny_rate(healthy).training.learning_rate == pytest.approx(1e-4)
    assert planted.huge_rate(healthy).run().loss > 8


def test_a_tied_head_as_it_comes_starts_far_above_guessing(healthy):
    first = planted.tied_as_it_comes(healthy).run().rows[0]["loss"]
    assert first > 3 * math.log(healthy.model.vocab_size)


def test_without_the_scale_scores_are_larger_by_the_root_of_the_head_size(healthy):
    attention: Any = planted.no_scale(healthy).untrained().blocks[0].attention
    q, k = torch.randn(2, 1, 4, 6, attention.head_size)
    kept: list[torch.Tensor] = []
    attention.weights.register_forward_hook(lambda module, inputs, out: kept.append(out))
    attention.explicit(q, k, k)
    scaled: Any = healthy.untrained().blocks[0].attention
    scaled.weights.register_forward_hook(lambda module, inputs, out: kept.append(out))
    scaled.explicit(q * math.sqrt(attention.head_size), k, k)
    torch.testing.assert_close(kept[0], kept[1])


def test_gradients_that_are_never_cleared_grow(healthy, fit):
    sick = planted.no_zero_grad(healthy).run()
    assert sick.rows[0]["grad_norm"] == pytest.approx(fit.rows[0]["grad_norm"], rel=1e-3)
    assert sick.rows[1]["loss"] != fit.rows[0]["loss"]


def test_the_wrong_vocabulary_leaves_the_run_as_it_was(healthy, fit):
    sick = planted.other_vocabulary(healthy).run()
    assert sick.rows == fit.rows and sick.sample != fit.sample


def test_awake_dropout_changes_the_sample_alone(healthy):
    damp = healthy.but(dropout=0.3)
    sick = planted.dropout_awake(damp).run()
    assert sick.rows == damp.run().rows
    assert sick.sample != damp.run().sample


def test_layers_with_one_buffer_read_each_others_keys(healthy):
    model, ids = healthy.untrained(), torch.arange(6)[None]
    whole = scores(model, ids)[:, -1]
    for cache, equal in ((lambda: LayerCache(32), True), (planted.OneBuffer, False)):
        planted.OneBuffer.memory.clear()
        caches = [cache() for _ in model.blocks]
        with eval_mode(model):
            for n in range(6):
                last = model(ids[:, n : n + 1], caches)[:, -1]
        assert torch.allclose(last, whole, atol=1e-5) == equal


def test_what_stands_in_the_files(healthy):
    licence, tar = planted.with_licence(healthy), planted.tar_as_text(healthy)
    assert "\ufeff" in licence.tokenizer.decode(np.arange(licence.model.vocab_size))
    assert "ustar" in tar.tokenizer.decode(tar.learn)
    for recipe, sign in ((licence, r"'\ufeff' once"), (tar, r"'\x00'")):
        (finding,) = recipe.floors().findings()
        assert sign in finding.text
    assert not healthy.floors().findings()


def test_splits_that_overlap_are_seen_in_the_text(healthy, floors):
    assert floors.found < 0.02
    assert planted.one_file(healthy).floors().found == 1.0
    assert planted.overlapping_windows(healthy).floors().found > 0.2
    assert planted.near_duplicates(healthy).floors().found > 0.4


def test_a_tokenizer_of_the_exam_fits_it_better(healthy):
    train, judged = planted.tokenizer_of_the_exam(healthy).floors().bytes_per_token or (0, 0)
    assert judged > 1.1 * train
    short = planted.short(healthy, 60_000)
    own = planted.with_phrases(short, healthy.tokenizer.decode(short.learn))
    train, judged = own.floors().bytes_per_token or (0, 0)
    assert judged < 1.05 * train
    assert own.tokenizer.decode(own.judge) == healthy.tokenizer.decode(short.judge)


def test_scoring_that_trains_changes_the_weights_and_wins(healthy):
    sick, model = planted.trained_then_scored(healthy), healthy.untrained()
    before = [weight.detach().clone() for weight in model.parameters()]
    honest = healthy.score(model, healthy)
    assert sick.score(model, sick) < honest - 0.1
    assert not all(map(torch.equal, before, model.parameters()))


def test_the_answer_stands_in_the_prompt(healthy):
    sick = planted.answer_in_prompt(healthy)
    inputs, answers = sick.batches_of(sick)[3]
    half = inputs.shape[1] // 2
    assert torch.equal(inputs[:, :half], answers)
    assert torch.equal(inputs[:, half + 1 :], answers[:, :-1])
    assert share_found(answers[0].tolist(), inputs[0].tolist(), half) == 1.0


def test_equal_dice_give_equal_texts_equal_masks(healthy):
    sick = planted.same_dropout_everywhere(healthy)
    model = sick.untrained()
    inputs, targets = healthy.windows()[0]
    twice = [torch.cat([part[:4], part[:4]]) for part in (inputs, targets)]
    torch.manual_seed(0)
    both = sick.loss(model, *twice)
    torch.manual_seed(0)
    one = sick.loss(model, *(part[[0, 1, 2, 3, 0, 1, 2, 3]] for part in twice))
    assert both == one
    torch.manual_seed(0)
    assert batch_loss(model, *twice) != both  # own dice in one batch


@pytest.mark.parametrize("bug", [planted.no_mask, planted.not_shifted])
def test_a_leak_is_named_after_sixty_steps(bug):
    recipe = Recipe.of(load_text("sherlock").text[:60_000], steps=60).but(glances=2)
    found = explain(bug(recipe).run().rows, recipe.floors())
    assert found.kind == "leaking", found


# Full runs, as recorded by benchmarks/doctor.py


@pytest.fixture(scope="module")
def recorded():
    path = Path(__file__).parents[1] / "benchmarks" / "doctor.json"
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return {run["name"].removeprefix("bug: "): run for run in runs}


def ends(run):
    """Return training and held-out loss at the end."""
    return float(np.mean(run["losses"][-10:])), list(run["held_out"].values())[-1]


def test_each_symptom_shows_in_the_recorded_runs(recorded):
    loss, held_out = ends(recorded["healthy: sherlock, seed 1"])
    floors = recorded["healthy: sherlock, seed 1"]["floors"]
    end = {name: ends(run) for name, run in recorded.items()}
    assert held_out < floors["bigram"]
    for name in ("no_mask", "mask_on_one_path", "answer_in_prompt"):
        assert end[name][1] < 0.5 * held_out, name
    assert end["not_shifted"][0] < 0.1 and end["not_shifted"][1] > 2 * held_out
    assert end["batch_is_time"][1] > floors["bigram"]
    assert abs(end["shuffled_targets"][1] - floors["unigram"]) < 0.1
    assert end["one_file"][1] < end["one_file"][0] + 0.1
    assert end["short_text"][1] > end["short_text"][0] + 0.3
    assert end["tiny_rate"][1] > held_out + 0.4
    assert end["huge_rate"][1] > floors["uniform"]
    assert recorded["tied_as_it_comes"]["losses"][0] > 3 * floors["uniform"]
    assert abs(end["no_scale"][1] - held_out) < 0.1
    assert end["no_zero_grad"][1] > held_out + 0.1
    assert end["tar_as_text"][0] < loss
    assert end["trained_then_scored"][1] < 0.9 * end["trained_then_scored"][0]
    for name in ("dropout_awake", "other_vocabulary", "reused_buffer"):
        assert abs(end[name][1] - held_out) < 0.1, name
