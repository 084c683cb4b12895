"""Random numbers that belong to one training step and to nothing else.

Lesson: notebook 05.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def step_randomness(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Make torch's random numbers inside the `with` depend on (seed, step) alone.

    Outside it the global random state is what it was, so a learner's own `torch.rand` neither
    changes training nor is changed by it.

    Lesson: notebook 05.

    >>> before = torch.get_rng_state()
    >>> with step_randomness(seed=1, step=5, device=torch.device("cpu")):
    ...     first = torch.rand(3)
    >>> with step_randomness(seed=1, step=5, device=torch.device("cpu")):
    ...     print(bool((torch.rand(3) == first).all()))
    True
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    number = (seed * 1_000_003 + step) % 2**63
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed: it reaches every device, also those that are not put back.
        torch.default_generator.manual_seed(number)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(number)
        if device.type == "mps":
            torch.mps.manual_seed(number)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
