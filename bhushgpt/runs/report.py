"""What a run says before it starts and after it ends, and what it leaves behind.

Before: the text, the model, the memory and the time it will take. After: the ladder, on which the
trained model is the last rung, and a picture of its curve. The demo is a run with both, and three
prompts continued.

Lesson: notebook 17.
"""

import dataclasses
import json
import math
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from bhushgpt.devices import process_memory
from bhushgpt.diagnosis import memory_explained
from bhushgpt.environment import command, memory_size
from bhushgpt.errors import UserError
from bhushgpt.evaluation import Evaluation
from bhushgpt.files import write_atomically
from bhushgpt.forecast import TRIAL_WORK, forecast, grown, run_memory
from bhushgpt.generation import Sampling, complete_text
from bhushgpt.gpt import GPT
from bhushgpt.language_model import LanguageModel
from bhushgpt.lora import LoRAConfig
from bhushgpt.ngrams import HIGHEST_ORDER, Floors, count_floors, ladder_table
from bhushgpt.runs.folder import RECORD, RunOptions
from bhushgpt.runs.interruption import Interruption
from bhushgpt.runs.monitoring import GLANCE_TOKENS, SAMPLE_TOKENS, usual_interval
from bhushgpt.runs.session import Session
from bhushgpt.runs.start import share_of, start_session
from bhushgpt.runs.training_text import Text, last_part
from bhushgpt.speed import World
from bhushgpt.storage import list_checkpoints, save_adapter

LADDER, CURVE, ADAPTER = "ladder.json", "curve.png", "adapter.safetensors"
History = Sequence[Mapping[str, Any]]


def describe_run(session: Session) -> str:
    """Return what is about to be trained: text, model, memory and time."""
    text, config, options = session.text, session.config, session.options
    kept = f"; the {last_part(config.held_out)} is held out" if text.unit == "character" else ""
    how = [f"{session.world.device.type}, {options.precision}"]
    if options.compile == "on":
        how.append("compiled, which takes the first step up to a minute")
    if session.world.size > 1:
        how.append(f"{session.world.size} processes ({options.strategy})")
    lines = [
        f"text    {text.title}: {text.size}{kept}",
        *([f"        {text.notice}"] if text.notice else []),
        f"model   {config.preset}: {_expectation(session)}",
        f"device  {', '.join(how)}",
        *(f"note    {notice}" for notice in session.notices),
    ]
    if session.origin:
        lines.append(f"from    {session.origin.describe(config)}")
    if session.state.step:
        lines.append(f"start   after step {session.state.step} of {config.training.steps}")
    return "\n".join(lines)


def _expectation(session: Session) -> str:
    """Return parameters, memory and time; the time from a trial, where one process can make it."""
    config, world, how = session.config, session.world, session.loss.acceleration
    if world.size > 1:
        memory = grown(run_memory(share_of(config, world), world.device, how), world.device)
        return (
            f"{session.model.parameter_count():,} parameters, at most {memory_size(memory)} a "
            "process on top of Python and torch"
        )
    process = process_memory(world.device)
    with memory_explained(config, world.device, how):
        parts = (config, session.model, session.batches, world.device)
        found = forecast(*parts, loss_function=session.loss, maker=how)
    seconds, counting = tried_results(session)
    # At the end the model is still there, and its optimizer; the text is all along.
    weights, text = 4 * found.parameters, session.text.memory_bytes
    memory = max(found.memory_bytes, weights + 12 * found.trained + counting) + text
    if process:  # the model and the text are there already
        process = max(0, process - weights - text) + PICTURES
    told = dataclasses.replace(found, memory_bytes=memory, process_bytes=process)
    return str(dataclasses.replace(told, other_seconds=seconds))


# Of the text that is counted at the end so much is tried beforehand; of what the model predicts and
# writes, what a moment allows.
TRIED = 1 / 16
PICTURES = 25 * 2**20  # bytes of matplotlib, which is loaded last


def tried_results(session: Session) -> tuple[float, int]:
    """Try parts of what a run does besides its steps; return the seconds of all and bytes to count.

    That are glances at the held-out text, a sample with each, and in the end the whole of it
    judged, by the model and by counting.
    """
    seconds, room = counting_cost(session.text)
    steps = session.config.training.steps
    return seconds + looking_seconds(session.model, session.text, session.evaluate, steps), room


def counting_cost(text: Text) -> tuple[float, int]:
    """Count a part of a text; return the seconds and the bytes that all of it will take."""
    part = round(TRIED * len(text.held_out)) + 2
    train = text.counted[: round(TRIED * len(text.counted)) + HIGHEST_ORDER]
    counted = (train, text.held_out[:part], text.tokenizer.vocab_size)
    counting = _seconds(lambda: count_floors(*counted)) / TRIED
    tracemalloc.start()  # numpy's arrays are counted, too
    count_floors(*counted)
    room = round(tracemalloc.get_traced_memory()[1] / TRIED)
    tracemalloc.stop()
    return counting, room


