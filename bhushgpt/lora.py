"""LoRA: a trained model learns something new by small additions, and its own weights stay still.

A linear layer multiplies by W, with as many numbers as inputs times outputs. What fine-tuning adds
to W needs far fewer: a product B A of two thin matrices with R rows between them. Only A and B are
trained. Afterwards B A is added to W, and the model is as large and as fast as before.

Letters: B batch, T time, I inputs, O outputs, R rank, V vocabulary.

Lesson: notebook 18. Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
arXiv 2106.09685.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig

BASE = ".base."  # in the names of weights that the model had before


class LoRA(nn.Module):
    """A linear layer around which something small is learned: base(x) + scale * x A^T B^T.

    A is drawn and B is zero, so that before the first step the layer is exactly its base.

    Args:
        base: The layer, whatever it joins: also one that makes queries, keys and values at once.
        rank: R.
        alpha: The addition counts alpha / R, so that another R wants no other learning rate.

    Attributes:
        down: A, (R, I), trained.
        up: B, (O, R), trained.
        scale: alpha / R.

    >>> layer, x = LoRA(nn.Linear(4, 6), rank=2), torch.randn(3, 4)
    >>> torch.equal(layer(x), layer.base(x)), layer.down.shape, layer.up.shape
    (True, torch.Size([2, 4]), torch.Size([6, 2]))
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float = 16.0) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.empty(base.out_features, rank))
        self.reset()

    def reset(self) -> None:
        """Draw A anew and set B to zero."""
        nn.init.normal_(self.down, std=1 / math.sqrt(self.down.shape[1]))
        nn.init.zeros_(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O) for x (..., I)."""
        return self.base(x) + self.scale * (x @ self.down.mT @ self.up.mT)

    def merged_weight(self) -> Tensor:
        """Return the one weight (O, I) that does the same: W + scale * B A."""
        added = self.up @ self.down  # (O, I)
        return self.base.weight + self.scale * added


@dataclass(frozen=True, kw_only=True)
class LoRAConfig(GPTConfig):
    """A GPT of which only additions of low rank are trained.

    Raises:
        UserError: If sizes cannot be built; it names all that is wrong.

    >>> LoRAConfig(vocab_size=79, rank=0)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: This GPT cannot be built: rank is 0, it must be a whole number \
from 1 to n_embd 128.
    """

    rank: int = 8
    """R, the rows between the two thin matrices."""
    alpha: float = 16.0
    """The additions count alpha / R."""

    def _misfits(self) -> list[str]:
        wrong = super()._misfits()
        if not (isinstance(self.rank, int) and 1 <= self.rank <= self.n_embd):
            wrong.append(
                f"rank is {self.rank}, it must be a whole number from 1 to n_embd {self.n_embd}"
            )
        if not 0 < self.alpha < math.inf:
            wrong.append(f"alpha is {self.alpha}, it must be above 0")
        return wrong

    def build(self) -> GPT:
        """Return the untrained model; of its weights only the additions take a gradient."""
        model = GPT(self)
        model.requires_grad_(False)
        for layer in lora_layers(model):
            layer.reset()  # a GPT draws all of its matrices, B too
            layer.down.requires_grad_(True)
            layer.up.requires_grad_(True)
        return model

    def linear(self, n_in: int, n_out: int) -> nn.Module:
        """Return a layer with an addition."""
        return LoRA(nn.Linear(n_in, n_out), self.rank, self.alpha)

    @property
    def plain(self) -> GPTConfig:
        """The settings of the model without additions."""
        names = [field.name for field in dataclasses.fields(GPTConfig)]
        return GPTConfig(**{name: getattr(self, name) for name in names})


def lora_layers(model: nn.Module) -> Iterator[LoRA]:
    """Yield the layers with an addition, in order."""
    return (module for module in model.modules() if isinstance(module, LoRA))


def with_lora(model: GPT, *, rank: int = 8, alpha: float = 16.0) -> GPT:
    """Return a model that shares all weights of a GPT and learns additions to them alone.

    The GPT itself stays as it is: it can be used, and even be given other additions, beside it.

    Args:
        model: A trained GPT.
        rank: R.
        alpha: See `LoRAConfig`.

    Raises:
        UserError: If the model is of another kind, or has additions already.

    >>> base = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_head=2, n_embd=8))
    >>> tuned, ids = with_lora(base, rank=2), torch.arange(5)[None]
    >>> torch.equal(tuned(ids), base(ids)), tuned.tokens.weight.data_ptr() == \
base.tokens.weight.data_ptr()
    (True, True)
    """
    if type(model.config) is not GPTConfig:
        raise UserError(
            f"LoRA is added to a plain GPT here, and this one is a {type(model.config).__name__}. "
            "Merge the additions that it has first (merged), or fine-tune all of its weights."
        )
    config = LoRAConfig(**vars(model.config), rank=rank, alpha=alpha)
    tuned = config.build().to(model.tokens.weight)
    _share(tuned, model)
    return tuned.train(model.training)


def base_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights below the additions, by the names that they have without any.

    >>> from bhushgpt.gpt import GPTConfig
    >>> base = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_head=2, n_embd=8))
    >>> base_weights(with_lora(base)).keys() == base.state_dict().keys()
    True
    """
    own = set(additions(model))
    return {
        name.replace(BASE, "."): tensor
        for name, tensor in model.state_dict().items()
        if name not in own
    }


def merged(model: GPT) -> GPT:
    """Return the plain GPT that computes the same: the additions are in its weights.

    >>> base = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_head=2, n_embd=8))
    >>> tuned, ids = with_lora(base), torch.arange(5)[None]
    >>> for layer in lora_layers(tuned):
    ...     _ = nn.init.normal_(layer.up)
    >>> torch.allclose(merged(tuned)(ids), tuned(ids), atol=1e-5)
    True
    """
    assert isinstance(model.config, LoRAConfig), "only a model with additions can be merged"
    weights = base_weights(model)
    for name, module in model.named_modules():
        if isinstance(module, LoRA):
            weights[f"{name}.weight"] = module.merged_weight().detach()
    plain = model.config.plain.build().to(model.tokens.weight)
    plain.load_state_dict(weights)
    return plain.train(model.training)


def additions(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what was added to a model, by name: all that fine-tuning has changed.

    >>> base = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_head=2, n_embd=8))
    >>> list(additions(with_lora(base)))[:2]
    ['blocks.0.attention.qkv.down', 'blocks.0.attention.qkv.up']
    """
    return {
        f"{name}.{part}": getattr(module, part)
        for name, module in model.named_modules()
        if isinstance(module, LoRA)
        for part in ("down", "up")
    }


def _share(tuned: GPT, model: GPT) -> None:
    """Put the weights of a model into the one with additions, the same numbers in memory."""
    frozen: dict[int, Tensor] = {}  # by the weight it stands for: a tied one has two names
    shared: dict[str, Tensor] = {}
    theirs = model.state_dict(keep_vars=True)
    own = set(additions(tuned))
    for name in tuned.state_dict():
        if name in own:
            continue
        weight = theirs[name.replace(BASE, ".")]
        if id(weight) not in frozen:
            kept = weight.detach()
            is_parameter = isinstance(weight, nn.Parameter)
            frozen[id(weight)] = nn.Parameter(kept, requires_grad=False) if is_parameter else kept
        shared[name] = frozen[id(weight)]
    tuned.load_state_dict(shared, strict=False, assign=True)
