"""Which of a trial's candidates, its end and the points on its way, is the trial's value for the search."""

import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import TrialState

from hamu_ray.config.search import directions, missed
from hamu_ray.results.pareto.trajectory import best_addition
from hamu_ray.tuning.plan import SweepPlan


def best_candidate(
    plan: SweepPlan, study: optuna.Study, candidates: Sequence[Mapping[str, float]]
) -> Mapping[str, float]:
    """Return the metrics of the candidate that adds most to the hypervolume of a study's trials; empty without any.

    Candidates without finite objectives do not count, nor do those that miss a constraint if another meets all.
    """
    names = plan.metrics
    finite = [c for c in candidates if all(math.isfinite(c.get(name, math.nan)) for name in names)]
    allowed = [c for c in finite if not missed(plan.config.search.constraints, c)] or finite
    if not allowed:
        return {}
    points = [tuple(float(c[name]) for name in names) for c in allowed]
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    known = [tuple(trial.values) for trial in ended]
    return allowed[best_addition(points, known, directions(plan.objectives))]
