"""The kinds of models, tokenizers and trainings, by the names that checkpoints and commands know.

A module of an early lesson cannot import what comes after it. So each kind stands here as the place
of its class, which is loaded when somebody asks for it.

Lesson: notebook 03.
"""

from importlib import import_module
from typing import Any

from bhushgpt.errors import UserError, nearest

# name: "module:class", or the class itself for a kind of one's own.
Kinds = dict[str, str | type]

TOKENIZERS: Kinds = {
    "characters": "bhushgpt.tokenizers:CharTokenizer",
    "bytes": "bhushgpt.tokenizers:ByteTokenizer",
    "bpe": "bhushgpt.bpe:BPETokenizer",
}
# The classes are those of the settings, whose `build` makes the model.
MODELS: Kinds = {
    "bigram": "bhushgpt.bigram:BigramConfig",
    "mlp": "bhushgpt.mlp_model:MLPConfig",
    "gpt": "bhushgpt.gpt:GPTConfig",
    "lora": "bhushgpt.lora:LoRAConfig",
    "modern": "bhushgpt.modern_gpt:ModernConfig",
}
# The classes are those of the settings, which know their optimizer.
TRAININGS: Kinds = {
    "adamw": "bhushgpt.training_config:TrainingConfig",
    "muon": "bhushgpt.muon:MuonConfig",
}


def loaded(place: Any) -> Any:
    """Return what stands at a place "module:name"; anything but a text is there already.

    >>> loaded("bhushgpt.gpt:GPTConfig").__name__, loaded(3)
    ('GPTConfig', 3)
    """
    if not isinstance(place, str):
        return place
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def class_of(kinds: Kinds, name: Any, what: str) -> Any:
    """Return the class of a kind.

    Args:
        kinds: `MODELS`, `TOKENIZERS` or `TRAININGS`.
        name: The kind.
        what: What it is a kind of, for the sentence.

    Raises:
        UserError: If there is no such kind; it names the nearest.

    >>> class_of(MODELS, "gpt", "model").__name__
    'GPTConfig'
    >>> class_of(MODELS, "gtp", "model")
    Traceback (most recent call last):
    bhushgpt.errors.UserError: There is no kind of model 'gtp' here. Did you mean 'gpt'? \
There are: bigram, gpt, lora, mlp, modern.
    """
    if not isinstance(name, str) or name not in kinds:
        raise UserError(f"There is no kind of {what} {name!r} here. {nearest(str(name), kinds)}")
    return loaded(kinds[name])


def name_of(kinds: Kinds, kind: type, what: str) -> str:
    """Return the name of a class among the kinds.

    Raises:
        UserError: If it is none of them: what is saved under no name is not found again.

    >>> from bhushgpt.tokenizers import ByteTokenizer
    >>> name_of(TOKENIZERS, ByteTokenizer, "tokenizer")
    'bytes'
    """
    place = f"{kind.__module__}:{kind.__qualname__}"
    for name, known in kinds.items():
        if known in (kind, place):
            return name
    raise UserError(
        f"{kind.__qualname__} is no kind of {what} that has a name, so it could not be read again. "
        f"Enter it under a name of its own: bhushgpt.kinds.{what.upper()}S['my-{what}'] = "
        f"{kind.__qualname__}."
    )
