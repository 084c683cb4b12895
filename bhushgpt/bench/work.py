"""Our side of the benchmark: the course's own training loop and its ways of drawing tokens.

A `Job` becomes a function that does one call of it; `bench.peers` does the same for the others, on
the same batches and prompts.

Letters: B batch, T time.

Lesson: notebook 13.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bhushgpt.batches import Batches
from bhushgpt.bench.jobs import HALF, MODELS, PACKED, PROMPT_TOKENS, Job
from bhushgpt.cpu_settings import fast_float32_products, keep_freed_memory
from bhushgpt.devices import abilities
from bhushgpt.errors import UserError
from bhushgpt.generation import Sampling, generate
from bhushgpt.gpt import GPT
from bhushgpt.kv_cache import Cached
from bhushgpt.speed import (
    Acceleration,
    FastCached,
    accelerate,
    compile_trouble,
    train_scaled,
    with_int8_weights,
    with_packed_weights,
)
from bhushgpt.training import TrainState
from bhushgpt.training_config import TrainingConfig

Work = Callable[[], object]
ENDLESS = 10**9  # steps; the benchmark stops when it has seen enough


def batches_for(job: Job) -> Batches:
    """Return the batches of a training job: the same for everybody who has these sizes."""
    ids = np.random.default_rng(0).integers(0, MODELS[job.model].vocab_size, 100_000)
    return Batches(ids, job.rows, job.tokens, device=job.device)


def prompts_for(job: Job) -> Tensor:
    """Return the prompts of a generation job, (B, T), or of a prefill job, whose T is its own."""
    length = job.tokens if job.kind == "prefill" else PROMPT_TOKENS
    ids = np.random.default_rng(1).integers(0, MODELS[job.model].vocab_size, (job.rows, length))
    return torch.from_numpy(ids).to(job.device)


def tune_process(job: Job) -> None:
    """Set what belongs to a whole process, as a tuned job asks for it."""
    if job.tuned and job.kind == "training":
        keep_freed_memory(job.device)
        if job.precision == "float32":
            fast_float32_products(job.device)


def our_work(job: Job) -> Work:
    """Return a function that does one call of a job of ours.

    Raises:
        UserError: If this machine cannot do it.

    >>> job = Job(kind="prefill", who="bhushgpt", model="B", tokens=8)
    >>> our_work(job)().shape
    torch.Size([1, 8, 80])
    """
    if job.compiled and (trouble := compile_trouble(torch.device(job.device).type)):
        raise UserError(trouble)
    torch.manual_seed(0)
    config = dataclasses.replace(MODELS[job.model], dropout=job.dropout)
    model = GPT(config).to(job.device)
    if job.kind == "training":
        return _training(job, model)
    model = with_int8_weights(model) if job.precision == "int8" else model.eval()
    if PACKED in job.way:
        model = with_packed_weights(model, getattr(torch, job.precision))
    elif job.precision in HALF:
        model = model.to(getattr(torch, job.precision))
    return _prefill(job, model) if job.kind == "prefill" else _generation(job, model)


def _training(job: Job, model: GPT) -> Work:
    precision = "float32" if job.precision == "int8" else job.precision
    loss_function = accelerate(
        model,
        Acceleration(
            precision=precision,
            compile=job.compiled,
            chunk_tokens=job.chunk_tokens,
            cheap_dropout=job.dropout > 0 and abilities(job.device).host,
            quick_layers=abilities(job.device).host,
        ),
    )
    config = TrainingConfig(
        steps=ENDLESS,
        batch_size=job.rows,
        accumulation_steps=job.accumulation_steps,
        learning_rate=1e-4,
    )
    state, scaler = TrainState.fresh(model, config), loss_function.scaler
    steps = train_scaled(state, batches_for(job), config, loss_function, scaler)
    return lambda: next(steps)


def _prefill(job: Job, model: GPT) -> Work:
    prompts = prompts_for(job)
    if job.compiled:
        model.compile()

    @torch.no_grad()
    def read() -> Tensor:
        return model(prompts)

    return read


def _generation(job: Job, model: GPT) -> Work:
    prompts, greedy = prompts_for(job), Sampling(temperature=0)
    # Room for what will be written and no more, rounded up to whole blocks of 64.
    capacity = -(-(PROMPT_TOKENS + job.tokens) // 64) * 64
    ways: dict[str, Callable[[], torch.nn.Module]] = {
        "plain": lambda: model,
        "cached": lambda: Cached(model),
        "static cache": lambda: FastCached(model, capacity=capacity, compiled=job.compiled),
    }
    writer = ways[job.way.removesuffix(PACKED)]()
    return lambda: list(generate(writer, prompts, job.tokens, greedy))  # type: ignore[arg-type]
