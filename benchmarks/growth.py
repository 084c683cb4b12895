"""What ten things cost, in this checkout and in an older one beside it.

    python benchmarks/growth.py                    this checkout
    python benchmarks/growth.py --before PATH      an older one, too; about twenty minutes in all
    python benchmarks/growth.py --only 5 8         some of the rows
    python benchmarks/growth.py --json FILE        the numbers, to keep

Everything runs in processes of its own, commands as they are typed. What lies elsewhere in the
older checkout is imported from where it lay. The machine should be idle: rows 2, 3 and 10 need two
cores.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
WORDS = "It was a dark evening and nobody in the house had heard the bell number {} . "
# Where a name lies: in this checkout, or in an older one.
NAMES = """
import json, os, resource, statistics, sys, time
from pathlib import Path
def named(name, *modules):
    from importlib import import_module
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            pass
    raise SystemExit(f"no {name}")
"""


class Tree:
    """A checkout whose commands and modules are tried.

    Args:
        root: Its folder.
        work: Where everything that is made goes.
    """

    def __init__(self, root: Path, work: Path) -> None:
        self.root, self.work = root, work
        work.mkdir()
        data = os.environ.get("BHUSHGPT_DATA") or str(HERE / "datasets" / "cache")
        self.environment = os.environ | {"PYTHONPATH": str(root), "BHUSHGPT_DATA": data}
        self.environment.pop("GOMP_SPINCOUNT", None)  # each does of it what it does

    def start(self, *words: Any, module: str = "bhushgpt", **more: Any) -> subprocess.Popen[str]:
        """Start a command."""
        line = [sys.executable, "-u", "-m", module, *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | more
        return subprocess.Popen(line, cwd=self.work, env=self.environment, **pipes)

    def run(self, *words: Any, module: str = "bhushgpt") -> tuple[float, float, str]:
        """Run a command to its end; return its seconds, its largest memory in MiB, and its text."""
        begin = time.perf_counter()
        process = self.start(*words, module=module)
        assert process.stdout
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise RuntimeError(f"{words[0]}: {said.strip()[-300:]}")
        return seconds, usage.ru_maxrss / 1024, said

    def script(self, code: str, *words: Any) -> Any:
        """Run a few lines that print JSON last, and return what they print."""
        line = [sys.executable, "-c", NAMES + code, *map(str, words)]
        done = subprocess.run(
            line, cwd=self.work, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-300:])
        return json.loads(done.stdout.strip().splitlines()[-1])


def english(file: Path, megabytes: float) -> Path:
    """Write lines of English, all different."""
    if not file.exists():
        lines = int(megabytes * 1e6 / 84)
        file.write_text("".join(f"{WORDS.format(n)}\n" for n in range(lines)))
    return file


def evaluation(tree: Tree) -> dict[str, float]:
    """1: what is judged of a text of 5 MB after training the small model."""
    text, run = english(tree.work / "five.txt", 5), tree.work / "evaluated"
    tree.run("train", "--preset", "gpt-v1", "--corpus", text, "--steps", 1, "--out", run)
    seconds, memory, _ = tree.run("evaluate", "--run", run)
    return {"evaluate, text of 5 MB (s)": seconds, "its memory (MiB)": memory}


def one_file(tree: Tree) -> dict[str, float]:
    """2: one file of lines of 256 MB, prepared with GPT-2's tokens by one worker and by two."""
    file = tree.work / "pages.jsonl"
    with file.open("w") as stream:
        for page in range(34_000):
            text = " ".join(WORDS.format(page * 97 + n) for n in range(90))
            stream.write(json.dumps({"text": text}) + "\n")
    speeds = []
    for workers in (1, 2):
        out = tree.work / f"tokens{workers}"
        words = ("prepare", file, "--tokenizer", "gpt2", "--out", out, "--workers", workers)
        speeds.append(file.stat().st_size / 1e6 / tree.run(*words)[0])
    return {
        "one JSONL, 1 worker (MB/s)": speeds[0],
        "2 workers (times as fast)": speeds[1] / speeds[0],
    }


def busy(tree: Tree) -> dict[str, float]:
    """3: training the two smallest models by themselves, and beside a busy core."""
    corpus, found = english(tree.work / "small.txt", 0.1), {}
    for name, steps in (("gpt-v1-smoke", 300), ("gpt-v1", 25)):
        words = ("train", "--preset", name, "--corpus", corpus, "--steps", steps)
        words = (*words, "--precision", "float32")
        speeds: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(6):
            beside = bool(turn % 2)
            out = tree.work / f"{name}-{turn}"
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if beside else None
            try:
                tree.run(*words, "--out", out)
            finally:
                if other:
                    other.kill()
                    other.wait()
            lines = (out / "history.jsonl").read_text().splitlines()
            times = [json.loads(line)["seconds"] for line in lines]
            speeds[beside].append(1000 * statistics.mean(times[5:]))
        idle = statistics.median(speeds[False])
        found[f"a step of {name}, idle (ms)"] = idle
        found[f"{name} beside a busy core (times)"] = statistics.median(speeds[True]) / idle
    return found


