"""One command from nothing to a GPT that has read a book: the ladder, samples, and every file.

Lesson: notebook 16.
"""

import json
import time
from pathlib import Path

import torch

from bhushgpt.completion import complete_text
from bhushgpt.curves import plot_curve
from bhushgpt.figures import png_bytes
from bhushgpt.forecast import forecast
from bhushgpt.generation import Sampling
from bhushgpt.ladder import Floors, count_floors, ladder_table
from bhushgpt.session import Session, start_session

PROMPTS = ("To Sherlock Holmes ", '"My dear Watson," said ', "It was a dark ")


def make_room(folder: Path) -> Path | None:
    """Move an earlier demo aside, so that a new one can take its name; return where it went."""
    if not folder.exists() or not any(folder.iterdir()):
        return None
    number = 1
    while (aside := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return folder.rename(aside)


def describe(session: Session, floors: Floors | None = None) -> str:
    """Return what is about to be trained: text, model, memory and time."""
    corpus, config = session.text.corpus, session.config
    expected = forecast(config, session.model, session.batches, session.device)
    lines = [
        f"text    {corpus.title}, {corpus.author}: {len(corpus.text):,} characters, "
        f"{session.text.tokenizer.vocab_size} different; the last tenth is held out",
        f"model   {config.preset}: {expected}",
    ]
    if corpus.notice:
        lines.insert(1, f"        {corpus.notice}")
    return "\n".join(lines)


def save_curve(session: Session, floors: Floors) -> Path:
    """Draw the run's history with the floors into `curve.png` and return the file."""
    history = session.run.history()
    figure = plot_curve(
        [(line["step"], line["loss"]) for line in history],
        [(line["step"], line["held_out"]) for line in history if "held_out" in line],
        floors.rungs(),
        title=f"{session.config.preset} on {session.text.corpus.title}",
    )
    file = session.run.path / "curve.png"
    file.write_bytes(png_bytes(figure))
    return file


def run_demo(device: torch.device, folder: Path, *, steps: int | None = None) -> None:
    """Train GPT-v1 on the default book, print the ladder and three completions, save all.

    Args:
        device: Where to train.
        folder: Where everything goes; an earlier demo there is moved aside.
        steps: Fewer steps than the preset's, for tests.
    """
    begin = time.perf_counter()
    if aside := make_room(folder):
        print(f"The earlier demo is kept in {aside}.\n")
    session = start_session("gpt-v1", "sherlock", device, folder, steps=steps)
    print(describe(session), "\n", sep="")
    floors = count_floors(
        session.text.train, session.text.held_out, session.text.tokenizer.vocab_size
    )
    if not session.train():
        print(f"\nStopped after step {session.state.step}; everything is saved. To go on:")
        print(f"  python -m bhushgpt train --resume {folder}")
        return
    result = session.evaluate()
    rungs = floors.rungs() | {session.config.preset: result.nats_per_token}
    (folder / "ladder.json").write_text(json.dumps(rungs, indent=2) + "\n", encoding="utf-8")
    save_curve(session, floors)
    session.run.update(
        ladder=rungs, n_gram_order=floors.best_order, seconds=time.perf_counter() - begin
    )
    print(f"\nHeld-out loss on the same {result.tokens:,} characters ", end="")
    print(f"(n-gram: the best of 3 to 7 is {floors.best_order}):\n")
    print(ladder_table(rungs))
    sampling = Sampling(temperature=0.8, seed=1)
    for prompt in PROMPTS:
        print(f"\n--- {prompt!r}\n{prompt}", end="")
        for piece in complete_text(session.model, session.text.tokenizer, prompt, 200, sampling):
            print(piece, end="", flush=True)
        print()
    print(f"\nAll of it is in {folder}: the checkpoint, curve.png, run.json, ladder.json. Next:")
    print(f'  python -m bhushgpt complete --run {folder} --prompt "Watson, "')
    print("  make lab     opens notebook 00; notebook 08 builds this very model")
