"""Whether torch can compile here: that takes a C++ compiler, or Triton for a GPU.

Lesson: notebook 14.
"""

from functools import cache

import torch


@cache
def compile_trouble(kind: str) -> str | None:
    """Compile one line for a kind of device; None if that works, else a sentence that says why not.

    Lesson: notebook 14.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=kind))
    except Exception as error:  # whatever it is, training goes on without
        reason = str(error).strip().partition("\n")[0][:200].rstrip(".")
        return (
            f"The model is not compiled, since torch.compile does not work here ({reason}). It "
            "trains all the same; a C++ compiler (and Triton for a GPU) would make it work."
        )
    return None
