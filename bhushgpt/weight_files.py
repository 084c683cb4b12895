"""A model's weights alone, in one file: for models that are not a run's.

Lesson: notebook 10.
"""

import os
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.files import flush
from bhushgpt.state_tensors import misfits, plain_names, tied_names
from bhushgpt.tensor_files import load_tensors, read_header


def save_weights(model: nn.Module, file: Path) -> None:
    """Write a model's tensors to a safetensors file, in one step.

    Wrappers' prefixes are left out, and a tied weight is stored once.

    Lesson: notebook 10.
    """
    tied = tied_names(model)
    weights = {name: t.contiguous() for name, t in model.state_dict().items() if name not in tied}
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        save_file(plain_names(weights), temporary, metadata={"format": "pt"})
        temporary.chmod(0o644)
        flush(temporary)
        temporary.replace(file)
        flush(file.absolute().parent)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(model: nn.Module, file: Path) -> None:
    """Fill a model with the weights in a safetensors file, if they are its.

    Names, shapes and kinds are compared before anything is read. Prefixes that `torch.compile` and
    DistributedDataParallel put before names do not count, in the file or in the model.

    Raises:
        UserError: If the file is missing, of another format, or of another model (the message has
            a line for each difference); the model is unchanged then.

    Lesson: notebook 10.

    >>> import tempfile, torch
    >>> one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(one, Path(folder, "linear.safetensors"))
    ...     load_weights(other, Path(folder, "linear.safetensors"))
    >>> torch.equal(one.weight, other.weight)
    True
    """
    if not file.exists():
        raise UserError(f"There is no file {file}.")
    wrong = misfits(plain_names(read_header(file)), model)
    if wrong:
        more = [f"and {len(wrong) - 5} more"] if len(wrong) > 5 else []
        lines = "\n".join([*wrong[:5], *more])
        raise UserError(f"{file} holds the weights of another model. Nothing was loaded.\n{lines}")
    tied = tied_names(model)
    # A wrapped model wants the names with its own prefix.
    own = {name: name for name in model.state_dict() if name not in tied}
    names = {plain: name for plain, name in zip(plain_names(own), own, strict=True)}
    weights = plain_names(load_tensors(file))
    model.load_state_dict({names[plain]: t for plain, t in weights.items()}, strict=False)
