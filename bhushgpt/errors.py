"""The one error that a person at the keyboard can cause and mend.

Lesson: notebook 00.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something came from outside that cannot be used.

    The message says what came, what is allowed and what to do next, in words for a learner. The
    command line prints it without a traceback. Our own mistakes stay `assert` or other errors.
    """


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
