"""A language model's predictions of answer tokens, reduced to four numbers per token, from which all metrics follow."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

COLUMNS = 4
"""Number of columns of `score_tokens`."""

CHUNK = 2**24
"""Number of logits that `score_tokens` processes at once: 64 MiB of float32, a few copies of which exist at a time."""


@dataclass(frozen=True, eq=False)
class TokenScores:
    """A language model's predictions of the answer tokens of some items, concatenated."""

    log_probs: Floats
    """float64 ``(tokens,)``: natural log-probability of each answer token, teacher-forced."""
    correct: NDArray[np.bool_]
    """bool ``(tokens,)``: whether the most likely token is the right one."""
    means: Floats
    """float64 ``(tokens,)``: mean of the log-probability over the vocabulary under the model's own distribution."""
    deviations: Floats
    """float64 ``(tokens,)``: its standard deviation under the same."""
    lengths: NDArray[np.int64]
    """int64 ``(items,)``: number of answer tokens of each item, at least 1."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if the lengths do not match the tokens or an item has none."""
        tokens = len(self.log_probs)
        if not len(self.correct) == len(self.means) == len(self.deviations) == tokens:
            raise ValueError("token scores: every token needs all four numbers")
        if len(self.lengths) and self.lengths.min() < 1:
            raise ValueError(
                "token scores: every item needs at least one answer token; remove items without any"
            )
        if self.lengths.sum() != tokens:
            raise ValueError(
                f"token scores: the lengths add up to {self.lengths.sum()}, not to {tokens} tokens"
            )

    @classmethod
    def from_rows(cls, rows: np.ndarray, lengths: np.ndarray) -> "TokenScores":
        """Create the record from the output of `score_tokens`, ``(tokens, 4)``, for items of these lengths
        ``(items,)``.
        """
        log_probs, correct, means, deviations = np.asarray(rows, dtype=np.float64).reshape(-1, COLUMNS).T
        return cls(log_probs, correct > 0.5, means, deviations, np.asarray(lengths, dtype=np.int64))

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The index of each item's first token, int64 ``(items,)``."""
        return np.cumsum(self.lengths) - self.lengths

    def without_end(self) -> "TokenScores":
        """Return the scores without the last token of each item, which ends it; items of one token stay as they are."""
        last = np.cumsum(self.lengths) - 1
        kept = np.ones(len(self.log_probs), dtype=bool)
        kept[last[self.lengths > 1]] = False
        return TokenScores(
            self.log_probs[kept],
            self.correct[kept],
            self.means[kept],
            self.deviations[kept],
            np.where(self.lengths > 1, self.lengths - 1, self.lengths),
        )

    def without_start(self, fraction: float) -> "TokenScores":
        """Return the scores without this fraction of each item's tokens, below 1, from its first on, rounded down."""
        left_out = (self.lengths * fraction).astype(np.int64)
        places = np.arange(len(self.log_probs)) - np.repeat(self.starts, self.lengths)
        kept = places >= np.repeat(left_out, self.lengths)
        return TokenScores(
            self.log_probs[kept],
            self.correct[kept],
            self.means[kept],
            self.deviations[kept],
            self.lengths - left_out,
        )

    def item_means(self, values: np.ndarray) -> Floats:
        """Return the mean of a value per token ``(tokens,)`` over each item's tokens, float64 ``(items,)``."""
        return np.add.reduceat(values, self.starts, dtype=np.float64) / self.lengths


@torch.no_grad()
def score_tokens(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the columns of `TokenScores` for each answer token, float64 ``(tokens, 4)``, on the same device.

    The columns are the label's log-probability, 1 if the largest logit is the label's and else 0, and the mean and the
    standard deviation of the log-probability over the vocabulary, under the model's own distribution (Min-K%++, Zhang
    et al., arXiv:2404.02936). A token of probability zero contributes nothing to the last two. The label's
    log-probability is not finite if the logits define no distribution (NaN or plus infinity).

    Takes ``logits`` float ``(tokens, vocabulary)`` and ``labels`` int64 ``(tokens,)`` of answer tokens only: no
    padding, no -100. Computed in at least float32 for every dtype of the logits, in chunks to limit memory. Does not
    synchronise.
    """
    rows = max(1, CHUNK // logits.shape[-1])
    pieces = zip(logits.split(rows), labels.split(rows), strict=True)
    return torch.cat([_score_piece(*piece) for piece in pieces])


def _score_piece(logits: Tensor, labels: Tensor) -> Tensor:
    precise = torch.promote_types(logits.dtype, torch.float32)
    vocabulary = torch.log_softmax(logits.to(precise), dim=-1)
    label = vocabulary.gather(-1, labels[:, None])[:, 0]
    correct = logits.argmax(dim=-1) == labels
    weights = vocabulary.exp()
    vocabulary.masked_fill_(weights == 0, 0)  # zero times minus infinity would be NaN
    mean = (weights * vocabulary).sum(-1)
    # Centred: the difference of two large numbers could be negative for a sharp distribution.
    variance = vocabulary.sub_(mean[:, None]).square_().mul_(weights).sum(-1)
    columns = (label, correct, mean, variance.sqrt())
    return torch.stack([column.double() for column in columns], dim=-1)
