"""What fine-tuning with LoRA added to a model, in a file of its own that knows its model.

The additions are a few per cent of a model's numbers, so one model can be kept once, and a small
file for each text that it was fine-tuned on. They mean nothing without the very weights that they
were added to: the file holds a fingerprint of those.

Lesson: notebook 18.
"""

import hashlib
from pathlib import Path

import torch
from torch import nn

from bhushgpt.errors import UserError
from bhushgpt.files import look_alike
from bhushgpt.gpt import GPT
from bhushgpt.lora import LoRAConfig, additions, base_weights, with_lora
from bhushgpt.storage.tensors import load_tensors, read_facts, read_header, save_tensors

KIND = "bhushgpt lora 1"


def base_digest(model: nn.Module) -> str:
    """Return the sha256 of a model's weights without additions: the same before and after LoRA.

    >>> from bhushgpt.gpt import GPTConfig
    >>> base = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_head=2, n_embd=8))
    >>> base_digest(with_lora(base)) == base_digest(base)
    True
    """
    weights = base_weights(model)
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        numbers = weights[name].detach().cpu().contiguous().flatten()
        digest.update(numbers.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_adapter(model: GPT, file: Path) -> None:
    """Write the additions of a model, and nothing else of it, to a safetensors file.

    Raises:
        UserError: If the model has none, or the file cannot be written.
    """
    config = model.config
    if not isinstance(config, LoRAConfig):
        raise UserError(
            "This model has no additions of LoRA, so there is no adapter to save. Fine-tune it "
            "with --lora 8, or save the whole model."
        )
    facts = {
        "kind": KIND,
        "rank": str(config.rank),
        "alpha": repr(config.alpha),
        "base_sha256": base_digest(model),
    }
    tensors = {name: weight.detach().contiguous() for name, weight in additions(model).items()}
    save_tensors(tensors, file, facts)


def load_adapter(model: GPT, file: Path) -> GPT:
    """Return the model with the additions in a file; the weights are shared, see `with_lora`.

    Args:
        model: The very model that the additions were trained on.
        file: From `save_adapter`.

    Raises:
        UserError: If the file is missing, damaged or no adapter, or was made for another model.

    >>> import tempfile
    >>> from bhushgpt.gpt import GPTConfig
    >>> base = GPT(GPTConfig(vocab_size=7, context_length=5, n_layer=1, n_head=2, n_embd=8))
    >>> tuned, ids = with_lora(base, rank=3), torch.arange(5)[None]
    >>> for weight in additions(tuned).values():
    ...     _ = nn.init.normal_(weight)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_adapter(tuned, Path(folder, "adapter.safetensors"))
    ...     again = load_adapter(base, Path(folder, "adapter.safetensors"))
    >>> torch.equal(again(ids), tuned(ids))
    True
    """
    if not file.is_file():
        hint = look_alike(file) or " Name an adapter.safetensors of a run."
        raise UserError(f"There is no file {file}.{hint}")
    facts = read_facts(file)
    if facts.get("kind") != KIND:
        raise UserError(
            f"{file} is not an adapter of this course: it does not say that it holds additions "
            "of LoRA. Name the adapter.safetensors that `finetune --lora` wrote."
        )
    try:
        tuned = with_lora(model, rank=int(facts["rank"]), alpha=float(facts["alpha"]))
    except UserError as error:
        raise _another_model(file, str(error)) from error
    except (KeyError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}. Get it again.") from error
    found = {name: facts.shape for name, facts in read_header(file).items()}
    wanted = {name: tuple(weight.shape) for name, weight in additions(tuned).items()}
    if found != wanted:
        raise _another_model(file, _first_difference(found, wanted))
    if facts.get("base_sha256") != base_digest(model):
        raise _another_model(file, "the sizes fit, but the weights are others")
    weights = load_tensors(file, model.tokens.weight.device)
    tuned.load_state_dict(weights, strict=False)
    return tuned


def _first_difference(found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> str:
    for name in [*wanted, *found]:
        one, other = found.get(name), wanted.get(name)
        if one != other:
            return f"{name} is {one or 'missing'} there and {other or 'missing'} here"
    return "nothing differs"


def _another_model(file: Path, why: str) -> UserError:
    reason = why.rstrip(".")
    return UserError(
        f"{file} was made for another model: {reason}. Nothing was loaded. Name the run that it "
        "was fine-tuned from; the adapter's run.json says which (fine_tuning, base)."
    )
