"""GPT: token and position vectors, a stack of blocks, and a score for every possible next token.

Letters: B batch, T time, C channels, V vocabulary.

Lesson: notebook 09.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention, Form, Past
from bhushgpt.errors import UserError, is_whole
from bhushgpt.language_model import LanguageModel, ModelConfig, check_ids
from bhushgpt.positions import Positions, Rotary, learned_positions, sinusoidal_table
from bhushgpt.transformer import MLP, Block

Position = Literal["learned", "sinusoidal", "rotary"]


@dataclass(frozen=True, kw_only=True)
class GPTConfig(ModelConfig):
    """The sizes of a GPT, and the parts it is built of. As it is the layout is exactly GPT-2's.

    A later model overrides the methods for the parts that it has of another kind.

    Raises:
        UserError: If sizes cannot be built or do not fit together; it names all that is wrong.

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
    attention_form: Form = "auto"
    """How attention is computed: auto, explicit or fused; the result is the same."""

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context_length", "n_layer", "n_head", "n_embd")
        wrong = [
            f"{name} is {getattr(self, name)}, it must be a whole number of at least 1"
            for name in sizes
            if not (is_whole(getattr(self, name)) and getattr(self, name) >= 1)
        ]
        if not wrong:
            wrong += self._misfits()
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout is {self.dropout}, it must be at least 0 and below 1")
        if self.position not in ("learned", "sinusoidal", "rotary"):
            wrong.append(f"position is {self.position!r}, there are learned, sinusoidal, rotary")
        if self.attention_form not in ("auto", "explicit", "fused"):
            wrong.append(
                f"attention_form is {self.attention_form!r}, there are auto, explicit, fused"
            )
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

    def build(self) -> "GPT":
        """Return the untrained model."""
        return GPT(self)

    def norm(self, n_embd: int) -> nn.Module:
        """Return what levels C channels before a part works on them."""
        return nn.LayerNorm(n_embd)

    def linear(self, n_in: int, n_out: int) -> nn.Module:
        """Return a layer of attention or MLP that joins channels: (..., n_in) to (..., n_out)."""
        return nn.Linear(n_in, n_out)

    def attention(self) -> nn.Module:
        """Return what mixes tokens: (B, T, C) to (B, T, C), with a past if given one."""
        rotary = None
        if self.position == "rotary":
            rotary = Rotary(self.context_length, self.n_embd // self.n_head)
        return CausalSelfAttention(
            self.n_embd,
            self.n_head,
            dropout=self.dropout,
            rotary=rotary,
            form=self.attention_form,
            linear=self.linear,
        )

    def mlp(self) -> nn.Module:
        """Return what works on each token by itself: (B, T, C) to (B, T, C)."""
        return MLP(self.n_embd, dropout=self.dropout, linear=self.linear)

    def block(self) -> nn.Module:
        """Return one layer: (B, T, C) to (B, T, C)."""
        return Block(self.n_embd, self.attention(), self.mlp(), norm=self.norm)

    def positions(self) -> Positions | None:
        """Return what is added to the token vectors; None where attention turns them instead."""
        if self.position == "rotary":
            return None
        if self.position == "learned":
            return learned_positions(self.context_length, self.n_embd)
        # Waves of size 1 would drown the token vectors, which start at 0.02.
        return Positions(0.02 * sinusoidal_table(self.context_length, self.n_embd))

    def head(self, tokens: nn.Embedding) -> nn.Linear:
        """Return what scores the vocabulary: C channels to V logits.

        Tied here: the vector that stands for a token going in also scores it coming out.
        """
        head = nn.Linear(self.n_embd, self.vocab_size, bias=False)
        head.weight = tokens.weight
        return head


class GPT(LanguageModel):
    """A decoder-only transformer: ids in, a score for every next token at every position out.

    Args:
        config: Sizes.

    Attributes:
        config: The same, for whoever saves the model.
        context_length: T, the most tokens `forward` takes.

    Raises:
        UserError: From `forward`, if it is given more tokens than it has positions, or ids that it
            cannot look up (`check_ids`).

    Source: layout of GPT-2, Radford et al., "Language models are unsupervised
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
        self.positions = config.positions()
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(config.block() for _ in range(config.n_layer))
        self.norm = config.norm(config.n_embd)
        self.head = config.head(self.tokens)
        self.initialise()

    def forward(self, ids: Tensor, past: Sequence[Past] | None = None) -> Tensor:
        """Return logits (B, T, V) for ids (B, T).

        Position t's logits are the scores for token t + 1 and depend on ids[:, : t + 1] alone.

        Args:
            ids: (B, T).
            past: For each block the keys and values of the tokens before these (notebook 10).
        """
        check_ids(ids, self.tokens.weight)
        x = self.tokens(ids)  # (B, T, C)
        if self.positions is not None:
            start = past[0].length if past else 0
            x = x + self.positions(ids.shape[1], start)  # (B, T, C)
        x = self.dropout(x)
        for block, before in zip(self.blocks, past or [None] * len(self.blocks), strict=True):
            x = block(x, before)  # (B, T, C)
        logits = self.head(self.norm(x))  # (B, T, V)
        return logits

    def initialise(self) -> None:
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
