"""Confirmation of a selected trial: a sweep with new seeds."""

import math
from collections.abc import Sequence
from pathlib import Path

from hamu_ray.config.sources.files import load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.preflight import check_sweep
from hamu_ray.results.folder import SWEEP_FILE
from hamu_ray.results.pareto.front import mean_interval
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.selection.confirmation import Confirmation
from hamu_ray.selection.rules import Bound

SUFFIX = "-confirm"
NAME_LENGTH = 100


def confirm_trial(
    sweep: Path, trial: TrialRecord, seeds: Sequence[int], bounds: Sequence[Bound]
) -> Confirmation:
    """Run the configuration of a sweep's trial with each seed, as a new sweep in the same storage."""
    from hamu_ray.tuning.run import run_sweep  # imports Ray and torch

    config = load_sweep(sweep / SWEEP_FILE)
    again = confirming_sweep(config, trial, seeds)
    check_sweep(again, again.name)
    folder = run_sweep(again).folder
    records = [trial for trial in read_sweep(folder).trials if trial.status is Status.FINISHED]
    objectives = config.search.objectives
    return Confirmation(
        sweep=str(folder),
        seeds=seeds,
        finished=len(records),
        objectives=objectives,
        selected=[trial.measures[o.metric] for o in objectives],
        intervals=[mean_interval([record.measures[o.metric] for record in records]) for o in objectives],
        bounds=bounds,
        bounded=[
            mean_interval([record.measures.get(bound.objective.metric, math.nan) for record in records])
            for bound in bounds
        ],
    )


def confirming_sweep(config: SweepConfig, trial: TrialRecord, seeds: Sequence[int]) -> SweepConfig:
    """Return the sweep over new seeds of a trial's configuration, with the settings of its own sweep."""
    where = config.model_dump(mode="json", include={"storage", "tracking"})
    where["tracking"]["register_models"] = None  # only the selected model is registered
    objectives = [objective.model_dump() for objective in config.search.objectives]
    search = {"algorithm": "grid", "objectives": objectives, "retries": config.search.retries}
    return SweepConfig.model_validate(
        {
            **trial.configuration,
            **where,
            "name": config.name[: NAME_LENGTH - len(SUFFIX)] + SUFFIX,
            "space": {"seed": {"grid": list(seeds)}},
            "search": {**search, "concurrent": config.search.concurrent},
        }
    )
