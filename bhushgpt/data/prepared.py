"""A folder of prepared tokens: what a model is trained on, what it is judged on, and the proof.

`prepare` writes the folder, its `manifest.json` last of all:

    train.tokens      the documents to learn from, one row of ids
    held_out.tokens   documents that are in no training example
    tokenizer.json    what the ids mean
    manifest.json     sizes, fingerprints, counts, and what was left out and why

Lesson: notebook 14.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypedDict

import msgspec

from bhushgpt.data.token_files import TokenFile
from bhushgpt.environment import command, written_out
from bhushgpt.errors import UserError
from bhushgpt.files import sha256, write_atomically
from bhushgpt.tokenizers import Tokenizer, load_tokenizer

FORMAT = 1
KIND = "prepared tokens"
MANIFEST_FILE = "manifest.json"
TOKENIZER = "tokenizer.json"
PARTS = ("train", "held_out")
WORK = "parts"  # the folder of an unfinished preparation, in the folder of the tokens


class _Label(TypedDict):
    kind: str
    format: int


class TokensManifest(TypedDict):
    """What `manifest.json` says; a count of documents, bytes or tokens is there for each part."""

    format: int
    kind: str
    digest: str
    """One fingerprint of all ids and of the tokenizer."""
    title: str
    tokenizer: dict[str, str | int]
    files: dict[str, dict[str, str | int]]
    documents: dict[str, int]
    text_bytes: dict[str, int]
    held_out: float
    shards: int
    skipped: dict[str, int]
    """What was left out: reason to number."""
    refused: dict[str, str]
    """Files that could not be used: name to reason."""
    plan: str
    """The digest of the plan that made it."""


@dataclass(frozen=True, kw_only=True)
class PreparedTokens:
    """Two rows of token ids with everything that is needed to use them rightly."""

    folder: Path
    title: str
    """What the text is, for people."""
    tokenizer: Tokenizer
    train: TokenFile
    """The ids to learn from."""
    held_out: TokenFile
    """The ids of the documents that are held out."""
    held_out_bytes: int
    """UTF-8 bytes of the held-out text: what bits per byte are divided by."""
    digest: str
    """One fingerprint of all ids and of the tokenizer."""
    manifest: TokensManifest
    """All that `manifest.json` says."""

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Return what a folder holds, checked by header, size and tokenizer.

        Raises:
            UserError: If the folder is none of `prepare`'s, is unfinished, or does not hold what
                its manifest says.
        """
        folder = written_out(folder)
        manifest = read_tokens_manifest(folder)
        tokenizer = load_tokenizer(folder / TOKENIZER)
        if tokenizer.digest != manifest["tokenizer"]["digest"]:
            raise UserError(
                f"{folder / TOKENIZER} is not the tokenizer that these tokens were prepared with. "
                "Put the right one back, or prepare the text again."
            )
        files = {part: TokenFile(folder / f"{part}.tokens", tokenizer) for part in PARTS}
        for part, file in files.items():
            expected = manifest["files"][f"{part}.tokens"]["tokens"]
            if len(file) != expected:
                raise UserError(
                    f"{file.path.name} has {len(file):,} tokens; the manifest beside it says "
                    f"{expected:,}. One of the two is of another preparation: prepare again."
                )
        return cls(
            folder=folder,
            title=manifest["title"],
            tokenizer=tokenizer,
            held_out_bytes=manifest["text_bytes"]["held_out"],
            digest=manifest["digest"],
            manifest=manifest,
            **files,
        )

    def verify(self) -> None:
        """Read every byte and compare it with the fingerprints of the manifest.

        Raises:
            UserError: If a file is not what was written.
        """
        for part, file in zip(PARTS, (self.train, self.held_out), strict=True):
            if file.fingerprint() != self.manifest["files"][f"{part}.tokens"]["sha256"]:
                raise UserError(
                    f"{file.path.name} is damaged: its ids are not those that were written. "
                    "Prepare the text again."
                )


def write_tokens_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest; with it the folder is finished.

    Args:
        folder: Where the token files lie.
        facts: What a `TokensManifest` has, without format, kind and digest.
    """
    prints = [facts["files"][f"{part}.tokens"]["sha256"] for part in PARTS]
    digest = sha256(" ".join([*prints, facts["tokenizer"]["digest"]]).encode())
    whole = {"format": FORMAT, "kind": KIND, "digest": digest} | facts
    text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / MANIFEST_FILE, text.encode("utf-8"))


def read_tokens_manifest(folder: Path) -> TokensManifest:
    """Return what the manifest of a folder says.

    Raises:
        UserError: If there is none, or it cannot be used.
    """
    file = folder / MANIFEST_FILE
    if not file.is_file():
        reason = (
            "its preparation is not finished: run the same `prepare` command again to go on"
            if is_tokens_folder(folder)
            else "make one with: "
            + command("prepare", "NAME", "--tokenizer", "gpt2", "--out", "DIR")
        )
        raise UserError(f"{folder} is not a folder of prepared tokens ({reason}).")
    try:
        data = file.read_bytes()
        label = msgspec.json.decode(data, type=_Label)
        if (label["kind"], label["format"]) != (KIND, FORMAT):
            raise UserError(
                f"{file} is of kind {label['kind']!r}, format {label['format']}; this version of "
                f"bhushgpt reads {KIND!r}, format {FORMAT}. Prepare the text again."
            )
        return msgspec.json.decode(data, type=TokensManifest)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UserError(f"{file} is no manifest of prepared tokens, or it is damaged.") from None


def is_tokens_folder(folder: Path) -> bool:
    """Return whether a folder holds prepared tokens, finished or not."""
    return (folder / MANIFEST_FILE).exists() or (folder / WORK).is_dir()
