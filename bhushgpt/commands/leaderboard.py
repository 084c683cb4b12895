"""The command `leaderboard`: records that anybody can check.

Lesson: notebook 17.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from bhushgpt.commands.flags import DECIMAL, FOLDER
from bhushgpt.environment import command
from bhushgpt.errors import UserError
from bhushgpt.runs import TRACKS, Entry, enter, entries, verify

Run = Annotated[Path, FOLDER]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """List the board's records, enter runs, or verify an entry by training it anew."""

    action: Positional[Literal["list", "enter", "verify"]] = "list"
    """What to do."""
    name: Annotated[Positional[str], arg(metavar="[ENTRY]", help_behavior_hint="")] = ""
    """The entry's name."""
    runs: Annotated[tuple[Run, ...], arg(help_behavior_hint="")] = field(default_factory=tuple)
    """To enter: the folders of at least three runs that differ in their seed alone."""
    track: Annotated[str, arg(metavar="|".join(TRACKS))] = "data"
    """To enter: what it competes in."""
    limit: Annotated[float | None, DECIMAL, arg(help_behavior_hint="")] = None
    """To enter: minutes on the track time, bytes on the track bytes."""
    by: Annotated[str, arg(metavar="TEXT", help_behavior_hint="")] = ""
    """To enter: who you are."""

    def run(self) -> int:
        """Do it and print what came of it; return the exit status."""
        if self.action == "list":
            print(board(entries()))
            return 0
        if not self.name:
            typed = command("leaderboard", self.action, "NAME")
            raise UserError(f"Name the entry: {typed}")
        if self.action == "enter":
            file = enter(self.name, self.runs, track=self.track, limit=self.limit, by=self.by)
            again = command("leaderboard", "verify", self.name or "NAME")
            print(f"{file} is written. Next:\n  {again}")
            return 0
        for line in verify(self.name):
            print(line, flush=True)
        print(f"{self.name} is verified.")
        return 0


def board(found: dict[str, Entry]) -> str:
    """Return the board as a table, a block for each track."""
    blocks = []
    for track, says in TRACKS.items():
        lines = [f"{track}: {says}"]
        for name, entry in found.items():
            if entry.track == track:
                limit = "" if entry.limit is None else f"{entry.limit:,.0f}"
                lines.append(
                    f"  {limit:>12}  {entry.mean:.4f} +- {entry.spread:.4f} nats  {name} by "
                    f"{entry.by}: {entry.preset}, {entry.steps:,} steps on {entry.corpus}, "
                    f"{len(entry.runs)} seeds, {entry.machine}"
                )
        blocks.append("\n".join(lines if len(lines) > 1 else [*lines, "  no entry yet"]))
    return "\n\n".join(blocks)
