"""Select a point of a sweep's Pareto front; print its metrics and the trade-offs of its neighbours."""

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from hamu_ray.config.search import Objective
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.metrics.attacks.names import DURABILITY
from hamu_ray.metrics.table import COSTS
from hamu_ray.results.pareto.summary import SeedGroup, SweepSummary, method_of, over_seeds, settings_of
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import TrialRecord, trial_of
from hamu_ray.results.wording import counted, describe, number, runnable, shown
from hamu_ray.selection.confirmation import check_seeds
from hamu_ray.selection.rules import (
    Bound,
    best,
    floor_of,
    in_force,
    nearest_miss,
    relaxed,
)
from hamu_ray.selection.selected import Selection, as_document, print_selection
from hamu_ray.terminal.console import Console

HARDNESS = ("gradient_cosine", "gradient_angle", "infeasible_blocks", "stopping_margin")
"""Diagnostics whose values at the last step are printed."""


def decide(
    folder: Path,
    asked: Sequence[tuple[str, str, float]] = (),
    confirm: int | None = None,
    seeds: str | None = None,
    as_json: bool = False,
    push: str | None = None,
    dry_run: bool = False,
    interpolate: bool = False,
) -> int:
    """Select a point of the front, print it, confirm it if requested, and publish it if it was not refuted.

    With ``interpolate``, the models between the points and the original are searched, too (`selection.between`).

    Returns 0, or 1 if no point meets the bounds or the confirmation fails.

    Raises:
        ConfigError: A bound or the seeds are invalid, or the sweep has no front.
    """
    console = Console(stderr=as_json)
    if push is not None:
        from hamu_ray.publishing.push import check_repo, publish  # imports the hub's client

        check_repo(push, dry_run)
    sweep = read_sweep(folder)
    unconstrained = relaxed(sweep.summary, floor_of(sweep.summary))
    if not unconstrained.front:
        raise ConfigError(
            f"{shown(folder)}: none of its {len(sweep.trials)} trials is on a front; give another sweep"
        )
    requested = bounds_of(sweep.summary, asked)
    if interpolate or confirm or seeds:
        check_new_models(sweep, requested, interpolate)
    bounds = in_force(sweep.summary, requested)
    summary = relaxed(sweep.summary, requested)
    used = {int(trial.configuration["seed"]) for trial in sweep.trials}
    fresh = check_seeds(confirm, seeds, used)
    found = best(summary, bounds)
    selection = None
    if interpolate:
        from hamu_ray.selection.between import select_between  # imports torch

        command = select_command(folder, requested)
        selection = select_between(sweep, folder, summary, unconstrained.front, bounds, command, console)
    if selection is None and found is not None:
        # With what an audit added to the record.
        trial = replace(sweep.source.record(found.trial_id) or found, measures=found.measures)
        selection = Selection(summary, trial, bounds, group_of(summary, found), hardness_of(sweep, found))
    if selection is None:
        print(nothing_meets(unconstrained, bounds), file=sys.stderr if as_json else sys.stdout)
        return 1
    trial = selection.trial
    if not as_json:
        print_selection(selection, folder, console)
    confirmation = None
    if fresh:
        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            from hamu_ray.selection.confirm import confirm_trial  # imports the checks of a sweep

            confirmation = confirm_trial(folder, trial, fresh, bounds)
    if as_json:
        print(json.dumps(as_document(selection, folder, confirmation), indent=2, default=str))
    elif confirmation:
        confirmation.print(console)
    if confirmation is not None and not confirmation.holds:
        return 1
    if push is not None:
        publish(push, folder, trial, why_selected(selection), dry_run, console.text)
    return 0


def nothing_meets(unconstrained: SweepSummary, bounds: Sequence[Bound]) -> str:
    """Return a line for bounds that no point meets: the nearest point of the front without them."""
    closest = nearest_miss(unconstrained, bounds)
    assert closest is not None
    return (
        f"no point of the front meets {' and '.join(map(str, bounds))}; the nearest is trial {closest.trial_id} "
        f"({describe(closest.parameters)}): {metrics_line(unconstrained, closest.measures, bounds)}"
    )


