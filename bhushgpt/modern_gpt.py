"""A GPT of today's parts: the model of notebook 09 with each part exchangeable by a setting.

With every part of GPT-2's kind it is the GPT of notebook 09, weight for weight; so a part's worth
can be measured by exchanging that one alone.

Letters: B batch, T time, C channels, V vocabulary.

Lesson: notebook 22.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from bhushgpt.experts import Experts
from bhushgpt.gpt import GPT, GPTConfig, Position
from bhushgpt.modern_layers import GroupedAttention, SquaredReLU, SwiGLU, misfits
from bhushgpt.muon import MuonConfig
from bhushgpt.positions import Rotary
from bhushgpt.presets import Preset
from bhushgpt.transformer import MLP

NormForm = Literal["rms", "layer"]
MLPForm = Literal["relu2", "swiglu", "gelu"]


@dataclass(frozen=True, kw_only=True)
class ModernConfig(GPTConfig):
    """The sizes of a GPT, and for each part which one it has.

    Raises:
        UserError: If sizes or parts do not fit together; it names all that is wrong.

    >>> ModernConfig(vocab_size=79, n_head=4, n_kv_head=3)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: This GPT cannot be built: n_head 4 is not a multiple of n_kv_head \
3: each head of keys serves equally many queries.
    """

    position: Position = "rotary"
    """How a token learns where it stands."""
    norm_form: NormForm = "rms"
    """What levels the stream: rms or layer."""
    mlp_form: MLPForm = "relu2"
    """What works on each token: relu2, swiglu, or gelu as in GPT-2."""
    qk_norm: bool = True
    """Whether queries and keys are normed."""
    n_kv_head: int = 0
    """K, heads of keys and values, by which n_head must be divisible; 0 for as many as n_head."""
    window: int = 0
    """W, how many tokens attention looks back; 0 for all."""
    n_expert: int = 0
    """E, experts in the place of each MLP; 0 for none."""
    experts_per_token: int = 1
    """P, how many of them work on a token."""
    tied: bool = False
    """Whether the head's weights are the token vectors."""
    zero_init: bool = True
    """Whether what adds to the stream, and a head of its own, begins at zero."""
    bias: bool = False
    """Whether linear layers of attention have biases, as in GPT-2."""

    def _misfits(self) -> list[str]:
        """Return what is wrong about sizes that are each allowed, but not together."""
        wrong = misfits(self.n_embd, self.n_head, self.n_kv_head, self.window)
        if not wrong:
            wrong += super()._misfits()
        if self.n_expert < 0 or (self.n_expert and not 1 <= self.experts_per_token):
            wrong.append("n_expert must be at least 0 and experts_per_token at least 1")
        elif self.n_expert and self.experts_per_token > self.n_expert:
            wrong.append(
                f"experts_per_token is {self.experts_per_token}, and there are {self.n_expert}"
            )
        for name, kinds in (("norm_form", ("rms", "layer")), ("mlp_form", tuple(MLPS))):
            if getattr(self, name) not in kinds:
                wrong.append(f"{name} is {getattr(self, name)!r}, there are {', '.join(kinds)}")
        return wrong

    def build(self) -> "ModernGPT":
        """Return the untrained model."""
        return ModernGPT(self)

    def norm(self, n_embd: int) -> nn.Module:
        """Return what levels C channels before a part works on them."""
        return nn.RMSNorm(n_embd) if self.norm_form == "rms" else nn.LayerNorm(n_embd)

    def attention(self) -> nn.Module:
        """Return what mixes tokens: (B, T, C) to (B, T, C), with a past if given one."""
        rotary = None
        if self.position == "rotary":
            rotary = Rotary(self.context_length, self.n_embd // self.n_head)
        return GroupedAttention(
            self.n_embd,
            self.n_head,
            n_kv_head=self.n_kv_head,
            qk_norm=self.qk_norm,
            window=self.window,
            bias=self.bias,
            dropout=self.dropout,
            rotary=rotary,
            form=self.attention_form,
        )

    def mlp(self) -> nn.Module:
        """Return what works on each token by itself: (B, T, C) to (B, T, C)."""
        one = partial(MLPS[self.mlp_form], self.n_embd, dropout=self.dropout)
        if not self.n_expert:
            return one()
        return Experts(
            self.n_embd, n_expert=self.n_expert, per_token=self.experts_per_token, expert=one
        )

    def head(self, tokens: nn.Embedding) -> nn.Linear:
        """Return what scores the vocabulary: C channels to V logits."""
        if self.tied:
            return super().head(tokens)
        return nn.Linear(self.n_embd, self.vocab_size, bias=False)


MLPS: dict[str, Callable[..., nn.Module]] = {"relu2": SquaredReLU, "swiglu": SwiGLU, "gelu": MLP}


class ModernGPT(GPT):
    """A GPT of the parts that a `ModernConfig` names: ids in, logits (B, T, V) out.

    Args:
        config: Sizes and parts.

    >>> import torch
    >>> model = ModernConfig(vocab_size=7, context_length=5, n_head=3, n_embd=12).build()
    >>> model(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 7])
    """

    config: ModernConfig

    def initialise(self) -> None:
        """Draw small weights; with `zero_init` every block begins as if it were not there.

        The stream then carries the tokens alone, a head of its own scores all tokens alike, and the
        first loss is ln V exactly. A weight of zero has a slope all the same: what it is multiplied
        with is not zero.
        """
        super().initialise()
        if not self.config.zero_init:
            return
        if not self.config.tied:
            nn.init.zeros_(self.head.weight)
        for name, parameter in self.named_parameters():
            if name.endswith("projection.weight"):
                nn.init.zeros_(parameter)


GPT_MODERN = Preset(
    says="today's parts and Muon, at the size of gpt-v1",
    model=partial(ModernConfig, context_length=64, n_layer=4, n_head=4, n_embd=128),
    training=MuonConfig(
        steps=2000, batch_size=32, learning_rate=3e-3, warmup_steps=20, schedule="linear"
    ),
)
"""Configuration B of the benchmarks, 2,048 tokens a step."""
TINY_STORIES = Preset(
    says="short stories in simple words: today's parts, six million parameters",
    # Nothing of a large corpus is seen twice, so that there is nothing to drop out against. The
    # classic run of this size took 15,000 steps.
    model=partial(ModernConfig, context_length=128, n_layer=8, n_head=8, n_embd=256),
    training=MuonConfig(
        steps=1200, batch_size=64, learning_rate=3e-3, warmup_steps=20, schedule="linear"
    ),
)
"""The set-up of the classic six-million-parameter run, at most 6.5 million parameters."""
SPEEDRUN = Preset(
    says="gpt-modern in 500 steps, the rate falling to zero within them",
    model=partial(ModernConfig, context_length=64, n_layer=4, n_head=4, n_embd=128),
    training=MuonConfig(
        steps=500, batch_size=32, learning_rate=4e-3, warmup_steps=10, schedule="linear"
    ),
)
"""A short run whose rate falls to zero within it."""
