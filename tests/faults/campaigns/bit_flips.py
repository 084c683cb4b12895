"""Single bits of a checkpoint are turned over, and each time it must be noticed.

python -m tests.faults.campaigns.bit_flips --flips 1000
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bhushgpt.errors import UserError
from bhushgpt.storage.checkpoints import load_checkpoint, save_checkpoint
from bhushgpt.storage.run_folder import MANIFEST
from bhushgpt.training import train
from tests.small_runs import TOKENIZER, batches_of, fresh_state, small_config

Flip = tuple[Path, int]


@dataclass
class Tally:
    """What a campaign has seen."""

    flips: int = 0
    found: int = 0
    """Refused with the damaged file's name in the message."""
    missed: list[str] = field(default_factory=list)


def make_checkpoint(folder: Path) -> Path:
    """Train a few steps and save them."""
    config = small_config(6)
    state = fresh_state(config)
    for _ in train(state, batches_of(config), config.training):
        pass
    return save_checkpoint(folder, state, config, TOKENIZER)


def random_flips(checkpoint: Path, count: int, seed: int = 0) -> Iterator[Flip]:
    """Yield places: each file as often as the others, so that the small ones get their share."""
    chance = random.Random(seed)
    files = sorted(checkpoint.iterdir())
    for number in range(count):
        file = files[number % len(files)]
        yield file, chance.randrange(8 * file.stat().st_size)


def manifest_flips(checkpoint: Path) -> Iterator[Flip]:
    """Yield every bit of the manifest: it vouches for all others, and nothing for it but itself."""
    file = checkpoint / MANIFEST
    for bit in range(8 * file.stat().st_size):
        yield file, bit


def campaign(checkpoint: Path, flips: Iterator[Flip]) -> Tally:
    """Turn each bit over, try to load, and turn it back."""
    tally = Tally()
    for file, bit in flips:
        data = bytearray(file.read_bytes())
        data[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(data)
        tally.flips += 1
        try:
            load_checkpoint(checkpoint)
        except UserError as error:
            # A changed version number is refused by number, not by the file's name.
            if file.name in str(error) or (file.name == MANIFEST and "format" in str(error)):
                tally.found += 1
            else:
                tally.missed.append(f"{file.name}, bit {bit}: refused without a name: {error}")
        else:
            tally.missed.append(f"{file.name}, bit {bit}: loaded as if nothing were wrong")
        data[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(data)
    return tally


def main() -> int:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(Path(folder))
        everywhere = campaign(checkpoint, random_flips(checkpoint, options.flips))
        manifest = campaign(checkpoint, manifest_flips(checkpoint))
        load_checkpoint(checkpoint)  # all bits are back, so it is whole
    print(f"{everywhere.flips} bits of all files turned over: {everywhere.found} found")
    print(f"{manifest.flips} bits of the manifest, each of them: {manifest.found} found")
    for line in everywhere.missed + manifest.missed:
        print(line)
    return 1 if everywhere.missed or manifest.missed else 0


if __name__ == "__main__":
    sys.exit(main())
