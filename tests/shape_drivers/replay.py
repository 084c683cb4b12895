"""Runs the shape comment of `replay`."""

import numpy as np

from bhushgpt.batches import Batches


def drive(m, s):
    tokens = np.arange(99)
    m.Replay(Batches(tokens, s.B - 1, s.T), Batches(tokens, 1, s.T))[3]
