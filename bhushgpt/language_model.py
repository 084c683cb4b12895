"""What every model of the course has in common: logits, a loss, checked ids, drawn tokens.

Letters: B batch, T time, C channels, V vocabulary.

Lesson: notebook 04. Drawing faster and with more say: notebook 10, `generation`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.devices import abilities
from bhushgpt.errors import UserError


class LanguageModel(nn.Module):
    """Scores every possible next token at every position: ids (B, T) in, logits (B, T, V) out.

    Anything that keeps this promise can be trained, evaluated and sampled from by the same
    functions: a bigram table, a GPT, a GPT behind a cache.

    Attributes:
        context_length: The most tokens the model looks at.
    """

    context_length: int

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for ids (B, T)."""
        raise NotImplementedError

    def parameter_count(self) -> int:
        """Return how many numbers the model has; a tied weight counts once.

        >>> model = LanguageModel()
        >>> model.table = nn.Embedding(7, 7)
        >>> model.parameter_count()
        49
        """
        return sum(parameter.numel() for parameter in self.parameters())

    def trained_count(self) -> int:
        """Return how many of them training changes: all, but where some are frozen (notebook 18).

        >>> model = LanguageModel()
        >>> model.table = nn.Embedding(7, 7).requires_grad_(False)
        >>> model.trained_count()
        0
        """
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings of any model: frozen, and able to build it."""

    vocab_size: int
    """V, how many different tokens there are."""
    context_length: int
    """T, the most tokens the model looks at."""

    def build(self) -> LanguageModel:
        """Return the untrained model."""
        raise NotImplementedError


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each position by itself, in nats: (B, T).

    Args:
        logits: (B, T, V), any real numbers; softmax over V turns them into probabilities.
        targets: (B, T), the id of the token that follows each position.

    >>> import torch
    >>> sure_of_1 = torch.tensor([[[0.0, 9.0], [0.0, 9.0]]])
    >>> token_losses(sure_of_1, torch.tensor([[1, 0]]))
    tensor([[1.2337e-04, 9.0001e+00]])
    """
    # At least float32, whatever the model computes in: a softmax over many classes loses digits.
    scores = logits if logits.dtype == torch.float64 else logits.float()  # (B, T, V)
    flat = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
    losses = flat.view(targets.shape)  # (B, T)
    return losses


def next_token_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy in nats of the true next tokens.

    Args:
        logits: (B, T, V).
        targets: (B, T).
        weights: (B, T), how much each target counts; one of weight 0 is not learned, and does not
            count in the mean either (notebook 18). Left out, all count alike.

    Returns:
        A scalar: the mean of -ln p(target). A guesser that spreads its bets evenly gets ln V.

    >>> import math, torch
    >>> even = torch.zeros(2, 5, 7)
    >>> round(next_token_loss(even, torch.zeros(2, 5, dtype=torch.long)).item(), 4)
    1.9459
    >>> round(math.log(7), 4)
    1.9459
    """
    losses = token_losses(logits, targets)  # (B, T)
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / total_weight(weights)


def total_weight(weights: Tensor) -> Tensor:
    """Return the sum of the weights of targets, by which their losses are divided.

    Raises:
        UserError: If no target counts: there is nothing to learn, and 0 / 0 is no loss.

    >>> total_weight(torch.tensor([[0.0, 1.0, 1.0]]))
    tensor(2.)
    """
    total = weights.sum()
    if not total > 0:
        raise UserError("No target of this batch counts: all weights are 0.")
    return total


def check_tensor(ids: object) -> None:
    """Refuse ids that are no tensor.

    Raises:
        UserError: If they are something else, such as a list or an array of numpy.

    >>> check_tensor([[0, 7]])
    Traceback (most recent call last):
    bhushgpt.errors.UserError: The ids are of the kind list, not a tensor: use torch.tensor(ids).
    """
    if not isinstance(ids, Tensor):
        kind = type(ids).__name__
        raise UserError(f"The ids are of the kind {kind}, not a tensor: use torch.tensor(ids).")


LOOKED_UP = (torch.int64, torch.int32)  # by torch's embedding; smaller ones it refuses


def check_ids(ids: Tensor, table: Tensor) -> None:
    """Refuse ids that a table of token vectors cannot look up, in words instead of a crash.

    Ids on a GPU are not searched for one that is too large: that would make the program wait for
    the device at every call. They are checked while they are still on the CPU, by `Batches` and by
    the tokenizers.

    Args:
        ids: (B, T).
        table: (V, C), the weight of an embedding.

    Raises:
        UserError: If the ids are no tensor, on another device than the table, neither int64 nor
            int32, or not from 0 to V - 1.

    >>> check_ids(torch.tensor([[0, 7]]), torch.zeros(5, 2))
    Traceback (most recent call last):
    bhushgpt.errors.UserError: The ids hold 7, but the model knows 5 tokens, 0 to 4. Were they \
