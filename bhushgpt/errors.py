"""The one error that a person at the keyboard can cause and mend.

Lesson: notebook 00.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral


class UserError(ValueError):
    """Something came from outside that cannot be used.

    The message says what came, what is allowed and what to do next, in words for a learner. The
    command line prints it without a traceback. Our own mistakes stay `assert` or other errors.
    """


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number: no fraction, no 2.0, and no True.

    >>> is_whole(3), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def too_small(name: str, value: object, least: int) -> str | None:
    """Return what is wrong with a size, or None: it is a whole number of at least so much.

    >>> too_small("batch_size", 0, 1), too_small("batch_size", 2.5, 1)
    ('batch_size is 0, it must be at least 1', \
'batch_size is 2.5, it must be a whole number of at least 1')
    """
    if not is_whole(value):
        return f"{name} is {value}, it must be a whole number of at least {least}"
    return None if value >= least else f"{name} is {value}, it must be at least {least}"  # type: ignore[operator]


def nearest(name: str, options: Iterable[str]) -> str:
    """Return the sentence that helps after a misspelt name.

    Args:
        name: What was typed.
        options: The names that exist.

    Returns:
        "Did you mean ...?" when something is close, and always the list of what there is.

    >>> nearest("sherlok", ["sherlock", "shakespeare"])
    "Did you mean 'sherlock'? There are: shakespeare, sherlock."
    >>> nearest("x", ["sherlock"])
    'There are: sherlock.'
    """
    known = sorted(options)
    plain = {option.lower(): option for option in known}
    close = get_close_matches(name.lower(), plain, n=1)
    question = f"Did you mean {plain[close[0]]!r}? " if close else ""
    return f"{question}There are: {', '.join(known)}."
