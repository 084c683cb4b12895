"""The command that shows the learner's passport: `progress`.

Lesson: notebook 17.
"""

from dataclasses import dataclass

from bhushgpt.exercises.passport import progress


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Show which exercises you have solved, and which one comes next."""

    def run(self) -> int:
        """Print the passport; return the exit status."""
        print(progress())
        return 0
