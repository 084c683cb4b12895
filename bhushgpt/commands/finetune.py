"""The command `finetune`: a trained model goes on learning, on a second text.

Lesson: notebook 18.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bhushgpt.commands.flags import CORPUS, DECIMAL, FOLDER, SWITCH, WHOLE, Device
from bhushgpt.commands.train import show_results
from bhushgpt.devices import pick_device
from bhushgpt.environment import runs_folder
from bhushgpt.runs import (
    FineTuning,
    Interruption,
    RunOptions,
    changed_options,
    describe_run,
    saved_whatever_happens,
    start_fine_tuning,
)
from bhushgpt.speed import World
from bhushgpt.tokenizers import Unknown


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Go on with a trained model on a second text; Ctrl-C saves, `train --resume` goes on.

    Both texts are measured before and after: what is gained on one may be lost on the other.
    """

    run_folder: Annotated[Path, FOLDER, arg(name="run")]
    """Folder of the run whose model goes on; it is not changed."""
    corpus: Annotated[str, CORPUS]
    """The second text: a name from `corpora`, any UTF-8 text file, or a folder of `prepare`."""
    lora: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: all weights)")] = None
    """Train additions of this rank alone, and write them to a small file of their own."""
    replay: Annotated[float, DECIMAL] = 0.5
    """Share of each batch that is of the first text, so that it is not forgotten; 0 for none."""
    steps: Annotated[int, WHOLE] = 300
    """Steps to train."""
    learning_rate: Annotated[
        float | None, DECIMAL, arg(help_behavior_hint="(default: 0.001, with --lora 0.003)")
    ] = None
    """The highest learning rate."""
    unknown: Unknown = "error"
    """What to do with characters of the second text that the model has never seen."""
    seed: Annotated[int | None, WHOLE, arg(help_behavior_hint="(default: the first run's)")] = None
    """Another seed takes other windows of the texts."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA before MPS before the CPU."""
    out: Annotated[
        Path | None, FOLDER, arg(help_behavior_hint="(default: runs/finetuned-<date and time>)")
    ] = None
    """Folder of the new run."""
    save_every: Annotated[
        int | None, WHOLE, arg(help_behavior_hint="(default: a tenth of the run)")
    ] = None
    """Steps between two checkpoints."""
    tensorboard: Annotated[bool | None, SWITCH, arg(help_behavior_hint="(default: no)")] = None
    """Write the history for TensorBoard, too."""

    def run(self) -> int:
        """Fine-tune to the end, or to the first Ctrl-C; return the exit status."""
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out = self.out or runs_folder() / f"finetuned-{now}"
        settings = FineTuning(
            lora=self.lora,
            replay=self.replay,
            steps=self.steps,
            learning_rate=self.learning_rate,
            unknown=self.unknown,
            seed=self.seed,
        )
        asked = {"save_every": self.save_every, "tensorboard": self.tensorboard}
        options = changed_options(RunOptions(), asked)
        world = World(device=pick_device(self.device))
        with Interruption() as interruption:
            session = start_fine_tuning(
                self.run_folder, self.corpus, world, out, settings, options=options
            )
            with saved_whatever_happens(out):
                print(describe_run(session), flush=True)
                session.train(interruption)
                interruption.check()
                show_results(session)
        return 0
