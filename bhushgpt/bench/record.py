"""A benchmark as a file, as a table and as a picture.

A record holds the machine, its limits (what a perfect program could reach on it) and every time
that was read. Medians, spreads, shares and ratios are not stored: they follow from the times.

Lesson: notebook 13.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from bhushgpt import roofline
from bhushgpt.bench.jobs import HALF, MODELS, TRAINING_SHAPES, Job, bytes_per_token
from bhushgpt.bench.peers import HUGGING_FACE
from bhushgpt.bench.plan import OURS, half_type
from bhushgpt.bench.tokenizers import NAIVE, ONE_THREAD, BPEMeasured
from bhushgpt.bench.workers import Measured
from bhushgpt.cpu_settings import fast_float32_products, float32_products_as_shipped
from bhushgpt.devices import abilities, describe_device, has_tf32
from bhushgpt.environment import command, memory_size
from bhushgpt.errors import UserError
from bhushgpt.files import read_json, write_json
from bhushgpt.scaling import training_flops
from bhushgpt.timing import NOISY, Timing, format_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Limits = dict[str, dict[str, float]]  # kind of product -> what was multiplied -> FLOP/s
SHIPPED, QUICK, TF32 = "float32 as shipped", "float32", "tf32"


def measure_limits(
    device: str, *, quick: bool = False, progress: Callable[[str], object] = lambda line: None
) -> Limits:
    """Return kind of product -> what was multiplied -> FLOP/s, of the fastest repetition.

    "float32" is the best that true float32 products can do here, "float32 as shipped" what torch
    does without being told, where that is less. Each holds "large" (square matrices) and the wide
    layer of every model.
    """
    kinds = {QUICK: torch.float32}
    if fast_float32_products(device):
        kinds |= {SHIPPED: torch.float32}
    if has_tf32(device):
        kinds |= {TF32: torch.float32}
    half = half_type(device)
    if half in describe_device(device).dtypes:
        kinds |= {half: getattr(torch, half)}
    found = {}
    for kind, dtype in kinds.items():
        progress(f"matrix products, {kind}")
        before = torch.get_float32_matmul_precision() if kind == TF32 else None
        try:
            if before is not None:
                torch.set_float32_matmul_precision("high")
            if kind == SHIPPED:
                with float32_products_as_shipped():
                    found[kind] = _products(device, dtype, quick)
            else:
                found[kind] = _products(device, dtype, quick)
        finally:
            if before is not None:
                torch.set_float32_matmul_precision(before)
    return found


def _products(device: str, dtype: torch.dtype, quick: bool) -> dict[str, float]:
    sizes = (1024,) if quick else None
    rates = {"large": roofline.matmul_limit(device, dtype, sizes=sizes)}
    for name, (rows, tokens) in TRAINING_SHAPES.items():
        width = MODELS[name].n_embd
        shape = (rows * tokens, width, 4 * width)
        fastest = min(roofline.matmul_timing(*shape, device, dtype).seconds)
        rates[f"{name}: " + " x ".join(map(str, shape))] = roofline.matmul_flops(*shape) / fastest
    return rates


def best_of(first: Limits, second: Limits) -> Limits:
    """Return the higher of two measurements of the same limits, each product by itself.

    >>> best_of({"float32": {"large": 1.0}}, {"float32": {"large": 2.0}})
    {'float32': {'large': 2.0}}
    """
    return {
        kind: {what: max(rate, second.get(kind, {}).get(what, 0)) for what, rate in rates.items()}
        for kind, rates in first.items()
    }


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """Everything that one run of the benchmark found out."""

    label: str
    """The machine's name for people."""
    device: str
    """cpu, cuda or mps."""
    threads: int
    """CPU threads that torch used."""
    measured_by: str
    """The command, to be run again."""
    machine: dict[str, Any]
    """The card of `machine_card`, and the driver of a GPU."""
    limits: dict[str, dict[str, float]]
    """Kind of number -> which matrix product -> FLOP/s."""
    bytes_per_second: float
    """Read plus written in the device's memory."""
    rows: list[Measured]
    """The measurements, in their order."""
    bpe: list[BPEMeasured] = field(default_factory=list)
    """Byte-pair training and encoding; empty without peers."""
    format: Literal[2] = 2
    """Of the file."""

    def __post_init__(self) -> None:
        """Refuse what could not be reported: a table has a date, a limit, and a number or a reason.

        Raises:
            UserError: Naming the field.
        """
        wrong = [
            f"machine.{key} is missing" for key in ("date", "torch") if key not in self.machine
        ]
        if "large" not in self.limits.get("float32", {}):
            wrong.append("limits.float32.large is missing")
        for name, rows in (("rows", self.rows), ("bpe", self.bpe)):
            for number, row in enumerate(rows):
                if bool(row.seconds) == bool(row.trouble):
                    wrong.append(f"{name}[{number}] has neither times nor a reason, or both")
        if wrong:
            raise UserError(f"A benchmark record is not whole: {', '.join(wrong)}.")

    def save(self, path: Path) -> None:
        """Write the file."""
        write_json(path, self)

    def find(self, **wanted: Any) -> Measured | None:
        """Return the first row with numbers whose job has these values, or None."""
        for row in self.rows:
            if row.seconds and all(getattr(row.job, key) == v for key, v in wanted.items()):
                return row
        return None


