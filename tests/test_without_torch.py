"""The GPT of plain Python equals the package's GPT, and what is planted in it is found."""

import ast
import inspect
import itertools
import math
import random
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import bhushgpt.without_torch as plain
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import next_token_loss
from bhushgpt.optimizers import AdamW, parameter_groups
from bhushgpt.tokenizers import CharTokenizer

FILE = Path(plain.__file__)
SOURCE = FILE.read_text(encoding="utf-8")
EQUAL = 1e-9
SIZES: dict[str, Any] = {
    "vocab_size": 11,
    "context_length": 5,
    "n_layer": 2,
    "n_head": 3,
    "n_embd": 6,
}
SMALL = SIZES | {"n_layer": 1}
RATE, DECAY = 0.02, 0.3
Batch = list[list[int]]


def twins(module: ModuleType = plain, sizes: dict[str, Any] = SIZES) -> tuple[plain.GPT, GPT]:
    """Return a plain GPT and the package's in float64, both with the same random weights."""
    torch.manual_seed(3)
    theirs = GPT(GPTConfig(**sizes)).double()
    ours = module.GPT(**sizes)
    for name, weight in theirs.named_parameters():
        # Weights of size 0.02 would hide mistakes: half of a tiny number is still tiny.
        weight.data += 0.4 * torch.randn_like(weight)
        ours.weights[name].rows = torch.atleast_2d(weight.detach()).tolist()
    return ours, theirs


