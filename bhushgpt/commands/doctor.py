"""The command that says what is wrong with the machine or with a run: `doctor`.

A bug report asks for what it prints, so it survives everything that it may have to report: it loads
neither torch nor the parts that read runs before it needs them.

Lesson: notebook 17.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bhushgpt.commands.flags import FOLDER
from bhushgpt.diagnosis import (
    Finding,
    check_archives,
    check_book,
    check_cache,
    check_card,
    check_compiler,
    check_free_disk,
    check_free_memory,
    check_kernel,
    check_libraries,
    check_names,
    check_processor,
    check_python,
    check_results,
    check_settings,
    check_torch,
    total,
    without_names,
)

MACHINE: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_torch,
    check_libraries,
    check_processor,
    check_free_memory,
    check_card,
    check_results,
    check_compiler,
    check_kernel,
    check_free_disk,
    check_cache,
    check_book,
    check_archives,
    check_settings,
    check_names,
)
# What these look at, torch tells them.
BY_TORCH = (check_processor, check_free_memory, check_card, check_results, check_compiler)


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check this machine, and a run if one is named; a bug report asks for what it prints."""

    run_folder: Annotated[Path | None, FOLDER, arg(name="run", help_behavior_hint="")] = None
    """Folder of a run to look at."""

    def run(self) -> int:
        """Print a line for each thing looked at; 1 if something is broken, else 0."""
        found: list[Finding] = []
        for finding in self._findings():
            print(finding, flush=True)  # one by one: compiling takes a while
            found.append(finding)
        print(f"\n{total(found)}")
        return 1 if any(finding.mark == "broken" for finding in found) else 0

    def _findings(self) -> Iterator[Finding]:
        blind = False
        for check in MACHINE:
            if blind and check in BY_TORCH:
                continue
            found = examined(check)
            blind = blind or (check is check_torch and found[0].mark == "broken")
            yield from found
        if blind:
            run = " and the run" if self.run_folder else ""
            text = f"processor, memory, card, results, compiler{run}: as soon as PyTorch works."
            yield Finding("look", "skipped", text)
        elif self.run_folder is not None:
            from bhushgpt.commands.run_checks import check_run

            yield from examined(check_run, self.run_folder)


def examined(check: Callable[..., Finding | Iterable[Finding]], *arguments: Path) -> list[Finding]:
    """Return what a check finds; one that fails itself is a finding, too, and stops no other.

    >>> def check_moon():
    ...     raise OSError("out of reach")
    >>> print(*examined(check_moon))
    broken  moon         this check itself failed (OSError: out of reach); please report it.
    """
    try:
        found = check(*arguments)
    except Exception as error:
        reason = without_names(f"{type(error).__name__}: {error}".partition("\n")[0])
        text = f"this check itself failed ({reason}); please report it."
        return [Finding("broken", check.__name__.removeprefix("check_"), text)]
    return [found] if isinstance(found, Finding) else list(found)
