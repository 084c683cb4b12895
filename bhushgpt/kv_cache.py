"""Not computing twice: keys and values of earlier tokens are kept between steps of generation.

Letters: B batch, T time (new tokens), S time (all tokens seen), H heads, D head size, V vocabulary.

Lesson: notebook 10.
"""

import torch
from torch import Tensor

from bhushgpt.gpt import GPT
from bhushgpt.language_model import LanguageModel, check_tensor


class LayerCache:
    """Keys and values of one attention layer, in memory set aside once.

    Args:
        capacity: The most tokens it holds.

    Attributes:
        length: How many tokens it holds now.

    >>> layer = LayerCache(capacity=8)
    >>> keys, values = layer.append(torch.ones(1, 3, 5, 4), torch.ones(1, 3, 5, 4))
    >>> keys, values = layer.append(torch.ones(1, 3, 1, 4), torch.ones(1, 3, 1, 4))
    >>> keys.shape, layer.length
    (torch.Size([1, 3, 6, 4]), 6)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._store: Tensor | None = None

    @property
    def store(self) -> Tensor:
        """Keys and values with all room set aside for them: (2, B, H, capacity, D)."""
        assert self._store is not None, "nothing was stored yet"
        return self._store

    def forget(self) -> None:
        """Hold no token, and keep the memory."""
        self.length = 0

    @property
    def memory_bytes(self) -> int:
        """Return the size of the memory set aside: 2 B H capacity D numbers; 0 before the first."""
        return 0 if self._store is None else self._store.nbytes

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values, (B, H, T, D) each; return all so far, (B, H, S, D) each."""
        if self._store is None:
            B, H, _, D = keys.shape
            # Zeros: what is behind the last token is given no weight, but 0 times NaN is NaN.
            self._store = keys.new_zeros(2, B, H, self.capacity, D)
        end = self.length + keys.shape[2]
        assert end <= self.capacity, "Cached starts again before the cache overflows"
        self._store[0, :, :, self.length : end] = keys
        self._store[1, :, :, self.length : end] = values
        self.length = end
        return self._store[0, :, :, :end], self._store[1, :, :, :end]


class Cached(LanguageModel):
    """A model that remembers: ids it was given the call before are not computed again.

    Wraps a GPT without changing it: `generate(Cached(model), ...)` draws the same tokens as
    `generate(model, ...)`. As long as each call's ids begin with the ids of the call before, only
    the new ones go through the model. Once the text is longer than the context, the window slides,
    every position changes and with it every key, and each call computes the whole window, exactly
    as the plain model does.

    It is for generating: no gradient flows through it. After the model was trained further, make a
    new one, since what is kept was computed by the weights as they were.

    Args:
        model: A GPT. Of another model nothing is kept: it computes the whole window at each call.
        capacity: Room for so many tokens is set aside; left out, for the whole context.
        exact: Whether a text longer than the context is continued as the plain model does it.

    Attributes:
        context_length: The model's.

    >>> from bhushgpt.gpt import GPT, GPTConfig
    >>> cached = Cached(GPT(GPTConfig(vocab_size=7, context_length=5, n_head=3, n_embd=12)))
    >>> ids = torch.tensor([[1, 2, 3, 4]])
    >>> cached(ids[:, :3]).shape, cached(ids).shape  # the second call computes one position
    (torch.Size([1, 3, 7]), torch.Size([1, 1, 7]))
    """

    def __init__(
        self, model: LanguageModel, *, capacity: int | None = None, exact: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.context_length = model.context_length
        self.capacity = capacity or model.context_length
        self.exact = exact
        self._seen: Tensor | None = None
        self._layers: list[LayerCache] = []
        self.train(model.training)

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """Return logits for the ids (B, T) that are new since the last call: (B, _, V).

        The last position is always among them, so `logits[:, -1]` predicts the next token.
        """
        check_tensor(ids)
        if not isinstance(self.model, GPT):
            return self.model(ids)
        if self.exact and ids.shape[1] > self.capacity:  # more than is kept: the whole, as without
            self.forget()
            return self.model(ids)
        new = self._new(ids)  # (B, _)
        self._seen = None  # an interrupted call leaves layers of unequal length: start again then
        logits = self.model(new, self._layers)  # (B, _, V)
        self._seen = ids.clone()  # the caller may write the next token into the same tensor
        return logits

    @property
    def memory_bytes(self) -> int:
        """Return the size of all layers' memory: 2 L B C context_length numbers in a GPT."""
        return sum(layer.memory_bytes for layer in self._layers)

    @property
    def stores(self) -> list[Tensor]:
        """Each layer's keys and values, (2, B, H, capacity, D), in memory that stays in place."""
        return [layer.store for layer in self._layers]

    def forget(self) -> None:
        """Take the next ids for a new text, in the memory of the old one where it fits."""
        self._seen = None

    @property
    def length(self) -> int:
        """How many tokens are kept now."""
        return self._layers[0].length if self._layers else 0

    def _new(self, ids: Tensor) -> Tensor:
        """Return the ids (B, _) that are to be computed; the layers hold what is before them."""
        assert isinstance(self.model, GPT)
        known = known_ids(ids, self._seen, slides=not self.exact)
        new = ids[:, known:]  # (B, _)
        if known and self.length + new.shape[1] <= self.capacity:
            return new
        self._start(len(ids), len(self.model.blocks))
        fits = ids.shape[1] <= self.capacity and not known
        return ids if self.exact or fits else later_half(ids, self.capacity)

    def _start(self, n_rows: int, n_layer: int) -> None:
        """Empty the layers; memory is set aside again only for another number of rows."""
        if self._layers and self._layers[0].memory_bytes and self.stores[0].shape[1] == n_rows:
            for layer in self._layers:
                layer.forget()
        else:
            self._layers = [LayerCache(self.capacity) for _ in range(n_layer)]


def known_ids(ids: Tensor, seen: Tensor | None, *, slides: bool = False) -> int:
    """Return how many of the ids (B, T), from the first on, were given the call before.

    Args:
        ids: What is given now.
        seen: What was given then, (B, S).
        slides: Whether ids that have moved on by one token, T = S, are known but for the last.

    >>> known_ids(torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2]]))
    2
    >>> known_ids(torch.tensor([[2, 3]]), torch.tensor([[1, 2]]), slides=True)
    1
    """
    if seen is None or len(seen) != len(ids):
        return 0
    length = seen.shape[1]
    if length < ids.shape[1]:
        return length if torch.equal(ids[:, :length], seen) else 0
    moved = slides and length == ids.shape[1] and torch.equal(ids[:, :-1], seen[:, 1:])
    return length - 1 if moved else 0


def later_half(ids: Tensor, capacity: int) -> Tensor:
    """Return the last of the ids (B, T), as many as fill half of a cache.

    >>> later_half(torch.arange(9)[None], capacity=8)
    tensor([[5, 6, 7, 8]])
    """
    return ids[:, -max(1, capacity // 2) :]