def a_batch(number: int = 0, texts: int = 3, sizes: dict[str, Any] = SIZES) -> Batch:
    generator = torch.Generator().manual_seed(number)
    shape = (texts, sizes["context_length"] + 1)
    # Even ids only: few enough that some come twice in a text, and the odd ones never.
    return (2 * torch.randint(sizes["vocab_size"] // 2, shape, generator=generator)).tolist()


def exact_loss(theirs: GPT, batch: Batch) -> Tensor:
    """Return the package's loss in float64; `next_token_loss` rounds logits to float32 first."""
    ids = torch.tensor(batch)
    return F.cross_entropy(theirs(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def add_gradients(ours: plain.GPT, batch: Batch) -> float:
    losses = [ours.forward(ids[:-1]).cross_entropy(ids[1:]) for ids in batch]
    for loss in losses:
        loss.backward(1 / len(batch))
    return statistics.fmean(loss.rows[0][0] for loss in losses)


def distance(rows: list[list[float]], tensor: Tensor) -> float:
    return (torch.tensor(rows, dtype=torch.float64) - torch.atleast_2d(tensor)).abs().max().item()


def optimizer_of(theirs: GPT) -> AdamW:
    return AdamW(parameter_groups(theirs, DECAY), lr=RATE)


def step_of(theirs: GPT, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    optimizer.zero_grad()
    loss = exact_loss(theirs, batch)
    loss.backward()
    optimizer.step()
    return loss.item()


# ------------------------------------------------------------------------------- no library


def test_the_file_has_at_most_250_lines() -> None:
    assert SOURCE.count("\n") <= 250


def test_only_the_standard_library_is_imported() -> None:
    nodes = list(ast.walk(ast.parse(SOURCE)))
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    assert names and {name.split(".")[0] for name in names} <= sys.stdlib_module_names


ALONE = """
import importlib.abc, runpy, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names:
            raise ImportError(f"{name} is not of the standard library")

sys.meta_path.insert(0, Blocked())
gpt = runpy.run_path(sys.argv[1])
tokenizer = gpt["CharTokenizer"]("to be or not to be")
ids = tokenizer.encode("to be or not to be")
model = gpt["GPT"](vocab_size=len(tokenizer.characters), context_length=4, n_layer=1,
                   n_head=2, n_embd=4)
steps = gpt["train"](model, gpt["windows"](ids, 4, 2), gpt["AdamW"](model.weights, 0.05))
print([next(steps) for _ in range(3)])
print(tokenizer.decode(gpt["sample"](model, ids[:3], 9, 0.8)))
try:
    import torch
except ImportError as error:
    print(error)
"""


def test_it_trains_and_writes_in_a_python_that_has_no_libraries() -> None:
    command = [sys.executable, "-S", "-I", "-c", ALONE, str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses, text, refused = done.stdout.splitlines()
    tokenizer = plain.CharTokenizer("to be or not to be")
    ids = tokenizer.encode("to be or not to be")
    model = plain.GPT(vocab_size=7, context_length=4, n_layer=1, n_head=2, n_embd=4)
    steps = plain.train(model, plain.windows(ids, 4, 2), plain.AdamW(model.weights, 0.05))
    assert losses == str([next(steps) for _ in range(3)])
    assert text == tokenizer.decode(plain.sample(model, ids[:3], 9, 0.8))
    assert refused == "torch is not of the standard library"


# --------------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("text", ["hello", "Grüße, Ärger!\n\tzwölf", "🦊 a fox 🦊", "aaa"])
def test_the_tokenizer_equals_the_packages(text: str) -> None:
    ours, theirs = plain.CharTokenizer(text), CharTokenizer.from_text(text)
    assert ours.characters == theirs.characters
    assert ours.encode(text) == theirs.encode(text)
    assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text)) == text
    with pytest.raises(ValueError):
        ours.encode("€")


def test_the_weights_have_the_names_and_sizes_of_the_packages() -> None:
    ours = plain.GPT(**SIZES)
    sizes = {
        n: tuple(torch.atleast_2d(w).shape) for n, w in GPT(GPTConfig(**SIZES)).named_parameters()
    }
    assert {name: node.shape for name, node in ours.weights.items()} == sizes
    assert list(ours.weights) == list(sizes)


VARIANTS = [{}, {"n_layer": 1}, {"n_head": 1}, {"n_head": 6}, {"context_length": 1}, {"n_layer": 3}]


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_logits_loss_and_every_gradient_equal_the_packages(change: dict[str, Any]) -> None:
    sizes = SIZES | change
    ours, theirs = twins(sizes=sizes)
    batch = a_batch(sizes=sizes)
    for ids, logits in zip(batch, theirs(torch.tensor(batch)[:, :-1]), strict=True):
        assert distance(ours.forward(ids[:-1]).rows, logits) < EQUAL
    loss = exact_loss(theirs, batch)
    loss.backward()
    assert abs(add_gradients(ours, batch) - loss.item()) < EQUAL
    assert (
        abs(
            next_token_loss(theirs(torch.tensor(batch)[:, :-1]), torch.tensor(batch)[:, 1:]).item()
            - loss.item()
        )
        < 1e-5
    )
    for name, weight in theirs.named_parameters():
        assert weight.grad is not None
        assert distance(ours.weights[name].gradient, weight.grad) < EQUAL, name


@pytest.mark.parametrize("optimizer_class", [AdamW, torch.optim.AdamW])
def test_ten_steps_equal_ten_steps_of_the_package(
    optimizer_class: Callable[..., torch.optim.Optimizer],
) -> None:
    ours, theirs = twins()
    optimizer = optimizer_class(parameter_groups(theirs, DECAY), lr=RATE)
    batches = [a_batch(number) for number in range(10)]
    losses = plain.train(ours, batches, plain.AdamW(ours.weights, RATE, DECAY))
    for batch, loss in zip(batches, losses, strict=True):
        assert abs(step_of(theirs, optimizer, batch) - loss) < EQUAL
        for name, weight in theirs.named_parameters():
            assert distance(ours.weights[name].rows, weight) < EQUAL, name


def test_a_future_token_never_changes_a_past_logit() -> None:
    ours, _ = twins()
    one, other = ours.forward([1, 2, 3, 4, 5]).rows, ours.forward([1, 2, 3, 9, 0]).rows
    assert one[:3] == other[:3] and one[3] != other[3]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_drawn_tokens_have_the_probabilities_of_the_package(temperature: float) -> None:
    ours, theirs = twins()
    ids, draw = [3, 1], random.Random(7)
    for _ in range(12):
        logits = theirs(torch.tensor([ids[-5:]]))[0, -1] / temperature
        ids += draw.choices(range(11), logits.softmax(dim=-1).tolist())
    assert plain.sample(ours, [3, 1], 12, temperature, seed=7) == ids


def test_a_low_temperature_takes_the_likeliest_token() -> None:
    ours, theirs = twins()
    ids = [4, 4, 0]
    for _ in range(6):
        ids.append(int(theirs(torch.tensor([ids[-5:]]))[0, -1].argmax()))
    assert plain.sample(ours, [4, 4, 0], 6, temperature=1e-6) == ids


def test_more_ids_than_the_context_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="6 ids came, at most 5 fit"):
        twins()[0].forward([0] * 6)


def test_fresh_weights_are_as_large_as_the_packages() -> None:
    ours = plain.GPT(vocab_size=30, context_length=20, n_layer=3, n_head=2, n_embd=24)
    for name, node in ours.weights.items():
        numbers = list(itertools.chain(*node.rows))
        if name.endswith("bias") or "norm" in name:
            assert set(numbers) == {0.0 if name.endswith("bias") else 1.0}
        else:
            size = 0.02 / math.sqrt(6) if "projection" in name else 0.02
            assert abs(statistics.pstdev(numbers) / size - 1) < 0.12, name
    loss = ours.forward(range(20)).cross_entropy(range(1, 21)).rows[0][0]
    assert abs(loss - math.log(30)) < 0.05


def test_windows_are_pieces_of_the_text_and_every_piece_comes() -> None:
    ids = list(range(100, 109))
    drawn = [window for batch in itertools.islice(plain.windows(ids, 4, 3), 60) for window in batch]
    assert {len(window) for window in drawn} == {5} and len(drawn) == 180
    assert {window[0] for window in drawn} == {100, 101, 102, 103, 104}
    assert all(window == list(range(window[0], window[0] + 5)) for window in drawn)


# ----------------------------------------------------------------------------- every operation


def operations() -> dict[str, tuple[Callable[..., plain.Node], Sequence[tuple[int, int]]]]:
    return {
        "times": (lambda a, b: a.times(b), [(3, 4), (2, 4)]),
        "times itself": (lambda a: a.times(a), [(3, 4)]),
        "plus": (lambda a, b: a + b, [(3, 4), (3, 4)]),
        "plus one row": (lambda a, b: a + b, [(3, 4), (1, 4)]),
        "plus itself": (lambda a: a.gelu() + a.gelu(), [(3, 4)]),
        "doubled inside": (lambda a: (b := a.gelu()) + b, [(3, 4)]),
        "used at two depths": (lambda a: a.gelu().gelu() + a, [(3, 4)]),
        "turned": (lambda a: a.turned(), [(3, 4)]),
        "part": (lambda a: a.part(1, 3), [(3, 4)]),
        "look_up": (lambda a: a.look_up([2, 0, 2, 1, 2]), [(4, 3)]),
        "causal_softmax": (lambda a: a.causal_softmax(0.7), [(4, 4)]),
        "layer_norm": (lambda a, b, c: a.layer_norm(b, c), [(3, 4), (1, 4), (1, 4)]),
        "gelu": (lambda a: a.gelu(), [(3, 4)]),
        "cross_entropy": (lambda a: a.cross_entropy([1, 3, 0]), [(3, 4)]),
    }


@pytest.mark.parametrize("name", operations())
def test_the_gradient_of_every_operation_is_what_trying_gives(name: str) -> None:
    operation, shapes = operations()[name]
    draw = random.Random(5).gauss
    inputs = [plain.Node([[draw(0, 1) for _ in range(b)] for _ in range(a)]) for a, b in shapes]
    rows, width = operation(*inputs).shape
    left = plain.Node([[draw(0, 1) for _ in range(rows)]])
    right = plain.Node([[draw(0, 1) for _ in range(width)]])

    def single(nodes: Sequence[plain.Node]) -> plain.Node:
        """Mix all numbers of the result into one, each with a weight of its own."""
        return left.times(operation(*nodes).turned()).times(right)

    single(inputs).backward()
    for node in inputs:
        for row, column in itertools.product(range(node.shape[0]), range(node.shape[1])):
            kept = node.rows[row][column]
            tried = []
            for sign in (1, -1):
                node.rows[row][column] = kept + sign * 1e-5
                tried.append(single(inputs).rows[0][0])
            node.rows[row][column] = kept
            slope = (tried[0] - tried[1]) / 2e-5
            assert abs(slope - node.gradient[row][column]) < 1e-7, (name, row, column)


def test_gradients_of_two_losses_add_up() -> None:
    a = plain.Node([[2.0]])
    a.times(a).backward()
    a.times(a).backward(0.5)
    assert a.gradient == [[6.0]]


# ---------------------------------------------------------------------------- planted mistakes

# What stands in the file, what is put in its place, and where it must show first.
MUTANTS: dict[str, tuple[str, str, str]] = {
    "scores not divided by the root of D": ("1 / math.sqrt(D)", "1.0", "logits"),
    "divided by the root of C": ("1 / math.sqrt(D)", "1 / math.sqrt(C)", "logits"),
    "no mask": ("row[: t + 1]", "row", "logits"),
    "a mask one token too late": ("row[: t + 1]", "row[: t + 2]", "logits"),
    "keys ask and queries answer": ("q.times(k)", "k.times(q)", "logits"),
    "keys are handed over": ("weights.times(v.turned())", "weights.times(k.turned())", "logits"),
    "one head": ("range(0, C, D)", "range(0, D, D)", "logits"),
    "no residual around the MLP": ("x = x + layer(hidden", "x = layer(hidden", "logits"),
    "no residual around attention": ("x = x + self._att", "x = self._att", "logits"),
    "no final norm": ('layer(x, "norm").times', "x.times", "logits"),
    "no positions": ("look_up(range(T))", "look_up([0] * T)", "logits"),
    "variance over C - 1": ("for x in row) / width", "for x in row) / (width - 1)", "logits"),
    "another epsilon": ("1e-5", "1e-6", "logits"),
    "GELU without its cube": ("a * (x + b * x**3)", "a * x", "logits"),
    "loss of the wrong sign": ("loss = -sum(", "loss = sum(", "loss"),
    "loss in bits": ("math.log(p[t])", "math.log2(p[t])", "loss"),
    "a gradient replaces the one before": (
        "each(add, parent.gradient, g) if parent.gradient else g",
        "g",
        "gradients",
    ),
    "the shallowest first": ("node = max(waiting", "node = min(waiting", "gradients"),
    "softmax: each weight by itself": ("(slope - mean)", "slope", "gradients"),
    "softmax: p left out": ("scale * p * (slope", "scale * (slope", "gradients"),
    "softmax: scale left out": ("scale * p * (slope", "p * (slope", "gradients"),
    "norm: the mean's part dropped": ("s - mean - n * along", "s - n * along", "gradients"),
    "norm: the spread's part dropped": ("s - mean - n * along", "s - mean", "gradients"),
    "norm: not divided by the root": ("n * along) / root", "n * along)", "gradients"),
    "norm: gain forgotten on the way back": ("zip(each(mul, g, gains)", "zip(g", "gradients"),
    "GELU: the tanh taken as fixed": ("t + x * (1 - t**2)", "t + 0 * (1 - t**2)", "gradients"),
    "GELU: no inner slope": ("(1 + 3 * b * x**2)", "1", "gradients"),
    "cross-entropy: the target forgotten": ("(q - (i == t))", "q", "gradients"),
    "cross-entropy: a sum": ("(q - (i == t)) / len(pairs)", "(q - (i == t))", "gradients"),
    "the head's part of the tied weights": (
        ".times(tokens)",
        ".times(Node(tokens.rows))",
        "gradients",
    ),
    "a token that comes twice counts once": (
        "lambda g: [dots(uses, turn(g))]",
        "lambda g: [[g[ids.index(i)] if i in ids else [0] * len(g[0]) for i in range(len(uses))]]",
        "gradients",
    ),
    "texts of a batch not averaged": ("backward(1 / len(batch))", "backward()", "steps"),
    "decay of biases": ('"norm" in name or "bias" in name', '"norm" in name', "steps"),
    "decay of norms": ('"norm" in name or "bias" in name', '"bias" in name', "steps"),
    "no decay": ("else self.decay", "else 0", "steps"),
    "decay not times the rate": ("1 - self.rate * (0", "1 - (0", "steps"),
    "mean not corrected": ("self.rate / (1 - b1**self.n)", "self.rate", "steps"),
    "square not corrected": ("1 - b2**self.n", "1", "steps"),
    "epsilon under the root": ("math.sqrt(s / fix) + eps", "math.sqrt(s / fix + eps)", "steps"),
    "gradient not squared": ("(1 - b2) * g * g", "(1 - b2) * abs(g)", "steps"),
    "steps not counted": ("self.n += 1", "self.n = 1", "steps"),
    "gradients not forgotten": (
        "node.gradient = mean, square, []",
        "_ = mean, square, []",
        "steps",
    ),
}


def first_difference(module: ModuleType) -> str | None:
    """Return where a module first differs from the package, or None where it never does."""
    ours, theirs = twins(module, SMALL)
    batch = a_batch(sizes=SMALL, texts=2)
    logits = theirs(torch.tensor(batch)[:, :-1])
    ours_logits = [ours.forward(ids[:-1]).rows for ids in batch]
    if any(distance(*pair) > EQUAL for pair in zip(ours_logits, logits, strict=True)):
        return "logits"
    loss = exact_loss(theirs, batch)
    ours_loss = statistics.fmean(
        ours.forward(ids[:-1]).cross_entropy(ids[1:]).rows[0][0] for ids in batch
    )
    if abs(ours_loss - loss.item()) > EQUAL:
        return "loss"
    loss.backward()
    try:
        add_gradients(ours, batch)
    except (IndexError, ValueError):  # a node was asked before anything had come to it
        return "gradients"
    for name, weight in theirs.named_parameters():
        assert weight.grad is not None
        if distance(ours.weights[name].gradient, weight.grad) > EQUAL:
            return "gradients"
        ours.weights[name].gradient = []
    optimizer = optimizer_of(theirs)
    batches = [a_batch(number, sizes=SMALL, texts=2) for number in range(3)]
    losses = module.train(ours, batches, module.AdamW(ours.weights, RATE, DECAY))
    for batch, _ in zip(batches, losses, strict=True):
        step_of(theirs, optimizer, batch)
    differ = [distance(ours.weights[n].rows, w) > EQUAL for n, w in theirs.named_parameters()]
    return "steps" if any(differ) else None


def changed(old: str, new: str) -> ModuleType:
    """Return the module with one place of its source changed."""
    assert SOURCE.count(old) == 1, f"{old!r} stands {SOURCE.count(old)} times in the file"
    module = ModuleType("mutant")
    exec(compile(SOURCE.replace(old, new), "mutant", "exec"), module.__dict__)
    return module


def test_the_file_as_it_is_differs_nowhere() -> None:
    assert first_difference(plain) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_mistake_is_found(name: str) -> None:
    old, new, where = MUTANTS[name]
    assert first_difference(changed(old, new)) == where


# ------------------------------------------------------------------------------- it also learns


def test_training_gets_below_what_the_character_before_tells() -> None:
    text = "one two three four. " * 2
    tokenizer = plain.CharTokenizer(text)
    ids = tokenizer.encode(text)
    pairs, firsts = Counter(itertools.pairwise(text)), Counter(text[:-1])
    floor = -sum(n * math.log(n / firsts[a]) for (a, _), n in pairs.items()) / (len(text) - 1)
    model = plain.GPT(
        vocab_size=len(tokenizer.characters), context_length=8, n_layer=1, n_head=2, n_embd=8
    )
    steps = plain.train(model, plain.windows(ids, 8, 2), plain.AdamW(model.weights, 0.03))
    losses = list(itertools.islice(steps, 120))
    assert abs(losses[0] - math.log(len(tokenizer.characters))) < 0.1
    assert statistics.fmean(losses[-20:]) < floor


def test_every_part_names_its_lesson() -> None:
    """The comments beside the definitions name all notebooks that built something of the GPT."""
    for lesson in ("01", "03", "04", "05", "06", "07", "08", "09", "15"):
        assert f"notebook {lesson}" in SOURCE or f"and {lesson}" in SOURCE, lesson
    assert inspect.getdoc(plain) is not None
