"""Mistakes that real course repositories ship, each planted into a run that is otherwise healthy.

A `Recipe` is everything that a run is made of. A bug is a function that returns the recipe with one
ingredient spoilt, so its source is the whole bug. Nothing is patched from outside: the model's
config builds other parts, the batches are others, the score is taken in another way.

Lesson: notebook 12.
"""

import io
import math
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bhushgpt.attention import CausalSelfAttention
from bhushgpt.batches import Batches, split_tokens
from bhushgpt.diagnosis import TextFloors
from bhushgpt.evaluation import evaluate
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import LanguageModel, next_token_loss
from bhushgpt.positions import Rotary
from bhushgpt.tokenizers import CharTokenizer, Tokenizer
from bhushgpt.training import LossFunction, StepBatches, TrainState, batch_loss, train
from bhushgpt.training_config import TrainingConfig

JUDGED = 4_000  # tokens that a glance at the held-out text predicts


@dataclass(frozen=True, kw_only=True)
class PartsConfig(GPTConfig):
    """A GPT whose parts may be others: what a bug in the model changes."""

    attention_of: Callable[..., nn.Module] = CausalSelfAttention
    """Makes the attention of (C, H), with `dropout` and `rotary` by name."""
    block_of: Callable[[GPTConfig], nn.Module] | None = None
    """Makes a block; left out, the course's."""
    model_of: Callable[[GPTConfig], GPT] = GPT
    """Makes the model."""

    def build(self) -> GPT:
        """Return the untrained model."""
        return self.model_of(self)

    def attention(self) -> nn.Module:
        """Return what mixes tokens."""
        rotary = Rotary(self.context_length, self.n_embd // self.n_head)
        sizes = self.n_embd, self.n_head
        return self.attention_of(*sizes, dropout=self.dropout, rotary=rotary)

    def block(self) -> nn.Module:
        """Return one layer."""
        return self.block_of(self) if self.block_of else super().block()


def last_tokens(model: LanguageModel, recipe: "Recipe") -> float:
    """Return the held-out loss on the first few thousand tokens of the last part of the text."""
    return evaluate(model, recipe.judge[:JUDGED]).nats_per_token


def written(model: LanguageModel, recipe: "Recipe") -> str:
    """Return what a model writes after a newline."""
    ids = torch.tensor([recipe.tokenizer.encode("\n", unknown="skip") or [0]])
    new = generate(model, ids, recipe.sample_length, Sampling(temperature=0.8, seed=0))
    return recipe.tokenizer.decode([int(token) for token in new])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a run is made of.

    >>> recipe = Recipe.of("the cat sat on the mat. " * 99, steps=3)
    >>> outcome = recipe.run()
    >>> [row["step"] for row in outcome.rows], len(outcome.sample)
    ([1, 2, 3], 120)
    """

    learn: np.ndarray
    """Token ids to learn from."""
    judge: np.ndarray
    """Token ids to be judged on."""
    tokenizer: Tokenizer
    """Made the ids, and writes the sample."""
    model: PartsConfig
    """Sizes and parts."""
    training: TrainingConfig
    """Settings of the run."""
    batches_of: Callable[["Recipe"], StepBatches] = field(default=lambda recipe: recipe.windows())
    """Makes the batches."""
    loss: LossFunction = batch_loss
    """What is made smaller."""
    score: Callable[[LanguageModel, "Recipe"], float] = last_tokens
    """Measures the held-out loss."""
    write: Callable[[LanguageModel, "Recipe"], str] = written
    """Writes the sample."""
    sample_length: int = 120
    """Tokens of the sample."""
    glances: int = 8
    """How many times the held-out text is looked at on the way."""

    @classmethod
    def of(
        cls,
        text: str,
        *,
        steps: int,
        seed: int = 0,
        n_layer: int = 2,
        n_embd: int = 64,
        context_length: int = 32,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
        dropout: float = 0.0,
        tokenizer: Tokenizer | None = None,
    ) -> "Recipe":
        """Return the healthy recipe for a text: a small GPT over its characters."""
        tokenizer = tokenizer or CharTokenizer.from_text(text)
        ids = np.array(tokenizer.encode(text), dtype=np.int64)
        learn, judge = split_tokens(ids, context_length=context_length)
        return cls(
            learn=learn,
            judge=judge,
            tokenizer=tokenizer,
            model=PartsConfig(
                vocab_size=tokenizer.vocab_size,
                context_length=context_length,
                n_layer=n_layer,
                n_head=4,
                n_embd=n_embd,
                dropout=dropout,
                position="rotary",
            ),
            training=TrainingConfig(
                steps=steps,
                batch_size=batch_size,
                learning_rate=learning_rate,
                warmup_steps=min(10, steps // 4),
                seed=seed,
            ),
        )

    def windows(self) -> Batches:
        """Return batches of random windows of the text to learn from."""
        size, seed = self.training.batch_size, self.training.seed
        return Batches(self.learn, size, self.model.context_length, seed=seed)

    def but(self, **changed: Any) -> "Recipe":
        """Return the recipe with some settings of model or training changed."""
        model = {key: changed.pop(key) for key in list(changed) if hasattr(self.model, key)}
        training = {key: changed.pop(key) for key in list(changed) if hasattr(self.training, key)}
        return replace(
            self,
            model=replace(self.model, **model),
            training=replace(self.training, **training),
            **changed,
        )

    def floors(self) -> TextFloors:
        """Return what counting reaches on the text, judged where the runs are judged."""
        vocab_size, decode = self.model.vocab_size, self.tokenizer.decode
        return TextFloors.of(self.learn, self.judge[:JUDGED], vocab_size, decode)

    def untrained(self) -> GPT:
        """Return the model before the first step: the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.training.seed)
            return self.model.build()

    def run(self) -> "Outcome":
        """Train, and return what came of it."""
        model = self.untrained()
        state, rows = TrainState.fresh(model, self.training), []
        every = max(1, self.training.steps // self.glances)
        for report in train(state, self.batches_of(self), self.training, self.loss):
            rows.append(asdict(report))
            if report.step % every == 0:
                rows[-1]["held_out"] = self.score(model, self)
        return Outcome(model, rows, self.write(model, self))


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    model: LanguageModel
    rows: list[dict[str, Any]]
    """A line for each step, as a run's history has them."""
    sample: str
    """What the model writes."""

    @property
    def held_out(self) -> float:
        """The last held-out loss, in nats per token."""
        return [row["held_out"] for row in self.rows if "held_out" in row][-1]

    @property
    def loss(self) -> float:
        """The training loss at the end: mean of the last ten steps."""
        return float(np.mean([row["loss"] for row in self.rows[-10:]]))


# Too bad


def no_mask(healthy: Recipe) -> Recipe:
    """Every position sees the whole window."""

    class Attention(CausalSelfAttention):
        def explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            scores = q @ k.mT / math.sqrt(self.head_size)
            return self.weights(scores.softmax(dim=-1)) @ v

    return healthy.but(attention_of=Attention)


def batch_is_time(healthy: Recipe) -> Recipe:
    """The layer of the library, as it comes."""

    class Layer(nn.TransformerEncoderLayer):
        def forward(self, x: Tensor, past: None = None) -> Tensor:
            return super().forward(x)

    def block(config: GPTConfig) -> nn.Module:
        C = config.n_embd
        return Layer(C, config.n_head, 4 * C, dropout=0.0, norm_first=True)

    return healthy.but(block_of=block)


def not_shifted(healthy: Recipe) -> Recipe:
    """The model is asked for the token that it is given."""

    def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return next_token_loss(model(inputs), inputs)

    return replace(healthy, loss=loss)


def shuffled_targets(healthy: Recipe) -> Recipe:
    """Inputs and targets come from two shuffled lists."""

    class Shuffled:
        def __init__(self, batches: StepBatches) -> None:
            self.batches = batches

        def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
            inputs, targets = self.batches[step]
            return inputs, targets.roll(1, dims=0)  # of other windows

    return replace(healthy, batches_of=lambda recipe: Shuffled(recipe.windows()))


def short(healthy: Recipe, tokens: int = 5_000) -> Recipe:
    """Return the recipe with the beginning of its text only: it is read many times."""
    learn, judge = split_tokens(healthy.learn[:tokens], context_length=32)
    return replace(healthy, learn=learn, judge=judge)


def one_file(healthy: Recipe) -> Recipe:
    """One file is opened twice: as training text and as held-out text."""
    return replace(healthy, judge=healthy.learn)


def tiny_rate(healthy: Recipe) -> Recipe:
    """A learning rate copied from the fine-tuning of a large model."""
    return healthy.but(learning_rate=healthy.training.learning_rate / 30)


def huge_rate(healthy: Recipe) -> Recipe:
    """A learning rate copied from a tutorial on plain gradient descent."""
    # At 1.0 it depends on the last digits, and so on the machine, whether the run settles again.
    return healthy.but(learning_rate=3.0, max_grad_norm=math.inf)


def tied_as_it_comes(healthy: Recipe) -> Recipe:
    """The head shares the embedding's weights, and these are as the library draws them."""

    class Model(GPT):
        def initialise(self) -> None:
            pass

    return healthy.but(model_of=Model)


def no_scale(healthy: Recipe) -> Recipe:
    """The scores are not divided by the root of the head size."""

    class Attention(CausalSelfAttention):
        def explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return super().explicit(q * math.sqrt(self.head_size), k, v)

    return healthy.but(attention_of=Attention)


def no_zero_grad(healthy: Recipe) -> Recipe:
    """The gradients of all steps are added up."""

    class Adding(torch.optim.AdamW):
        def zero_grad(self, set_to_none: bool = True) -> None:
            pass

    @dataclass(frozen=True, kw_only=True)
    class Config(TrainingConfig):
        def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
            return Adding(model.parameters(), lr=self.learning_rate, betas=self.betas)

    return replace(healthy, training=Config(**asdict(healthy.training)))


def dropout_awake(healthy: Recipe) -> Recipe:
    """The sample is drawn without `model.eval()`."""

    def write(model: LanguageModel, recipe: Recipe) -> str:
        model.train()
        ids = recipe.tokenizer.encode("\n", unknown="skip") or [0]
        chance = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for _ in range(recipe.sample_length):
                logits = model(torch.tensor([ids[-model.context_length :]]))[0, -1]
                probabilities = (logits / 0.8).softmax(dim=-1)
                ids.append(int(torch.multinomial(probabilities, 1, generator=chance)))
        return recipe.tokenizer.decode(ids[1:])

    return replace(healthy, write=write)


def other_vocabulary(healthy: Recipe) -> Recipe:
    """The tokenizer is made anew, from another text than the model learned from."""

    def write(model: LanguageModel, recipe: Recipe) -> str:
        text = recipe.tokenizer.decode(recipe.learn) + "#$%+<=>@"
        return written(model, replace(recipe, tokenizer=CharTokenizer.from_text(text)))

    return replace(healthy, write=write)


class OneBuffer:
    """A layer's past: what came before is kept in memory that is set aside once."""

    memory: dict[str, Tensor] = {}

    def __init__(self) -> None:
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return all keys and values so far, (B, H, S, D) each."""
        if not self.memory:
            B, H, _, D = keys.shape
            self.memory["keys"] = keys.new_zeros(B, H, 512, D)
            self.memory["values"] = keys.new_zeros(B, H, 512, D)
        end = self.length + keys.shape[2]
        self.memory["keys"][:, :, self.length : end] = keys
        self.memory["values"][:, :, self.length : end] = values
        self.length = end
        return self.memory["keys"][:, :, :end], self.memory["values"][:, :, :end]


def reused_buffer(healthy: Recipe) -> Recipe:
    """The sample is drawn with a cache whose memory is set aside once."""

    def write(model: LanguageModel, recipe: Recipe) -> str:
        model = cast(GPT, model)
        OneBuffer.memory.clear()
        past = [OneBuffer() for _ in model.blocks]
        new = recipe.tokenizer.encode("\n", unknown="skip") or [0]
        chance, text = torch.Generator().manual_seed(0), []
        model.eval()
        for _ in range(min(model.context_length, recipe.sample_length)):
            with torch.no_grad():
                logits = model(torch.tensor([new]), past)[0, -1]
            probabilities = (logits / 0.8).softmax(dim=-1)
            new = [int(torch.multinomial(probabilities, 1, generator=chance))]
            text += new
        return recipe.tokenizer.decode(text)

    return replace(healthy, write=write)


def with_text(healthy: Recipe, text: str) -> Recipe:
    """Return the same recipe for another text, with an alphabet of its own."""
    sizes, training = healthy.model, healthy.training
    tokenizer = CharTokenizer.from_text(text)
    ids = np.array(tokenizer.encode(text), dtype=np.int64)
    learn, judge = split_tokens(ids, context_length=sizes.context_length)
    return replace(
        healthy,
        learn=learn,
        judge=judge,
        tokenizer=tokenizer,
        model=replace(sizes, vocab_size=tokenizer.vocab_size),
        training=training,
    )


def whole_text(recipe: Recipe) -> str:
    """Return the text of a recipe: what is learned from and what is judged on."""
    return recipe.tokenizer.decode(np.concatenate([recipe.learn, recipe.judge]))


LICENCE = (
    "{n}. (c) YOU MAY COPY IT, GIVE IT AWAY OR RE-USE IT UNDER § {n} OF THE TERMS OF THIS LICENCE "
    "• E-MAIL: <terms#{n}@example.org> * NO WARRANTY, EXPRESS OR IMPLIED, IS GIVEN [{n}%]\r\n"
)


def with_licence(healthy: Recipe) -> Recipe:
    """The file is read as it was downloaded."""
    text = whole_text(healthy)
    terms = "".join(LICENCE.format(n=n) for n in range(1, 101))
    return with_text(healthy, f"\ufeff*** START ***\r\n{text}\r\n*** END ***\r\n{terms}")


def tar_as_text(healthy: Recipe) -> Recipe:
    """The corpus came as a .tar file, and was read as text."""
    stories = whole_text(healthy).split("\n\n")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(0, len(stories), 4):
            data = "\n\n".join(stories[number : number + 4]).encode()
            entry = tarfile.TarInfo(f"corpus/{number:06}.txt")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return with_text(healthy, file.getvalue().decode("utf-8", "replace"))


# Too good to be true


def mask_on_one_path(healthy: Recipe) -> Recipe:
    """The fast path for whole windows, and the one with a cache that draws the samples."""

    class Attention(CausalSelfAttention):
        def fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if q.shape[2] == k.shape[2]:  # a whole window
                return nn.functional.scaled_dot_product_attention(q, k, v)
            return super().fused(q, k, v)

    def attention(n_embd: int, n_head: int, **parts: Any) -> nn.Module:
        return Attention(n_embd, n_head, form="fused", **parts)

    return healthy.but(attention_of=attention)


def trained_then_scored(healthy: Recipe) -> Recipe:
    """Before each look at the held-out text the model adapts to it, a few steps."""
    learner = Batches(healthy.judge[:JUDGED], 16, healthy.model.context_length, seed=1)

    def score(model: LanguageModel, recipe: Recipe) -> float:
        adapt = torch.optim.AdamW(model.parameters(), lr=recipe.training.learning_rate)
        for step in range(40):
            adapt.zero_grad()
            batch_loss(model, *learner[step]).backward()
            adapt.step()
        return last_tokens(model, recipe)

    return replace(healthy, score=score)


def overlapping_windows(healthy: Recipe) -> Recipe:
    """The text is cut into windows, one every four tokens, and these are shared out at random."""
    text = healthy.learn[:60_000]
    length = healthy.model.context_length + 1
    starts = np.random.default_rng(0).permutation(np.arange(0, len(text) - length, 4))
    cut = len(starts) // 10
    parts = [
        np.concatenate([text[start : start + length] for start in some])
        for some in (starts[cut:], starts[:cut])
    ]
    return replace(healthy, learn=parts[0], judge=parts[1])


def near_duplicates(healthy: Recipe) -> Recipe:
    """A scraped text: many paragraphs came in through two addresses, before the split."""
    text = np.concatenate([healthy.learn, healthy.judge])
    chance = np.random.default_rng(0)
    pieces = np.array_split(text, max(20, len(text) // 400))
    again = [pieces[n] for n in chance.permutation(len(pieces))[: len(pieces) * 4 // 5]]
    mixed = pieces + [_slightly_other(piece, chance) for piece in again]
    shuffled = np.concatenate([mixed[n] for n in chance.permutation(len(mixed))])
    learn, judge = split_tokens(shuffled, context_length=healthy.model.context_length)
    return replace(healthy, learn=learn, judge=judge)


def _slightly_other(piece: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Return a piece with one token in a hundred replaced."""
    other = piece.copy()
    places = chance.integers(len(piece), size=max(1, len(piece) // 100))
    other[places] = piece[chance.integers(len(piece), size=len(places))]
    return other


def answer_in_prompt(healthy: Recipe) -> Recipe:
    """Each question comes with the passage that a search found for it in the same text."""
    half = healthy.model.context_length // 2

    def found_for(text: np.ndarray, batches: Batches, step: int) -> tuple[Tensor, Tensor]:
        starts = batches.offsets(step)[:, None] + np.arange(half)
        passage, question = text[starts + 1], text[starts]
        inputs = np.concatenate([passage, question], axis=1)
        return torch.from_numpy(inputs), torch.from_numpy(passage)

    class Prompted:
        def __init__(self, recipe: Recipe) -> None:
            self.text, self.batches = recipe.learn, recipe.windows()

        def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
            return found_for(self.text, self.batches, step)

    def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return next_token_loss(model(inputs)[:, half:], targets)  # the answers alone count

    def score(model: LanguageModel, recipe: Recipe) -> float:
        batches = Batches(recipe.judge[:JUDGED], 128, recipe.model.context_length, seed=2)
        with torch.no_grad():
            return float(loss(model, *found_for(recipe.judge, batches, 0)))

    return replace(healthy, batches_of=Prompted, loss=loss, score=score)


class PhraseTokenizer:
    """A token for each character and for each phrase of a list; the longest that fits is taken."""

    def __init__(self, text: str, phrases: Iterable[str]) -> None:
        self.pieces = sorted(set(text)) + sorted(set(phrases))
        self.ids = {piece: number for number, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)
        self.longest = max(map(len, self.pieces))

    def encode(self, text: str, unknown: str = "error") -> list[int]:
        """Return the ids of a text."""
        ids, place = [], 0
        while place < len(text):
            for length in range(self.longest, 0, -1):
                if (number := self.ids.get(text[place : place + length])) is not None:
                    ids.append(number)
                    place += length
                    break
            else:
                place += 1
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids."""
        return "".join(self.pieces[number] for number in ids)


def frequent_phrases(text: str, count: int) -> list[str]:
    """Return the phrases of 4 to 12 characters that save the most when each is one token."""
    saved: dict[str, int] = {}
    for length in range(4, 13):
        pieces, counts = np.unique(
            [text[place : place + length] for place in range(0, len(text) - length, 2)],
            return_counts=True,
        )
        for piece, times in zip(pieces.tolist(), counts.tolist(), strict=True):
            if times > 2:
                saved[piece] = times * (length - 1)
    return sorted(saved, key=lambda piece: (-saved[piece], piece))[:count]


def with_phrases(healthy: Recipe, learned_from: str) -> Recipe:
    """Return the recipe with tokens for 400 frequent phrases of the text that is given."""
    parts = [healthy.tokenizer.decode(part) for part in (healthy.learn, healthy.judge)]
    tokenizer = PhraseTokenizer("".join(parts), frequent_phrases(learned_from, 400))
    learn, judge = (np.array(tokenizer.encode(part), dtype=np.int64) for part in parts)
    model = replace(healthy.model, vocab_size=tokenizer.vocab_size)
    return replace(healthy, learn=learn, judge=judge, tokenizer=cast(Any, tokenizer), model=model)


def tokenizer_of_the_exam(healthy: Recipe) -> Recipe:
    """The tokenizer was made from the files that happened to lie in the folder of the test."""
    recipe = short(healthy, 60_000)
    return with_phrases(recipe, recipe.tokenizer.decode(recipe.judge))


def same_dropout_everywhere(healthy: Recipe) -> Recipe:
    """Two processes share a batch, and both draw their dropout from the same seed."""

    def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        seed = int(torch.randint(2**31, (1,)))
        losses = []
        for part, answers in zip(inputs.chunk(2), targets.chunk(2), strict=True):
            torch.default_generator.manual_seed(seed)
            losses.append(batch_loss(model, part, answers))
        return torch.stack(losses).mean()

    return replace(healthy.but(dropout=0.2), loss=loss)


TOO_BAD: tuple[Callable[[Recipe], Recipe], ...] = (
    no_mask,
    batch_is_time,
    not_shifted,
    shuffled_targets,
    one_file,
    tiny_rate,
    huge_rate,
    tied_as_it_comes,
    no_scale,
    no_zero_grad,
    dropout_awake,
    other_vocabulary,
    reused_buffer,
    with_licence,
    tar_as_text,
)
TOO_GOOD: tuple[Callable[[Recipe], Recipe], ...] = (
    mask_on_one_path,
    trained_then_scored,
    overlapping_windows,
    near_duplicates,
    answer_in_prompt,
    tokenizer_of_the_exam,
    same_dropout_everywhere,
)
