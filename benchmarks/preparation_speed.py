"""How fast `prepare` is beside the tokenizer alone, and how much memory it takes.

    python benchmarks/preparation_speed.py            speed on one core, from .xz to token files
    python benchmarks/preparation_speed.py --memory   peak memory of the command on a large input

The pages are OpenWebText's where BHUSHGPT_DATA has an archive of it, else the stand-in's. Speed is
in bytes of text per second of processor time, so that other programs on the machine matter little;
the two are measured in turn, and the median counts.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from bhushgpt.bpe import BPETokenizer
from bhushgpt.data import (
    DocumentEncoder,
    FoundCorpus,
    Plan,
    UnpackingLimits,
    find_openwebtext,
    find_shards,
    make_plan,
    read_shard,
    tokenize_shard,
)


def archive() -> Path:
    """Return an archive of pages."""
    source = [news for news in find_openwebtext(1) if isinstance(news, FoundCorpus)][-1]
    print(f"{source.title}: {source.places[0].name}")
    return source.places[0]


def speed(place: Path, repeats: int) -> None:
    """Print both speeds and what share of the tokenizer's own is left."""
    tokenizer = BPETokenizer.from_gpt2()
    plan = make_plan(find_shards([place]), tokenizer, "pages")
    pages = [
        page for shard in plan.shards for page in read_shard(shard, UnpackingLimits(), Counter())
    ]
    size = sum(len(page.data) for page in pages)
    encoder, alone, whole = DocumentEncoder(tokenizer), [], []
    library = tokenizer._encoder._library  # tiktoken itself, with no line of ours in between
    for _ in range(repeats):
        begin = time.process_time()
        for page in pages:
            library.encode_ordinary(page.text)
        alone.append(size / (time.process_time() - begin) / 1e6)
        whole.append(size / _prepared(plan, encoder) / 1e6)
    one, other = statistics.median(alone), statistics.median(whole)
    print(f"{len(pages):,} pages, {size:,} bytes of text, {repeats} rounds")
    print(f"tiktoken alone   {one:5.1f} MB/s  ({min(alone):.1f} to {max(alone):.1f})")
    print(f"prepare, from xz {other:5.1f} MB/s  ({min(whole):.1f} to {max(whole):.1f})")
    print(f"{other / one:.0%} of the tokenizer's own speed")


def _prepared(plan: Plan, encoder: DocumentEncoder) -> float:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        for number in range(len(plan.shards)):
            tokenize_shard(Path(folder), plan, encoder, number)
        return time.process_time() - begin


def memory(place: Path, copies: int, workers: int) -> None:
    """Print the largest sum of the memory of the command and its workers."""
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.tar"
        _repeat(place, large, copies)
        words = [sys.executable, "-m", "bhushgpt", "prepare", str(large), "--tokenizer", "gpt2"]
        words += ["--out", f"{folder}/out", "--workers", str(workers)]
        process = subprocess.Popen(words)
        family, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            try:
                members = [family, *family.children(recursive=True)]
                peak = max(peak, sum(member.memory_info().rss for member in members))
            except psutil.Error:  # one of them has just ended
                pass
            time.sleep(0.1)
    print(f"{workers} workers: at most {peak / 2**20:.0f} MiB in all processes together")


def _repeat(place: Path, large: Path, copies: int) -> None:
    """Write an archive with the same shards many times, under different names."""
    with tarfile.open(place) as outer, tarfile.open(large, "w") as writer:
        shards = [outer.extractfile(member) for member in outer if member.isfile()]
        data = [shard.read() for shard in shards if shard]
        for number in range(copies * len(data)):
            member = tarfile.TarInfo(f"openwebtext/urlsf_subset00-{number}_data.xz")
            member.size = len(data[number % len(data)])
            writer.addfile(member, io.BytesIO(data[number % len(data)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--copies", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.memory:
        memory(archive(), given.copies, given.workers)
    else:
        speed(archive(), given.repeats)
