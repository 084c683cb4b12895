"""Generation as fast as it goes: a cache of fixed size, and prompts of different lengths at once.

First a step of generation in which no shape ever changes, so that it can be compiled or recorded.
`Cached` gives attention one key more at every step. Here the keys have their full length from the
start, and a mask hides the places that are still empty. Then every step runs the same code on
memory in the same place: torch.compile turns it into one program, and a GPU can replay it without
hearing of each operation from Python. Where nothing is compiled or recorded, the same step may look
at the filled places only.

Then a recording of that step, which an NVIDIA GPU replays by itself. A small model is done with an
operation before Python has handed over the next one. A CUDA graph is a recording of all operations
of a step: one launch replays them. It works on memory in fixed places, so the inputs are copied
into the place that was recorded.

Letters: B batch, T time, V vocabulary, C channels, H heads, D head size, S places that attention
looks at.

Lesson: notebook 10. Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.devices import abilities
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate, next_ids
from bhushgpt.gpt import GPT
from bhushgpt.kv_cache import Cached, known_ids, later_half
from bhushgpt.language_model import LanguageModel, check_tensor, eval_mode
from bhushgpt.positions import Positions, Rotary
from bhushgpt.speed.small_weights import Int8Linear, PackedLinear
from bhushgpt.transformer import MLP, Block

Function = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    """The parts of a block as plain functions, and the keys and values kept for it."""

    norm_1: Function
    qkv: Function
    rotary: Rotary | None
    n_head: int
    head_size: int
    projection: Function
    norm_2: Function
    widen: Function
    activation: Function
    narrow: Function
    store: Tensor


def _layer(block: Block, store: Tensor) -> _Layer:
    attention, mlp = cast(CausalSelfAttention, block.attention), cast(MLP, block.mlp)
    n_rows = store.shape[1]
    return _Layer(
        norm_1=plain_function(block.norm_1, n_rows),
        qkv=plain_function(attention.qkv, n_rows),
        rotary=attention.rotary,
        n_head=attention.n_head,
        head_size=attention.head_size,
        projection=plain_function(attention.projection, n_rows),
        norm_2=plain_function(block.norm_2, n_rows),
        widen=plain_function(mlp.widen, n_rows),
        activation=plain_function(mlp.activation, n_rows),
        narrow=plain_function(mlp.projection, n_rows),
        store=store,
    )


def plain_function(module: nn.Module, n_rows: int) -> Function:
    """Return what a module computes for (B, I) as a function that looks nothing up.

    A small model's product is over in microseconds, and a module takes half as long again to find
    its weights and look for hooks. Of a kind not known here, the module itself is returned.

    Args:
        module: A norm, a linear layer of any kind, or an activation.
        n_rows: B.

    >>> norm = nn.LayerNorm(4)
    >>> x = torch.randn(2, 4)
    >>> torch.equal(plain_function(norm, 2)(x), norm(x))
    True
    """
    if isinstance(module, Int8Linear):
        return module.function(n_rows)
    if isinstance(module, PackedLinear):
        return module.function()
    if type(module) is nn.Linear:
        return partial(F.linear, weight=module.weight, bias=module.bias)
    if isinstance(module, nn.LayerNorm):
        shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    if isinstance(module, nn.GELU):
        return partial(F.gelu, approximate=module.approximate)
    return module


def knows(model: GPT) -> bool:
    """Return whether a step of fixed shapes can be made of a model: all its parts are known here.

    >>> from bhushgpt.gpt import GPTConfig
    >>> knows(GPT(GPTConfig(vocab_size=7)))
    True
    """
    return type(model) is GPT and all(
        type(block) is Block
        and type(block.attention) is CausalSelfAttention
        and type(block.mlp) is MLP
        for block in model.blocks
    )


class StaticStep(nn.Module):
    """Computes the logits of one new token a row, each row at a place of its own.

    It uses the weights of the model and is no copy; hooks of its blocks are not called. Rows may
    stand at different places, as prompts of different lengths do. Nothing is dropped, whatever mode
    the model is in.

    Args:
        model: A GPT.
        stores: For each block its keys and values, (2, B, H, S, D), filled up to the places.
        filled_only: Whether attention reads only what is filled and leaves the rest of the cache
            alone. That is less to read, but then shapes do grow: not for compiling or recording.

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=3, n_embd=12))
    >>> step = StaticStep(model, [torch.zeros(2, 5, 3, 8, 4)])
    >>> step(torch.zeros(5, 1, dtype=torch.long), torch.zeros(5, dtype=torch.long)).shape
    torch.Size([5, 7])
    """

    places: Tensor
    rows: Tensor

    def __init__(self, model: GPT, stores: list[Tensor], *, filled_only: bool = False) -> None:
        super().__init__()
        # Not submodules: whoever walks through this module need not walk through the whole GPT.
        self._model, self.filled_only = (model,), filled_only
        pairs = zip(model.blocks, stores, strict=True)
        self._layers = [_layer(cast(Block, block), store) for block, store in pairs]
        n_rows, capacity = stores[0].shape[1], stores[0].shape[3]
        self.register_buffer("places", torch.arange(capacity, device=stores[0].device))
        self.register_buffer("rows", torch.arange(n_rows, device=stores[0].device))

    def forward(self, ids: Tensor, at: Tensor) -> Tensor:
        """Return logits (B, V) after the ids (B, 1), which stand at the places `at` (B,)."""
        model = self._model[0]
        x = model.tokens(ids[:, 0])  # (B, C)
        if model.positions is not None:
            x = x + cast(Positions, model.positions).weight[at]  # (B, C)
        end, mask = self._visible(at, x.dtype)
        for layer in self._layers:
            x = x + self._attend(layer, layer.norm_1(x), at, end, mask)  # (B, C)
            hidden = layer.activation(layer.widen(layer.norm_2(x)))  # (B, 4*C)
            x = x + layer.narrow(hidden)  # (B, C)
        logits = model.head(model.norm(x))  # (B, V)
        return logits

    def _visible(self, at: Tensor, dtype: torch.dtype) -> tuple[int, Tensor | None]:
        """Return how many places attention reads, and what hides the empty ones from each row."""
        end = len(self.places)
        if self.filled_only:
            filled = at.tolist()
            end = max(filled) + 1
            if min(filled) == max(filled):  # all rows stand at the end: nothing is to be hidden
                return end, None
        hidden = self.places[:end] > at[:, None]  # (B, S)
        mask = torch.zeros_like(hidden, dtype=dtype).masked_fill(hidden, -torch.inf)  # (B, S)
        return end, mask[:, None, None]

    def _attend(
        self, layer: _Layer, x: Tensor, at: Tensor, end: int, mask: Tensor | None
    ) -> Tensor:
        B, H, D = x.shape[0], layer.n_head, layer.head_size
        qkv = layer.qkv(x).view(B, 3, H, D)  # (B, 3, H, D)
        if layer.rotary is not None:
            q, k, v = qkv.unbind(1)  # 3 x (B, H, D)
            q, k = turned(layer.rotary, q, at), turned(layer.rotary, k, at)  # 2 x (B, H, D)
            qkv = torch.stack([q, k, v], dim=1)  # (B, 3, H, D)
        # Keys and values lie side by side here and in the store: one operation writes both.
        layer.store[:, self.rows, :, at] = qkv[:, 1:].to(layer.store.dtype)
        keys, values = layer.store.narrow(3, 0, end).to(x.dtype).unbind()  # 2 x (B, H, S, D)
        # For one query no form stores more than a row of scores; the fused one is a single call.
        mixed = F.scaled_dot_product_attention(
            qkv[:, 0, :, None], keys, values, attn_mask=mask
        )  # (B, H, 1, D)
        return layer.projection(mixed.reshape(B, H * D))


def turned(rotary: Rotary, x: Tensor, at: Tensor) -> Tensor:
    """Return queries or keys x (B, H, D), turned for the places at (B,): each row by its own.

    >>> x, rotary = torch.randn(2, 3, 4), Rotary(8, 4)
    >>> torch.allclose(turned(rotary, x, torch.tensor([5, 0]))[1], x[1])
    True
    """
    cosines = rotary.cosines[at][:, None].to(x.dtype)  # (B, 1, D//2)
    sines = rotary.sines[at][:, None].to(x.dtype)  # (B, 1, D//2)
    first, second = x.chunk(2, dim=-1)  # 2 x (B, H, D//2)
    both = torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)
    return both  # (B, H, D)


StepFunction = Callable[[Tensor, Tensor], Tensor]


class RecordedStep:
    """Replays a step (ids, at) -> logits; the first call records it.

    Args:
        step: Has the same shapes at every call, and changes only memory that stays in its place.
    """

    def __init__(self, step: StepFunction) -> None:
        self._step = step
        self._graph: torch.cuda.CUDAGraph | None = None
        self._ids: Tensor
        self._at: Tensor
        self._logits: Tensor

    def __call__(self, ids: Tensor, at: Tensor) -> Tensor:
        """Return the logits; they are overwritten by the next call."""
        if self._graph is None:
            self._record(ids, at)
        self._ids.copy_(ids)
        self._at.copy_(at)
        assert self._graph is not None
        self._graph.replay()
        return self._logits

    def _record(self, ids: Tensor, at: Tensor) -> None:
        self._ids, self._at = ids.clone(), at.clone()
        # Libraries set themselves up in their first calls, which must not be recorded. A step may
        # be repeated: it writes the same keys and values to the same places.
        with torch.cuda.device(ids.device):  # a graph records what the current card does
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._step(self._ids, self._at)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._logits = self._step(self._ids, self._at)
        self._graph = graph


class FastCached(LanguageModel):
    """`Cached` with one new token computed by a step whose shapes never change.

    `generate(FastCached(model), ...)` draws the tokens of `generate(model, ...)`. A prompt, and a
    window that slides, go through the model as before, the latter at every step unless `exact` is
    off; a model of other parts (`knows`) goes through `Cached`.

    Args:
        model: A GPT. It is used in eval mode, whatever mode it is in.
        capacity: The most tokens kept, if fewer than the context: a shorter cache is read faster.
        compiled: Whether the step goes through torch.compile, which takes 20 to 60 s once.
        exact: As in `Cached`: without it, a full cache keeps the later half of its tokens.

    Attributes:
        context_length: The model's.

    >>> from bhushgpt.generation import generate
    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=3, n_embd=12))
    >>> prompt = torch.tensor([[1, 2, 3]])
    >>> list(generate(FastCached(model), prompt, 4)) == list(generate(model, prompt, 4))
    True
    """

    def __init__(
        self,
        model: GPT,
        *,
        capacity: int | None = None,
        compiled: bool = False,
        exact: bool = True,
    ) -> None:
        super().__init__()
        self.context_length = model.context_length
        self.capacity = min(capacity or model.context_length, model.context_length)
        self.compiled = compiled
        self.exact = exact
        # In tuples they are no submodules, so that eval_mode has nothing to walk through.
        self._model = (model,)
        self._plain = None if knows(model) else (Cached(model, exact=exact),)
        self._kept: tuple[Cached, StepFunction] | None = None
        self._seen: Tensor | None = None
        self._length = 0  # tokens in the cache, where the next one goes

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """Return logits of the new ids of (B, T); the last position is always among them."""
        check_tensor(ids)
        if self._plain:
            with eval_mode(self._model[0]):
                return self._plain[0](ids)
        known = known_ids(ids, self._seen, slides=not self.exact)
        self._seen = None  # an interrupted call leaves the cache half filled
        if known == ids.shape[1] - 1 and 0 < self._length < self.capacity:
            assert self._kept is not None
            with torch.inference_mode():  # no_grad still prepares for changes in place
                at = ids.new_full((len(ids),), self._length)  # (B,)
                logits = self._kept[1](ids[:, -1:], at)  # (B, V)
            # A copy outside may be used like any tensor, and the next call cannot overwrite it.
            logits = logits.clone()[:, None]  # (B, 1, V)
            self._length += 1
        else:
            logits = self._prefill(ids, known)  # (B, _, V)
        self._seen = ids.clone()  # the caller may write the next token into the same tensor
        return logits

    def _prefill(self, ids: Tensor, known: int) -> Tensor:
        model = self._model[0]
        with eval_mode(model):
            if self.exact and ids.shape[1] >= self.capacity:  # no room for another: nothing to keep
                self._length = 0
                return model(ids)
            if ids.shape[1] > self.capacity or (known and ids.shape[1] == self.capacity):
                ids = later_half(ids, self.capacity)
            cached = None if self._kept is None else self._kept[0]
            if cached is None or cached.stores[0].shape[1] != len(ids):
                cached, self._kept = Cached(model, capacity=self.capacity), None
            cached.forget()
            logits = cached(ids)  # (B, _, V)
            self._length = ids.shape[1]
            if self._kept is None:
                step = make_step(model, cached.stores, compiled=self.compiled)
                self._kept = cached, step
        return logits


def make_step(model: GPT, stores: list[Tensor], *, compiled: bool = False) -> StepFunction:
    """Return a function (ids (B, 1), places (B,)) -> logits (B, V) over these stores.

    On an NVIDIA GPU it is recorded at its first call and replayed after that. On a CPU it reads the
    filled places only, unless it is compiled.
    """
    can = abilities(stores[0].device)
    filled_only = can.host and not compiled
    module = StaticStep(model, stores, filled_only=filled_only)
    if compiled:
        module.compile(dynamic=False)
    return RecordedStep(module) if can.records else module


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

    >>> from bhushgpt.gpt import GPTConfig
    >>> model = GPT(GPTConfig(vocab_size=7, context_length=8, n_layer=1, n_head=3, n_embd=12))
    >>> [tuple(new.shape) for new in generate_together(model, [[1, 2, 3], [4]], 2)]
    [(2, 1), (2, 1)]
    """
    sampling = sampling or Sampling()
    longest = _check_prompts(model, prompts, n_tokens)
    device = next(model.parameters()).device
    if not knows(model):
        rows = [torch.tensor([list(prompt)], device=device) for prompt in prompts]
        each = [generate(Cached(model), row, n_tokens, sampling) for row in rows]
        yield from map(torch.cat, zip(*each, strict=True))
        return
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
