"""The commands that say what there is: `corpora` and `info`.

Lesson: notebook 17.
"""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from bhushgpt.commands.flags import CORPUS
from bhushgpt.corpus import load_text
from bhushgpt.environment import memory_size
from bhushgpt.sources import corpora


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """List the texts that can be named: title, source, licence."""

    fetch: Annotated[str | None, CORPUS, arg(metavar="NAME", help_behavior_hint="")] = None
    """Get this one now, so that it is there without a network later."""

    def run(self) -> int:
        """Print the registry, or fetch one text; return the exit status."""
        if self.fetch is not None:
            corpus = load_text(self.fetch)
            print(f"{corpus.title}: {len(corpus.text):,} characters, from {corpus.source}")
            return 0
        for name, entry in corpora().items():
            print(f"{name}\n  {entry.title}, {entry.author}\n  licence: {entry.licence}")
            for source in entry.sources:
                print(f"  from: {source.address}")
        print("\nAny UTF-8 text file works, too: --corpus my.txt")
        return 0


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what this machine is: devices, memory, number types, versions."""

    def run(self) -> int:
        """Print a few lines that belong into every bug report; return the exit status."""
        from bhushgpt.devices import KINDS, abilities, best_kind, describe_device

        best = best_kind()
        for kind in ("cpu",) if abilities(best).host else ("cpu", best):
            card = describe_device(kind)
            mark = "  <- used by --device auto" if kind == best else ""
            print(f"{kind:<8}{card.name}, {memory_size(card.memory_bytes)}{mark}")
            print(f"        {card.cores} cores, computes in {', '.join(card.dtypes)}")
        card = describe_device("cpu")
        print(f"python  {card.python}\ntorch   {card.torch}, {card.threads} threads")
        print(f"numpy   {card.numpy}")
        missing = [kind for kind in KINDS if kind not in ("cpu", best)]
        print(f"absent  {', '.join(missing)}")
        return 0
