"""Importance of hyperparameters: PED-ANOVA over an Optuna study rebuilt from the trial records."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from hamu_ray.config.search import Objective
from hamu_ray.config.space import Domain
from hamu_ray.reports.analysis.problems import Problem
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.trial import Status, TrialRecord

LEAST_TRIALS = 12
"""Minimum number of finished trials: with fewer, a quarter of them is too small a sample."""

TOP = 0.25
"""The fraction of trials that count as good."""

EVERYTHING = "all methods"


@dataclass(frozen=True)
class Importance:
    """Importance of each hyperparameter for each objective, as fractions that sum to one."""

    scope: str
    """A method, or `EVERYTHING`."""
    trials: int
    fractions: dict[str, dict[str, float]]
    """Objective to hyperparameter to fraction."""


def importances(problem: Problem) -> tuple[list[Importance], list[str]]:
    """Return the importances over all methods and within each method, and sentences that explain which are missing."""
    records = [m.record for m in problem.of_search if m.record.status is Status.FINISHED]
    scopes = {EVERYTHING: records}
    if len(problem.methods) > 1:
        scopes |= {name: [r for r in records if method_of(r) == name] for name in problem.methods}
    domains = {
        path: domains
        for sweep in {m.sweep.key: m.sweep for m in problem.trials}.values()
        if sweep.config is not None
        for path, domains in sweep.config.space.items()
    }
    found: list[Importance] = []
    few, constant = [], []
    for scope, trials in scopes.items():
        paths = {path: list(_values(trials, path)) for path in domains}
        varied = {path: values for path, values in paths.items() if len(set(values)) > 1}
        if len(trials) < LEAST_TRIALS:
            few.append(f"{scope} ({len(trials)})")
        elif len(varied) < 2:
            constant.append(scope)
        else:
            distributions = {path: distribution(domains[path], values) for path, values in varied.items()}
            fractions = {o.metric: _fractions(trials, o, distributions) for o in problem.objectives}
            found.append(Importance(scope, len(trials), fractions))
    missing = [f"with fewer than {LEAST_TRIALS} finished trials, {', '.join(few)}"] if few else []
    missing += [f"with fewer than two hyperparameters that varied, {', '.join(constant)}"] if constant else []
    return found, missing


def _values(trials: Sequence[TrialRecord], path: str) -> Iterator[object]:
    return (trial.parameters[path] for trial in trials if path in trial.parameters)


def distribution(domains: Sequence[Domain], values: Sequence[object]) -> BaseDistribution:
    """Merge the domains of one key path into one Optuna distribution.

    The result covers all domains and all sampled values. Domains of different kinds become one categorical
    distribution.
    """
    if len({domain.kind for domain in domains}) > 1:
        return CategoricalDistribution(list(dict.fromkeys(values)))  # type: ignore[arg-type]
    domain, *others = domains
    values = [*values, *(value for other in others for value in other.examples)]
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    if domain.integers is not None:
        first, last = domain.integers
        return IntDistribution(min(first, int(min(numbers))), max(last, int(max(numbers))))
    bounds = domain.loguniform or domain.uniform
    if bounds is not None:
        low, high = min(bounds[0], min(numbers)), max(bounds[1], max(numbers))
        return FloatDistribution(low, high, log=domain.loguniform is not None)
    return CategoricalDistribution(list(dict.fromkeys([*domain.examples, *values])))  # type: ignore[list-item]


def _fractions(
    trials: Sequence[TrialRecord], objective: Objective, distributions: dict[str, BaseDistribution]
) -> dict[str, float]:
    """Return the importance of each hyperparameter for being among the best quarter of trials in one objective."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if objective.maximise else "minimize")
    for trial in trials:
        value = trial.measures.get(objective.metric, math.nan)
        if math.isfinite(value):
            own = {path: v for path, v in trial.parameters.items() if path in distributions}
            study.add_trial(
                optuna.trial.create_trial(
                    value=value, params=own, distributions={path: distributions[path] for path in own}
                )
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP))
