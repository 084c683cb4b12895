"""GPT: token and position vectors, a stack of blocks, and a score for every possible next token.

Letters: B batch, T time, C channels, V vocabulary.

Lesson: notebook 08.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention, Form
from bhushgpt.errors import UserError
from bhushgpt.id_checks import check_ids
from bhushgpt.language_model import LanguageModel
from bhushgpt.positions import Positions, Rotary, learned_positions, sinusoidal_table
from bhushgpt.transformer import MLP, Block

Position = Literal["learned", "sinusoidal", "rotary"]


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """The sizes of a GPT. With learned positions the layout is exactly GPT-2's.

    Raises:
        UserError: If sizes cannot be built or do not fit together; it names all that is wrong.

    Lesson: notebook 08.

    >>> GPTConfig(vocab_size=79, n_head=3, dropout=1.0)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: This GPT cannot be built: n_embd 128 is not a multiple of n_head 3; \
dropout is 1.0, it must be at least 0 and below 1.
    """

    vocab_size: int
    """V, how many different tokens there are."""
    context_length: int = 64
    """T, the most tokens the model looks at. Others call it block_size."""
    n_layer: int = 4
    """Blocks, one after the other."""
    n_head: int = 4
    """H, attention heads in a block."""
    n_embd: int = 128
    """C, the width of the stream."""
    dropout: float = 0.0
    """Share of activations zeroed while training."""
    position: Position = "learned"
    """How a token learns where it stands: learned, sinusoidal or rotary."""
    attention: Form = "auto"
    """How attention is computed: auto, explicit or fused; the result is the same."""

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "n_layer", "n_head", "n_embd")
        wrong = [
            f"{name} is {getattr(self, name)}, it must be a whole number of at least 1"
            for name in sizes
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1)
        ]
        if not wrong:
            wrong += self._misfits()
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout is {self.dropout}, it must be at least 0 and below 1")
        if self.position not in ("learned", "sinusoidal", "rotary"):
            wrong.append(f"position is {self.position!r}, there are learned, sinusoidal, rotary")
        if self.attention not in ("auto", "explicit", "fused"):
            wrong.append(f"attention is {self.attention!r}, there are auto, explicit, fused")
        if wrong:
            raise UserError("This GPT cannot be built: " + "; ".join(wrong) + ".")

    def _misfits(self) -> list[str]:
        """Return what is wrong about sizes that are each allowed, but not together."""
        if self.n_embd % self.n_head:
            return [f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}"]
        head_size = self.n_embd // self.n_head
        if self.position == "rotary" and head_size % 2:
            return [f"rotary positions turn pairs, but n_embd / n_head is {head_size}, not even"]
        if self.position == "sinusoidal" and self.n_embd % 2:
            return [f"sines and cosines come in pairs, but n_embd is {self.n_embd}, not even"]
        return []


class GPT(LanguageModel):
    """A decoder-only transformer: ids in, a score for every next token at every position out.

    Args:
        config: Sizes.

    Attributes:
        config: The same, for whoever saves the model.
        context_length: T, the most tokens `forward` takes.

    Raises:
        UserError: From `forward`, if it is given more tokens than it has positions, or ids that it
            cannot look up (`id_checks`).

    Lesson: notebook 08. Source: layout of GPT-2, Radford et al., "Language models are unsupervised
    multitask learners", 2019.

    >>> import torch
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=2, n_head=3, n_embd=12))
    >>> model(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.context_length = config.context_length
        self.tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.positions = _positions(config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        # "Tied": the vector that stands for a token going in also scores it coming out.
        self.head.weight = self.tokens.weight
        self._initialise()

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for ids (B, T).

        Position t's logits are the scores for token t + 1 and depend on ids[:, : t + 1] alone.
        """
        check_ids(ids, self.tokens.weight)
        x = self.tokens(ids)  # (B, T, C)
        if self.positions is not None:
            x = x + self.positions(ids.shape[1])  # (B, T, C)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)  # (B, T, C)
        logits = self.head(self.norm(x))  # (B, T, V)
        return logits

    def _initialise(self) -> None:
        """Draw small weights, so that the first loss is near ln V: no token is favoured yet."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                continue  # norms start as the identity, biases are set below
            # Each of the 2 n_layer parts adds to the stream; scaled so, their sum stays as large
            # as one of them.
            into_stream = name.endswith("projection.weight")
            scale = 0.02 / math.sqrt(2 * self.config.n_layer) if into_stream else 0.02
            nn.init.normal_(parameter, std=scale)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def _positions(config: GPTConfig) -> nn.Module | None:
    if config.position == "rotary":
        return None  # the attention turns queries and keys instead
    if config.position == "learned":
        return learned_positions(config.context_length, config.n_embd)
    # Waves of size 1 would drown the token vectors, which start at 0.02.
    return Positions(0.02 * sinusoidal_table(config.context_length, config.n_embd))


def _block(config: GPTConfig) -> Block:
    rotary = None
    if config.position == "rotary":
        rotary = Rotary(config.context_length, config.n_embd // config.n_head)
    attention = CausalSelfAttention(
        config.n_embd,
        config.n_head,
        dropout=config.dropout,
        rotary=rotary,
        form=config.attention,
    )
    return Block(config.n_embd, attention, MLP(config.n_embd, dropout=config.dropout))