def load_bench_record(path: Path) -> BenchRecord:
    """Return the record in a file.

    Raises:
        UserError: If it is none; it names the file and what is wrong.
    """
    try:
        return read_json(path, BenchRecord, deep=True)
    except UserError as error:
        raise UserError(f"{error} Measure again: {command('bench')}") from error


def speed(row: Measured) -> float:
    """Return the tokens per second of a row, from the median.

    >>> speed(Measured(Job(kind="prefill", who="x", model="B", tokens=50), seconds=[0.5, 0.5, 9]))
    100.0
    """
    return row.job.tokens_per_call / Timing(tuple(row.seconds)).median


def spread(row: Measured | BPEMeasured) -> float:
    """Return how far the times of a row differ, as a share of the median; 0 for a single one."""
    return Timing(tuple(row.seconds)).spread if len(row.seconds) > 1 else 0.0


def share(row: Measured, record: BenchRecord) -> float:
    """Return the share of the machine's limit: of its FLOP/s (MFU), or of its bandwidth."""
    if row.job.kind == "generation":
        return bytes_per_token(row.job) * speed(row) / row.job.rows / record.bytes_per_second
    flops = training_flops(MODELS[row.job.model], row.job.tokens)
    flops = flops if row.job.kind == "training" else flops / 3
    number = "float32" if row.job.precision == "int8" else row.job.precision
    limit = record.limits.get(number) or record.limits["float32"]
    return flops * speed(row) / limit["large"]


def warnings_of(record: BenchRecord) -> list[str]:
    """Return a sentence if rows differ by more than 20 %, as they do on a busy machine."""
    names = [(row, f"{row.job.model}, {row.job.who}") for row in record.rows]
    names += [(row, f"byte-pair {row.task}, {row.who}") for row in record.bpe]
    noisy = [(spread(row), name) for row, name in names if row.seconds and spread(row) > NOISY]
    if not noisy:
        return []
    most, worst = max(noisy)
    return [
        f"In {len(noisy)} of {len(names)} rows the times differ by more than {NOISY:.0%} "
        f"(up to {most:.0%}: {worst}). Something else used the machine: close other programs and "
        "measure again."
    ]


def float32_gain(record: BenchRecord) -> float:
    """Return how many times quicker the quicker float32 library is; 1 where torch takes it."""
    shipped = record.limits.get(SHIPPED)
    return record.limits["float32"]["large"] / shipped["large"] if shipped else 1.0


BPE_HEAD = ("byte pairs", "who", "settings", "MB/s", "spread", "seconds")
HEAD = ("what", "who", "settings", "tokens/s", "spread", "share", "set-up", "peak GiB")
MEMORY_TOKENS = 4096


def limit_lines(record: BenchRecord) -> list[str]:
    """Return the machine's limits, a line each."""
    lines = [
        f"{kind:<20}{rates['large'] / 1e9:9,.0f} GFLOP/s   "
        + ", ".join(f"{what} {rate / 1e9:,.0f}" for what, rate in rates.items() if what != "large")
        for kind, rates in record.limits.items()
    ]
    lines.append(f"{'memory':<20}{record.bytes_per_second / 1e9:9,.1f} GB/s")
    if SHIPPED in record.limits:
        lines.append(
            f"The quicker float32 library is {float32_gain(record):.1f} times as fast as the one "
            "that torch takes by itself; shares refer to the quicker one."
        )
    return lines


