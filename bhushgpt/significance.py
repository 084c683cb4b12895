"""Whether a difference between two groups of runs is more than the luck of their seeds.

A permutation test: if what distinguishes the groups did nothing, any way to deal the results into
two such groups was as likely as the one that is there. So all ways are counted.

Lesson: notebook 22. Source: Fisher, "The design of experiments", 1935, section 21.
"""

import math
from collections.abc import Sequence
from itertools import combinations

from bhushgpt.errors import UserError

MOST_DEALS = 2_000_000
SLACK = 1e-12  # sums of the same numbers in another order differ by roundings


def p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the share of all ways to deal the results whose means are as far apart as these.

    In either direction, and with the way that is there among them, so that it is never 0: five
    against five cannot give less than 2 / 252.

    Args:
        first: Results of one group, such as the held-out losses of a few seeds.
        second: Of the other.

    Raises:
        UserError: If a group is empty, a result is no number, or there are too many ways to count.

    >>> p_value([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    0.1
    """
    n, m = len(first), len(second)
    if not (n and m and all(map(math.isfinite, [*first, *second]))):
        raise UserError(
            f"Two groups of results are compared, {n} and {m} came, and each must be a number. "
            "Run each of the two from several seeds first."
        )
    if math.comb(n + m, n) > MOST_DEALS:
        raise UserError(
            f"There are {math.comb(n + m, n):,} ways to deal {n + m} results, more than "
            f"{MOST_DEALS:,}. Compare at most 11 with 11."
        )
    # The mean of a hand is known by its sum, and so is the rest: |sum - n * mean of all| measures
    # how far the two are apart.
    middle = math.fsum([*first, *second]) * n / (n + m)
    found = abs(math.fsum(first) - middle) - SLACK
    hands = [abs(math.fsum(hand) - middle) >= found for hand in combinations([*first, *second], n)]
    return sum(hands) / len(hands)
