"""One dial: a run that takes so many minutes on this machine and learns the most in them.

The speed of each size is measured here, on the learner's text. A short run of a small model says
how hard that text is, compared with the one that the law was measured on. Then `plan_run` decides.

Lesson: notebook 20.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate
from bhushgpt.forecast import parameter_count, step_seconds
from bhushgpt.presets import RunConfig, build_model
from bhushgpt.runs.folder import RunOptions
from bhushgpt.runs.session import Session
from bhushgpt.runs.start import accelerated, begin_session
from bhushgpt.runs.training_text import Text, open_text
from bhushgpt.scaling import HOLMES, SHAPES, Plan, Shape, Trained, plan_run, recipe
from bhushgpt.speed import AcceleratedLoss, World, train_scaled
from bhushgpt.training import TrainState

MINUTES = "minutes"
"""What the record of such a run says instead of a preset's name."""
# The short run: of a small size, and a tenth of the time at most.
PILOT, PILOT_STEPS, PILOT_SHARE = SHAPES[2], 250, 0.1
# Of the time that is left: glances at the held-out text, and checkpoints.
OVERHEAD = 0.05


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What was measured before a run was chosen."""

    speeds: dict[Shape, float]
    """Tokens per second of each size."""
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
        minutes: For all of it: the bench, the steps, glances and checkpoints.
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
    plan = planned((1 - OVERHEAD) * (seconds - spent), bench, text)
    notice = f"{minutes:g} minutes, {spent:.0f} s of them measuring: {plan}"
    session = begin_session(plan.config, text, corpus_name, world, out, options, notices=[notice])
    session.run.update(forecast=plan.loss, minutes=minutes)
    return session


def planned(seconds: float, bench: Bench, text: Text) -> Plan:
    """Return the run to make of what was measured."""
    return plan_run(
        seconds,
        bench.speeds,
        HOLMES.moved_to([bench.pilot]),
        vocab_size=text.tokenizer.vocab_size,
        text_tokens=len(text.train),
    )


def measure(text: Text, world: World, options: RunOptions, seconds: float) -> Bench:
    """Return the speed of every size, and what a short run reaches on this text.

    Args:
        text: What will be trained on.
        world: Where.
        options: How it will be computed.
        seconds: Of the whole run; what is measured takes a small part.
    """
    speeds = {}
    for shape in SHAPES:
        config = recipe(shape, text.tokenizer.vocab_size, 100)
        loss = _loss(config, world, options)
        batches = _batches(config, text, world)
        model = build_model(config, world.device)
        parts = (config, model, batches, world.device)
        step = step_seconds(*parts, loss_function=loss)
        speeds[shape] = config.training.batch_size * config.model.context_length / step
    return Bench(speeds=speeds, pilot=_pilot(text, world, options, PILOT_SHARE * seconds, speeds))


def _pilot(
    text: Text, world: World, options: RunOptions, seconds: float, speeds: dict[Shape, float]
) -> Trained:
    """Train the pilot for as many steps as fit, and return what it reached."""
    vocab_size, batch = text.tokenizer.vocab_size, 32 * 64
    steps = min(PILOT_STEPS, int(seconds * speeds[PILOT] / batch))
    if steps < 1:
        raise UserError(
            f"{seconds / PILOT_SHARE:.3g} seconds are too few to train anything: a step of a small "
            f"model takes {batch / speeds[PILOT]:.2g} s here, and a tenth of the time is for a "
            "first try. Type more minutes, such as --minutes 5."
        )
    config = recipe(PILOT, vocab_size, steps)
    model = build_model(config, world.device)
    state = TrainState.fresh(model, config.training)
    loss, batches = _loss(config, world, options), _batches(config, text, world)
    for _ in train_scaled(state, batches, config.training, loss, loss.scaler):
        pass
    reached = evaluate(model, text.held_out).nats_per_token
    return Trained(parameters=parameter_count(config), tokens=steps * batch, loss=reached)


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
