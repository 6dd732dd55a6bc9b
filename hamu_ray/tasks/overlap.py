"""Content of a forget set that also occurs elsewhere: equal content, or near-duplicate texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WORDS = 5
"""Number of words in a shingle; with the bound `NEAR`, as in the deduplication of Lee et al. 2022 (arXiv 2107.06499).
"""

NEAR = 0.8
"""Jaccard similarity of shingles from which two texts count as near duplicates."""

PERMUTATIONS = 128
"""Number of permutations of the MinHash signatures (Broder 1997) that find near duplicates."""

Shingles = frozenset[str]


@dataclass(frozen=True)
class Match:
    """A text of the forget set, and another with the same content; both by their indices."""

    forget: int
    other: int
    similarity: float
    """Jaccard similarity of their shingles; 1 if they are equal up to case and white space."""


def shingles(text: str) -> Shingles:
    """Return the runs of `WORDS` words of a text, in lower case; for a shorter text, the whole text."""
    words = text.casefold().split()
    if len(words) <= WORDS:
        return frozenset([" ".join(words)])
    return frozenset(map(" ".join, zip(*(words[start:] for start in range(WORDS)), strict=False)))


def similarity(one: Shingles, other: Shingles) -> float:
    """Return the Jaccard similarity of two sets."""
    return len(one & other) / len(one | other)


def text_matches(forget: Sequence[str], others: Iterable[str]) -> Iterator[Match]:
    """Yield each of the other texts that equals or nearly duplicates a forget text, with the most similar one.

    The time is linear in the total number of texts: MinHash signatures are computed for the forget set, and for other
    texts that share enough shingles with it. A few near duplicates may be missed, but there are no false positives,
    because the similarity of each candidate is computed.
    """
    known = [shingles(text) for text in forget]
    whole = frozenset[str]().union(*known)
    first = {content: number for number, content in reversed(list(enumerate(known)))}
    propose: Callable[[Shingles], list[int]] | None = None
    for number, text in enumerate(others):
        found = shingles(text)
        # The similarity to any forget text is at most the fraction of shared shingles.
        if len(found & whole) < NEAR * len(found):
            continue
        if found in first:
            yield Match(first[found], number, 1.0)
            continue
        propose = propose or _signatures(known)
        near = [(similarity(known[candidate], found), -candidate) for candidate in propose(found)]
        best, candidate = max(near, default=(0.0, 0))
        if best >= NEAR:
            yield Match(-candidate, number, best)


def _signatures(known: Sequence[Shingles]) -> Callable[[Shingles], list[int]]:
    """Return a function that proposes those of the known sets that may be close to a given one."""
    from datasketch import MinHash, MinHashLSH

    def signature(content: Shingles) -> Any:
        made = MinHash(num_perm=PERMUTATIONS)
        made.update_batch([shingle.encode() for shingle in content])
        return made

    index = MinHashLSH(
        threshold=NEAR, num_perm=PERMUTATIONS, weights=(0.1, 0.9)
    )  # prefer too many candidates to too few
    for number, content in enumerate(known):
        index.insert(number, signature(content))
    return lambda content: index.query(signature(content))


def equal_matches(forget: Sequence[bytes], others: Iterable[bytes]) -> Iterator[Match]:
    """Yield each of the other contents, such as hashes of files, that equals one of the forget set."""
    first = {content: number for number, content in reversed(list(enumerate(forget)))}
    for number, content in enumerate(others):
        if content in first:
            yield Match(first[content], number, 1.0)