def start(tree: Tree) -> dict[str, float]:
    """4: the shortest commands."""
    run = tree.work / "short"
    text = english(tree.work / "small.txt", 0.1)
    tree.run("train", "--preset", "gpt-v1-smoke", "--corpus", text, "--steps", 2, "--out", run)
    complete = ("complete", "--run", run, "--prompt", "It", "--tokens", 5)
    best = [min(tree.run(*words)[:2] for _ in range(3)) for words in (("--help",), complete)]
    return {
        "--help (s)": best[0][0],
        "its memory (MiB)": best[0][1],
        "complete, 5 tokens (s)": best[1][0],
    }


OPEN = """
open_text = named("open_text", "bhushgpt.runs.training_text", "bhushgpt.texts")
open_text("little.txt")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
begin = time.perf_counter()
text = open_text(sys.argv[1])
print(json.dumps([(peak() - before) / os.path.getsize(sys.argv[1]), time.perf_counter() - begin]))
"""


def text(tree: Tree) -> dict[str, float]:
    """5: the memory of a text."""
    english(tree.work / "little.txt", 0.01)
    found = tree.script(OPEN, english(tree.work / "forty.txt", 40))
    return {"text of 40 MB (bytes a byte)": found[0], "opening it (s)": found[1]}


EMPTY = """
import resource, bhushgpt, torch
named("Train", "bhushgpt.commands.train", "bhushgpt.training_commands")
torch.nn.Linear(8, 8)(torch.ones(2, 8)).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
UNITS = {"s": 1, "minutes": 60, "hours": 3600, "days": 86400}


def forecasts(tree: Tree) -> dict[str, float]:
    """6: what is said of a run before it starts, divided by what came."""
    empty = tree.script(EMPTY)
    found = {}
    for name, steps in (("gpt-v1", 400), ("gpt-v1-large", 12)):
        words = ("train", "--preset", name, "--steps", steps, "--out", tree.work / f"said-{name}")
        process, begin, said = tree.start(*words), 0.0, ""
        assert process.stdout
        for line in process.stdout:
            if not begin and line.startswith("model"):
                said, begin = line, time.perf_counter()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode, took = os.waitstatus_to_exitcode(status), time.perf_counter() - begin
        match = re.search(r"about ([\d,.]+) ([KMG])iB .* about ([\d,.]+) (\w+) at", said)
        if process.returncode or not match:
            raise RuntimeError(said or "no forecast")
        memory, seconds = (float(match[n].replace(",", "")) for n in (1, 3))
        memory *= {"K": 1 / 1024, "M": 1, "G": 1024}[match[2]]
        taken = usage.ru_maxrss / 1024 - (0 if "with Python" in said else empty)
        found[f"{name}: memory said / taken"] = memory / taken
        found[f"{name}, {steps} steps: time said / taken"] = seconds * UNITS[match[4]] / took
    return found


SAVE = """
import dataclasses, inspect, tempfile, torch
from bhushgpt.presets import build_model, preset
from bhushgpt.tokenizers import CharTokenizer
from bhushgpt.training import TrainState
places = ("bhushgpt.storage.checkpoints", "bhushgpt.checkpoints")
save, load = named("save_checkpoint", *places), named("load_checkpoint", *places)
tokenizer = CharTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + 20000))))
config = preset("gpt-v2", tokenizer.vocab_size)
config = dataclasses.replace(config, model=dataclasses.replace(config.model, n_layer=6))
state = TrainState.fresh(build_model(config), config.training)
for weight in state.model.parameters():
    weight.grad = torch.zeros_like(weight)
state.optimizer.step()
alone = {"optimizer": False} if "optimizer" in inspect.signature(load).parameters else {}
def seconds(action):
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin
with tempfile.TemporaryDirectory(dir=".") as folder:
    saving = [seconds(lambda: save(Path(folder), state, config, tokenizer)) for _ in range(3)]
    loading = [seconds(lambda: load(Path(folder), **alone)) for _ in range(3)]
