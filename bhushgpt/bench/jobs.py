"""What is measured: one way of computing one thing, in words that a file and a table can hold.

Letters: B batch, T time, C channels, V vocabulary.

Lesson: notebook 13.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from bhushgpt.gpt import GPTConfig

Kind = Literal["training", "generation", "prefill"]
Number = Literal["float32", "bfloat16", "float16", "int8"]
HALF: tuple[Number, ...] = ("bfloat16", "float16")

# The three models of every table. A and B are character models, C is GPT-2 of 124 M parameters.
MODELS: dict[str, GPTConfig] = {
    "A": GPTConfig(vocab_size=80, context_length=128, n_layer=8, n_head=8, n_embd=256),
    "B": GPTConfig(vocab_size=80, context_length=64, n_layer=4, n_head=4, n_embd=128),
    "C": GPTConfig(vocab_size=50257, context_length=1024, n_layer=12, n_head=12, n_embd=768),
}
TRAINING_SHAPES = {"A": (64, 128), "B": (32, 64), "C": (4, 256)}  # rows and tokens of a step
PROMPT_TOKENS = 16
PACKED = ", sorted weights"  # the end of a way's name


@dataclass(frozen=True, kw_only=True)
class Job:
    """One candidate of a measurement.

    >>> Job(kind="training", who="bhushgpt", model="A", precision="bfloat16", rows=64).settings
    'bfloat16 autocast, dropout 0, tuned'
    """

    kind: Kind
    """What is measured: a training step, drawing tokens, or reading a prompt."""
    who: str
    """bhushgpt or a peer."""
    model: str
    """A, B or C."""
    precision: Number = "float32"
    """The type of the matrix products; in generation, of the weights."""
    dropout: float = 0.0
    """While training."""
    compiled: bool = False
    """Whether torch.compile is used."""
    tuned: bool = True
    """Training: freed memory kept, float32 products by the quicker library, fused AdamW. A peer
    "as shipped" has none of them, a peer "tuned" has all."""
    way: str = ""
    """Generation: how; empty for a library's own way."""
    rows: int = 1
    """B."""
    tokens: int = 128
    """T of a training step or a prompt; tokens drawn in generation."""
    chunk_tokens: int = 0
    """Tokens that are scored at a time by the chunked loss."""
    accumulation_steps: int = 1
    """Training: parts that the rows of a step are computed in, one after the other."""
    device: str = "cpu"
    """cpu, cuda or mps."""

    @property
    def settings(self) -> str:
        """Everything but the sizes, for the column "settings" of a table."""
        words = [self.way] if self.way else []
        if self.kind == "training":
            words.append(f"{self.precision} autocast" if self.precision in HALF else self.precision)
            words.append(f"dropout {self.dropout:g}")
            words.append("tuned" if self.tuned else "as shipped")
        else:
            words.append(self.precision)
        if self.chunk_tokens:
            words.append(f"loss in chunks of {self.chunk_tokens}")
        if self.accumulation_steps > 1:
            words.append(f"in {self.accumulation_steps} parts")
        return ", ".join(words + ["compiled"] * self.compiled)

    @property
    def tokens_per_call(self) -> int:
        """How many tokens one call deals with: B times T."""
        return self.rows * self.tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


def bytes_per_token(job: Job) -> float:
    """Return the bytes that drawing a token reads at least, for all rows: weights and half a cache.

    >>> small = Job(kind="generation", who="bhushgpt", model="C", precision="int8")
    >>> full = Job(kind="generation", who="bhushgpt", model="C")
    >>> bytes_per_token(small) < 0.3 * bytes_per_token(full)
    True
    """
    config = MODELS[job.model]
    C, L = config.n_embd, config.n_layer
    size = 2 if job.precision in HALF else 4
    weights = (12 * L * C * C + config.vocab_size * C) * (1 if job.precision == "int8" else size)
    length = PROMPT_TOKENS + job.tokens / 2  # of the cache, on average
    return weights + 2 * L * C * length * job.rows * size
