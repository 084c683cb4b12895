"""A whole GPT in plain Python: its tokens, its gradients, its training and its writing.

Standard library only. Weights, logits, loss, gradients and steps are those of `bhushgpt.gpt.GPT`.
Letters: T time, C channels, D head size (C / heads), V vocabulary. A comment names a part's lesson.

Lesson: notebook 24.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import add, mul

Rows = list[list[float]]
Pull = Callable[[Rows], list[Rows]]


class CharTokenizer:  # notebook 03
    """One id for each character of a text: its place in the sorted alphabet."""

    def __init__(self, text: str) -> None:
        self.characters = "".join(sorted(set(text)))

    def encode(self, text: str) -> list[int]:
        """Return one id for each character; a character without one raises a ValueError."""
        return [self.characters.index(character) for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids."""
        return "".join(self.characters[number] for number in ids)


def each(function: Callable[..., float], *tables: Rows) -> Rows:
    """Return a table of function(numbers that stand at the same place in all tables)."""
    return [list(map(function, *rows)) for rows in zip(*tables, strict=True)]


def turn(a: Rows) -> Rows:  # notebook 01
    """Return the columns of a table as rows."""
    return [list(column) for column in zip(*a, strict=True)]


def dots(a: Rows, b: Rows) -> Rows:  # notebook 01
    """Return every row of `a` times every row of `b`: the matrix product of a and turned b."""
    return [[sum(map(mul, row, other)) for other in b] for row in a]


def softmax(scores: Sequence[float]) -> list[float]:  # notebook 01
    """Return probabilities; the highest score is taken off, so that exp cannot overflow."""
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


