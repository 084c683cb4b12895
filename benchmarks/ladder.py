"""The ladder of the course: what every guesser from 04 to 22 loses on the same held-out text.

    python benchmarks/ladder.py          measure what is missing, write ladder.json, draw it
    python benchmarks/ladder.py --draw   only draw ladder.png again, and fill in README's table

Every rung reads the first nine tenths of the default book and predicts the last tenth; the trained
ones make the same number of steps on batches of the same size, but for the last rungs, which have
the recipes of their presets. A rung is written as soon as it is measured, so that the script can be
stopped. Seconds are worth something only on a machine that does nothing else.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from tqdm import tqdm

from bhushgpt.attention import Past
from bhushgpt.batches import Batches
from bhushgpt.bpe import BPETokenizer
from bhushgpt.compression import compressing
from bhushgpt.corpus import load_text, split_text
from bhushgpt.cpu_settings import keep_freed_memory
from bhushgpt.devices import machine_card
from bhushgpt.diagnosis import ppmd_loss
from bhushgpt.evaluation import evaluate
from bhushgpt.figures import COLORS, own_style, png_bytes
from bhushgpt.files import write_atomically
from bhushgpt.generation import Sampling, complete_text
from bhushgpt.gpt import GPTConfig
from bhushgpt.language_model import LanguageModel, ModelConfig
from bhushgpt.mlp_model import MLPConfig
from bhushgpt.ngrams import NGramCounter
from bhushgpt.presets import RunConfig, build_model, preset
from bhushgpt.speed import accelerate, pick_acceleration
from bhushgpt.tokenizers import CharTokenizer, Tokenizer
from bhushgpt.training import TrainState, train

HERE = Path(__file__).parent
RECORD, PICTURE, README = HERE / "ladder.json", HERE / "ladder.png", HERE.parent / "README.md"
START, END = "<!-- the ladder: benchmarks/ladder.py --draw -->", "<!-- end of the ladder -->"
PROMPT, SHOWN = "Holmes said ", 100  # how many characters a sample has
BEST_ORDER = 6  # of the counters that read the training text only


class Unfinished(nn.Module):
    """A block on its way to notebook 08's: attention, perhaps an MLP, perhaps a stream, no norm."""

    def __init__(self, attention: nn.Module, mlp: nn.Module | None, stream: bool) -> None:
        super().__init__()
        self.attention, self.mlp, self.stream = attention, mlp, stream

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Return (B, T, C) for x (B, T, C)."""
        given = () if past is None else (past,)
        mixed = self.attention(x, *given)  # (B, T, C)
        x = x + mixed if self.stream else mixed  # (B, T, C)
        if self.mlp is None:
            return x
        return x + self.mlp(x) if self.stream else self.mlp(x)


@dataclass(frozen=True, kw_only=True)
class UnfinishedConfig(GPTConfig):
    """A GPT that lacks parts of its blocks; the parts it has are the course's own."""

    with_mlp: bool = False
    """Whether a block works on each token, too."""
    stream: bool = False
    """Whether the parts add to what comes in, instead of replacing it."""

    def norm(self, n_embd: int) -> nn.Module:
        """Return nothing that levels: norms are a later rung."""
        return nn.Identity()

    def block(self) -> nn.Module:
        """Return one layer: (B, T, C) to (B, T, C)."""
        return Unfinished(self.attention(), self.mlp() if self.with_mlp else None, self.stream)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One guesser."""

    says: str
    """What it knows, as the table has it."""
    lesson: int
    """The notebook that builds it."""
    measure: Callable[["Book"], dict[str, Any]]
    """Learns and predicts: nats per character, and whatever else is known."""


class Book:
    """The text in two parts, and the one large model that two rungs share."""

    def __init__(self) -> None:
        text = load_text("sherlock").text
        self.first, self.last = split_text(text)
        self.tokenizer = CharTokenizer.from_text(text)
        self.ids, self.held_out = (
            self.tokenizer.encode_to_numpy(p) for p in (self.first, self.last)
        )
        self.modern: LanguageModel | None = None


def uniform(book: Book) -> dict[str, Any]:
    """Every character is equally likely."""
    return {"nats": math.log(book.tokenizer.vocab_size)}


def counted(order: int) -> Callable[[Book], dict[str, Any]]:
    """Return the rung that counts runs of so many characters."""

    def measure(book: Book) -> dict[str, Any]:
        begin = time.perf_counter()
        counter = NGramCounter(order, book.tokenizer.vocab_size).fit(book.ids)
        seconds = time.perf_counter() - begin
        draw, context = np.random.default_rng(0), list(book.tokenizer.encode(PROMPT))
        for _ in range(SHOWN):
            chances = counter.probabilities(context[-order:])
            context.append(int(draw.choice(len(chances), p=chances / chances.sum())))
        said = book.tokenizer.decode(context)[len(PROMPT) :]
        return {"nats": counter.loss(book.held_out), "seconds": seconds, "sample": said}

    return measure


def trained(
    book: Book, config: RunConfig, tokenizer: Tokenizer, ids: np.ndarray
) -> tuple[LanguageModel, dict[str, Any]]:
    """Train a model and return it with what is known of it, but for its loss."""
    model = build_model(config)
    acceleration, _ = pick_acceleration("cpu", config)
    training = config.training
    length = getattr(config.model, "context_length", 64)
    # The MLP reads 8 characters a place, and windows are as long as everybody else's.
    batches = Batches(ids, training.batch_size, max(length, 64), training.seed)
    state = TrainState.fresh(model, training)
    begin = time.perf_counter()
    steps = train(state, batches, training, accelerate(model, acceleration))
    for _ in tqdm(steps, total=training.steps, desc=config.preset):
        pass
    seconds = time.perf_counter() - begin
    tokens = training.steps * training.batch_size * max(length, 64)
    pieces = complete_text(model, tokenizer, PROMPT, SHOWN, Sampling(temperature=0.8))
    return model.eval(), {
        "parameters": model.parameter_count(),
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "sample": "".join(pieces),
    }


def learned(
    name: str, model: Callable[..., ModelConfig] | None
) -> Callable[[Book], dict[str, Any]]:
    """Return the rung of a preset, or of its training with another model."""

    def measure(book: Book) -> dict[str, Any]:
        config = preset(name, book.tokenizer.vocab_size)
        if model is not None:
            other = model(vocab_size=book.tokenizer.vocab_size)
            config = dataclasses.replace(config, model=other)
        made, facts = trained(book, config, book.tokenizer, book.ids)
        if name == "gpt-modern":
            book.modern = made
        return {"nats": evaluate(made, book.held_out).nats_per_token, **facts}

    return measure


def gpt_v2(book: Book) -> dict[str, Any]:
    """GPT-v2's kind of tokens: byte pairs, learned from the first part alone."""
    tokenizer = BPETokenizer.train([book.first], vocab_size=1024)
    ids, held_out = (tokenizer.encode_to_numpy(part) for part in (book.first, book.last))
    config = preset("gpt-v2-mini", tokenizer.vocab_size, steps=1000)
    # A token is 2.6 characters, so that a step sees more of the book: it is soon known by heart.
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dropout=0.1))
    model, facts = trained(book, config, tokenizer, ids)
    nats = evaluate(model, held_out).nats_per_token * (len(held_out) - 1)
    return {"nats": nats / (len(book.last) - len(tokenizer.decode(held_out[:1]))), **facts}


