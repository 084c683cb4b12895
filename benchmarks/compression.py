"""How far a book can be squeezed: a GPT, counters, and both, beside what everybody uses.

    python benchmarks/compression.py                          the default book
    python benchmarks/compression.py --text war-and-peace     another, with no setting changed
    python benchmarks/compression.py --only zlib xz ppmd      some rows

A GPT learns the first nine tenths and then compresses the last tenth, in each of the modes of
`bhushgpt.compression`; the mode `counters` also takes the whole book, from nothing. Every file is
decompressed again and compared, with another number of threads set. Training is saved every 100
steps below the runs folder, and goes on from there. What is found is printed and written as JSON.
"""

import argparse
import bz2
import json
import lzma
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyppmd
import torch
from tqdm import tqdm

from bhushgpt.batches import Batches
from bhushgpt.compression import MODES, Progress, compressing, decompressing
from bhushgpt.corpus import load_text, split_text
from bhushgpt.environment import project_root, runs_folder
from bhushgpt.evaluation import evaluate
from bhushgpt.files import write_atomically
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.optimizers import make_optimizer
from bhushgpt.presets import RunConfig
from bhushgpt.speed import AcceleratedLoss, pick_acceleration
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import step_randomness
from bhushgpt.training_config import TrainingConfig, learning_rate

# The settings, the same for every text.
SIZES: dict[str, Any] = {"context_length": 128, "n_layer": 5, "n_head": 5, "n_embd": 160}
TRAINING = TrainingConfig(
    steps=2400,
    batch_size=32,
    learning_rate=3e-3,
    warmup_steps=60,
    schedule="wsd",
    decay_steps=720,
    weight_decay=0.0,
)
MUON_RATE, MUON_DECAY = 0.02, 0.1