def table_lines(record: BenchRecord) -> list[str]:
    """Return the table, a line for each row, widths as the contents need them."""
    table = _aligned([HEAD, *(_cells(row, record) for row in record.rows)])
    return table + _missing((r.job.who, r.trouble) for r in record.rows if not r.seconds)


def bpe_table_lines(record: BenchRecord) -> list[str]:
    """Return the table of byte-pair training and encoding; no line if it was not measured."""
    if not record.bpe:
        return []
    table = _aligned([BPE_HEAD, *map(_bpe_cells, record.bpe)])
    return table + _missing((row.who, row.trouble) for row in record.bpe if not row.seconds)


def _bpe_cells(row: BPEMeasured) -> tuple[str, ...]:
    what = f"{row.task}, {row.text_bytes / 1e6:.1f} MB"
    if not row.seconds:
        return what, row.who, "", "-", "", ""
    rate, settings = f"{row.megabytes_per_second:,.3g}", f"{row.merges:,} merges"
    if row.who == NAIVE:  # it stops early, so that its speed would say nothing
        rate, settings = "", f"first {row.merges:,} merges, all pairs counted anew for each"
    return what, row.who, settings, rate, f"{spread(row):.0%}", f"{row.median:,.3g}"


def _missing(rows: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return why there is no number, a line for each reason, below a table that stays narrow."""
    why: dict[str, list[str]] = {}
    for who, trouble in rows:
        names = why.setdefault(trouble or "not measured", [])
        names += [] if who in names else [who]
    return [f"- {', '.join(names)}: {reason}" for reason, names in why.items()]


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _cells(row: Measured, record: BenchRecord) -> tuple[str, ...]:
    job = row.job
    what = f"{job.kind} {job.model}, {job.rows} x {job.tokens}"
    if not row.seconds:
        return what, job.who, job.settings, "-", "", "", "", ""
    setup = "" if row.setup_seconds is None else format_seconds(row.setup_seconds)
    peak = "" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.2f}"
    numbers = (f"{speed(row):,.0f}", f"{spread(row):.0%}", f"{share(row, record):.0%}")
    return what, job.who, job.settings, *numbers, setup, peak


def ratio_lines(record: BenchRecord) -> list[str]:
    """Return how many times faster ours is than a peer in the same run, a line each."""
    lines = []
    for model in ("A", "B", "C"):
        theirs = _one(record, "training", HUGGING_FACE, model, tuned=False)
        halves = [(number, compiled) for number in HALF for compiled in (False, True)]
        for number, compiled in (*halves, ("float32", False)):
            wanted = {"precision": number, "dropout": 0.0, "compiled": compiled}
            ours = _one(record, "training", OURS, model, **wanted)
            how = f"{number}, compiled" if compiled else number
            lines += _ratio(ours, theirs, f"training {model}, {how} against as shipped")
    for number, dropout in itertools.product(HALF, (0.0, 0.1)):
        equal = {"precision": number, "dropout": dropout, "compiled": False}
        ours, theirs = (_one(record, "training", who, "A", **equal) for who in (OURS, HUGGING_FACE))
        lines += _ratio(ours, theirs, f"training A, both {number} and dropout {dropout:g}")
    for model in ("A", "B", "C"):
        theirs = _one(record, "generation", HUGGING_FACE, model, rows=1)
        for ours in record.rows:
            job = ours.job
            if (job.kind, job.who, job.model, job.rows) == ("generation", OURS, model, 1):
                lines += _ratio(ours, theirs, f"generation {model}, {job.settings}")
    return lines + _bpe_lines(record)


def _one(record: BenchRecord, kind: str, who: str, model: str, **wanted: object) -> Measured | None:
    wanted = {"compiled": False, **wanted} if kind == "training" else wanted
    return record.find(kind=kind, who=who, model=model, **wanted)


def _ratio(ours: Measured | None, theirs: Measured | None, what: str) -> list[str]:
    if ours is None or theirs is None or not ours.seconds:
        return []
    return [f"{speed(ours) / speed(theirs):6.2f} x  {theirs.job.who}: {what}"]


def _bpe_lines(record: BenchRecord) -> list[str]:
    lines, ours = [], {row.task: row for row in record.bpe if row.who == OURS and row.seconds}
    for row in record.bpe:
        if row.who.startswith(OURS) or not row.seconds or row.task not in ours:
            continue
        ratio, own = row.median / ours[row.task].median, ours[row.task]
        what = f"byte-pair {row.task}"
        if row.who == NAIVE and row.merges < own.merges:  # a bound: it had not come further
            what += f" (at least: it had {row.merges:,} of {own.merges:,} merges)"
        elif row.task == "training" and row.who == ONE_THREAD:
            what += f" ({1 / ratio:.2f} times its time)"
        lines.append(f"{ratio:6.2f} x  {row.who}: {what}")
    return lines


def peak_line(record: BenchRecord) -> str | None:
    """Return the peak of memory of the largest step, or None if it was not measured."""
    for row in record.rows:
        job: Job = row.job
        if job.model == "C" and job.tokens_per_call == MEMORY_TOKENS and row.peak_bytes:
            whole = abilities(record.device).host  # of a card, only what torch holds there
            of = "Python and torch included" if whole else "held on the card by torch"
            peak = f"{memory_size(row.peak_bytes)} at most"
            return f"C at {MEMORY_TOKENS:,} tokens a step: {peak}, {of}"
    return None


def report(record: BenchRecord) -> str:
    """Return everything that a person wants to read of a benchmark."""
    parts = [limit_lines(record), table_lines(record), bpe_table_lines(record)]
    if ratios := ratio_lines(record):
        parts.append(["Speed of bhushgpt, as a multiple in the same run:", *ratios])
    if peak := peak_line(record):
        parts.append([peak])
    parts.append(warnings_of(record))
    return "\n\n".join("\n".join(part) for part in parts if part)


def bench_figure(record: BenchRecord) -> "tuple[Figure, str]":
    """Return a bar chart of the training rows, and its alt text."""
    # Here and not above: the numbers are measured and kept also where matplotlib does not load.
    from matplotlib.figure import Figure

    from bhushgpt.figures import COLORS

    models = sorted({row.job.model for row in _training(record)})
    rows = {name: [r for r in _training(record) if r.job.model == name] for name in models}
    heights = [0.6 + 0.28 * len(group) for group in rows.values()] or [1.0]
    fig = Figure(figsize=(9, sum(heights) + 0.6), layout="constrained")
    axes = fig.subplots(len(heights), 1, height_ratios=heights, squeeze=False)
    alt = [f"Bar charts of training speed on {record.label} ({record.device}), tokens per second."]
    for ax, (name, group) in zip(axes[:, 0], rows.items(), strict=False):
        group = sorted(group, key=speed)
        labels = [f"{row.job.who}, {row.job.settings}" for row in group]
        colours = [COLORS["blue"] if r.job.who == OURS else COLORS["grey"] for r in group]
        bars = ax.barh(labels, [speed(row) for row in group], color=colours)
        ax.bar_label(bars, [f" {speed(row):,.0f}" for row in group], fontsize=8)
        ax.set_title(f"model {name}", loc="left")
        ax.tick_params(axis="y", labelsize=8)
        ax.margins(x=0.12)
        best = group[-1]
        alt.append(
            f"Model {name}: from {speed(group[0]):,.0f} ({labels[0]}) to {speed(best):,.0f} "
            f"({labels[-1]})."
        )
    axes[-1, 0].set_xlabel("training tokens per second")
    return fig, " ".join(alt)


def _training(record: BenchRecord) -> list[Measured]:
    # One row for the memory, at another batch, is no bar beside the others.
    rows = [row for row in record.rows if row.job.kind == "training" and row.seconds]
    # Ours is measured anew beside each peer: one bar stands for all, the first one measured.
    first = {row.job: row for row in reversed(rows)}.values()
    return [row for row in first if not (row.job.model == "C" and row.job.tokens_per_call == 4096)]
