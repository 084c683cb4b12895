"""Saving a run: the checkpoint first, then what the record says of it.

Lesson: notebook 16.
"""

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from bhushgpt.checkpoints import save_checkpoint
from bhushgpt.disk_space import NoRoom
from bhushgpt.distributed import World
from bhushgpt.distributed_checkpoints import save_distributed
from bhushgpt.presets import RunConfig
from bhushgpt.runs import RunFolder
from bhushgpt.tokenizers import Tokenizer
from bhushgpt.training import TrainState


class Saves:
    """Writes the checkpoints of a run; under torchrun all processes call it together.

    Args:
        run: Where they go.
        config: The run's settings.
        tokenizer: Saved with the weights.
        world: Who takes part; the main process writes the record.
        keep: How many of the newest checkpoints stay.

    Lesson: notebook 16.
    """

    def __init__(
        self, run: RunFolder, config: RunConfig, tokenizer: Tokenizer, world: World, keep: int
    ) -> None:
        self.run = run
        self.config = config
        self.tokenizer = tokenizer
        self.world = world
        self.keep = keep
        self._saved_step = -1
        self.start()

    def start(self) -> None:
        """Start the clock: what went before was no training."""
        self._begin = time.perf_counter()

    def save(self, state: TrainState, best: tuple[float, int] | None = None) -> None:
        """Write a checkpoint and the facts about training so far, unless that is done already.

        Args:
            state: What is saved.
            best: (nats, step) of the glance, if this is the best checkpoint so far.

        Raises:
            UserError: If it cannot be written; a `NoRoom` if the disk is full.
        """
        if self._saved_step == state.step:
            return
        with _warnings_said():
            self._write(state, best is not None)
        self._saved_step = state.step
        if self.world.is_main:
            self._note_progress(state.step, best)

    def _write(self, state: TrainState, best: bool) -> None:
        parts = (self.run.path, state, self.config, self.tokenizer)
        if self.world.size > 1:
            save_distributed(*parts, self.world, keep=self.keep, best=best)
        else:
            save_checkpoint(*parts, keep=self.keep, best=best)

    def save_if_there_is_room(
        self, state: TrainState, best: tuple[float, int] | None = None
    ) -> None:
        """Do the same, but let a full disk pass with a notice: there will be other checkpoints."""
        try:
            self.save(state, best)
        except NoRoom as error:
            if self.world.size > 1:  # the others do not know of it
                raise
            tqdm.write(f"{error} Training goes on.", file=sys.stderr)

    def _note_progress(self, step: int, best: tuple[float, int] | None) -> None:
        now = time.perf_counter()
        seconds = self.run.record.get("seconds", 0.0) + now - self._begin
        self._begin = now
        tokens = self.config.training.batch_size * self.config.model.context_length
        facts = {} if best is None else {"best": {"step": best[1], "held_out": best[0]}}
        self.run.update(
            steps_done=step, seconds=seconds, tokens_per_second=step * tokens / seconds, **facts
        )


@contextmanager
def _warnings_said() -> Iterator[None]:
    """Say in a sentence what is only a warning, such as an old checkpoint that does not go."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        tqdm.write(str(warning.message), file=sys.stderr)
