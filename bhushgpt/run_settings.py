"""The settings of a run as JSON and back, every value of the kind it must be.

Lesson: notebook 10.
"""

import dataclasses
from typing import Any, TypeVar, get_type_hints

from bhushgpt.bigram import BigramConfig
from bhushgpt.errors import UserError
from bhushgpt.gpt import GPTConfig
from bhushgpt.presets import RunConfig
from bhushgpt.training_config import TrainingConfig

MODELS = {"gpt": GPTConfig, "bigram": BigramConfig}
Settings = TypeVar("Settings")


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the settings as plain objects for JSON, with the kind of the model.

    Lesson: notebook 10.
    """
    kind = next(name for name, sizes in MODELS.items() if isinstance(config.model, sizes))
    return {"kind": kind, **dataclasses.asdict(config)}


def config_from_dict(data: dict[str, Any]) -> RunConfig:
    """Return the settings that `config_to_dict` described.

    Raises:
        UserError: If a setting is of the wrong kind or cannot be used.
        KeyError, TypeError: If settings are missing or unknown.

    Lesson: notebook 10.

    >>> from bhushgpt.presets import preset
    >>> config_from_dict(config_to_dict(preset("gpt-v1", 79))) == preset("gpt-v1", 79)
    True
    """
    data = dict(data)
    sizes = MODELS[data.pop("kind")]
    training = dict(data.pop("training"))
    training["betas"] = tuple(training["betas"])  # JSON knows lists only
    model = _made(sizes, data.pop("model"))
    return _made(RunConfig, data | {"model": model, "training": _made(TrainingConfig, training)})


def _made(kind: type[Settings], data: dict[str, Any]) -> Settings:
    """Return `kind(**data)` if whole numbers are whole and names are text."""
    allowed = {int: (int,), float: (int, float), str: (str,)}
    hints = get_type_hints(kind)
    for name, value in data.items():
        kinds = allowed.get(hints.get(name, object))
        if kinds and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise UserError(
                f"The setting {name} of the checkpoint is {value!r}: it was changed after it was "
                "saved. Take another checkpoint."
            )
    return kind(**data)
