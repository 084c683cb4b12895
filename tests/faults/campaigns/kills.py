"""A training run is killed at random moments, again and again, and each time goes on.

    python -m tests.faults.campaigns.kills --kills 200

After every kill the newest good checkpoint must be readable, at most one interval may be lost, and
at the end the weights must be those of a run that was never stopped, bit for bit.
"""

import argparse
import dataclasses
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bhushgpt.errors import UserError
from bhushgpt.files import one_writer
from bhushgpt.presets import RunConfig
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import LEFT, newest_good_checkpoint, step_of, sweep
from bhushgpt.training import train
from tests.small_runs import TOKENIZER, batches_of, fresh_state, same_weights, small_config

INTERVAL = 2
MOST_STEPS = 6  # steps that a run may make: counted, since a busy machine makes few in a second
LONGEST_LIFE = 0.02  # seconds after that step, about as long as a save takes
ENOUGH = 50  # kills, of which some must have come while a checkpoint was saved
YOUNG = 0.2  # share of the runs that are killed before they have done anything


@dataclass
class Tally:
    """What a campaign has seen."""

    kills: int = 0
    while_saving: int = 0
    """Kills that left something half made."""
    unreadable: int = 0
    """Kills after which no checkpoint could be loaded."""
    worst_loss: int = 0
    """Most steps that were trained and then lost."""
    forgotten: int = 0
    """Kills after which a save that had returned was gone."""
    swept: int = 0
    """Leftovers that the next start reported."""
    last_step: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was lost that must not be."""
        bad = self.unreadable + self.forgotten + len(self.problems)
        return bad == 0 and self.worst_loss <= INTERVAL


def settings() -> RunConfig:
    """Return a run that goes on for longer than anyone waits, large enough that saving takes."""
    config = small_config(10**6, width=96)
    training = dataclasses.replace(config.training, schedule="constant", accumulation_steps=1)
    return dataclasses.replace(config, training=training)


def live(folder: Path, pipe: int) -> None:
    """Be the run: go on from the newest checkpoint, and say what is done, until killed."""
    with one_writer(folder):
        for sentence in sweep(folder):
            os.write(pipe, f"swept {sentence}\n".encode())
        checkpoint = load_checkpoint(newest_good_checkpoint(folder)[0])
        config = checkpoint.config
        for report in train(checkpoint.state, batches_of(config), config.training):
            os.write(pipe, f"trained {report.step}\n".encode())
            if report.step % INTERVAL == 0:
                save_checkpoint(folder, checkpoint.state, config, TOKENIZER)
                os.write(pipe, f"saved {report.step}\n".encode())


def kill_once(folder: Path, life: float, steps: int) -> list[str]:
    """Start the run, kill it some seconds after it has made so many steps; return its words."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            live(folder, writer)
        except BaseException as error:
            os.write(writer, f"problem {error!r}\n".encode())
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as said:
        lines: list[str] = []
        while sum("trained" in line for line in lines) < steps:
            lines.append(said.readline())
            if "problem" in lines[-1]:
                break
        time.sleep(life)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "".join([*lines, said.read()]).splitlines()


def campaign(folder: Path, kills: int, seed: int = 0) -> Tally:
    """Kill a run many times and return what came of it."""
    torch.set_num_threads(1)
    chance = random.Random(seed)
    config = settings()
    save_checkpoint(folder, fresh_state(config), config, TOKENIZER)
    tally = Tally()
    for _ in range(kills):
        steps = 0 if chance.random() < YOUNG else chance.randint(1, MOST_STEPS)
        said = kill_once(folder, chance.uniform(0, LONGEST_LIFE), steps)
        tally.kills += 1
        _judge(tally, folder, said)
    _compare_with_unbroken(tally, folder, config)
    if kills >= ENOUGH and not tally.while_saving:
        tally.problems.append("no kill came while a checkpoint was saved: nothing was tried")
    return tally


def _judge(tally: Tally, folder: Path, said: list[str]) -> None:
    tally.while_saving += any(LEFT.fullmatch(path.name) for path in folder.iterdir())
    tally.swept += sum(line.startswith("swept ") for line in said)
    tally.problems += [line for line in said if line.startswith("problem ")]
    steps = {"trained": tally.last_step, "saved": 0}
    for line in said:
        word, _, number = line.partition(" ")
        if word in steps:
            steps[word] = int(number)
    try:
        path, _ = newest_good_checkpoint(folder)
        found = load_checkpoint(path).state.step
    except UserError as error:
        tally.unreadable += 1
        tally.problems.append(str(error))
        return
    assert found == step_of(path)
    tally.worst_loss = max(tally.worst_loss, steps["trained"] - found)
    tally.forgotten += found < max(steps["saved"], tally.last_step)
    tally.last_step = found


def _compare_with_unbroken(tally: Tally, folder: Path, config: RunConfig) -> None:
    killed = load_checkpoint(newest_good_checkpoint(folder)[0]).state
    whole = fresh_state(config)
    until = dataclasses.replace(config.training, steps=max(killed.step, 1))
    for _ in train(whole, batches_of(config), until):
        pass
    if killed.step and not same_weights(whole, killed):
        tally.problems.append("the weights differ from those of a run that was never stopped")


def main() -> int:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        print("not run: this system cannot fork")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tally = campaign(Path(folder), options.kills)
    print(
        f"{tally.kills} kills, {tally.while_saving} of them while saving: {tally.unreadable} "
        f"unreadable, {tally.forgotten} finished saves gone, at most {tally.worst_loss} trained "
        f"steps lost (saved every {INTERVAL}); {tally.swept} leftovers swept; weights after "
        f"{tally.last_step} steps as without a kill: {'no' if tally.problems else 'yes'}"
    )
    for problem in tally.problems:
        print(problem)
    return 0 if tally.passed else 1


if __name__ == "__main__":
    sys.exit(main())
