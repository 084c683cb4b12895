"""Right and wrong answers that were written without a look at the checkers.

A name says all: `exercise__right__how` and `exercise__wrong__mistake`.
"""