class Node:  # notebooks 01 and 06
    """A table of numbers that knows its parents, the nodes it was made from.

    `pull` turns the loss's gradient for this table into those for the parents: the chain rule.

    >>> a, b = Node([[2.0]]), Node([[5.0]])
    >>> (a.times(b) + a).backward()
    >>> a.gradient, b.gradient
    ([[6.0]], [[2.0]])
    """

    def __init__(self, rows: Rows, parents: Sequence["Node"] = (), pull: Pull = lambda g: []):
        self.rows, self.parents, self.pull = rows, parents, pull
        self.shape = len(rows), len(rows[0])
        self.depth: int = 1 + max((parent.depth for parent in parents), default=0)
        self.gradient: Rows = []  # empty: none has come yet

    def backward(self, seed: float = 1.0) -> None:
        """Add `seed` times the gradient of this single number to every node it was made from."""
        self.gradient, waiting = [[seed]], {self: 0}  # a dict, because a set has no order
        while waiting:
            # The deepest first: all that was made from it has sent its part of the gradient.
            node = max(waiting, key=lambda node: node.depth)
            del waiting[node]
            for parent, g in zip(node.parents, node.pull(node.gradient), strict=True):
                parent.gradient = each(add, parent.gradient, g) if parent.gradient else g
            waiting |= dict.fromkeys(node.parents, 0)

    def times(self, other: "Node") -> "Node":  # notebook 01
        """Return this times the other one turned: linear layers, attention's scores, the head."""
        a, b = self.rows, other.rows
        return Node(dots(a, b), (self, other), lambda g: [dots(g, turn(b)), dots(turn(g), turn(a))])

    def __add__(self, other: "Node") -> "Node":
        """Return the sum; a single row, such as a bias, is added to every row."""
        rows = each(add, self.rows, other.rows * (self.shape[0] // other.shape[0]))
        one = other.shape[0] == 1
        return Node(rows, (self, other), lambda g: [g, [list(map(sum, turn(g)))] if one else g])

    def turned(self) -> "Node":
        """Return the columns as rows."""
        return Node(turn(self.rows), (self,), lambda g: [turn(g)])

    def part(self, start: int, stop: int) -> "Node":
        """Return the columns from `start` up to `stop`."""
        a, b = [0.0] * start, [0.0] * (self.shape[1] - stop)
        return Node([r[start:stop] for r in self.rows], (self,), lambda g: [[a + r + b for r in g]])

    def look_up(self, ids: Sequence[int]) -> "Node":  # notebooks 04 and 06
        """Return the rows with these ids: the vectors of tokens."""
        uses = [[float(i == row) for i in ids] for row in range(self.shape[0])]
        return Node([self.rows[i] for i in ids], (self,), lambda g: [dots(uses, turn(g))])

    def causal_softmax(self, scale: float) -> "Node":  # notebook 07
        """Return in row t the softmax of `scale` times its first t + 1 numbers, then zeros."""
        past = [[scale * score for score in row[: t + 1]] for t, row in enumerate(self.rows)]
        weights = [softmax(row) + [0.0] * (self.shape[1] - len(row)) for row in past]

        def pull(g: Rows) -> list[Rows]:
            means = [[sum(row)] * len(row) for row in each(mul, weights, g)]
            return [each(lambda p, slope, mean: scale * p * (slope - mean), weights, g, means)]

        return Node(weights, (self,), pull)

    def layer_norm(self, gain: "Node", bias: "Node") -> "Node":  # notebook 08
        """Return every row with mean 0 and variance 1, times gain, plus bias."""
        width, roots, normed = self.shape[1], [], []
        for row in self.rows:
            mean = sum(row) / width
            roots.append(math.sqrt(sum((x - mean) ** 2 for x in row) / width + 1e-5))
            normed.append([(x - mean) / roots[-1] for x in row])
        gains, biases = gain.rows * len(normed), bias.rows * len(normed)

        def pull(g: Rows) -> list[Rows]:
            back = []
            for slopes, y, root in zip(each(mul, g, gains), normed, roots, strict=True):
                # Shifting or stretching a row changes nothing: those directions are taken out.
                mean, along = sum(slopes) / width, sum(map(mul, slopes, y)) / width
                back.append([(s - mean - n * along) / root for s, n in zip(slopes, y, strict=True)])
            return [back, [list(map(sum, turn(each(mul, g, normed))))], [list(map(sum, turn(g)))]]

        return Node(each(add, each(mul, normed, gains), biases), (self, gain, bias), pull)

    def gelu(self) -> "Node":  # notebook 08
        """Return GELU of every number, in GPT-2's form with a tanh."""
        a, b, x = math.sqrt(2 / math.pi), 0.044715, self.rows
        bend = each(lambda x: math.tanh(a * (x + b * x**3)), x)
        slopes = each(lambda x, t: 0.5 * (1 + t + x * (1 - t**2) * a * (1 + 3 * b * x**2)), x, bend)
        rows = each(lambda x, t: 0.5 * x * (1 + t), x, bend)
        return Node(rows, (self,), lambda g: [each(mul, g, slopes)])

    def cross_entropy(self, targets: Sequence[int]) -> "Node":  # notebook 04
        """Return the mean of -ln p(target) over the rows, in nats, as a table of one number."""
        pairs = [(softmax(row), t) for row, t in zip(self.rows, targets, strict=True)]
        slopes = [[(q - (i == t)) / len(pairs) for i, q in enumerate(p)] for p, t in pairs]
        loss = -sum(math.log(p[t]) for p, t in pairs) / len(pairs)
        return Node([[loss]], (self,), lambda g: [each(lambda slope: g[0][0] * slope, slopes)])


class GPT:  # notebook 09
    """A decoder-only transformer; `weights` has the names of `bhushgpt.gpt.GPT`."""

    def __init__(
        self, *, vocab_size: int, context_length: int, n_layer: int, n_head: int, n_embd: int
    ) -> None:
        self.context_length, self.n_layer, self.n_head = context_length, n_layer, n_head
        C, draw = n_embd, random.Random(0).gauss
        parts = {"norm_1": (1, C), "attention.qkv": (3 * C, C), "attention.projection": (C, C)}
        parts |= {"norm_2": (1, C), "mlp.widen": (4 * C, C), "mlp.projection": (C, 4 * C)}
        sizes = {"tokens": (vocab_size, C), "positions": (context_length, C)}
        sizes |= {f"blocks.{b}.{part}": parts[part] for b in range(n_layer) for part in parts}
        self.weights: dict[str, Node] = {}
        for name, (rows, width) in (sizes | {"norm": (1, C)}).items():
            # 2 n_layer projections are added to the stream: smaller ones, so that it stays small.
            norm, std = "norm" in name, 0.02 / math.sqrt(2 * n_layer if "projection" in name else 1)
            numbers = [[1.0 if norm else draw(0, std) for _ in range(width)] for _ in range(rows)]
            self.weights[name + ".weight"] = Node(numbers)
            if name not in ("tokens", "positions"):
                self.weights[name + ".bias"] = Node([[0.0] * (width if norm else rows)])

    def forward(self, ids: Sequence[int]) -> Node:
        """Return logits: row t scores every token that may follow ids[: t + 1]."""
        if (T := len(ids)) > self.context_length:
            raise ValueError(f"{T} ids came, at most {self.context_length} fit: cut them.")
        layer, tokens = self._layer, self.weights["tokens.weight"]
        x = tokens.look_up(ids) + self.weights["positions.weight"].look_up(range(T))  # (T, C)
        for b in (f"blocks.{number}." for number in range(self.n_layer)):
            x = x + self._attention(layer(x, b + "norm_1"), b + "attention")  # (T, C)
            hidden = layer(layer(x, b + "norm_2"), b + "mlp.widen").gelu()  # (T, 4*C)
            x = x + layer(hidden, b + "mlp.projection")  # (T, C)
        return layer(x, "norm").times(tokens)  # (T, V)

    def _layer(self, x: Node, name: str) -> Node:
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        return x.layer_norm(weight, bias) if "norm" in name else x.times(weight) + bias

    def _attention(self, x: Node, name: str) -> Node:  # notebook 07
        qkv, C = self._layer(x, name + ".qkv"), x.shape[1]
        D, projection = C // self.n_head, self.weights[name + ".projection.weight"]
        total = self.weights[name + ".projection.bias"]
        for head in range(0, C, D):
            q, k, v = (qkv.part(i + head, i + head + D) for i in (0, C, 2 * C))  # 3 x (T, D)
            weights = q.times(k).causal_softmax(1 / math.sqrt(D))  # (T, T)
            mixed = weights.times(v.turned())  # (T, D)
            # Adding the heads' shares of the projection is projecting the heads side by side.
            total = mixed.times(projection.part(head, head + D)) + total  # (T, C)
        return total


class AdamW:  # notebook 05
    """Adam with decoupled weight decay, which norms and biases are spared."""

    def __init__(self, weights: dict[str, Node], rate: float, decay: float = 0.01) -> None:
        self.weights, self.rate, self.decay, self.n = weights, rate, decay, 0
        self.means = {name: each(lambda w: 0.0, node.rows) for name, node in weights.items()}
        self.squares = dict(self.means)

    def step(self, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> None:
        """Move every weight by one step, and forget the gradients."""
        self.n += 1
        rate, fix = self.rate / (1 - b1**self.n), 1 - b2**self.n
        for name, node in self.weights.items():
            keep = 1 - self.rate * (0 if "norm" in name or "bias" in name else self.decay)
            mean = each(lambda m, g: b1 * m + (1 - b1) * g, self.means[name], node.gradient)
            square = each(lambda s, g: b2 * s + (1 - b2) * g * g, self.squares[name], node.gradient)
            moves = each(lambda m, s: rate * m / (math.sqrt(s / fix) + eps), mean, square)
            node.rows = each(lambda w, move, keep=keep: keep * w - move, node.rows, moves)
            self.means[name], self.squares[name], node.gradient = mean, square, []


def windows(ids: Sequence[int], length: int, size: int, seed: int = 0) -> Iterator[list]:
    """Yield batches of `size` pieces of a text, length + 1 ids each, drawn at random."""
    draw, places = random.Random(seed).randrange, len(ids) - length
    while True:
        starts = [draw(places) for _ in range(size)]
        yield [ids[start : start + length + 1] for start in starts]


def train(model: GPT, batches: Iterable[Sequence], optimizer: AdamW) -> Iterator[float]:
    """Take a step for each batch of texts, as ids, and yield its mean loss before the step."""
    for batch in batches:
        losses = [model.forward(ids[:-1]).cross_entropy(ids[1:]) for ids in batch]
        for loss in losses:
            loss.backward(1 / len(batch))  # they add up: notebook 15
        optimizer.step()
        yield sum(loss.rows[0][0] for loss in losses) / len(batch)


def sample(model: GPT, ids: Sequence[int], n: int, temperature: float = 1.0, seed: int = 0) -> list:
    """Return the ids and `n` drawn ones; a temperature below 1 plays safe."""
    ids, draw, T = list(ids), random.Random(seed), model.context_length
    for _ in range(n):
        p = softmax([score / temperature for score in model.forward(ids[-T:]).rows[-1]])
        ids += draw.choices(range(len(p)), p)
    return ids