made by another tokenizer than the model was trained with?
    """
    check_tensor(ids)
    if ids.device != table.device:
        raise UserError(
            f"The ids are on {ids.device}, the model on {table.device}: use "
            f"ids.to({str(table.device)!r}), or model.to({str(ids.device)!r})."
        )
    if ids.dtype not in LOOKED_UP:
        kind = str(ids.dtype).removeprefix("torch.")
        raise UserError(f"The ids are {kind}, but must be int64 or int32: use ids.long().")
    if not abilities(ids.device).host or torch.compiler.is_compiling() or not ids.numel():
        return
    least, most = (int(value) for value in ids.aminmax())
    if least < 0 or most >= len(table):
        raise UserError(
            f"The ids hold {least if least < 0 else most}, but the model knows {len(table):,} "
            f"tokens, 0 to {len(table) - 1:,}. Were they made by another tokenizer than the model "
            "was trained with?"
        )


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off inside the `with`, and give the model back as it was.

    Forgetting one of the three steps (eval, no_grad, back to train) is the classic silent bug, so
    they live in one place. An exception inside restores the mode, too, and a part that was in
    another mode than the whole keeps its own.

    >>> layer = nn.Dropout(0.5)
    >>> with eval_mode(layer):
    ...     layer.training, torch.is_grad_enabled()
    (False, False)
    >>> layer.training, torch.is_grad_enabled()
    (True, True)
    """
    # Only what is switched is put back: a model that is in eval mode already, as in generation
    # where this happens once a token, costs no more than a look.
    switched = [module for module in model.modules() if module.training]
    for module in switched:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in switched:
            module.training = True


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one token id per row, each with its softmax probability.

    Args:
        logits: (B, V).
        generator: The source of randomness, on the CPU; a seeded one gives the same ids again on
            every device, since the draw itself is made on the CPU.

    Returns:
        (B, 1) ids on the device of the logits.

    >>> certain = torch.tensor([[0.0, 100.0, 0.0]])
    >>> draw(certain, torch.Generator().manual_seed(0))
    tensor([[1]])
    """
    probabilities = logits.float().softmax(dim=-1).cpu()  # (B, V)
    ids = torch.multinomial(probabilities, num_samples=1, generator=generator)  # (B, 1)
    return ids.to(logits.device)


def sample(model: LanguageModel, ids: Tensor, n_tokens: int, seed: int = 0) -> Tensor:
    """Continue a text by `n_tokens` drawn tokens; the reference that faster ways must equal.

    Args:
        model: Maps ids (B, T) to logits (B, T, V) and has a `context_length`.
        ids: (B, T) the prompt, at least one token.
        n_tokens: How many to add.
        seed: The same seed gives the same text.

    Returns:
        (B, T + n_tokens): the prompt, whole, and what was drawn. Only what the model looks at is
        cropped to its context, never the text.

    >>> from bhushgpt.bigram import Bigram, BigramConfig
    >>> even = Bigram(BigramConfig(vocab_size=5))
    >>> text = sample(even, torch.tensor([[3, 4]]), n_tokens=6, seed=1)
    >>> text.shape, text[0, :2].tolist()
    (torch.Size([1, 8]), [3, 4])
    >>> bool((text == sample(even, torch.tensor([[3, 4]]), n_tokens=6, seed=1)).all())
    True
    """
    generator = torch.Generator().manual_seed(seed)
    with eval_mode(model):
        for _ in range(n_tokens):
            visible = ids[:, -model.context_length :]  # (B, _)
            logits = model(visible)[:, -1]  # (B, V)
            ids = torch.cat([ids, draw(logits, generator)], dim=1)
    return ids
