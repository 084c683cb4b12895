"""Runs the shape comments of `instructions`: rows, a batch, the loss, and what is right."""

import torch

from bhushgpt.bigram import Bigram, BigramConfig
from bhushgpt.tokenizers import ByteTokenizer

SIZES = {"T": 13, "V": 256}


def drive(m, s):
    exchanges = [m.Exchange("ab?"[n % 2 :], "x") for n in range(s.B)]
    exchanges[-1] = m.Exchange("ab?", "xyz")
    model = Bigram(BigramConfig(vocab_size=s.V))
    batches = m.InstructionBatches(exchanges, ByteTokenizer(), s.B)
    m.answer_loss(model, *batches[0])
    m.answered_right(model, exchanges, ByteTokenizer())
    assert torch.is_grad_enabled()
