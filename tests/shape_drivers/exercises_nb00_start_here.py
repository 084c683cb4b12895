"""Runs the reference of notebook 00's window exercise."""


def drive(m, s):
    m.window_mask(s.T, 3)