def ppmd(book: Book) -> dict[str, Any]:
    """7-Zip's method for text, which goes on counting while it predicts."""
    begin = time.perf_counter()
    nats = ppmd_loss(book.first.encode(), book.last.encode(), len(book.last))
    return {"nats": nats, "seconds": time.perf_counter() - begin}


def coded(mode: str) -> Callable[[Book], dict[str, Any]]:
    """Return the rung of notebook 19 that scores a character first, and then learns it."""

    def measure(book: Book) -> dict[str, Any]:
        model = None
        if mode == "mixed":
            if book.modern is None:
                learned("gpt-modern", None)(book)
            model = book.modern
        begin = time.perf_counter()
        given = {"model": model, "tokenizer": book.tokenizer, "primer": book.first}
        *_, end = tqdm(compressing(book.last.encode(), mode=mode, **given), desc=mode)
        assert end.data is not None
        nats = 8 * len(end.data) * math.log(2) / len(book.last)
        return {"nats": nats, "seconds": time.perf_counter() - begin}

    return measure


def _unfinished(**parts: Any) -> Callable[..., ModelConfig]:
    return lambda vocab_size: UnfinishedConfig(vocab_size=vocab_size, **parts)


ONE = {"n_layer": 1, "n_head": 1}
LADDER: dict[str, Rung] = {
    "uniform": Rung(says="knowing nothing", lesson=4, measure=uniform),
    "unigram": Rung(says="how frequent each character is", lesson=4, measure=counted(1)),
    "bigram": Rung(says="counted: the last character", lesson=4, measure=counted(2)),
    "bigram learned": Rung(
        says="the same, learned by gradient descent", lesson=5, measure=learned("bigram", None)
    ),
    "one head": Rung(
        says="one attention head", lesson=7, measure=learned("gpt-v1", _unfinished(**ONE))
    ),
    "four heads": Rung(
        says="four heads beside each other",
        lesson=7,
        measure=learned("gpt-v1", _unfinished(n_layer=1)),
    ),
    "MLP": Rung(
        says="an MLP on the last 8 characters",
        lesson=6,
        measure=learned("gpt-v1", lambda vocab_size: MLPConfig(vocab_size=vocab_size)),
    ),
    "+ MLP": Rung(
        says="four heads, then an MLP",
        lesson=8,
        measure=learned("gpt-v1", _unfinished(n_layer=1, with_mlp=True)),
    ),
    "+ residuals": Rung(
        says="four such layers that add to a stream",
        lesson=8,
        measure=learned("gpt-v1", _unfinished(with_mlp=True, stream=True)),
    ),
    "+ norms": Rung(
        says="the same with norms: the block", lesson=8, measure=learned("gpt-v1", GPTConfig)
    ),
    "n-gram": Rung(says="counted: the last 5 characters", lesson=4, measure=counted(BEST_ORDER)),
    "GPT-v1": Rung(says="rotary positions", lesson=9, measure=learned("gpt-v1", None)),
    "GPT-v2": Rung(says="byte pairs for characters", lesson=16, measure=gpt_v2),
    "modern GPT": Rung(says="today's parts, Muon", lesson=22, measure=learned("gpt-modern", None)),
    "PPMd": Rung(says="7-Zip's best for text, counts on", lesson=19, measure=ppmd),
    "counters, adaptive": Rung(
        says="better counters, mixed, count on", lesson=19, measure=coded("counters")
    ),
    "mixed, adaptive": Rung(
        says="modern GPT and counters, both learn on", lesson=19, measure=coded("mixed")
    ),
}


