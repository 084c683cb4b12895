"""Runs the functions of notebook 23: drawing by hand, and ln p of whole answers."""

import torch

from bhushgpt.checked_tasks import additions
from bhushgpt.gpt import GPT, GPTConfig

SIZES = {"Q": 6, "A": 4, "V": 13, "H": 2, "D": 1, "C": 8}


def drive(nb, s):
    nb.task = additions()
    sizes = {"vocab_size": s.V, "context_length": 10, "n_layer": 1, "n_head": 2, "n_embd": 8}
    model = GPT(GPTConfig(**sizes))
    problems = nb.task.train[: s.B]
    nb.draw_answers(model, nb.task.questions(problems), torch.Generator())
    nb.whole_log_probs(model, problems, ["1"] * s.B)
