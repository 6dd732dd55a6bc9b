"""The nearest right word, for errors about a wrong one."""

import difflib
from collections.abc import Iterable


def near(word: object, known: Iterable[str]) -> str | None:
    """Return the nearest known word, or None when none is near."""
    return next(iter(difflib.get_close_matches(str(word), sorted(known), n=1)), None)


def nearest(word: object, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` with the nearest known word, or the list of all when none is near."""
    known = sorted(known)
    close = near(word, known)
    return f"did you mean {close}?" if close else f"known: {', '.join(known)}"
