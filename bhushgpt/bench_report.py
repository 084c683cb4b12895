"""A benchmark for people: one table, the ratios to the peers, warnings.

Lesson: notebook 16.
"""

from bhushgpt.bench_bpe import NAIVE, ONE_THREAD, BPEMeasured
from bhushgpt.bench_jobs import Job
from bhushgpt.bench_limits import SHIPPED
from bhushgpt.bench_peers import HUGGING_FACE
from bhushgpt.bench_plan import OURS
from bhushgpt.bench_record import (
    BenchRecord,
    float32_gain,
    share,
    speed,
    spread,
    warnings_of,
)
from bhushgpt.bench_workers import Measured
from bhushgpt.timing import format_seconds

BPE_HEAD = ("byte pairs", "who", "settings", "MB/s", "spread", "seconds")
HEAD = ("what", "who", "settings", "tokens/s", "spread", "share", "set-up", "peak GiB")
MEMORY_TOKENS = 4096


def limit_lines(record: BenchRecord) -> list[str]:
    """Return the machine's limits, a line each.

    Lesson: notebook 16.
    """
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
    """Return the table, a line for each row, widths as the contents need them.

    Lesson: notebook 16.
    """
    return _aligned([HEAD, *(_cells(row, record) for row in record.rows)])


def bpe_table_lines(record: BenchRecord) -> list[str]:
    """Return the table of byte-pair training and encoding; no line if it was not measured.

    Lesson: notebook 16.
    """
    return _aligned([BPE_HEAD, *map(_bpe_cells, record.bpe)]) if record.bpe else []


def _bpe_cells(row: BPEMeasured) -> tuple[str, ...]:
    what = f"{row.task}, {row.text_bytes / 1e6:.1f} MB"
    if not row.seconds:
        return what, row.who, "", "-", "", row.trouble or "not measured"
    # The naive trainer stops early, so its speed would say nothing.
    rate = "" if row.who == NAIVE else f"{row.megabytes_per_second:,.3g}"
    return what, row.who, f"{row.merges:,} merges", rate, f"{spread(row):.0%}", f"{row.median:,.3g}"


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
        return what, job.who, job.settings, "-", "", "", "", row.trouble or "not measured"
    setup = "" if row.setup_seconds is None else format_seconds(row.setup_seconds)
    peak = "" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.2f}"
    numbers = (f"{speed(row):,.0f}", f"{spread(row):.0%}", f"{share(row, record):.0%}")
    return what, job.who, job.settings, *numbers, setup, peak


def ratio_lines(record: BenchRecord) -> list[str]:
    """Return how many times faster ours is than a peer in the same run, a line each.

    Lesson: notebook 16.
    """
    lines = []
    for model in ("A", "B", "C"):
        theirs = _one(record, "training", HUGGING_FACE, model, tuned=False)
        for number, compiled in (("bfloat16", False), ("bfloat16", True), ("float32", False)):
            wanted = {"precision": number, "dropout": 0.0, "compiled": compiled}
            ours = _one(record, "training", OURS, model, **wanted)
            how = f"{number}, compiled" if compiled else number
            lines += _ratio(ours, theirs, f"training {model}, {how} against as shipped")
    for dropout in (0.0, 0.1):
        equal = {"precision": "bfloat16", "dropout": dropout, "compiled": False}
        ours, theirs = (_one(record, "training", who, "A", **equal) for who in (OURS, HUGGING_FACE))
        lines += _ratio(ours, theirs, f"training A, both bfloat16 and dropout {dropout:g}")
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
    """Return the peak of memory of the largest step, or None if it was not measured.

    Lesson: notebook 16.
    """
    for row in record.rows:
        job: Job = row.job
        if job.model == "C" and job.tokens_per_call == MEMORY_TOKENS and row.peak_bytes:
            return (
                f"C at {MEMORY_TOKENS:,} tokens a step: {row.peak_bytes / 2**30:.2f} GiB at most, "
                "Python and torch included"
            )
    return None


def report(record: BenchRecord) -> str:
    """Return everything that a person wants to read of a benchmark.

    Lesson: notebook 16.
    """
    parts = [limit_lines(record), table_lines(record), bpe_table_lines(record)]
    if ratios := ratio_lines(record):
        parts.append(["Speed of bhushgpt, as a multiple in the same run:", *ratios])
    if peak := peak_line(record):
        parts.append([peak])
    parts.append(warnings_of(record))
    return "\n\n".join("\n".join(part) for part in parts if part)