def make_optimizers(model: GPT) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices between the layers, and AdamW for all other weights.

    Muon makes every direction of a step equally long. Source: Jordan et al., "Muon: an optimizer
    for hidden layers in neural networks", 2024.
    """
    matrices = [weight for weight in model.blocks.parameters() if weight.dim() == 2]
    inside = {id(weight) for weight in matrices}
    others = torch.nn.ParameterList(p for p in model.parameters() if id(p) not in inside)
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=MUON_DECAY, momentum=0.95),
        make_optimizer(
            others,
            learning_rate=TRAINING.learning_rate,
            betas=TRAINING.betas,
            weight_decay=TRAINING.weight_decay,
        ),
    ]


def trained(name: str, ids: np.ndarray, vocab_size: int) -> tuple[GPT, float]:
    """Return the GPT after all its steps, and the seconds that they took."""
    torch.manual_seed(TRAINING.seed)
    config = GPTConfig(vocab_size=vocab_size, dropout=0.1, position="rotary", **SIZES)
    model = config.build()
    optimizers = make_optimizers(model)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    highest = [group["lr"] for group in groups]
    file = runs_folder("compression") / f"{name}.pt"
    step, seconds = 0, 0.0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        step, seconds = saved["step"], saved["seconds"]
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
    run = RunConfig(preset="compression", model=config, training=TRAINING)
    loss_of = AcceleratedLoss(pick_acceleration("cpu", run)[0])
    batches = Batches(ids, TRAINING.batch_size, config.context_length, TRAINING.seed)
    begin = time.perf_counter() - seconds
    with tqdm(total=TRAINING.steps, initial=step, desc="training") as bar:
        while step < TRAINING.steps:
            share = learning_rate(step, TRAINING) / TRAINING.learning_rate
            for group, rate in zip(groups, highest, strict=True):
                group["lr"] = rate * share
            model.train()
            with step_randomness(TRAINING.seed, step, torch.device("cpu")):
                loss = loss_of(model, *batches[step])
                model.zero_grad(set_to_none=True)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), TRAINING.max_grad_norm)
            for optimizer in optimizers:
                optimizer.step()
            step += 1
            bar.update()
            bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
            if step % 100 == 0 or step == TRAINING.steps:
                torch.save(
                    {
                        "step": step,
                        "seconds": time.perf_counter() - begin,
                        "model": model.state_dict(),
                        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    },
                    file,
                )
    return model.eval(), torch.load(file, weights_only=True)["seconds"]


def driven(steps: Iterator[Progress], what: str) -> tuple[bytes, float, float]:
    """Return what the last step holds, the seconds before the first one, and those since."""
    begin, first, data = time.perf_counter(), 0.0, b""
    with tqdm(desc=what, unit=" characters", unit_scale=True) as bar:
        for step in steps:
            first = first or time.perf_counter()
            bar.total = step.total
            bar.update(step.done - bar.n)
            data = step.data or b""
    return data, first - begin, time.perf_counter() - first


def ours(text: str, mode: str, **given: Any) -> dict[str, Any]:
    """Compress a text, decompress it, compare, and return the row of it."""
    data = text.encode()
    primer = given.pop("primer", "")
    file, before, seconds = driven(compressing(data, mode=mode, primer=primer, **given), mode)
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    back, *_ = driven(decompressing(file, primer=primer, **given), f"{mode}, back")
    torch.set_num_threads(threads)
    if back != data:
        raise SystemExit(f"{mode}: what came back is not what was compressed")
    return {
        "bytes": len(file),
        "bits_per_character": 8 * len(file) / len(text),
        "seconds_before": before,  # the counters read the primer
        "seconds": seconds,
        "characters_per_second": len(text) / seconds,
        "characters_per_second_with_primer": len(text) / (before + seconds),
        "exact": True,
    }


def ppmd(data: bytes, order: int) -> bytes:
    """Return the data as PPMd's variant H, 7-Zip's, writes it."""
    encoder = pyppmd.Ppmd7Encoder(order, 256 << 20)
    return encoder.encode(data) + encoder.flush()


def known_programs() -> dict[str, Callable[[bytes], bytes]]:
    """Return the compressors of everyday life, each with its best settings for text."""
    programs: dict[str, Callable[[bytes], bytes]] = {
        "zlib": lambda data: zlib.compress(data, 9),
        "bz2": lambda data: bz2.compress(data, 9),
        "xz": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
        "ppmd": lambda data: min((ppmd(data, order) for order in (6, 8, 10, 12)), key=len),
    }
    try:
        import pylzma

        programs["lzma"] = lambda data: pylzma.compress(data, dictionary=26, algorithm=2)
    except ImportError:
        print("pylzma is not there: no row for LZMA.")
    return programs


def program_bytes() -> int:
    """Return the size of the package as a zip file: what has to be shipped beside a model."""
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted((project_root() / "bhushgpt").rglob("*.py")):
            archive.write(file, file.relative_to(project_root()))
    return len(whole.getvalue())


def main() -> None:
    """Measure, print and write."""
    known = known_programs()
    parser = argparse.ArgumentParser(description="Compress a book in every way")
    parser.add_argument("--text", default="sherlock", help="a text by name, or a file")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    parser.add_argument("--only", nargs="+", choices=[*known, *MODES], default=[*known, *MODES])
    flags = parser.parse_args()

    text = load_text(flags.text).text
    first, last = split_text(text)
    found: dict[str, Any] = {
        "text": Path(flags.text).stem,
        "characters": len(text),
        "last_characters": len(last),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "program_bytes": program_bytes(),
        "last_tenth": {},
        "whole": {},
    }

    def row(part: str, name: str, numbers: dict[str, Any]) -> None:
        found[part][name] = numbers
        speed = numbers.get("characters_per_second")
        speed = f"{speed:>9,.0f} characters/s" if speed else ""
        print(f"{part:10} {name:9} {numbers['bits_per_character']:.4f} bits{speed}", flush=True)
        if flags.json:
            write_atomically(flags.json, json.dumps(found, indent=1).encode() + b"\n")

    for name in [name for name in flags.only if name in known]:
        whole, before = (len(known[name](part.encode())) for part in (text, first))
        row("whole", name, {"bytes": whole, "bits_per_character": 8 * whole / len(text)})
        # What the last tenth costs after the first nine.
        rest = whole - before
        row("last_tenth", name, {"bytes": rest, "bits_per_character": 8 * rest / len(last)})
    modes = [mode for mode in MODES if mode in flags.only]
    if "counters" in modes:
        row("last_tenth", "counters", ours(last, "counters", primer=first))
        row("whole", "counters", ours(text, "counters"))
    modes = [mode for mode in modes if mode != "counters"]
    if not modes:
        return
    tokenizer = CharTokenizer.from_text(text)
    ids, held_out = (np.array(tokenizer.encode(part)) for part in (first, last))
    model, seconds = trained(Path(flags.text).stem, ids, tokenizer.vocab_size)
    found["training"] = {"steps": TRAINING.steps, "seconds": seconds, **SIZES}
    found["model_bytes"] = sum(weight.nbytes for weight in model.parameters())
    found["held_out_nats"] = evaluate(model, held_out).nats_per_token
    for mode in modes:
        # Alone and adaptive, the primer is only what stands before the text.
        given = {"model": model, "tokenizer": tokenizer, "primer": first}
        numbers = ours(last, mode, **given)
        with_model = 8 * (numbers["bytes"] + found["model_bytes"]) / len(last)
        row("last_tenth", mode, {**numbers, "bits_per_character_with_model": with_model})


if __name__ == "__main__":
    main()
