"""One dial: a run that takes so many minutes on this machine and learns the most in them.

The speed of each size is measured here, on the learner's text, and what a run does besides its
steps. A short run of a small model says how hard that text is, compared with the one that the law
was measured on. Then `plan_run` decides.

Lesson: notebook 20.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bhushgpt.batches import Batches
from bhushgpt.cpu_settings import threads_for
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.forecast import parameter_count, step_operations, step_seconds
from bhushgpt.language_model import LanguageModel
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.runs.folder import RunOptions
from bhushgpt.runs.report import counting_cost, looking_seconds
from bhushgpt.runs.session import BAR, Session
from bhushgpt.runs.start import accelerated, begin_session
from bhushgpt.runs.training_text import Text, open_text
from bhushgpt.scaling import HOLMES, MOST_EPOCHS, SHAPES, Plan, Shape, Trained, plan_run, recipe
from bhushgpt.speed import AcceleratedLoss, World, autocast, train_scaled
from bhushgpt.training import TrainState

MINUTES = "minutes"
"""What the record of such a run says instead of a preset's name."""
# The short run: of a small size, and a seventh of the time at most. It is short in seconds only: it
# should read about as much text as the run itself, since with that alone texts differ.
PILOT, PILOT_STEPS, PILOT_SHARE = SHAPES[2], 2000, 0.15
# Of the time that is left: checkpoints, and a clock that is not exact.
OVERHEAD = 0.05

