"""The command `prepare`: a corpus by name, files or folders become prepared tokens.

Lesson: notebook 17.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from tqdm import tqdm
from tyro.conf import Positional, arg

from bhushgpt.commands.flags import DECIMAL, FOLDER, WHOLE
from bhushgpt.data import (
    OPENWEBTEXT,
    FoundCorpus,
    Plan,
    PreparedTokens,
    ShardDone,
    find_openwebtext,
    find_shards,
    is_done,
    make_plan,
    named_text,
    prepare,
    printable,
)
from bhushgpt.environment import command, written_out
from bhushgpt.errors import UserError
from bhushgpt.tokenizers import ByteTokenizer, Tokenizer, load_tokenizer

LITTLE = 10_000_000  # bytes, of which a hundredth is too little to be judged by


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Tokenise a corpus once, into files that training reads; stopped, the same command goes on."""

    what: Positional[
        Annotated[tuple[str, ...], arg(metavar="openwebtext|NAME|PATH...", help_behavior_hint="")]
    ]
    """openwebtext, a name from `corpora`, or files and folders: tar, xz, parquet, jsonl, 7z, txt"""
    tokenizer: Annotated[str, arg(metavar="gpt2|bytes|FILE")]
    """gpt2, bytes, or a tokenizer's JSON file."""
    out: Annotated[Path, FOLDER]
    """Folder for the tokens."""
    shards: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: all)")] = None
    """Only so many shards, from the first on."""
    workers: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: all cores)")] = None
    """Processes that work at the same time."""
    held_out: Annotated[
        float | None, DECIMAL, arg(help_behavior_hint="(default: 0.01, of less than 10 MB 0.1)")
    ] = None
    """Share of the documents that is never trained on."""
    text_field: Annotated[str, arg(metavar="NAME")] = "text"
    """Field of a line of JSON, or column of a table, that holds the text."""
    separator: Annotated[
        str, arg(metavar="TEXT", help_behavior_hint="(default: a line <|endoftext|>)")
    ] = ""
    """What stands between two documents of a text file; \\n\\n is a blank line."""
    encoding: Annotated[str, arg(metavar="NAME")] = "utf-8"
    """What plain text files are written in, such as cp1251, shift_jis or utf-16."""

    def run(self) -> int:
        """Prepare, with a bar that says how long it still takes; return the exit status."""
        source = self._source()
        if source.notice:
            print(source.notice, flush=True)
        tokenizer = named_tokenizer(self.tokenizer)
        finds = find_shards(
            source.places,
            without=self.out.absolute(),
            field=self.text_field,
            separator=self.separator.replace("\\n", "\n"),
            encoding=self.encoding,
        )
        little = sum(shard.size for shard in finds.shards) < LITTLE
        usual = 0.1 if little else 0.01
        plan = make_plan(
            finds,
            tokenizer,
            source.title,
            held_out=usual if self.held_out is None else self.held_out,
            shards=self.shards,
        )
        workers = _cores() if self.workers is None else self.workers
        if is_done(plan, self.out):
            print("It is done already.")
        for _ in with_bar(prepare(plan, tokenizer, self.out, workers), plan):
            pass
        print(describe_tokens(PreparedTokens.open(self.out)))
        return 0

    def _source(self) -> FoundCorpus:
        if not self.what:
            raise UserError("Say what to prepare: openwebtext, a name from `corpora`, or files.")
        names = [name for name in self.what if is_name(name)]
        if names and len(self.what) > 1:
            raise UserError(f"{names[0]!r} is a name; it cannot be given beside other things.")
        if not names:
            places = [written_out(place) for place in self.what]
            title = ", ".join(printable(place.absolute().name) for place in places)
            return FoundCorpus(title, places)
        if names[0] != OPENWEBTEXT:
            return named_text(names[0])
        source = None
        for news in find_openwebtext(self.shards):
            if isinstance(news, FoundCorpus):
                source = news
            elif sys.stderr.isatty():
                print(f"\r{news}   ", end="", file=sys.stderr, flush=True)
        assert source is not None
        return source


def is_name(what: str) -> bool:
    """Return whether a word is meant as the name of a corpus, not as a file or folder.

    >>> is_name("find_openwebtext"), is_name("my/pages"), is_name("pages.tar")
    (True, False, False)
    """
    return not (written_out(what).exists() or "/" in what or "\\" in what or "." in what)


def named_tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer that was asked for.

    Raises:
        UserError: If it can be had from nowhere, or the file holds none.
    """
    if name == "gpt2":
        from bhushgpt.bpe import BPETokenizer

        return cast(Tokenizer, BPETokenizer.from_gpt2())
    if name == "bytes":
        return ByteTokenizer()
    file = written_out(name)
    if not file.is_file():
        raise UserError(
            f"There is no tokenizer {name!r}: type gpt2, bytes, or the path of a tokenizer's file."
        )
    return load_tokenizer(file)


def with_bar(steps: Iterator[ShardDone], plan: Plan) -> Iterator[ShardDone]:
    """Pass the shards through and show documents a second and the time left on stderr."""
    form = "{percentage:3.0f}%|{bar:20}| {desc}, {remaining} left"
    total = sum(shard.size for shard in plan.shards)
    shards = documents = new = 0
    with tqdm(total=total, bar_format=form, mininterval=0.5) as bar:
        bar.set_description_str(f"shard 0/{len(plan.shards)}", refresh=False)
        for step in steps:
            shards, documents = shards + 1, documents + step.documents
            new += 0 if step.before else step.documents
            seconds = bar.format_dict["elapsed"]
            speed = f", {new / seconds:,.0f} documents/s" if seconds and new else ""
            words = f"shard {shards}/{len(plan.shards)}, {documents:,} documents{speed}"
            bar.set_description_str(words, refresh=False)
            size = plan.shards[step.number].size
            if step.before:  # not part of the speed
                bar.initial += size
            bar.update(size)
            yield step


def _cores() -> int:
    """Return how many cores may be used; `devices.usable_cores` would load torch."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def describe_tokens(tokens: PreparedTokens) -> str:
    """Return what is in a folder of prepared tokens, and what was left out, for people."""
    facts = tokens.manifest
    documents, text_bytes = facts["documents"], facts["text_bytes"]
    lines = [f"{tokens.title}: {sum(documents.values()):,} documents in {tokens.folder}"]
    for part, file in (("train", tokens.train), ("held_out", tokens.held_out)):
        lines.append(
            f"  {part.replace('_', ' '):<9}{documents[part]:>10,} documents"
            f"{len(file):>16,} tokens{text_bytes[part]:>18,} bytes of text"
        )
    lines += [f"  left out, {count:,} times: it {why}" for why, count in facts["skipped"].items()]
    lines += [f"  not used: {name}: {why}" for name, why in facts["refused"].items()]
    train = command("train", "--preset", "gpt-v2", "--corpus", tokens.folder)
    lines.append(f"Train on it: {train}")
    return "\n".join(lines)
