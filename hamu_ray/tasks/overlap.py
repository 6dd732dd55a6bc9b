"""Content of a forget set that also stands elsewhere: equal, or nearly so in other texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WORDS = 5
"""Words of a shingle, and `NEAR` as the bound, as in the deduplication of Lee et al. 2022 (arXiv 2107.06499)."""

NEAR = 0.8
"""Jaccard similarity of two texts' shingles from which they count as near duplicates."""

PERMUTATIONS = 128
"""Of the MinHash signatures (Broder 1997) by which near duplicates are found."""

Shingles = frozenset[str]


@dataclass(frozen=True)
class Match:
    """A text of the forget set, and another that holds the same content; both by their indices."""

    forget: int
    other: int
    similarity: float
    """Jaccard similarity of their shingles; 1 where they are equal up to case and white space."""


def shingles(text: str) -> Shingles:
    """Return the runs of `WORDS` words of a text, in lower case; of a shorter text all of it."""
    words = text.casefold().split()
    if len(words) <= WORDS:
        return frozenset([" ".join(words)])
    return frozenset(map(" ".join, zip(*(words[start:] for start in range(WORDS)), strict=False)))


def similarity(one: Shingles, other: Shingles) -> float:
    """Return the Jaccard similarity of two sets."""
    return len(one & other) / len(one | other)


def text_matches(forget: Sequence[str], others: Iterable[str]) -> Iterator[Match]:
    """Yield each of the other texts that is equal to one to forget, or a near duplicate, with the most similar one.

    The time grows with the number of all texts together: MinHash signatures are made of the forget set, and of
    those others alone that share enough shingles with it as a whole. Of near duplicates a few may be missed, and
    none is yielded that is not one: the similarity of what signatures propose is computed.
    """
    known = [shingles(text) for text in forget]
    whole = frozenset[str]().union(*known)
    first = {content: number for number, content in reversed(list(enumerate(known)))}
    propose: Callable[[Shingles], list[int]] | None = None
    for number, text in enumerate(others):
        found = shingles(text)
        # A text is as similar to any one of the forget set as its share of shared shingles at most.
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
    """Return what proposes those of the known sets that may be near a given one."""
    from datasketch import MinHash, MinHashLSH

    def signature(content: Shingles) -> Any:
        made = MinHash(num_perm=PERMUTATIONS)
        made.update_batch([shingle.encode() for shingle in content])
        return made

    index = MinHashLSH(
        threshold=NEAR, num_perm=PERMUTATIONS, weights=(0.1, 0.9)
    )  # rather too many than too few
    for number, content in enumerate(known):
        index.insert(number, signature(content))
    return lambda content: index.query(signature(content))


def equal_matches(forget: Sequence[bytes], others: Iterable[bytes]) -> Iterator[Match]:
    """Yield each of the other contents, such as hashes of files, that is equal to one to forget."""
    first = {content: number for number, content in reversed(list(enumerate(forget)))}
    for number, content in enumerate(others):
        if content in first:
            yield Match(first[content], number, 1.0)