# Nobody should wait for a minute without a word.
bar = partial(tqdm, bar_format=BAR, leave=False)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What was measured before a run was chosen."""

    speeds: dict[Shape, float]
    """Tokens per second of each size."""
    others: dict[Shape, float]
    """Seconds that a run of each size takes besides its steps."""
    pilot: Trained
    """The short run."""


def minutes_session(
    minutes: float,
    corpus_name: str,
    world: World,
    out: Path,
    *,
    options: RunOptions,
    measured: Callable[[Text, World, RunOptions, float], Bench] | None = None,
) -> Session:
    """Return a fresh run that ends about so many minutes after this call.

    Args:
        minutes: For all of it: the bench, the steps, glances and checkpoints, and the ladder.
        corpus_name: A registered corpus, a text file, or a folder of prepared tokens.
        world: Where to train; one process.
        out: The run's folder; it must not hold a run.
        options: How it is computed and saved.
        measured: What measures, instead of `measure`; then no clock is read.

    Raises:
        UserError: If the time is too short, or for anything that `start_session` refuses.
    """
    if not 0 < minutes < float("inf"):
        raise UserError(f"--minutes is {minutes:g}: it must be above 0. Type --minutes 5.")
    if world.size > 1:
        raise UserError(
            "--minutes measures one process, and these are several. Type a --preset and --steps."
        )
    begin, seconds = time.perf_counter(), 60 * minutes
    held_out = recipe(PILOT, 2, 1).held_out
    text = open_text(corpus_name, held_out=held_out, context_length=64)
    bench = (measured or measure)(text, world, options, seconds)
    spent = 0.0 if measured else time.perf_counter() - begin
    left = (1 - OVERHEAD) * (seconds - spent)
    plan = planned(left, bench, text)
    notices = [f"{minutes:g} minutes, {spent:.0f} s of them measuring: {plan}"]
    if plan.seconds < left / 2 and plan.epochs > MOST_EPOCHS - 1:
        notices.append(
            f"Its steps take {plan.seconds / 60:.2g} minutes only: nothing is known here of larger "
            f"sizes that read their text more than {MOST_EPOCHS} times. To use more time, type a "
            "--preset and --steps, such as --preset gpt-modern --steps 6000."
        )
    session = begin_session(plan.config, text, corpus_name, world, out, options, notices=notices)
    session.run.update(forecast=plan.loss, minutes=minutes)
    return session


def planned(seconds: float, bench: Bench, text: Text) -> Plan:
    """Return the run to make of what was measured."""
    return plan_run(
        seconds,
        bench.speeds,
        HOLMES.moved_to(bench.pilot),
        vocab_size=text.tokenizer.vocab_size,
        text_tokens=len(text.train),
        others=bench.others,
    )


def measure(text: Text, world: World, options: RunOptions, seconds: float) -> Bench:
    """Return the speed of every size, and what a short run reaches on this text.

    Args:
        text: What will be trained on.
        world: Where.
        options: How it will be computed.
        seconds: Of the whole run; what is measured takes a small part.
    """
    speeds, others = {}, {}
    counting, _ = counting_cost(text)
    for shape in bar(SHAPES, desc="speed of each size"):
        begin = time.perf_counter()
        config = recipe(shape, text.tokenizer.vocab_size, 100)
        loss = _loss(config, world, options)
        batches = _batches(config, text, world)
        model = build_model(config, world.device)
        parts = (config, model, batches, world.device)
        step = step_seconds(*parts, loss_function=loss)
        speeds[shape] = config.training.batch_size * config.model.context_length / step
        looking = _looking(model, text, world, loss, config.training.steps)
        # `describe_run` tries it all once more.
        others[shape] = counting + looking + time.perf_counter() - begin
    pilot, speed = _pilot(text, world, options, PILOT_SHARE * seconds, speeds)
    # A trial of a few steps is quicker than a long run: the pilot tells by how much, for all sizes.
    slower = speed / speeds[PILOT]
    speeds = {shape: slower * tried for shape, tried in speeds.items()}
    return Bench(speeds=speeds, others=others, pilot=pilot)


def _looking(
    model: LanguageModel, text: Text, world: World, loss: AcceleratedLoss, steps: int
) -> float:
    """Return the seconds of all looks at the held-out text, as the run computes them."""

    def judge(tokens: np.ndarray) -> object:
        with autocast(world.device, loss.acceleration.precision):
            return evaluate(model, tokens)

    return looking_seconds(model, text, judge, steps)


def _pilot(
    text: Text, world: World, options: RunOptions, seconds: float, speeds: dict[Shape, float]
) -> tuple[Trained, float]:
    """Train the pilot for as many steps as fit; return what it reached, and its tokens a second."""
    vocab_size, batch = text.tokenizer.vocab_size, 32 * 64
    steps = min(
        PILOT_STEPS, int(min(seconds * speeds[PILOT], MOST_EPOCHS * len(text.train)) / batch)
    )
    if steps < 1:
        raise UserError(
            f"{seconds / PILOT_SHARE:.3g} seconds are too few to train anything: a step of a small "
            f"model takes {batch / speeds[PILOT]:.2g} s here, and a seventh of the time is for a "
            "first try. Type more minutes, such as --minutes 5."
        )
    config = recipe(PILOT, vocab_size, steps)
    model = build_model(config, world.device)
    state = TrainState.fresh(model, config.training)
    loss, batches = _loss(config, world, options), _batches(config, text, world)
    begin = time.perf_counter()
    with threads_for(step_operations(config)):
        reports = train_scaled(state, batches, config.training, loss, loss.scaler)
        for _ in bar(reports, desc="a first try", total=steps):
            pass
    speed = steps * batch / (time.perf_counter() - begin)
    reached = evaluate(model, text.held_out).nats_per_token
    pilot = Trained(parameters=parameter_count(config), tokens=steps * batch, loss=reached)
    return pilot, speed


def _loss(config: RunConfig, world: World, options: RunOptions) -> AcceleratedLoss:
    """Return the loss function that the run itself will have."""
    return AcceleratedLoss(accelerated(options, config, world)[1])


def _batches(config: RunConfig, text: Text, world: World) -> Batches:
    training, sizes = config.training, config.model
    return Batches(
        text.train,
        training.batch_size,
        sizes.context_length,
        seed=training.seed,
        device=world.device,
    )