def measured(names: list[str]) -> dict[str, Any]:
    """Measure what is missing of these rungs, and return the record."""
    record: dict[str, Any] = {
        "what": "held-out loss of every guesser of the course, last tenth of the default book",
        "measured_by": "python benchmarks/ladder.py",
        "machine": machine_card(),
        "threads": torch.get_num_threads(),
        "prompt": PROMPT,
        "rungs": {},
    }
    if RECORD.exists():
        record = json.loads(RECORD.read_text(encoding="utf-8"))
    missing = [name for name in names if name not in record["rungs"]]
    book = Book() if missing else None
    for name in missing:
        assert book is not None
        found = LADDER[name].measure(book)
        nats = found.pop("nats")
        bits = nats / math.log(2)
        per_byte = bits * len(book.last) / len(book.last.encode())
        record["rungs"][name] = {
            "nats_per_character": round(nats, 4),
            "bits_per_character": round(bits, 4),
            "bits_per_byte": round(per_byte, 4),
            **{key: round(v, 1) if isinstance(v, float) else v for key, v in found.items()},
        }
        ordered = {key: record["rungs"][key] for key in LADDER if key in record["rungs"]}
        record["rungs"] = ordered
        write_atomically(RECORD, json.dumps(record, indent=1).encode() + b"\n")
        print(f"{name:<20}{nats:.4f} nats", flush=True)
    return record


def table(record: dict[str, Any]) -> str:
    """Return the ladder as Markdown, from the worst guesser to the best."""
    lines = [
        "| guesser | what it is | lesson | nats | bits | parameters | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in _best_last(record):
        size = f"{row['parameters']:,}" if "parameters" in row else ""
        seconds = f"{row['seconds']:,.0f}" if "seconds" in row else ""
        rung = LADDER[name]
        lines.append(
            f"| {name} | {rung.says} | {rung.lesson:02} | {row['nats_per_character']:.3f} | "
            f"{row['bits_per_character']:.3f} | {size} | {seconds} |"
        )
    return "\n".join(lines)


def _best_last(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(record["rungs"].items(), key=lambda item: -item[1]["nats_per_character"])


def draw(record: dict[str, Any]) -> Figure:
    """Return the ladder as bars, from the worst guesser at the top to the best one."""
    rungs = {name: row["nats_per_character"] for name, row in _best_last(record)}
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    learns = [name for name, row in record["rungs"].items() if "parameters" in row]
    colors = [COLORS["blue"] if name in learns else COLORS["grey"] for name in rungs]
    ax.barh(list(rungs), list(rungs.values()), color=colors)
    for place, nats in enumerate(rungs.values()):
        ax.text(nats, place, f" {nats:.2f}", va="center")
    ax.set(xlim=(0, 4.9), xlabel="held-out loss (nats per character), less is better")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return figure


def filled(readme: str, record: dict[str, Any]) -> str:
    """Return README's text with the ladder's table between its two marks."""
    before, rest = readme.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table(record)}\n{END}{after}"


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description="Climb the ladder of the course.")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--only", nargs="+", choices=list(LADDER), default=list(LADDER))
    asked = parser.parse_args()
    keep_freed_memory("cpu")
    record = measured([] if asked.draw else asked.only)
    with own_style():
        write_atomically(PICTURE, png_bytes(draw(record)))
    write_atomically(README, filled(README.read_text(encoding="utf-8"), record).encode())


if __name__ == "__main__":
    main()
