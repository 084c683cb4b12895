"""Token ids looked at before they are used as addresses: on a GPU a wrong one ends the program.

Letters: B batch, T time, V vocabulary, C channels.

Lesson: notebook 04.
"""

import torch
from torch import Tensor

from bhushgpt.errors import UserError

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_ids(ids: Tensor, table: Tensor) -> None:
    """Refuse ids that a table of token vectors cannot look up, in words instead of a crash.

    Ids on a GPU are not searched for one that is too large: that would make the program wait for
    the device at every call. They are checked while they are still on the CPU, by `Batches` and by
    the tokenizers.

    Args:
        ids: (B, T).
        table: (V, C), the weight of an embedding.

    Raises:
        UserError: If the ids are on another device than the table, no whole numbers, or not from
            0 to V - 1.

    Lesson: notebook 04.

    >>> check_ids(torch.tensor([[0, 7]]), torch.zeros(5, 2))
    Traceback (most recent call last):
    bhushgpt.errors.UserError: The ids hold 7, but the model knows 5 tokens, 0 to 4. Were they \
made by another tokenizer than the model was trained with?
    """
    if ids.device != table.device:
        raise UserError(
            f"The ids are on {ids.device}, the model on {table.device}: use "
            f"ids.to({str(table.device)!r}), or model.to({str(ids.device)!r})."
        )
    if ids.dtype not in WHOLE:
        kind = str(ids.dtype).removeprefix("torch.")
        raise UserError(f"The ids are {kind}, but must be whole numbers: use ids.long().")
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
        return
    least, most = (int(value) for value in ids.aminmax())
    if least < 0 or most >= len(table):
        raise UserError(
            f"The ids hold {least if least < 0 else most}, but the model knows {len(table):,} "
            f"tokens, 0 to {len(table) - 1:,}. Were they made by another tokenizer than the model "
            "was trained with?"
        )
