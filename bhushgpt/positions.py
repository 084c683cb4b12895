"""Telling a token where it stands: attention alone sees a set, not an order.

Letters: B batch, T time, C channels, H heads, D head size (even), P longest context.

Lesson: notebook 07. Rotary positions in a whole model: notebook 22.
"""

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError


def sinusoidal_table(context_length: int, n_embd: int) -> Tensor:
    """Return one fixed vector per position, from waves of growing length: (P, C).

    Channel pair i holds sin and cos of position / 10000^(2i / C), so moving by k positions turns
    each pair by the same angle wherever it starts.

    Args:
        context_length: P.
        n_embd: C, even.

    Returns:
        (P, C) float32.

    Raises:
        UserError: If C is odd.

    Source: Vaswani et al., arXiv 1706.03762, section 3.5.

    >>> sinusoidal_table(3, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    if n_embd % 2:
        raise UserError(f"n_embd is {n_embd}: sines and cosines come in pairs, so it must be even.")
    angles = _angles(context_length, n_embd)
    pairs = torch.stack([angles.sin(), angles.cos()], dim=-1)
    table = pairs.flatten(1).float()  # (P, C)
    return table


def _angles(n_positions: int, n_channels: int) -> Tensor:
    """Return position times frequency: one row a position, one column a pair of channels."""
    exponents = torch.arange(0, n_channels, 2, dtype=torch.float64) / n_channels
    positions = torch.arange(n_positions, dtype=torch.float64)
    # In double precision until the waves are taken: a large float32 angle has lost its digits.
    return torch.outer(positions, 10000.0**-exponents)


def _too_long(n_tokens: int, n_positions: int) -> UserError:
    return UserError(
        f"{n_tokens} tokens were given, but this model knows {n_positions} positions. "
        f"Keep the last {n_positions} tokens: ids[:, -{n_positions}:]."
    )


class Positions(nn.Module):
    """A table with one vector for each position.

    Args:
        table: (P, C). A Parameter is learned; a plain tensor stays as it is.

    >>> positions = Positions(torch.arange(8.0).view(4, 2))
    >>> positions(2).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        if isinstance(table, nn.Parameter):
            self.weight = table
        else:
            self.register_buffer("weight", table, persistent=False)

    def forward(self, length: int, start: int = 0) -> Tensor:
        """Return the vectors of positions start .. start + length - 1: (T, C).

        Args:
            length: T.
            start: The position of the first of them, above 0 where a cache holds the tokens before
                it (notebook 10).

        Raises:
            UserError: If that is more than the table has.
        """
        end = start + length
        if end > len(self.weight):
            raise _too_long(end, len(self.weight))
        vectors = self.weight[start:end]  # (T, C)
        return vectors


def learned_positions(context_length: int, n_embd: int) -> Positions:
    """Return positions that start near zero and are trained, as GPT-2 has them.

    >>> learned_positions(8, 6)(5).shape
    torch.Size([5, 6])
    """
    weight = nn.Parameter(torch.empty(context_length, n_embd))  # (P, C)
    return Positions(nn.init.normal_(weight, std=0.02))


def sinusoidal_positions(context_length: int, n_embd: int) -> Positions:
    """Return the fixed waves of `sinusoidal_table`, with nothing to train.

    >>> len(list(sinusoidal_positions(8, 6).parameters()))
    0
    """
    return Positions(sinusoidal_table(context_length, n_embd))


class Rotary(nn.Module):
    """Turns queries and keys by an angle that grows with their position.

    The dot product of a query at position i and a key at position j then depends on i - j alone,
    and turning changes no length.

    Args:
        context_length: P, the longest position it has angles for.
        head_size: D, even.

    Raises:
        UserError: If D is odd, or more tokens come than it has angles for.

    Source: Su et al., arXiv 2104.09864.

    >>> x = torch.randn(1, 1, 5, 4)
    >>> turned = Rotary(8, 4)(x)
    >>> torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
    True
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, context_length: int, head_size: int) -> None:
        super().__init__()
        if head_size % 2:
            raise UserError(
                f"The head size is {head_size}: rotation turns pairs of channels, so n_embd / "
                "n_head must be even."
            )
        angles = _angles(context_length, head_size)
        self.register_buffer("cosines", angles.cos().float(), persistent=False)
        self.register_buffer("sines", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Return x (B, H, T, D) turned, its first vector standing at position `start`.

        Channel i and channel i + D/2 make one pair.
        """
        end = start + x.shape[2]
        if end > len(self.cosines):
            raise _too_long(end, len(self.cosines))
        cosines = self.cosines[start:end].to(x.dtype)  # (T, D//2)
        sines = self.sines[start:end].to(x.dtype)  # (T, D//2)
        first, second = x.chunk(2, dim=-1)  # 2 x (B, H, T, D//2)
        turned = torch.cat(
            [first * cosines - second * sines, first * sines + second * cosines], dim=-1
        )  # (B, H, T, D)
        return turned
