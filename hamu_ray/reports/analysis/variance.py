"""Variance components of a nested design: what is due to training, and what to unlearning.

Every configuration is run on I originals and references of their own training seeds, J times each:

    y_ij = mean + t_i + u_ij,    t_i ~ (0, training),    u_ij ~ (0, unlearning)

The components are estimated from the mean squares between and within trainings (analysis of variance; Searle, Casella
and McCulloch, Variance Components, 1992, section 3.6), pooled over configurations.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from hamu_ray.reports.analysis.problems import Problem, SeedGroup
from hamu_ray.results.pareto.front import Interval

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Components:
    """The variance of a metric over repeated runs of a configuration, in two parts."""

    training: float
    """Variance between trainings, at least 0."""
    unlearning: float
    """Variance between unlearnings from the same models."""
    share: Interval
    """The fraction of the sum that is due to training, 0 to 1, with its confidence interval; NaN without variance."""
    trainings: int
    """Trainings of all configurations together."""
    runs: int

    def best_repeats(self, cost: float) -> float:
        """Return how many unlearnings of each training make the mean most precise for a budget.

        The variance of the mean, ``training / I + unlearning / (I J)``, is smallest for a budget of ``I (cost + J)``
        at ``J = sqrt(cost unlearning / training)`` (Cochran, Sampling Techniques, 1977, section 10.6), but at least 1.

        Args:
            cost: cost of training the original and the reference, in unlearnings.

        Returns:
            J, not rounded; infinite if nothing is due to training, NaN without variance.
        """
        if self.training == 0:
            return math.inf if self.unlearning > 0 else math.nan
        return max(1.0, math.sqrt(cost * self.unlearning / self.training))


def components(configurations: Iterable[Mapping[int, Sequence[float]]]) -> Components | None:
    """Return the variance components, pooled over configurations.

    Args:
        configurations: for each configuration, values by training seed. Those of a single training count within it.

    Returns:
        None if no configuration has two trainings, or no training has two runs.
    """
    within = between = weight = 0.0
    inside, apart, runs, trainings = 0, 0, 0, 0
    for one in configurations:
        groups = [np.asarray(values, dtype=float) for values in one.values()]
        sizes = np.array([group.size for group in groups], dtype=float)
        means = np.array([group.mean() for group in groups])
        total = sizes.sum()
        within += sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
        between += float((sizes * (means - (sizes @ means) / total) ** 2).sum())
        weight += total - float((sizes**2).sum()) / total
        inside += int(total) - len(groups)
        apart += len(groups) - 1
        runs, trainings = runs + int(total), trainings + len(groups)
    if not inside or not apart:
        return None
    unlearning, size = within / inside, weight / apart
    training = max(0.0, (between / apart - unlearning) / size)
    share = _share(between / apart, unlearning, size, apart, inside)
    return Components(training, unlearning, share, trainings, runs)


def _share(between: float, within: float, size: float, apart: int, inside: int) -> Interval:
    """Return the intraclass correlation with its interval from the F distribution; exact for equal group sizes."""
    if between == 0 and within == 0:
        return Interval(math.nan, math.nan, math.nan)
    ratio = between / within if within else math.inf
    tail = (1 - CONFIDENCE) / 2
    high, low = (stats.f.ppf(p, apart, inside) for p in (tail, 1 - tail))
    mean, least, most = (_correlation(one, size) for one in (ratio, ratio / low, ratio / high))
    return Interval(mean, least, most)


def _correlation(ratio: float, size: float) -> float:
    if math.isinf(ratio):
        return 1.0
    return min(1.0, max(0.0, (ratio - 1) / (ratio - 1 + size)))


@dataclass(frozen=True)
class MethodVariance:
    """The components of one objective over a method's configurations."""

    method: str
    metric: str
    components: Components


def variances(problem: Problem) -> list[MethodVariance]:
    """Return the components of each objective for each method that has them."""
    found = []
    groups: dict[str, list[SeedGroup]] = defaultdict(list)
    for group in problem.groups:
        groups[group.method].append(group)
    for method, of_method in sorted(groups.items()):
        for objective in problem.objectives:
            parts = components(_by_training(group, objective.metric) for group in of_method)
            if parts is not None:
                found.append(MethodVariance(method, objective.metric, parts))
    return found


def _by_training(group: SeedGroup, metric: str) -> dict[int, list[float]]:
    """Return a metric by training seed: one value for each seed, whose trials are repetitions, not other runs."""
    values: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in group.trials:
        run = trial.record.configuration
        seed, training = run.get("seed", 0), (run.get("training") or {}).get("seed")
        values[seed if training is None else training][seed].append(float(trial.record.measures[metric]))
    return {training: [fmean(found) for found in of_seed.values()] for training, of_seed in values.items()}
