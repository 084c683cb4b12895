"""Runs of L tokens are looked for; sample and text have lengths of their own."""

import numpy as np

SIZES = {"L": 6}
FREE = ("N", "W")  # of the sample, then of the text


def drive(m, s):
    m.share_found(np.arange(23), np.arange(113), s.L)
