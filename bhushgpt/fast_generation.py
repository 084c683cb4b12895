"""Generation as fast as it goes: a cache of fixed size, and prompts of different lengths at once.

Letters: B batch, T time, V vocabulary.

Lesson: notebook 09.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bhushgpt.errors import UserError
from bhushgpt.eval_mode import eval_mode
from bhushgpt.generation import Sampling, next_ids
from bhushgpt.gpt import GPT
from bhushgpt.kv_cache import Cached
from bhushgpt.language_model import LanguageModel
from bhushgpt.recorded_step import RecordedStep, StepFunction
from bhushgpt.static_step import StaticStep


class FastCached(LanguageModel):
    """`Cached` with one new token computed by a step whose shapes never change.

    `generate(FastCached(model), ...)` draws the tokens of `generate(model, ...)`. A prompt, and a
    window that slides, go through the model as before.

    Args:
        model: A GPT. It is used in eval mode, whatever mode it is in.
        capacity: The most tokens kept, if fewer than the context: a shorter cache is read faster.
        compiled: Whether the step goes through torch.compile, which takes 20 to 60 s once.

    Attributes:
        context_length: The model's.

    Lesson: notebook 09.

    >>> from bhushgpt.generation import generate
    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=3, n_embd=12))
    >>> prompt = torch.tensor([[1, 2, 3]])
    >>> list(generate(FastCached(model), prompt, 4)) == list(generate(model, prompt, 4))
    True
    """

    def __init__(self, model: GPT, *, capacity: int | None = None, compiled: bool = False) -> None:
        super().__init__()
        self.context_length = model.context_length
        self.capacity = min(capacity or model.context_length, model.context_length)
        self.compiled = compiled
        # In tuples they are no submodules, so that eval_mode has nothing to walk through.
        self._model = (model,)
        self._kept: tuple[Cached, StepFunction] | None = None
        self._seen: Tensor | None = None

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """Return logits of the new ids of (B, T); the last position is always among them."""
        seen, length = self._seen, ids.shape[1]
        self._seen = None  # an interrupted call leaves the cache half filled
        grown = seen is not None and seen.shape == (len(ids), length - 1)
        if grown and length <= self.capacity and torch.equal(ids[:, :-1], seen):  # type: ignore[arg-type]
            assert self._kept is not None
            with torch.inference_mode():  # no_grad still prepares for changes in place
                logits = self._kept[1](ids[:, -1:], ids.new_full((len(ids),), length - 1))  # (B, V)
            # A copy outside may be used like any tensor, and the next call cannot overwrite it.
            logits = logits.clone()[:, None]  # (B, 1, V)
        else:
            logits = self._prefill(ids)  # (B, _, V)
        self._seen = ids
        return logits

    def _prefill(self, ids: Tensor) -> Tensor:
        model = self._model[0]
        with eval_mode(model):
            if ids.shape[1] >= self.capacity:  # no room for another token: nothing to keep
                return model(ids)
            cached = None if self._kept is None else self._kept[0]
            if cached is None or cached.stores[0].shape[1] != len(ids):
                cached, self._kept = Cached(model, capacity=self.capacity), None
            cached.forget()
            logits = cached(ids)  # (B, _, V)
            if self._kept is None:
                step = make_step(model, cached.stores, compiled=self.compiled)
                self._kept = cached, step
        return logits


def make_step(model: GPT, stores: list[Tensor], *, compiled: bool = False) -> StepFunction:
    """Return a function (ids (B, 1), places (B,)) -> logits (B, V) over these stores.

    On an NVIDIA GPU it is recorded at its first call and replayed after that. On a CPU it reads the
    filled places only, unless it is compiled.

    Lesson: notebook 09.
    """
    filled_only = stores[0].device.type == "cpu" and not compiled
    module = StaticStep(model, stores, filled_only=filled_only)
    if compiled:
        module.compile(dynamic=False)
    return RecordedStep(module) if stores[0].is_cuda else module


def generate_together(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    n_tokens: int,
    sampling: Sampling | None = None,
    *,
    compiled: bool = False,
) -> Iterator[Tensor]:
    """Continue prompts of different lengths at once; each as if it were alone.

    Short prompts are filled up at their end, where nothing looks: a token sees only earlier ones,
    and the new tokens overwrite the filling. Row i is drawn with the seed `sampling.seed` and
    numbers of its own, so it does not depend on its neighbours.

    Args:
        model: A GPT.
        prompts: Ids of each prompt.
        n_tokens: How many to draw for each.
        sampling: Temperature, filters and seed.
        compiled: As in `FastCached`.

    Yields:
        (B, 1) ids, one column at a time.

    Raises:
        UserError: When the first token is asked for: if a prompt is empty, or the longest one and
            the new tokens do not fit into the context.

    Lesson: notebook 09.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=3, n_embd=12))
    >>> [tuple(new.shape) for new in generate_together(model, [[1, 2, 3], [4]], 2)]
    [(2, 1), (2, 1)]
    """
    sampling = sampling or Sampling()
    longest = _check_prompts(model, prompts, n_tokens)
    device = next(model.parameters()).device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)  # (B,)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)  # (B, T)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    generators = [torch.Generator().manual_seed(sampling.seed) for _ in prompts]
    cached = Cached(model, capacity=longest + n_tokens)
    with eval_mode(model):
        rows = torch.arange(len(prompts), device=device)
        logits = cached(ids)[rows, lengths - 1]  # (B, V)
    step = make_step(model, cached.stores, compiled=compiled)
    for count in range(n_tokens):
        pairs = zip(logits, generators, strict=True)
        new = torch.cat([next_ids(row[None], sampling, own) for row, own in pairs])  # (B, 1)
        yield new
        if count < n_tokens - 1:
            with eval_mode(model):
                logits = step(new, lengths + count)  # (B, V)


def _check_prompts(model: GPT, prompts: Sequence[Sequence[int]], n_tokens: int) -> int:
    """Return the length of the longest prompt."""
    empty = [number for number, prompt in enumerate(prompts, start=1) if not len(prompt)]
    if not len(prompts) or empty:
        which = f"prompt {empty[0]} has no token" if empty else "there is no prompt"
        raise UserError(f"Nothing can be continued: {which}. Give each at least one token.")
    longest = max(len(prompt) for prompt in prompts)
    if n_tokens < 0 or longest + n_tokens > model.context_length:
        raise UserError(
            f"The longest prompt has {longest} tokens and {n_tokens} new ones are wanted, but the "
            f"model sees {model.context_length}. Shorten the prompt, ask for fewer tokens, or "
            "continue the prompts one by one: generate(...) lets the window slide."
        )
    return longest
