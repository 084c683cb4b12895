"""Where the random numbers stand: Python's, numpy's and torch's, as tensors that can be saved.

Training does not need them, since every step draws from its own seed (notebook 05). The caller's
own draws between the steps do, such as a text that is sampled now and then.

Lesson: notebook 10.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bhushgpt.errors import UserError


@dataclass(frozen=True)
class RandomState:
    """The state of all global generators at one moment.

    Lesson: notebook 10.

    >>> state = RandomState.now()
    >>> first = random.random(), np.random.rand(), torch.rand(1).item()
    >>> state.restore()
    >>> first == (random.random(), np.random.rand(), torch.rand(1).item())
    True
    """

    tensors: dict[str, Tensor]
    """By name: `python`, `python.normal`, `numpy`, `numpy.normal`, `torch`, and `cuda` or `mps`."""

    @classmethod
    def now(cls) -> "RandomState":
        """Return the state as it is; nothing is drawn."""
        version, numbers, normal = random.getstate()
        keys = np.random.get_state(legacy=False)
        assert isinstance(keys, dict)
        twister = keys["state"]
        tensors = {
            # Both draw normal numbers in pairs and keep the second one for the next call.
            "python": torch.tensor([version, *numbers]),
            "python.normal": torch.tensor([] if normal is None else [normal], dtype=torch.float64),
            "numpy": torch.tensor([*twister["key"].tolist(), twister["pos"], keys["has_gauss"]]),
            "numpy.normal": torch.tensor([keys["gauss"]], dtype=torch.float64),
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            tensors["cuda"] = torch.cuda.get_rng_state()  # of the card that this process uses
        if torch.backends.mps.is_available():
            tensors["mps"] = torch.mps.get_rng_state()
        return cls(tensors)

    def restore(self, device: torch.device | str = "cpu") -> None:
        """Put all generators where they stood; a GPU's too, if the run goes on with `device` there.

        Raises:
            UserError: If one cannot be restored; then none is changed.
        """
        before = RandomState.now()
        try:
            self._restore(torch.device(device))
        except (LookupError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            before._restore(torch.device("cpu"))
            raise UserError(
                f"The random state of the checkpoint cannot be restored here: {error}. What is "
                "drawn at random from here on would not be what the unbroken run draws. Take "
                "another checkpoint, or start a new run."
            ) from error

    def _restore(self, device: torch.device) -> None:
        version, *numbers = self.tensors["python"].tolist()
        normal = self.tensors["python.normal"].tolist()
        random.setstate((version, tuple(numbers), normal[0] if normal else None))
        *key, position, has_gauss = self.tensors["numpy"].tolist()
        gauss = self.tensors["numpy.normal"].item()
        if len(key) != 624 or not (0 <= position <= 624 and has_gauss in (0, 1)):
            raise ValueError("numpy's state has a wrong size")
        state = (np.array(key, dtype=np.uint32), position, has_gauss, gauss)
        np.random.set_state(("MT19937", *state))
        torch.set_rng_state(self.tensors["torch"].cpu())
        # A run that moves from the CPU to a GPU has nothing to restore there.
        if device.type == "cuda" and "cuda" in self.tensors:
            torch.cuda.set_rng_state(self.tensors["cuda"].cpu(), device)
        if device.type == "mps" and "mps" in self.tensors:
            torch.mps.set_rng_state(self.tensors["mps"].cpu())
