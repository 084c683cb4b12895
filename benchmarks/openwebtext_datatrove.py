"""The steps of `python -m bhushgpt prepare` as a datatrove pipeline, for a cluster.

    pip install datatrove
    python benchmarks/openwebtext_datatrove.py PATH... --tokenizer gpt2 --out DIR --tasks 4

datatrove shares the shards out among tasks, keeps a list of the tasks that are done, and starts
them on this machine or, with `SlurmPipelineExecutor` in the place of `LocalPipelineExecutor`, as
jobs of a cluster; OUT must then lie on a disk that all of them see. Between reading and writing
there is room for datatrove's own steps, such as a quality filter or a removal of near duplicates.
Without such a step the result is that of `prepare`, to the byte.
"""

import argparse
import itertools
from collections import Counter
from pathlib import Path

from datatrove.data import Document as Page
from datatrove.data import DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from bhushgpt.commands.prepare import named_tokenizer
from bhushgpt.data import (
    TOKENIZER,
    Damaged,
    Document,
    DocumentEncoder,
    Plan,
    clean_preparation,
    find_shards,
    finish_preparation,
    make_plan,
    read_record,
    read_shard,
    start_preparation,
    store_pages,
)
from bhushgpt.tokenizers import load_tokenizer


class Notes:
    """What the reader saw of each shard, for the writer at the other end of the pipeline."""

    def __init__(self) -> None:
        self.skipped: dict[int, Counter[str]] = {}
        self.refused: dict[int, str] = {}


class ReadShards(PipelineStep):
    """Yields the pages of every shard that falls to a task."""

    name = "BhushGPT shards"
    type = "reader"

    def __init__(self, out: Path, notes: Notes) -> None:
        super().__init__()
        self.out, self.notes = out, notes

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        """Read shard number rank, rank + world_size, ..."""
        plan = Plan.load(self.out)
        for number in range(rank, len(plan.shards), world_size):
            skipped = self.notes.skipped[number] = Counter()
            try:
                # A damaged shard gives nothing, so it is read to its end before a page goes on.
                pages = list(read_shard(plan.shards[number], plan.limits, skipped))
            except Damaged as error:
                skipped.clear()
                self.notes.refused[number] = str(error)
                continue
            for place, page in enumerate(pages):
                label = f"{plan.shards[number].name}/{place}"
                yield Page(text=page.text, id=label, metadata={"shard": number})


class WriteTokens(PipelineStep):
    """Writes the token files and the record of every shard of a task."""

    name = "BhushGPT tokens"
    type = "writer"

    def __init__(self, out: Path, notes: Notes) -> None:
        super().__init__()
        self.out, self.notes = out, notes

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Store the documents, shard by shard, and pass them on."""
        plan = Plan.load(self.out)
        encoder = DocumentEncoder(load_tokenizer(self.out / TOKENIZER))
        left = set(range(rank, len(plan.shards), world_size))
        for number, group in itertools.groupby(data, lambda page: page.metadata["shard"]):
            kept = list(group)
            pages = [Document(page.text, page.text.encode("utf-8")) for page in kept]
            store_pages(self.out, plan, encoder, number, pages, self.notes.skipped[number])
            left.discard(number)
            yield from kept
        for number in sorted(left):  # nothing came of it, and that too must be known
            skipped = self.notes.skipped.get(number, Counter())
            why = self.notes.refused.get(number)
            store_pages(self.out, plan, encoder, number, (), skipped, why)


class JoinTokens(PipelineStep):
    """Joins the shards and writes the manifest; a single task, after all others."""

    name = "BhushGPT join"
    type = "writer"

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        """Join what all tasks have left."""
        plan, tokenizer = Plan.load(self.out), load_tokenizer(self.out / TOKENIZER)
        found = [read_record(self.out, n, plan.vocab_size) for n in range(len(plan.shards))]
        records = [record for record in found if record]
        if len(records) < len(plan.shards):
            raise RuntimeError(f"{len(plan.shards) - len(records)} shards are not done yet.")
        finish_preparation(plan, tokenizer, self.out, records)
        clean_preparation(self.out)
        yield from ()


def pipeline(plan: Plan, out: Path, tasks: int, workers: int) -> LocalPipelineExecutor:
    """Return the executor whose `run()` does all of it: `tasks` readers, then one that joins."""
    start_preparation(plan, load_tokenizer(out / TOKENIZER), out)
    notes = Notes()
    logs = str(out) + ".datatrove"
    tokenise = LocalPipelineExecutor(
        [ReadShards(out, notes), WriteTokens(out, notes)],  # filters go in between
        tasks=tasks,
        workers=workers,
        logging_dir=f"{logs}/tokens",
    )
    return LocalPipelineExecutor(
        [JoinTokens(out)], tasks=1, logging_dir=f"{logs}/join", depends=tokenise
    )


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Prepare tokens with datatrove.")
    parser.add_argument("places", nargs="+", help="files and folders, as for `prepare`")
    parser.add_argument("--tokenizer", required=True, help="gpt2, bytes or a file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--held-out", type=float, default=0.01)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    tokenizer = named_tokenizer(given.tokenizer)
    title = ", ".join(Path(place).name for place in given.places)
    plan = make_plan(find_shards(given.places), tokenizer, title, held_out=given.held_out)
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(given.out / TOKENIZER)
    pipeline(plan, given.out.absolute(), given.tasks, given.workers).run()


if __name__ == "__main__":
    main()
