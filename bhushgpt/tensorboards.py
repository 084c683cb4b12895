"""The history of a run where TensorBoard finds it. TensorBoard is optional.

Lesson: notebook 16.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bhushgpt.errors import UserError

FOLDER = "tensorboard"
# What TensorBoard groups by is before the slash.
NAMES = {
    "loss": "loss/training",
    "held_out": "loss/held out",
    "learning_rate": "step/learning rate",
    "grad_norm": "step/gradient norm",
    "tokens_per_second": "speed/tokens per second",
    "mfu": "speed/share of the matmul limit",
}


class Board:
    """Writes a run's lines into its folder `tensorboard`.

    Args:
        folder: The run's folder.
        step: The step that the run goes on from; what was written after it is left out then.

    Raises:
        UserError: If TensorBoard is not installed.

    Lesson: notebook 16.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "--tensorboard needs the package tensorboard, which is not installed. Install it "
                "with: pip install tensorboard, or leave the flag out: history.jsonl holds the "
                "same numbers."
            ) from error
        self._writer = SummaryWriter(str(folder / FOLDER), purge_step=step + 1)

    def add(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of a line of the history."""
        for key, name in NAMES.items():
            if key in line:
                self._writer.add_scalar(name, line[key], line["step"])

    def add_text(self, step: int, text: str) -> None:
        """Write what the model wrote after a step, as it stands."""
        self._writer.add_text("sample", "    " + text.replace("\n", "\n    "), step)

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()
