"""Scores of answers of different lengths, and the loops over single tokens that metrics are checked against."""

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from hamu_ray.metrics.text.tokens import TokenScores

ragged_scores = st.builds(
    lambda lengths, seed: made_up_scores(lengths, seed),
    st.lists(st.integers(1, 25), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)


def made_up_scores(lengths: list[int], seed: int) -> TokenScores:
    """Scores like those of a model with some memory; deviations may be zero."""
    generator = np.random.default_rng(seed)
    tokens = sum(lengths)
    rows = np.stack(
        [
            -generator.exponential(2, tokens),
            generator.random(tokens) < 0.7,
            -generator.exponential(4, tokens),
            generator.exponential(2, tokens) * (generator.random(tokens) < 0.9),
        ],
        axis=1,
    )
    return TokenScores.from_rows(rows, np.array(lengths))


def each_item(scores: TokenScores, values: np.ndarray) -> Iterator[list[float]]:
    """Yield the values of every item's tokens."""
    position = 0
    for length in scores.lengths.tolist():
        yield values[position : position + length].tolist()
        position += length


def with_broken_token(scores: TokenScores, at: int) -> TokenScores:
    """The same with one token with non-finite logits."""
    log_probs = scores.log_probs.copy()
    log_probs[at] = np.nan
    return TokenScores(log_probs, scores.correct, scores.means, scores.deviations, scores.lengths)


NO_SCORES = TokenScores.from_rows(np.zeros((0, 4)), np.zeros(0))
