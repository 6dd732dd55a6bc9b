"""The attacks again, as loops written from the papers: what the package's are checked against."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance

Rows = Sequence[Sequence[float]]


def margin(loss: float) -> float:
    """Return the logit-scaled confidence of arXiv:2112.03570, section V."""
    p = math.exp(-loss)
    return math.log(p / (1 - p))


def gaussians(rows: Rows) -> list[NormalDist]:
    """Return a Gaussian for each example; of fewer than 8 models with the mean of the examples' variances."""
    columns = list(zip(*rows, strict=True))
    variances = [variance(column) for column in columns]
    if len(rows) < 8:
        variances = [fmean(variances)] * len(columns)
    return [NormalDist(fmean(c), math.sqrt(v)) for c, v in zip(columns, variances, strict=True)]


def offline(observed: Sequence[float], outside: Rows) -> list[float]:
    """Return ``1 - Pr[Z > observed]`` (equation 4)."""
    return [g.cdf(value) for value, g in zip(observed, gaussians(outside), strict=True)]


def online(observed: Sequence[float], outside: Rows, inside: Rows) -> list[float]:
    """Return the log-likelihood ratio (algorithm 1)."""
    pairs = zip(observed, gaussians(inside), gaussians(outside), strict=True)
    return [math.log(a.pdf(value)) - math.log(b.pdf(value)) for value, a, b in pairs]


def auc(members: Sequence[float], others: Sequence[float]) -> float:
    """Return the probability that a member scores higher, ties counted half."""
    return fmean((a > b) + (a == b) / 2 for a in members for b in others)


def tpr(members: Sequence[float], others: Sequence[float], rate: float = 0.01) -> float:
    """Return the best TPR over all thresholds whose FPR is at most the rate."""
    best = 0.0
    for threshold in [*members, *others, math.inf]:
        if fmean(score >= threshold for score in others) <= rate:
            best = max(best, fmean(score >= threshold for score in members))
    return best


def rmia(x: float, x_reference: float, population: Sequence[tuple[float, float]]) -> float:
    """Return the score of one example (arXiv:2312.03262, algorithm 1, offline): confidences, gamma 2, a 0.3."""

    def ratio(confidence: float, reference: float) -> float:
        return confidence / (0.5 * ((1 + 0.3) * reference + (1 - 0.3)))

    return fmean(ratio(x, x_reference) / ratio(*z) >= 2 for z in population)


def klom(unlearned: Sequence[float], oracle: Sequence[float]) -> float:
    """Return the binned KL divergence of one example's margins (arXiv:2410.23232)."""
    low, high = min(*unlearned, *oracle), max(*unlearned, *oracle)

    def histogram(values: Sequence[float]) -> list[float]:
        counts = [0] * 20
        for value in values:
            at = 0
            while at < 19 and value >= low + (at + 1) * (high - low) / 20:
                at += 1
            counts[at] += 1
        return [count / len(values) for count in counts]

    pairs = zip(histogram(unlearned), histogram(oracle), strict=True)
    return sum(p * math.log(p / max(q, 1e-5)) for p, q in pairs if p)


def relative(model: Sequence[float], references: Rows) -> float:
    """Return the fraction of the pool that is as far from the rest of the pool as the model."""
    pool = [model, *references]

    def distance(one: Sequence[float], other: Sequence[float]) -> float:
        return fmean(abs(a - b) for a, b in zip(one, other, strict=True))

    def from_the_rest(number: int) -> float:
        return fmean(distance(pool[number], pool[i]) for i in range(len(pool)) if i != number)

    return fmean(from_the_rest(i) >= from_the_rest(0) - 1e-12 for i in range(len(pool)))
