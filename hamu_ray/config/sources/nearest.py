"""Suggestions for misspelled names."""

import difflib
from collections.abc import Iterable


def near(word: object, known: Iterable[str]) -> str | None:
    """Return the closest known word, or None if none is close."""
    return next(iter(difflib.get_close_matches(str(word), sorted(known), n=1)), None)


def nearest(word: object, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` with the closest known word, or a list of all if none is close."""
    known = sorted(known)
    close = near(word, known)
    return f"did you mean {close}?" if close else f"known: {', '.join(known)}"