def looking_seconds(
    model: LanguageModel, text: Text, judge: Callable[[np.ndarray], object], steps: int
) -> float:
    """Predict and write a little; return the seconds of all glances, samples and the last look.

    Args:
        model: Of the run.
        text: Of the run.
        judge: Computes the loss on some tokens.
        steps: Of the run.
    """
    # Two operations a weight and token, and most tokens are seen in two windows.
    few = max(model.context_length + 1, round(TRIAL_WORK / 4 / model.parameter_count()))
    few = min(few, len(text.held_out))
    judging = _seconds(lambda: judge(text.held_out[:few])) / few
    short = (text.prompt, SAMPLE_TOKENS // 8, Sampling(seed=1))
    writing = 8 * _seconds(lambda: list(complete_text(model, text.tokenizer, *short)))
    glances = 1 + (steps - 1) // usual_interval(steps)
    judged = len(text.held_out) + glances * min(GLANCE_TOKENS, len(text.held_out))
    return judging * judged + writing * glances


def _seconds(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def results(session: Session) -> str:
    """Measure a trained run, write ladder, curve and record, and return them as text."""
    text = session.text
    floors = text.floors()
    result = session.evaluate()
    rungs = floors.rungs()
    # The trained table of the preset `bigram` must not take the place of the counted one.
    name = session.config.preset
    rungs[f"{name}, trained" if name in rungs else name] = result.nats_per_token
    history = session.run.history()
    # Before anything that could be done without.
    session.record(result, rungs, floors.best_order, history)
    notice = save_ladder(session, rungs) + save_curve(session, floors, history)
    # All rungs predict the same tokens, so nats and bits per byte differ by one factor.
    bits = ladder_table(rungs, f"bits per {text.unit}")
    counted = len(text.counted)
    part = "" if counted == len(text.train) else f", counted on the first {counted:,} tokens"
    return (
        f"{glances_table(history)}{forgetting_table(session)}"
        f"Loss on {text.held_out_is}, the same {result.tokens:,} {text.unit}s for all "
        f"(n-gram: the best of 3 to 7 is {floors.best_order}{part}):\n\n"
        f"{bits}{_bits_per_byte(text, result)}{_beside_forecast(session, result)}{notice}"
    )


def forgetting_table(session: Session) -> str:
    """Measure a fine-tuned run on both texts, write that down, and return it as text.

    Of a run with additions they are written to a file of their own, too. A run that began from
    nothing has nothing to forget: an empty text.
    """
    if session.origin is None:
        return ""
    both = session.origin.forgetting(session.model, session.text)
    after = {"old_after": both.old_after, "new_after": both.new_after}
    session.run.update(fine_tuning={**session.run.record["fine_tuning"], **after})
    rows = (
        (session.origin.old.title, both.old_before, both.old_after),
        (session.text.title, both.new_before, both.new_after),
    )
    width = max(len(title) for title, *_ in rows) + 2
    lines = [f"{'held-out loss, nats':<{width}}    before     after    change"]
    lines += [f"{t:<{width}}{a:>10.4f}{b:>10.4f}{b - a:>+10.4f}" for t, a, b in rows]
    if isinstance(session.config.model, LoRAConfig):
        save_adapter(cast(GPT, session.model), session.run.path / ADAPTER)
        lines.append(f"The additions alone are in {ADAPTER}.")
    return "\n".join([*lines, "", ""])


def _beside_forecast(session: Session, result: Evaluation) -> str:
    """Return the line that says how good the forecast of `--minutes` was, where there was one."""
    said = session.run.record.get("forecast")
    if not isinstance(said, float):
        return ""
    unit = session.text.unit
    return f"\n\nforecast {said:.3f} nats per {unit}, reached {result.nats_per_token:.3f}"


def _bits_per_byte(text: Text, result: Evaluation) -> str:
    """Return the line that makes tokens of several characters comparable with other models."""
    if text.unit == "character":
        return ""
    factor = result.tokens / text.held_out_bytes / math.log(2)
    return f"\n\n1 nat per token is {factor:.4f} bits per byte of this text"


def glances_table(history: History) -> str:
    """Return the glances at the held-out text, a line each, or nothing if there were none."""
    lines = [
        f"{line['step']:>6}{line['loss']:>10.4f}{line['held_out']:>10.4f}\n"
        for line in history
        if "held_out" in line
    ]
    return "".join(["  step  training  held out\n", *lines, "\n"]) if lines else ""


def save_ladder(session: Session, rungs: dict[str, float]) -> str:
    """Write the ladder, which the record has too, into a file of its own.

    Returns:
        Nothing, or a sentence if that cannot be.
    """
    try:
        write_atomically(session.run.path / LADDER, (json.dumps(rungs, indent=2) + "\n").encode())
    except OSError as error:
        reason = error.strerror or error
        return f"\n\n{LADDER} could not be written ({reason}); {RECORD} holds the same."
    return ""


def save_curve(session: Session, floors: Floors, history: History) -> str:
    """Draw the run's history with the floors into `curve.png`.

    Returns:
        Nothing, or a sentence if there is no picture. It is an ornament: whatever keeps it from
        being drawn costs nothing else.
    """
    try:
        # Here and not above: matplotlib takes as long to load as a short command to run.
        from bhushgpt.figures import own_style, plot_curve, png_bytes

        with own_style():
            figure = plot_curve(
                [(line["step"], line["loss"]) for line in history],
                [(line["step"], line["held_out"]) for line in history if "held_out" in line],
                floors.rungs(),
                title=f"{session.config.preset} on {session.text.title}",
            )
            write_atomically(session.run.path / CURVE, png_bytes(figure))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return f"\n\n{CURVE} could not be drawn ({reason}); everything else is saved."
    return ""


def completion_command(session: Session) -> str:
    """Return the next command to type, with a prompt that the run's alphabet can spell."""
    prompt = session.text.prompt
    return "  " + command("complete", "--run", session.run.path, "--prompt", prompt)


@contextmanager
def saved_whatever_happens(folder: Path) -> Iterator[None]:
    """Add to any error that leaves the `with`, Ctrl-C too, what is saved and how to go on."""
    try:
        yield
    except BaseException as error:
        found = list_checkpoints(folder)
        if found:
            error.add_note(
                f"{found[-1].name} of {folder} is saved. To go on:\n  "
                + command("train", "--resume", folder)
            )
        raise


PRESET, BOOK = "gpt-v1", "sherlock"
# The recorded result in benchmarks/ is of float32, so everybody can compare.
OPTIONS = RunOptions(precision="float32")
PROMPTS = ("To Sherlock Holmes ", '"My dear Watson," said ', "It was a dark ")


def make_room(folder: Path) -> Path | None:
    """Move an earlier demo aside, so that a new one can take its name; return where it went.

    Raises:
        UserError: If it cannot be moved.
    """
    if not (folder / RECORD).is_file():
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    try:
        return folder.rename(aside)
    except OSError as error:
        raise UserError(
            f"The earlier demo in {folder} cannot be moved aside: {error.strerror}. "
            "Name another folder with --out."
        ) from error


def run_demo(
    device: torch.device, folder: Path, interruption: Interruption, *, steps: int | None = None
) -> None:
    """Train GPT-v1 on the default book, print the ladder and three completions, save all.

    Args:
        device: Where to train.
        folder: Where everything goes; an earlier demo there is moved aside.
        interruption: Entered already.
        steps: Fewer steps than the preset's, for tests.

    Raises:
        UserError: If the book cannot be had or the folder not be used.
        Stopped: After Ctrl-C, when the step is finished and saved.
    """
    if aside := make_room(folder):
        print(f"The earlier demo is kept in {aside}.\n")
    session = start_session(
        PRESET, BOOK, World(device=device), folder, steps=steps, options=OPTIONS
    )
    with saved_whatever_happens(folder):
        print(describe_run(session), "\n", sep="", flush=True)
        session.train(interruption)
        interruption.check()
        print(f"\n{results(session)}\n\n{_in_words(session)}{_then_and_now(session)}")
        for seed, prompt in enumerate(PROMPTS, start=1):
            _complete(session, prompt, seed)
    print(f"\nAll of it is in {folder}: the checkpoint, curve.png, run.json, ladder.json. Next:")
    print(completion_command(session))
    print("  make lab     opens notebook 00; notebook 09 builds this very model")


def _complete(session: Session, prompt: str, seed: int) -> None:
    # A seed each: with the same draws, different prompts soon go on with the same words.
    sampling = Sampling(temperature=0.8, seed=seed)
    print(f"\n--- {prompt!r}\n{prompt}", end="")
    pieces = complete_text(session.model, session.text.tokenizer, prompt, 200, sampling)
    for piece in whole_words(pieces):
        print(piece, end="", flush=True)
    print()


def whole_words(pieces: Iterable[str]) -> Iterator[str]:
    """Pass a text on word by word; a last one that may be cut off is left out.

    >>> list(whole_words(["The c", "at sat on", " the m"]))
    ['The ', 'cat sat ', 'on the ']
    """
    held = ""
    for piece in pieces:
        held += piece
        end = max(held.rfind(" "), held.rfind("\n")) + 1
        if end:
            yield held[:end]
            held = held[end:]


def _in_words(session: Session) -> str:
    """Return what the loss of a finished run means, in a sentence."""
    unit, size = session.text.unit, session.text.tokenizer.vocab_size
    among = session.run.record["held_out"]["perplexity"]
    return (
        f"At each {unit} the model is as unsure as if it chose blindly among {among:.1f} {unit}s; "
        f"untrained, it chose among all {size:,}.\n"
    )


def _then_and_now(session: Session) -> str:
    """Return what the model wrote to one prompt when it was first looked at, and at the end."""
    samples = session.run.samples()
    if len(samples) < 2:
        return ""
    lines = [f"\nThe same prompt, {samples[0]['prompt']!r}, while it learned:"]
    for sample in (samples[0], samples[-1]):
        words = "".join(whole_words([sample["prompt"] + sample["text"]]))
        lines.append(f"  after {sample['step']:>5,} steps  {' '.join(words.split())}")
    return "\n".join(lines) + "\n"
