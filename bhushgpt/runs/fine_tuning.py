"""A run that goes on from another run's model on a second text, and remembers the first one.

Both texts are measured before and after, since what a model gains on one it may lose on the other.

Lesson: notebook 18.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bhushgpt.batches import Batches
from bhushgpt.errors import UserError
from bhushgpt.evaluation import evaluate, windows_at_once
from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.language_model import LanguageModel
from bhushgpt.lora import LoRAConfig, merged, with_lora
from bhushgpt.presets import RunConfig
from bhushgpt.replay import Forgetting, Replay, shared_out
from bhushgpt.runs.folder import RunFolder, text_of
from bhushgpt.runs.training_text import Text, open_text
from bhushgpt.tokenizers import Tokenizer, Unknown, UnknownCharacter

# The additions of LoRA begin at nothing, so they may go faster than weights that know something.
RATE, LORA_RATE = 1e-3, 3e-3
FINETUNED = "-finetuned"


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a second text is learned; the sizes of the model stay those of the first run.

    Raises:
        UserError: If a setting cannot be used; one message names all of them.

    >>> FineTuning(replay=1.0, lora=0)
    Traceback (most recent call last):
    bhushgpt.errors.UserError: This fine-tuning cannot be done: --replay is 1.0, it is a share \
from 0 (no old text) to below 1, such as 0.25; --lora is 0, it must be at least 1 (or left out, to \
train all weights).
    """

    lora: int | None = None
    """Rank of the additions that are trained instead of all weights."""
    replay: float = 0.5
    """Share of the windows in a batch that are of the old text."""
    steps: int = 300
    """Steps to train."""
    learning_rate: float | None = None
    """The highest learning rate; left out, 0.001 for all weights and 0.003 for additions."""
    unknown: Unknown = "error"
    """What to do with characters that the model has never seen."""
    seed: int | None = None
    """Decides batches, dropout and additions; left out, that of the first run."""

    def __post_init__(self) -> None:
        wrong = []
        if not 0 <= self.replay < 1:
            wrong.append(
                f"--replay is {self.replay}, it is a share from 0 (no old text) to below 1, such "
                "as 0.25"
            )
        if self.lora is not None and self.lora < 1:
            wrong.append(
                f"--lora is {self.lora}, it must be at least 1 (or left out, to train all weights)"
            )
        if self.steps < 1:
            wrong.append(f"--steps is {self.steps}, it must be at least 1")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            wrong.append(f"--learning-rate is {self.learning_rate}, it must be above 0")
        if wrong:
            raise UserError("This fine-tuning cannot be done: " + "; ".join(wrong) + ".")

    def config(self, base: RunConfig) -> RunConfig:
        """Return the settings of the run: the first one's, but for what is said here.

        Raises:
            UserError: If additions are wanted and the model is not a plain GPT, or too narrow.
        """
        sizes = base.model.plain if isinstance(base.model, LoRAConfig) else base.model
        if self.lora is not None:
            if type(sizes) is not GPTConfig:
                raise UserError(
                    f"--lora needs a GPT, and this run's model is of {type(sizes).__name__}. "
                    "Leave --lora out: all weights are trained then."
                )
            sizes = LoRAConfig(**vars(sizes), rank=self.lora)
        rate = self.learning_rate or (RATE if self.lora is None else LORA_RATE)
        training = dataclasses.replace(
            base.training,
            steps=self.steps,
            learning_rate=rate,
            min_learning_rate=0.0,
            warmup_steps=self.steps // 10,
            schedule="linear",
            decay_steps=0,
            seed=base.training.seed if self.seed is None else self.seed,
        )
        name = f"{base.preset.removesuffix(FINETUNED)}{FINETUNED}"
        return dataclasses.replace(base, preset=name, model=sizes, training=training)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a fine-tuned run comes from, and what must not be forgotten."""

    base: str
    """The checkpoint of the first run."""
    old: Text
    """The text of the first run."""
    replay: float
    """Share of the windows in a batch that are of it."""
    old_before: float
    """Held-out loss on the old text before fine-tuning."""
    new_before: float
    """The same on the new one."""

    def batches(self, new: Batches) -> Batches | Replay:
        """Return the batches of the run: of the new text, or with some of the old one among them.

        Args:
            new: As if all windows were of the new text.
        """
        n_new, n_old = shared_out(new.batch_size, self.replay)
        if not n_old:
            return new
        texts = ((new.tokens, n_new), (self.old.train, n_old))
        return Replay(
            *(
                Batches(
                    tokens,
                    n_windows,
                    new.context_length,
                    seed=new.seed,
                    device=new.device,
                    vocab_size=new.vocab_size,
                    skip=new.skip,
                )
                for tokens, n_windows in texts
            )
        )

    def describe(self, config: RunConfig) -> str:
        """Return in a line what is trained, on what, and with how much of the old text."""
        what = "all weights"
        if isinstance(config.model, LoRAConfig):
            what = f"additions of rank {config.model.rank}"
        replay = f"{self.replay:.0%} of a batch is {self.old.title}" if self.replay else "no replay"
        return f"{self.base}: {what} are trained, {replay}"

    def forgetting(self, model: LanguageModel, new: Text) -> Forgetting:
        """Measure a model on both texts, and return that with what was measured before."""
        return Forgetting(
            old_before=self.old_before,
            old_after=held_out_loss(model, self.old),
            new_before=self.new_before,
            new_after=held_out_loss(model, new),
        )


def plain_model(model: nn.Module) -> LanguageModel:
    """Return a model as one that has no additions: those that it has are in its weights."""
    assert isinstance(model, LanguageModel)
    if isinstance(model, GPT) and isinstance(model.config, LoRAConfig):
        return merged(model)
    return model


def tuned_model(model: LanguageModel, settings: FineTuning, seed: int) -> LanguageModel:
    """Return what is trained: the model itself, or one with additions (see `FineTuning.config`)."""
    if settings.lora is None:
        return model
    assert isinstance(model, GPT)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return with_lora(model, rank=settings.lora)


def second_text(name: str, config: RunConfig, tokenizer: Tokenizer, unknown: Unknown) -> Text:
    """Return the text to go on with, in the numbers of the first run's tokenizer.

    Raises:
        UserError: See `open_text`; if it has other characters, how to go on all the same.
    """
    length = config.model.context_length
    try:
        return open_text(
            name,
            held_out=config.held_out,
            context_length=length,
            tokenizer=tokenizer,
            unknown=unknown,
        )
    except UnknownCharacter as error:
        raise error.typed() from error


def held_out_loss(model: LanguageModel, text: Text) -> float:
    """Return the loss on a text's held-out part, in nats per token."""
    rows = windows_at_once(model.context_length, text.tokenizer.vocab_size)
    return evaluate(model, text.held_out, batch_size=rows).nats_per_token


def stored_origin(run: RunFolder, config: RunConfig, tokenizer: Tokenizer) -> Origin | None:
    """Return where a run comes from, by its record; None for one that began from nothing.

    Raises:
        UserError: If the record is damaged, or the old text is gone or no longer the same.
    """
    facts = run.record.get("fine_tuning")
    if facts is None:
        return None
    try:
        old = RunFolder(run.path, {**facts["old"]})
        numbers = {n: float(facts[n]) for n in ("replay", "old_before", "new_before")}
        base = str(facts["base"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.path}/run.json says that the run was fine-tuned, but not from what: it was "
            "changed. Put the old file back, or fine-tune again."
        ) from error
    return Origin(base=base, old=text_of(old, config, tokenizer), **numbers)


def origin_facts(origin: Origin, base: RunFolder, settings: FineTuning) -> dict[str, Any]:
    """Return what the record of a fine-tuned run says of where it comes from."""
    return {
        "base": origin.base,
        "old": {name: base.record.get(name) for name in ("corpus", "corpus_sha256")},
        "replay": origin.replay,
        "unknown": settings.unknown,
        "lora": settings.lora,
        "old_before": origin.old_before,
        "new_before": origin.new_before,
    }
