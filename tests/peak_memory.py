"""How much memory a training step of GPT-2 124M takes, measured in a process of its own.

    python tests/peak_memory.py [--tokens 4096] [--context 256] [--plain]

Run by hand and by `make bench`; it takes a minute.
"""

import argparse
import resource
import sys
import time

import torch

from bhushgpt.gpt import GPT, GPTConfig
from bhushgpt.speed.acceleration import Acceleration, accelerate
from bhushgpt.training import TrainState, train
from bhushgpt.training_config import TrainingConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--plain", action="store_true", help="all logits at once")
    parser.add_argument("--recompute", action="store_true", help="activation checkpointing")
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    rows = options.tokens // options.context
    sizes = GPTConfig(
        vocab_size=50257, context_length=options.context, n_layer=12, n_head=12, n_embd=768
    )
    model = GPT(sizes)
    settings = Acceleration(
        precision="bfloat16",
        chunk_tokens=0 if options.plain else 512,
        activation_checkpointing=options.recompute,
    )
    loss_function = accelerate(model, settings)
    config = TrainingConfig(steps=options.steps, batch_size=rows, learning_rate=6e-4)
    batches = {
        step: tuple(torch.randint(50257, (2, rows, options.context)))
        for step in range(options.steps)
    }
    state, begin = TrainState.fresh(model, config), time.perf_counter()
    for report in train(state, batches, config, loss_function):  # type: ignore[arg-type]
        now = time.perf_counter()
        print(f"step {report.step}: loss {report.loss:.4f}, {now - begin:.1f} s", flush=True)
        begin = now
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bytes_ = peak if sys.platform == "darwin" else 1024 * peak
    print(f"peak {bytes_ / 2**30:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