def select_command(folder: Path, requested: Sequence[Bound]) -> str:
    """Return the command that selects a model between the points of a front again."""
    given = "".join(
        f" --{'min' if bound.objective.maximise else 'max'} {bound.objective.metric}={bound.value!r}"
        for bound in requested
    )
    return runnable(f"python -m hamu_ray.select {shlex.quote(shown(folder))}{given} --interpolate")


def why_selected(selection: Selection) -> str:
    """Return a sentence for people who see only the model: what it was selected from, and by what."""
    summary = selection.summary
    reason = " and ".join(map(str, selection.bounds))
    what = "model between the points" if selection.between else "point"
    point = f"the {what} of the front with {reason}" if reason else "the knee of the front"
    return f"Selected from {counted(len(summary.trials), 'trial')} of a sweep: {point}."


def bounds_of(summary: SweepSummary, asked: Sequence[tuple[str, str, float]]) -> list[Bound]:
    """Parse the requested bounds: on an objective, or on the durability that an audit found.

    Raises `ConfigError` for another metric, a wrong direction, and a bound on durability without an audit.
    """
    objectives = [
        Objective(metric=o.metric, mode=o.mode) for o in summary.objectives
    ]  # equal to those of a floor
    known = {objective.metric: objective for objective in (*objectives, Objective(metric=DURABILITY))}
    bounds: dict[str, Bound] = {}
    for kind, metric, value in asked:
        if metric == DURABILITY and not any(DURABILITY in trial.measures for trial in summary.candidates):
            raise ConfigError(
                f"--{kind} {metric}: no model of this sweep was audited; run "
                f"{runnable('python -m hamu_ray.audit SWEEP')}"
            )
        if metric not in known:
            raise ConfigError(f"--{kind} {metric}: not an objective of this sweep; {nearest(metric, known)}")
        mode = "min" if known[metric].maximise else "max"
        if kind != mode:
            better = "more" if known[metric].maximise else "less"
            raise ConfigError(
                f"--{kind} {metric}: {better} of it is better; give --{mode} {metric}={value:g}"
            )
        if not math.isfinite(value) or metric in bounds:
            raise ConfigError(f"--{kind} {metric}: give one finite number")
        bounds[metric] = Bound(known[metric], value)
    return list(bounds.values())


def check_new_models(sweep: SweepResult, requested: Sequence[Bound], interpolate: bool) -> None:
    """Raise `ConfigError` for a bound that models made by the command cannot meet, and for lines without neighbours."""
    if interpolate and len(sweep.objectives) > 2:
        raise ConfigError(
            f"--interpolate: for fronts of two objectives, and this one has {len(sweep.objectives)}"
        )
    for objective in sweep.objectives if interpolate else ():
        if objective.metric in COSTS:
            raise ConfigError(f"--interpolate: models between trials have no {objective.metric} of their own")
    if any(bound.objective.metric == DURABILITY for bound in requested):
        raise ConfigError(
            f"--min {DURABILITY}: only audited models have it, and --interpolate, --confirm and --seeds make new ones; "
            "select without them, or without the bound"
        )


def group_of(summary: SweepSummary, trial: TrialRecord) -> SeedGroup | None:
    """Return the trials that differ from this one only in their seeds, if there are any.

    Their means are those of their ends: none for a point on the way, nor for a clone.
    """
    if trial_of(trial.trial_id) != trial.trial_id or trial.cloned_from:
        return None
    settings = settings_of(trial, without_seeds=True)
    for group in over_seeds(summary):
        if (group.method, group.parameters) == (method_of(trial), settings):
            return group
    return None


def hardness_of(sweep: SweepResult, trial: TrialRecord) -> dict[str, float]:
    """Return diagnostics of the last step; empty if the run's reports were not kept."""
    histories = {name: sweep.source.history(trial.trial_id, name) for name in HARDNESS}
    return {name: history[max(history)] for name, history in histories.items() if history}


def metrics_line(summary: SweepSummary, measures: Mapping[str, float], bounds: Sequence[Bound]) -> str:
    """Return the objectives, and other metrics that have a bound, with their values."""
    objectives = [*summary.objectives, *(bound.objective for bound in bounds)]
    names = dict.fromkeys(objective.metric for objective in objectives)
    return ", ".join(f"{name} {number(measures.get(name, math.nan))}" for name in names)
