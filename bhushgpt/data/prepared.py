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
from typing import Any, Self

from bhushgpt.data.token_files import TokenFile
from bhushgpt.errors import UserError
from bhushgpt.files import sha256, write_atomically
from bhushgpt.tokenizers import Tokenizer, load_tokenizer

FORMAT = 1
PREPARED_MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
PARTS = ("train", "held_out")


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
    """The ids of the documents that are kept for the examination."""
    held_out_bytes: int
    """UTF-8 bytes of the held-out text: what bits per byte are divided by."""
    digest: str
    """One fingerprint of all ids and of the tokenizer."""
    manifest: dict[str, Any]
    """All that `manifest.json` says: documents, text bytes, what was skipped, what was refused."""

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Return what a folder holds, checked by header, size and tokenizer.

        Raises:
            UserError: If the folder is none of `prepare`'s, is unfinished, or does not hold what
                its manifest says.
        """
        folder = Path(folder).expanduser()
        manifest = read_prepared_manifest(folder)
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


def write_prepared_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest; with it the folder is finished.

    Args:
        folder: Where the token files lie.
        facts: title, tokenizer, files, documents, text_bytes and what else is to be told.
    """
    prints = [facts["files"][f"{part}.tokens"]["sha256"] for part in PARTS]
    digest = sha256(" ".join([*prints, facts["tokenizer"]["digest"]]).encode())
    text = json.dumps({"format": FORMAT, "kind": "prepared tokens", "digest": digest} | facts)
    text = json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / PREPARED_MANIFEST, text.encode("utf-8"))


def is_prepared(folder: str | Path) -> bool:
    """Return whether the folder holds finished prepared tokens."""
    try:
        read_prepared_manifest(Path(folder).expanduser())
    except UserError:
        return False
    return True


def read_prepared_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a folder says.

    Raises:
        UserError: If there is none, or it cannot be used.
    """
    file = folder / PREPARED_MANIFEST
    if not file.is_file():
        work = folder / "parts"
        reason = (
            "its preparation is not finished: run the same `prepare` command again to go on"
            if work.is_dir()
            else "make one with: python -m bhushgpt prepare NAME --tokenizer gpt2 --out DIR"
        )
        raise UserError(f"{folder} is not a folder of prepared tokens ({reason}).")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        kind, version = manifest["kind"], manifest["format"]
        needed = (manifest["files"], manifest["tokenizer"]["digest"], manifest["title"])
        needed += (manifest["digest"], manifest["text_bytes"]["held_out"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{file} is no manifest of prepared tokens, or it is damaged.") from None
    if kind != "prepared tokens" or version != FORMAT:
        raise UserError(
            f"{file} is of kind {kind!r}, format {version}; this version of bhushgpt reads "
            f"'prepared tokens', format {FORMAT}. Prepare the text again."
        )
    return manifest
