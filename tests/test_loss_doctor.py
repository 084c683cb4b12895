"""Curves that are known to be sound or broken get the right verdict: made up, and recorded."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from bhushgpt.batches import Batches, split_tokens
from bhushgpt.corpus import load_text
from bhushgpt.diagnosis import verdicts
from bhushgpt.diagnosis.loss_curves import LossCurve, SpikeDetector, find_spikes, number
from bhushgpt.diagnosis.text_floors import TextFloors, ppmd_loss
from bhushgpt.diagnosis.verbatim import memorised, share_found
from bhushgpt.diagnosis.verdicts import ease, explain, share_above_unigram
from bhushgpt.errors import UserError
from bhushgpt.presets import build_model, preset
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import Report, TrainState, train

RUNGS = {"uniform": 4.37, "unigram": 3.06, "bigram": 2.37, "n-gram": 1.39}
FLOORS = TextFloors(rungs=RUNGS)
STEPS = np.arange(1, 401)


def verdict(losses, held_out=None, rate=3e-3, **more):
    """Return kind and text for losses of the steps 1, 2, ...; held_out: step -> loss."""
    noise = np.random.default_rng(0).normal(0, 0.05, len(losses))
    rows = [
        {"step": n, "loss": float(loss), "learning_rate": rate, "tokens": 512}
        for n, loss in enumerate(np.asarray(losses) + noise, start=1)
    ]
    found = explain(rows, dataclasses.replace(FLOORS, tokens=10**6, **more), held_out)
    assert found.mark == verdicts.MARKS[found.kind]
    return found.kind, str(found)


def fall(start, end, pace=0.98):
    return end + (start - end) * pace**STEPS


SOUND = fall(4.37, 1.9)


def test_a_sound_curve_is_fine_and_placed_between_the_rungs():
    kind, text = verdict(SOUND)
    assert kind == "fine"
    assert (
        text.startswith("fine: training loss 1.9")
        and "between bigram (2.370) and n-gram (1.390)" in text
    )
    assert "between" not in verdict(fall(4.37, 1.2, 0.97))[1]
    assert "below n-gram" in verdict(fall(4.37, 1.2, 0.97))[1]


def test_a_curve_that_still_falls_is_told_to_go_on():
    assert "still falls: more steps would help" in verdict(fall(4.37, 1.9, 0.995))[1]
    assert "still falls" not in verdict(fall(4.37, 1.9, 0.95))[1]


@pytest.mark.parametrize(
    ("losses", "kind", "words"),
    [
        (SOUND[:12], "too short to tell", "12 steps are too few"),
        (np.where(STEPS == 300, np.nan, SOUND), "diverged", "loss of step 300 is no finite number"),
        (np.where(STEPS > 200, np.inf, SOUND), "diverged", "loss of step 201 is no finite number"),
        (np.where(STEPS > 200, 3.8, SOUND), "diverged", "diverged: the loss was 1.9"),
        (
            SOUND + 0.02 * np.maximum(STEPS - 250, 0),
            "diverged",
            "tenth of the learning rate (it was 0.003)",
        ),
        (np.full(400, 9.0), "diverged", "diverged: the loss went up to 9"),
        (np.full(400, 4.36), "not learning", "not learning: training loss 4.3"),
        (fall(4.37, 3.9), "not learning", "ten times the learning rate (it was 0.003)"),
        (np.where(STEPS < 100, 6.0, 4.3), "not learning", "a lower learning rate"),
        (fall(4.37, 3.05, 0.9), "stuck at the unigram", "3.060 from step"),
        (np.where(STEPS < 250, 3.06, SOUND), "stuck at the unigram", "the model knew how"),
        (fall(4.37, 2.5, 0.9), "not learning", "Only a bigram table may end here"),
    ],
)
def test_a_broken_curve_gets_its_own_verdict(losses, kind, words):
    found = verdict(losses)
    assert found[0] == kind
    assert words in found[1]


@pytest.mark.parametrize(
    ("losses", "kind", "words"),
    [
        (SOUND[:60], "too short to tell", "It still falls."),
        (np.full(90, 3.06), "too short to tell", "3.0"),
        (np.full(90, 4.36), "too short to tell", "4.3"),
        (
            6 * 0.99 ** STEPS[:30],
            "too short to tell",
            "above uniform",
        ),
        (np.where(STEPS[:60] > 30, 5.0, 3.5), "diverged", "the loss was 3."),
        (np.where(STEPS[:60] > 30, np.nan, 3.5), "diverged", "no finite number"),
    ],
)
def test_what_a_short_run_has_learned_is_not_judged(losses, kind, words):
    found = verdict(losses)
    assert found[0] == kind and words in found[1]


def test_a_warm_up_does_not_count_among_the_steps():
    rows = [{"step": n, "loss": 4.3, "learning_rate": n / 1e6, "tokens": 512} for n in STEPS]
    assert explain(rows, FLOORS).kind == "too short to tell"


def test_a_curve_that_rests_with_its_rate_is_not_said_to_ignore_its_past():
    rows = [
        {"step": int(n), "loss": float(loss), "learning_rate": 3e-3 * (1 - n / 401)}
        for n, loss in zip(STEPS, fall(4.37, 2.5, 0.97), strict=True)
    ]
    found = explain(rows, FLOORS)
    assert found.kind == "fine" and "came to rest with its learning rate" in found.evidence


def test_memorising_is_said_with_the_step_it_began():
    glances = {step: 1.8 + 0.002 * abs(step - 160) for step in range(40, 401, 40)}
    kind, text = verdict(SOUND, glances)
    assert kind == "memorising"
    assert text.startswith(
        "memorising since step 160: the held-out loss was 1.800 there and has risen by 0.4"
    )
    assert "checkpoint `best`" in text
    # Noise of a few hundredths is no memorising.
    assert verdict(SOUND, {100: 1.93, 200: 1.9, 300: 1.92, 400: 1.93})[0] == "fine"


def test_a_leak_is_told_from_learning_by_what_counting_reaches():
    def counted(tokens):
        return 1.7

    kind, text = verdict(fall(4.37, 0.2), counted=counted)
    assert kind == "leaking" and "reaches only 1.700" in text
    assert verdict(SOUND, counted=counted)[0] == "fine"
    # Without the tokens, only what no honest model reaches at all is called a leak.
    assert verdict(fall(4.37, 0.2), {400: 0.3})[0] == "leaking"
    assert verdict(fall(4.37, 0.9), {400: 1.3})[0] == "fine"


def test_spikes_are_listed_beside_the_verdict():
    losses = np.where(STEPS == 300, 6.0, fall(4.37, 1.9, 0.9))
    rows = [{"step": n, "loss": float(loss)} for n, loss in enumerate(losses, start=1)]
    first, spikes = explain(rows, FLOORS).findings()
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
    assert explain([], FLOORS).kind == "too short to tell"


def test_a_spike_needs_a_neighbourhood_and_leaves_it_usable():
    assert not list(find_spikes([(1, 1.0), (2, 50.0)]))
    detector = SpikeDetector(window=10)
    for step in range(10):
        assert detector.look(step, 2.0 + 0.01 * (step % 3)) is None
    assert detector.look(10, float("nan")) is not None
    assert detector.look(11, 2.02) is None  # the NaN did not spoil the median
    found = [detector.look(12 + n, 4.0) is not None for n in range(10)]
    assert found[0] and not found[-1]  # a level that stays becomes the usual one


def test_a_text_read_many_times_may_be_known_by_heart_without_a_leak():
    text = dataclasses.replace(FLOORS, counted=lambda tokens: 1.7)
    rows = [
        {"step": n, "loss": float(loss), "tokens": 512}
        for n, loss in enumerate(fall(4.37, 0.2), start=1)
    ]
    held_out = {n: 1.9 for n in range(100, 401, 50)}
    assert explain(rows, dataclasses.replace(text, tokens=10**6), held_out).kind == "leaking"
    # Of 10,000 tokens, 400 steps of 512 are the twentieth reading.
    assert explain(rows, dataclasses.replace(text, tokens=10**4), held_out).kind == "fine"


def test_held_out_text_that_is_easier_than_what_was_learned_is_a_leak():
    below = {n: 0.75 * float(SOUND[n - 1]) for n in range(50, 401, 50)}
    kind, text = verdict(SOUND, below)
    assert kind == "leaking" and "never seen is not easier" in text
    # Unless it is easier for counters as well.
    assert verdict(SOUND, below, harder=0.75)[0] == "fine"
    level = {n: 0.97 * float(SOUND[n - 1]) for n in range(50, 401, 50)}
    assert verdict(SOUND, level)[0] == "fine"


def test_a_split_that_overlaps_and_a_tokenizer_of_the_exam_are_leaks_whatever_the_curve():
    assert "40% of the held-out text" in verdict(SOUND, found=0.4)[1]
    assert verdict(SOUND, found=0.2, found_usually=0.18)[0] == "fine"
    # A text that is full of doubles has them on both sides of any cut.
    assert verdict(SOUND, found=0.4, found_usually=0.38)[0] == "leaking"
    assert "3.10 bytes" in verdict(SOUND, bytes_per_token=(2.2, 3.1))[1]
    assert verdict(SOUND, bytes_per_token=(2.2, 2.25))[0] == "fine"


def test_a_wild_start_and_many_spikes_are_unstable():
    start = SOUND.copy()
    start[0] = 40.0
    assert "first loss is 40" in verdict(start)[1]
    jumps = np.where(STEPS % 40 == 0, 6.0, fall(4.37, 1.9, 0.9))
    kind, text = verdict(jumps)
    assert kind == "unstable" and "gradients are set to zero" in text


def test_a_curve_that_creeps_is_told_to_take_a_larger_rate():
    kind, text = verdict(4.3 - 0.004 * STEPS)
    assert kind == "not learning" and "ten times the learning rate" in text


def test_reports_of_the_loop_are_read_like_lines_of_a_history():
    reports = [
        Report(step=n, loss=float(loss), learning_rate=3e-3, grad_norm=1.0, tokens=512)
        for n, loss in enumerate(SOUND, start=1)
    ]
    found = explain(reports, FLOORS, {400: 1.93})
    assert (
        str(found)
        == "fine: held-out loss 1.930 after step 400, between bigram (2.370) and n-gram (1.390)."
    )


# The text


def letters(count, kinds=20, seed=0):
    """Return random tokens that lean to the small ones."""
    chance = np.random.default_rng(seed)
    return np.minimum(chance.geometric(0.2, size=count), kinds) - 1


def test_ppmd_costs_what_random_bytes_cost_and_nothing_for_what_it_has_read():
    chance = np.random.default_rng(0)
    data = chance.integers(256, size=20_000, dtype=np.uint8).tobytes()
    # ln 256 = 5.545; a stretch that it has read it writes for almost nothing.
    assert 5.4 < ppmd_loss(data[:10_000], data[10_000:], 10_000) < 5.8
    assert ppmd_loss(data, data[5_000:9_000], 4_000) < 0.3


def test_the_floors_of_a_text_are_ordered_and_ppmd_sees_far_repetitions():
    verse = letters(60)
    text = np.concatenate([letters(3000), np.tile(verse, 40), letters(500, seed=1)])
    floors = TextFloors.of(text, np.tile(verse, 5), vocab_size=20)
    rungs = floors.rungs
    assert rungs["uniform"] > rungs["unigram"] > rungs["bigram"] > 10 * rungs["n-gram"]
    assert floors.strongest == min(rungs["n-gram"], rungs["PPMd"]) < 0.1
    assert floors.counted is not None
    assert floors.counted(3000) > 2 * floors.counted(5400)  # the verse is known by then


def test_without_a_decoder_large_vocabularies_have_no_rung_of_ppmd():
    text = np.minimum(letters(3000, kinds=400), 90)
    assert "PPMd" not in TextFloors.of(text, text[:500], 400).rungs
    floors = TextFloors.of(text, text[:500], 400, lambda ids: "".join(map(chr, ids + 32)))
    assert "PPMd" in floors.rungs and floors.bytes_per_token == (1.0, 1.0)
    with pytest.raises(UserError, match="too few to count"):
        TextFloors.of(text, text[:5], 400)


def test_signs_that_no_book_has_are_named_with_their_number():
    text = "\ufeffone line\r\n" + "and\0another\n" * 200
    alphabet = sorted(set(text))
    ids = np.array([alphabet.index(c) for c in text])
    floors = TextFloors.of(ids, ids[:400], 20, lambda ids: "".join(alphabet[n] for n in ids))
    (finding,) = floors.findings()
    assert r"'\x00' 200 times, '\ufeff' once" in finding.text
    assert not FLOORS.findings()


def test_runs_found_word_for_word_are_those_that_a_search_finds():
    text, sample = letters(2000, kinds=4), letters(300, kinds=4, seed=1)
    for length in (1, 3, 6, 9):
        runs = [tuple(text[n : n + length]) for n in range(len(text) - length + 1)]
        asked = [tuple(sample[n : n + length]) for n in range(len(sample) - length + 1)]
        expected = sum(run in set(runs) for run in asked) / len(asked)
        assert share_found(sample, text, length) == pytest.approx(expected)
    assert share_found(sample, text[:2], 3) == 0.0
    with pytest.raises(UserError, match="has no run of 301"):
        share_found(sample, text, 301)


def test_a_copied_sample_stands_out_against_the_baseline():
    text, fresh = letters(5000), letters(1000, seed=1)
    table = memorised(text[100:600], text, fresh)
    assert table[16] == (1.0, 0.0) and table[4][1] > 0.02
    assert list(memorised(text[:20], text, fresh)) == [4, 8, 16]


# The record


RECORD = Path(__file__).parents[1] / "benchmarks" / "doctor.json"


def benchmark():
    spec = importlib.util.spec_from_file_location("doctor", RECORD.with_suffix(".py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs():
    return json.loads(RECORD.read_text(encoding="utf-8"))["runs"]


def test_the_doctor_is_right_on_every_recorded_run(runs):
    judged = benchmark().judged
    wrong = {run["name"]: str(judged(run)) for run in runs if judged(run).kind != run["truth"]}
    assert not wrong


def test_the_record_has_what_the_course_promises_and_its_table_is_its_own(runs):
    module = benchmark()
    healthy = [run for run in runs if run["name"].startswith("healthy")]
    bugs = [run["name"] for run in runs if run["name"].startswith("bug: ")]
    assert len(healthy) >= 20 and len({run["name"] for run in healthy}) == len(healthy)
    assert {run["name"].split(", ")[0] for run in healthy} >= {
        "healthy: sherlock",
        "healthy: shakespeare",
        "healthy: oz",
    }
    for bug in (*module.planted.TOO_BAD, *module.planted.TOO_GOOD):
        assert f"bug: {bug.__name__}" in bugs
    stored = json.loads(RECORD.read_text(encoding="utf-8"))["confusion"]
    assert stored == module.confusion(runs)
    good = [f"bug: {bug.__name__}" for bug in module.planted.TOO_GOOD]
    assert sum(run["verdict"] == "leaking" for run in runs if run["name"] in good) >= 5


def test_the_shares_of_the_rules_lie_outside_what_healthy_runs_showed(runs):
    module = benchmark()
    healthy = [run for run in runs if run["name"].startswith("healthy")]
    curves = [LossCurve.from_history(module.history(run)) for run in healthy]
    texts = [module.floors_of(run) for run in healthy]
    assert min(ease(*pair) for pair in zip(curves, texts, strict=True)) > verdicts.UNSEEN + 0.05
    assert max(text.found - text.found_usually for text in texts) < verdicts.OVERLAP / 2
    above = [share_above_unigram(*pair) for pair in zip(curves, texts, strict=True)]
    assert max(above) < verdicts.SLOW / 2
    first = [run["losses"][0] / run["floors"]["uniform"] for run in healthy]
    assert max(first) < 0.8 * verdicts.WILD_START


@pytest.mark.parametrize(
    ("name", "steps"), [("gpt-v1-smoke", 107), ("bigram", 25), ("bigram", 130)]
)
def test_a_preset_of_the_course_is_never_called_broken(name, steps):
    text = load_text("sherlock").text[:50_000]
    tokenizer = CharTokenizer.from_text(text)
    learn, held_out = split_tokens(np.array(tokenizer.encode(text)), context_length=32)
    config = preset(name, tokenizer.vocab_size, steps=steps)
    state = TrainState.fresh(build_model(config), config.training)
    batches = Batches(learn, config.training.batch_size, config.model.context_length)
    reports = list(train(state, batches, config.training))
    found = explain(reports, TextFloors.of(learn, held_out, tokenizer.vocab_size))
    assert found.kind in ("fine", "too short to tell"), found


# Just on each side of each rule


def flat(level, start=4.37):
    """Return losses that fall in 30 steps from a start to a level, and stay there."""
    return np.where(STEPS < 30, start + (level - start) * STEPS / 30, level)


def at_first(level, until, then):
    return np.where(STEPS <= until, level, then)


def with_spikes(count, losses):
    return np.where((STEPS % 20 == 0) & (STEPS > 40) & (STEPS <= 40 + 20 * count), 6.0, losses)


def with_first(loss):
    return np.concatenate([[loss], LEVEL[1:]])


def falling(share):
    """Return losses that a last third brings down to 2.5 by that share of it."""
    return np.where(STEPS < 268, flat(2.5 * (1 + share)), 2.5 * (1 + share * (398 - STEPS) / 130))


def plain(losses, held_out=None, *, rates=None, **more):
    """Return kind and text for losses without any noise; held_out: losses at equal distances."""
    rates = np.full(len(losses), 3e-3) if rates is None else rates
    rows = [
        {"step": n, "loss": float(loss), "learning_rate": float(rate), "tokens": 512}
        for n, (loss, rate) in enumerate(zip(losses, rates, strict=True), start=1)
    ]
    places = [400 - 50 * n for n in range(len(held_out or ()))][::-1]
    glances = dict(zip(places, held_out or (), strict=True))
    return str(explain(rows, dataclasses.replace(FLOORS, tokens=10**6, **more), glances))


LEVEL, RAN_OUT = flat(1.9), np.linspace(3e-3, 1e-4, 400)
WARMED = np.minimum(STEPS, 50) / 1e4


def counts(number):
    return lambda tokens: number


@pytest.mark.parametrize(
    ("one", "said", "other", "instead"),
    [
        (
            plain(LEVEL[:19]),
            "19 steps are too few",
            plain(LEVEL[:20]),
            "too short to tell: training loss 2.",
        ),
        (plain(LEVEL[:100]), "too short to tell", plain(LEVEL[:101]), "fine"),
        (
            plain(LEVEL[:149], rates=WARMED[:149]),
            "too short to tell",
            plain(LEVEL[:150], rates=WARMED[:150]),
            "fine",
        ),
        (plain(LEVEL, found=0.051), "leaking", plain(LEVEL, found=0.05), "fine"),
        (
            plain(LEVEL, found=0.251, found_usually=0.22),
            "leaking",
            plain(LEVEL, found=0.25, found_usually=0.22),
            "fine",
        ),
        (
            plain(LEVEL, bytes_per_token=(1.0, 1.081)),
            "leaking",
            plain(LEVEL, bytes_per_token=(1.0, 1.08)),
            "fine",
        ),
        (plain(LEVEL, [0.694]), "leaking", plain(LEVEL, [0.696]), "fine"),
        (plain(flat(0.5), [0.5]), "leaking", plain(flat(0.5)), "fine"),
        (
            plain(flat(1.35), counted=counts(1.7)),
            "too good too early",
            plain(flat(1.37), counted=counts(1.7)),
            "fine",
        ),
        (
            plain(flat(2.36), counted=counts(4)),
            "too good too early",
            plain(flat(2.38), counted=counts(4)),
            "not learning",
        ),
        (
            plain(flat(1.35), counted=counts(1.7), harder=0.5),
            "too good too early",
            plain(flat(1.35), counted=counts(1.7), harder=1.1),
            "fine",
        ),
        (
            plain(LEVEL, [1.9, 1.9, 1.59, 1.59]),
            "never seen is not easier",
            plain(LEVEL, [1.9, 1.9, 1.64, 1.64]),
            "fine",
        ),
        (plain(LEVEL, [1.2] * 3), "never seen is not easier", plain(LEVEL, [1.2] * 2), "fine"),
        (plain(flat(4.58)), "diverged", plain(flat(4.56)), "not learning"),
        (
            plain(at_first(LEVEL, 300, 3.15)),
            "diverged: the loss was 1.900",
            plain(at_first(LEVEL, 300, 3.12)),
            "unstable",
        ),
        (
            plain(at_first(flat(4.1), 200, 4.41)),
            "diverged",
            plain(at_first(flat(4.1), 200, 4.39)),
            "not learning",
        ),
        (plain(flat(3.46)), "guessing is 4.370", plain(flat(3.44)), "or hardly"),
        (plain(flat(3.19)), "stuck at the unigram", plain(flat(3.21)), "or hardly"),
        (
            plain(at_first(3.06, 170, 1.9)),
            "stuck at the unigram",
            plain(at_first(3.06, 155, 1.9)),
            "fine",
        ),
        (
            plain(np.full(130, 3.06)),
            "stuck at the unigram",
            plain(np.full(102, 3.06)),
            "does not use its past",
        ),
        (
            plain(at_first(3.3, 210, 2.5)),
            "or hardly",
            plain(at_first(3.3, 190, 2.5)),
            "does not use its past",
        ),
        (plain(at_first(3.3, 210, 2.38)), "or hardly", plain(at_first(3.3, 210, 2.36)), "fine"),
        (
            plain(LEVEL, [1.9, 1.9, 1.96]),
            "memorising since step 300",
            plain(LEVEL, [1.9, 1.9, 1.94]),
            "fine",
        ),
        (
            plain(LEVEL, [3.0, 3.0, 3.065]),
            "memorising",
            plain(LEVEL, [3.0, 3.0, 3.055]),
            "does not use its past",
        ),
        (plain(LEVEL, [1.9, 1.9, 2.3]), "memorising", plain(LEVEL, [1.9, 2.3]), "fine"),
        (plain(with_first(6.57)), "unstable: the first loss", plain(with_first(6.54)), "fine"),
        (
            plain(at_first(4.69, 10, flat(2.5)), rates=RAN_OUT),
            "above guessing",
            plain(at_first(4.65, 10, flat(2.5)), rates=RAN_OUT),
            "fine",
        ),
        (
            plain(at_first(4.69, 10, flat(2.38)), rates=RAN_OUT),
            "above guessing",
            plain(at_first(4.69, 10, flat(2.36)), rates=RAN_OUT),
            "fine",
        ),
        (plain(with_spikes(8, LEVEL)), "unstable", plain(with_spikes(7, LEVEL)), "fine"),
        (
            plain(with_spikes(3, LEVEL)[:130]),
            "unstable",
            plain(with_spikes(2, LEVEL)[:130]),
            "fine",
        ),
        (plain(flat(2.38)), "does not use its past", plain(flat(2.36)), "fine"),
        (plain(falling(0.025)), "still falls", plain(falling(0.015)), "does not use its past"),
        (
            plain(flat(2.5), rates=np.linspace(1, 0.49, 400)),
            "came to rest with its learning rate",
            plain(flat(2.5), rates=np.linspace(1, 0.51, 400)),
            "does not use its past",
        ),
    ],
)
def test_a_rule_begins_where_it_says(one, said, other, instead):
    assert said in one and instead in other
    assert said not in other and instead not in one


def looks(losses, **settings):
    detector = SpikeDetector(**settings)
    return [detector.look(step, loss) is not None for step, loss in enumerate(losses)][-1]


@pytest.mark.parametrize(
    ("before", "spike", "usual"),
    [
        ([2.0] * 10, 2.081, 2.079),  # scatter counts as a two-hundredth of the loss at least
        ([1.9, 2.1] * 5, 3.19, 3.18),  # a deviation of 0.1 is 0.148 of a bell curve's
        ([9.0] * 5 + [2.0] * 10, 2.081, 2.079),  # what left the window does not count
    ],
)
def test_a_spike_begins_at_eight_deviations(before, spike, usual):
    assert looks([*before, spike], window=10) and not looks([*before, usual], window=10)


@pytest.mark.parametrize(("window", "enough"), [(5, 5), (10, 5), (20, 10), (50, 25)])
def test_half_a_window_must_be_known_before_anything_is_a_spike(window, enough):
    assert not looks([2.0] * (enough - 1) + [9.0], window=window)
    assert looks([2.0] * enough + [9.0], window=window)


@pytest.mark.parametrize("settings", [{"window": 4}, {"k": 0}, {"k": -1.0}, {"k": float("nan")}])
def test_a_detector_that_cannot_tell_is_refused(settings):
    with pytest.raises(UserError, match="at least 5 steps, k above 0"):
        SpikeDetector(**settings)


def test_one_unlucky_batch_does_not_move_the_smoothed_curve():
    rows = [{"step": n, "loss": 50.0 if n == 8 else 2.0} for n in range(1, 16)]
    assert LossCurve.from_history(rows).points[:, 1].tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(("steps", "kind"), [(100, "too short to tell"), (101, "leaking")])
def test_held_out_text_is_not_called_too_easy_before_a_run_has_settled(steps, kind):
    rows = [
        {"step": n, "loss": float(loss), "learning_rate": 3e-3, "tokens": 512}
        for n, loss in enumerate(LEVEL[:steps], start=1)
    ]
    held_out = {n: 0.6 * 1.9 for n in (50, 70, 90)}
    assert explain(rows, dataclasses.replace(FLOORS, tokens=10**6), held_out).kind == kind


@pytest.mark.parametrize(("first", "kind"), [(1, "unstable"), (2, "fine")])
def test_only_the_first_step_of_a_run_shows_untrained_weights(first, kind):
    losses = enumerate(with_first(6.57), start=first)
    rows = [{"step": n, "loss": float(loss), "learning_rate": 3e-3} for n, loss in losses]
    assert explain(rows, FLOORS).kind == kind