print(json.dumps([statistics.median(saving), statistics.median(loading)]))
"""


def checkpoints(tree: Tree) -> dict[str, float]:
    """7: saving a model of 59 million weights, and loading it to use it."""
    saving, loading = tree.script(SAVE)
    return {"saving 59 M weights (s)": saving, "loading them to write (s)": loading}


BEYOND = """
import inspect, torch
from bhushgpt.generation import Sampling, generate
from bhushgpt.kv_cache import Cached
from bhushgpt.presets import build_model, preset
torch.set_num_threads(1)
model = build_model(preset("gpt-v1", 79))
quick = {"exact": False} if "exact" in inspect.signature(Cached).parameters else {}
found = []
for rows in (1, 64):
    ids, times, begin = torch.zeros(rows, 1, dtype=torch.long), [], time.perf_counter()
    for _ in generate(Cached(model, **quick), ids, 192, Sampling(seed=1)):
        now = time.perf_counter()
        times.append(now - begin)
        begin = now
    found.append(statistics.mean(times[72:]) / statistics.mean(times[8:56]))
print(json.dumps(found))
"""


def beyond(tree: Tree) -> dict[str, float]:
    """8: a token beyond the context, compared with one within."""
    alone, many = tree.script(BEYOND)
    return {"a token beyond the context (times)": alone, "of 64 texts at once (times)": many}


def history(tree: Tree) -> dict[str, float]:
    """9: the first step after a run goes on, compared with the others."""
    run, corpus = tree.work / "goes-on", english(tree.work / "small.txt", 0.1)
    words = ("--preset", "gpt-v1-smoke", "--corpus", corpus, "--steps", 8000, "--out", run)
    process = tree.start("train", *words, stdout=subprocess.DEVNULL)
    file = run / "history.jsonl"
    while process.poll() is None and (not file.exists() or file.read_text().count("\n") < 5000):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.wait()
    done = len(file.read_text().splitlines())
    tree.run("train", "--resume", run)
    times = [json.loads(line)["seconds"] for line in file.read_text().splitlines()]
    return {"first step of a resumed run (times)": times[done] / statistics.median(times)}


def processes(tree: Tree) -> dict[str, float]:
    """10: two processes on one machine, beside one with two threads."""
    speeds, words = [], ("train", "--preset", "gpt-v1", "--steps", 60, "--precision", "float32")
    for number, together in enumerate(("", "ddp", "fsdp")):
        out = ("--out", tree.work / f"world{number}")
        if together:
            two = ("--nproc-per-node", 2, "-m", "bhushgpt", *words, *out, "--strategy", together)
            tree.run(*two, module="torch.distributed.run")
        else:
            tree.run(*words, *out)
        lines = (tree.work / f"world{number}" / "history.jsonl").read_text().splitlines()
        speeds.append(statistics.median(json.loads(line)["tokens_per_second"] for line in lines))
    return {
        "two processes, ddp (times)": speeds[1] / speeds[0],
        "two processes, fsdp (times)": speeds[2] / speeds[0],
    }


ROWS: list[Callable[[Tree], dict[str, float]]] = [
    *(evaluation, one_file, busy, start, text, forecasts, checkpoints, beyond, history, processes)
]


def tried(row: Callable[[Tree], dict[str, float]], tree: Tree) -> dict[str, float | str]:
    """Return what a row measures, or in its place what went wrong."""
    begin = time.perf_counter()
    try:
        found: dict[str, float | str] = dict(row(tree))
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        found = {row.__name__: f"failed: {str(error).splitlines()[-1] if str(error) else error}"}
    print(f"  {row.__name__}, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure the rows that were asked for, and print them."""
    parser = argparse.ArgumentParser(description="What ten things cost here, and in an older tree.")
    parser.add_argument("--before", type=Path, metavar="PATH", help="an older checkout")
    parser.add_argument("--only", type=int, nargs="+", metavar="ROW", help="some of the ten rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    options = parser.parse_args()
    trees = {"before": options.before.resolve()} if options.before else {}
    trees["now"] = HERE
    chosen = [(n, row) for n, row in enumerate(ROWS, 1) if n in (options.only or range(1, 11))]
    found: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = {name: Tree(root, Path(folder, name)) for name, root in trees.items()}
        for number, row in chosen:
            for name, tree in made.items():
                for what, value in tried(row, tree).items():
                    found.setdefault(f"{number:>2}  {what}", {})[name] = value
    print("".join([f"{'':<54}", *(f"{name:>12}" for name in trees)]))
    for what, values in found.items():
        cells = (values.get(name, "") for name in trees)
        shown = (f"{cell:>12,.2f}" if isinstance(cell, float) else f"{cell:>12}" for cell in cells)
        print(f"{what:<54}{''.join(shown)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
