"""Runs every shape comment of `rewards`: both methods for a round, and the losses by themselves."""

import torch

from bhushgpt.checked_tasks import additions
from bhushgpt.gpt import GPT, GPTConfig

# The sums of one digit: 4 tokens ask, 3 answer, 13 signs; 5 questions, 2 answers to each.
SIZES = {"B": 10, "G": 2, "Q": 4, "A": 3, "V": 13, "C": 30, "H": 6, "D": 5}


def drive(m, s):
    task = additions(digits=1)
    sizes = {"vocab_size": s.V, "context_length": 7, "n_layer": 1, "n_head": 2, "n_embd": 8}
    model = GPT(GPTConfig(**sizes))
    for method, updates in (("grpo", 2), ("reinforce", 1)):
        config = m.RewardConfig(
            steps=1, method=method, updates_per_step=updates, questions_per_step=5, group_size=2
        )
        list(m.train_with_rewards(m.RewardState.fresh(model, config), task, config))
    m.write_answers(model, task, task.train[:5], n=2)
    m.dpo_loss(*torch.randn(4, s.B))
