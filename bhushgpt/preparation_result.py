"""The end of a preparation: two token files, and a manifest that says what is in them.

Lesson: notebook 13.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from bhushgpt.errors import UserError
from bhushgpt.joining import join
from bhushgpt.preparation_plan import Plan
from bhushgpt.prepared_tokens import PARTS, write_manifest
from bhushgpt.shard_tokens import Record
from bhushgpt.token_files import TokenFile
from bhushgpt.tokenizers import Tokenizer


def finish(plan: Plan, tokenizer: Tokenizer, folder: Path, records: list[Record]) -> None:
    """Join what the shards gave and write the manifest.

    Raises:
        UserError: If one of the two sides has no document.

    Lesson: notebook 13.
    """
    totals = {key: _sums(records, key) for key in ("documents", "text_bytes", "tokens")}
    if not all(totals["documents"].values()):
        raise UserError(_one_sided(plan, records, totals["documents"]))
    files = {}
    for part in PARTS:
        joined = TokenFile(join(folder, part, records, tokenizer), tokenizer)
        found = {"tokens": len(joined), "sha256": joined.fingerprint()}
        files[joined.path.name] = {"bytes": joined.path.stat().st_size} | found
    skipped = _skipped(plan, records)
    refused = plan.refused | {r["shard"]: r["refused"] for r in records if r["refused"]}
    facts: dict[str, Any] = {
        "title": plan.title,
        "tokenizer": {"digest": tokenizer.digest, "vocab_size": tokenizer.vocab_size},
        "files": files,
        "documents": totals["documents"],
        "text_bytes": totals["text_bytes"],
        "held_out": plan.held_out,
        "shards": len(plan.shards),
        "skipped": dict(sorted(skipped.items())),
        "refused": refused,
        "plan": plan.digest,
    }
    write_manifest(folder, facts)


def _sums(records: list[Record], key: str) -> dict[str, int]:
    return {part: sum(record[key][part] for record in records) for part in PARTS}


def _skipped(plan: Plan, records: list[Record]) -> Counter[str]:
    total: Counter[str] = Counter(plan.skipped)
    for record in records:
        total.update(record["skipped"])
    return total


def _one_sided(plan: Plan, records: list[Record], documents: dict[str, int]) -> str:
    total = sum(documents.values())
    if not total:
        reasons = list(plan.refused.values()) + [r["refused"] for r in records if r["refused"]]
        skipped = _skipped(plan, records)
        reasons += [f"{count:,} times: it {why}" for why, count in skipped.items()]
        return f"No document of {plan.title} can be used: {'; '.join(reasons[:5])}."
    side = "held out" if documents["train"] else "left to train on"
    return (
        f"Of the {total:,} documents of {plan.title} none is {side} at a share of "
        f"{plan.held_out:g}. Take more documents or another --held-out, and a new folder."
    )
