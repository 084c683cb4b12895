"""GPT-2's layout as Hugging Face files have it: names, shapes, and what it cannot hold.

Letters: P positions, V vocabulary, C channels.

Lesson: notebook 15.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.gpt import GPT, GPTConfig

# Our name in a block -> theirs. Their matrices lie the other way round: GPT-2 was written with a
# layer ("Conv1D") that multiplies x W, torch's Linear multiplies x W^T.
BLOCK_PARTS = {
    "norm_1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.projection": "attn.c_proj",
    "norm_2": "ln_2",
    "mlp.widen": "mlp.c_fc",
    "mlp.projection": "mlp.c_proj",
}
TENSORS_PER_BLOCK, TENSORS_OUTSIDE = 2 * len(BLOCK_PARTS), 4
# What ours is built with; a file that says otherwise holds another model.
FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "tie_word_embeddings": (True,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
# Ours -> theirs, in config.json.
SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
}
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")


@dataclass(frozen=True)
class Stored:
    """Where one of our tensors lies in their file.

    Lesson: notebook 15.
    """

    ours: str
    """Its name in our state dict."""
    shape: tuple[int, ...]
    """Its shape in their file."""
    transposed: bool
    """Whether it lies the other way round there."""


def stored_tensors(config: GPTConfig) -> dict[str, Stored]:
    """Return their name -> our tensor, for every tensor of a GPT-2; the tied head has no own.

    Lesson: notebook 15.

    >>> table = stored_tensors(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_embd=12))
    >>> len(table), table["h.0.attn.c_attn.weight"]
    (16, Stored(ours='blocks.0.attention.qkv.weight', shape=(12, 36), transposed=True))
    """
    V, P, C = config.vocab_size, config.context_length, config.n_embd
    outputs = {"attention.qkv": 3 * C, "mlp.widen": 4 * C}
    inputs = {"mlp.projection": 4 * C}
    table = {
        "wte.weight": Stored("tokens.weight", (V, C), False),
        "wpe.weight": Stored("positions.weight", (P, C), False),
    }
    for block in range(config.n_layer):
        for ours, theirs in BLOCK_PARTS.items():
            is_norm, out = ours.startswith("norm"), outputs.get(ours, C)
            shape = (C,) if is_norm else (inputs.get(ours, C), out)
            name, place = f"blocks.{block}.{ours}", f"h.{block}.{theirs}"
            table[f"{place}.weight"] = Stored(f"{name}.weight", shape, not is_norm)
            table[f"{place}.bias"] = Stored(f"{name}.bias", (out,), False)
    table["ln_f.weight"] = Stored("norm.weight", (C,), False)
    table["ln_f.bias"] = Stored("norm.bias", (C,), False)
    return table


def check_holdable(model: nn.Module) -> GPT:
    """Return the model, if GPT-2's layout can hold it.

    Raises:
        UserError: If it cannot; the message names everything that does not fit.

    Lesson: notebook 15.

    >>> check_holdable(GPT(GPTConfig(vocab_size=7, position="rotary")))
    Traceback (most recent call last):
    bhushgpt.errors.UserError: GPT-2's layout cannot hold this model: its positions are rotary, \
and GPT-2 learns a vector for each. Train one with position="learned", such as gpt-v2-mini.
    """
    wrong = []
    if type(model) is not GPT:
        wrong.append(f"it is a {type(model).__name__}, and only a GPT has that layout")
    elif model.config.position != "learned":
        positions = model.config.position
        wrong.append(f"its positions are {positions}, and GPT-2 learns a vector for each")
    else:
        wrong += _other_tensors(model)
    if wrong:
        raise UserError(
            f"GPT-2's layout cannot hold this model: {'; '.join(wrong)}. Train one with "
            'position="learned", such as gpt-v2-mini.'
        )
    assert isinstance(model, GPT)
    return model


def _other_tensors(model: GPT) -> list[str]:
    """Return what was added to a GPT, or taken out of it, or untied, since it was built."""
    expected = {stored.ours for stored in stored_tensors(model.config).values()} | {"head.weight"}
    found = set(model.state_dict())
    wrong = [f"it has a tensor {name} that GPT-2 has not" for name in sorted(found - expected)[:3]]
    wrong += [f"its tensor {name} is missing" for name in sorted(expected - found)[:3]]
    if not wrong and model.head.weight is not model.tokens.weight:
        wrong.append("its head is not tied to its token table, as GPT-2's is")
    return wrong


def config_to_hf(config: GPTConfig, end_of_text: int | None) -> dict[str, Any]:
    """Return the contents of config.json for a model of these sizes.

    Args:
        config: With learned positions.
        end_of_text: The id that stands between documents, None if there is none.

    Lesson: notebook 15.

    >>> described = config_to_hf(GPTConfig(vocab_size=7, context_length=5), None)
    >>> described["n_positions"], described["n_ctx"], described["activation_function"]
    (5, 5, 'gelu_new')
    """
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{name: allowed[0] for name, allowed in FIXED.items()},
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        "n_ctx": config.context_length,  # what llama.cpp's converter reads
        "n_inner": None,
        **dict.fromkeys(DROPOUTS, config.dropout),
        "initializer_range": 0.02,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "dtype": "float32",
    }


def config_from_hf(described: Mapping[str, Any]) -> GPTConfig:
    """Return the sizes that a config.json tells, if a GPT of ours can have them.

    Raises:
        UserError: If it describes another kind of model or sizes that cannot be; all named.

    Lesson: notebook 15.

    >>> sizes = GPTConfig(vocab_size=7, context_length=5)
    >>> config_from_hf(config_to_hf(sizes, None)) == sizes
    True
    """
    wrong = [
        f"{name} is {described[name]!r} and must be {allowed[0]!r}"
        for name, allowed in FIXED.items()
        if name in described and described[name] not in allowed
    ]
    if "model_type" not in described:
        wrong.append("model_type is missing and must be 'gpt2'")
    sizes: dict[str, Any] = {ours: described.get(theirs) for ours, theirs in SIZES.items()}
    wrong += [
        f"{SIZES[ours]} is {size!r} and must be a whole number"
        for ours, size in sizes.items()
        if type(size) is not int
    ]
    width, inner = sizes["n_embd"], described.get("n_inner")
    if type(width) is int and inner not in (None, 4 * width):
        wrong.append(f"n_inner is {inner!r} and must be 4 n_embd = {4 * width}")
    dropouts = [described.get(name, 0.1) for name in DROPOUTS]  # 0.1 is GPT-2's own
    if dropouts.count(dropouts[0]) < len(dropouts) or not isinstance(dropouts[0], int | float):
        wrong.append(f"{', '.join(DROPOUTS)} are not one number")
    if wrong:
        raise UserError(f"This config.json is not one of GPT-2's layout: {'; '.join(wrong)}.")
    return GPTConfig(**sizes, dropout=dropouts[0])
