"""What the command line can do: one frozen dataclass a command.

The fields are the flags, the text under a field is its help, and `run` calls the same functions
that the notebooks call.

Lesson: notebook 16.
"""

import datetime
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bhushgpt.checkpoints import load_checkpoint
from bhushgpt.completion import complete_text
from bhushgpt.corpus import load_text
from bhushgpt.demo import describe, run_demo, save_curve
from bhushgpt.devices import KINDS, describe_device, pick_device
from bhushgpt.errors import UserError
from bhushgpt.evaluation import Evaluation
from bhushgpt.folders import runs_folder
from bhushgpt.generation import Sampling
from bhushgpt.ladder import count_floors, ladder_table
from bhushgpt.registry import corpora
from bhushgpt.session import open_session, start_session

Device = Literal["auto", "cpu", "cuda", "mps"]
Run = Annotated[Path, tyro.conf.arg(name="run", metavar="DIR")]
Number = tyro.conf.arg(metavar="N")
Folder = tyro.conf.arg(metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model on a text; Ctrl-C saves and stops, --resume goes on."""

    preset: str = "gpt-v1"
    """bigram, gpt-v1-smoke, gpt-v1 or gpt-v1-large."""
    corpus: str = "sherlock"
    """A name from `corpora`, or any UTF-8 text file."""
    steps: Annotated[int | None, Number] = None
    """Steps to train, instead of the preset's number."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA before MPS before the CPU."""
    out: Annotated[Path | None, Folder] = None
    """Folder of the run; runs/<preset>-<date and time> if left out."""
    resume: Annotated[Path | None, Folder] = None
    """Go on with the run in this folder, with its own settings."""

    def run(self) -> None:
        """Train to the end, or to the first Ctrl-C."""
        device = pick_device(self.device)
        if self.resume is not None:
            session = open_session(self.resume, device)
        else:
            now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
            out = self.out or runs_folder() / f"{self.preset}-{now}"
            session = start_session(self.preset, self.corpus, device, out, steps=self.steps)
        folder = session.run.path
        if session.finished:
            print(f"The run in {folder} is finished: all {session.state.step} steps are done.")
            return
        print(describe(session))
        if not session.train():
            print(f"Stopped after step {session.state.step}; everything is saved. To go on:")
            print(f"  python -m bhushgpt train --resume {folder}")
            return
        text = session.text
        floors = count_floors(text.train, text.held_out, text.tokenizer.vocab_size)
        rungs = floors.rungs() | {session.config.preset: session.evaluate().nats_per_token}
        save_curve(session, floors)
        print(f"\n{ladder_table(rungs)}\n\nAll of it is in {folder}. Next:")
        print(f'  python -m bhushgpt complete --run {folder} --prompt "The "')


@dataclass(frozen=True, kw_only=True)
class Complete:
    """Continue a prompt with a trained model."""

    run_folder: Run
    """Folder of a run."""
    prompt: str
    """Text to go on from; an empty one starts from a new line."""
    tokens: int = 200
    """How many tokens to add."""
    temperature: float = 0.8
    """Below 1 plays safe, above 1 takes risks, 0 always takes the likeliest token."""
    top_k: Annotated[int | None, Number] = None
    """Draw among this many likeliest tokens only."""
    top_p: Annotated[float | None, Number] = None
    """Draw among the fewest likeliest tokens that together have this probability."""
    seed: int = 0
    """The same seed gives the same text."""
    unknown: Literal["error", "skip", "replace"] = "error"
    """What to do with a character of the prompt that the model has never seen."""
    device: Device = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Print the prompt and what follows, as it is drawn."""
        if self.tokens < 0:
            raise UserError(f"--tokens is {self.tokens}: it cannot be below 0.")
        sampling = Sampling(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, seed=self.seed
        )
        checkpoint = load_checkpoint(self.run_folder, pick_device(self.device))
        tokenizer, model = checkpoint.tokenizer, checkpoint.state.model
        try:
            ids = tokenizer.encode(self.prompt, unknown=self.unknown)
        except UserError as error:
            raise UserError(f"{error} Here: --unknown skip or --unknown replace.") from error
        context_length = checkpoint.config.model.context_length
        if len(ids) > context_length:
            print(
                f"The prompt has {len(ids)} tokens; the model looks at the last {context_length}.",
                file=sys.stderr,
            )
        prompt = tokenizer.decode(ids)
        print(prompt, end="", flush=True)
        for piece in complete_text(model, tokenizer, prompt, self.tokens, sampling):  # type: ignore[arg-type]
            print(piece, end="", flush=True)
        print()


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a trained model on its whole held-out text; the same number every time."""

    run_folder: Run
    """Folder of a run."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object instead of a table."""
    device: Device = "auto"
    """Where to compute."""

    def run(self) -> None:
        """Print loss, perplexity and bits per byte."""
        session = open_session(self.run_folder, pick_device(self.device))
        facts = _facts(session.evaluate())
        if self.as_json:
            print(json.dumps(facts))
            return
        print(f"{session.text.corpus.title}, the held-out last tenth:")
        for name, value in facts.items():
            number = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
            print(f"  {name.replace('_', ' '):<16}{number:>10}")


def _facts(result: Evaluation) -> dict[str, float | int | None]:
    return {
        "nats_per_token": result.nats_per_token,
        "perplexity": result.perplexity,
        "bits_per_byte": result.bits_per_byte,
        "tokens": result.tokens,
    }


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """List the texts that can be named: title, source, licence."""

    fetch: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Get this one now, so that it is there without a network later."""

    def run(self) -> None:
        """Print the registry, or fetch one text."""
        if self.fetch is not None:
            corpus = load_text(self.fetch)
            print(f"{corpus.title}: {len(corpus.text):,} characters, from {corpus.source}")
            return
        for name, entry in corpora().items():
            print(f"{name}\n  {entry.title}, {entry.author}\n  licence: {entry.licence}")
            for source in entry.sources:
                print(f"  from: {source.address}")
        print("\nAny UTF-8 text file works, too: --corpus my.txt")


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what this machine is: devices, memory, number types, versions."""

    def run(self) -> None:
        """Print a few lines that belong into every bug report."""
        best = pick_device("auto")
        for kind in ("cpu",) if best.type == "cpu" else ("cpu", best.type):
            card = describe_device(kind)
            mark = "  <- used by --device auto" if kind == best.type else ""
            print(f"{kind:<8}{card.name}, {card.memory_bytes / 2**30:.1f} GiB{mark}")
            print(f"        {card.cores} cores, computes in {', '.join(card.dtypes)}")
        card = describe_device("cpu")
        print(f"python  {card.python}\ntorch   {card.torch}, {card.threads} threads")
        print(f"numpy   {card.numpy}")
        missing = [kind for kind in KINDS if kind not in ("cpu", best.type)]
        print(f"absent  {', '.join(missing)}")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train GPT-v1 on Sherlock Holmes, some minutes on a laptop, and show what it learned."""

    device: Device = "auto"
    """Where to compute."""
    steps: Annotated[int | None, Number] = None
    """Fewer steps, for a quick look."""
    out: Annotated[Path | None, Folder] = None
    """Folder of the demo; runs/demo if left out."""

    def run(self) -> None:
        """Run the demo."""
        out = self.out or runs_folder() / "demo"
        run_demo(pick_device(self.device), out, steps=self.steps)
