"""Learning curves, diagnostics and configurations of the few trials that a report shows in detail."""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import yaml

from hamu_ray.config.search import Objective
from hamu_ray.metrics.table import COSTS
from hamu_ray.reports.analysis.problems import Problem, ReportTrial, SeedGroup
from hamu_ray.results.folder import HARDNESS_FILE, RUN_FILE
from hamu_ray.results.hardness import hardness_sentences
from hamu_ray.results.pareto.front import Point
from hamu_ray.results.sweep_result import objective_curve

FRONT_DRAWN = 12
"""Number of front points whose learning curves are drawn in addition to the methods' knees."""

SEEDS_DRAWN = 5
"""Number of trials drawn per configuration."""

STEP_METRICS = (
    "gradient_cosine",
    "gradient_dot",
    "retain_norm",
    "forget_norm",
    "stopping_margin",
    "infeasible_blocks",
    "hardness",
    "promise_kept",
)
"""Diagnostics plotted over steps."""

BLOCK_METRICS = ("angle", "retain_forget", "feasibility", "stopping_term")
"""Diagnostics plotted over steps and blocks, for methods that report them."""

Curve = Mapping[int, Point]


@dataclass(frozen=True)
class Blocks:
    """Diagnostics of every block, thinned out for plotting."""

    names: list[str]
    steps: list[int]
    values: dict[str, np.ndarray]
    """Metric name to a float32 array of shape (steps, blocks)."""


@dataclass(frozen=True)
class Details:
    """Details of the trials that a report shows in detail."""

    curves: dict[str, Curve]
    """Trial id to its learning curve: the evaluated objectives by step."""
    drawn: tuple[SeedGroup, ...]
    """Configurations whose curves are drawn: the methods' knees, then other points of the front."""
    left_out: int
    """Number of front points whose curves are not drawn."""
    steps: dict[str, dict[str, dict[int, float]]]
    """Step diagnostics of each method's knee: method to metric to step to value."""
    blocks: dict[str, Blocks]
    """Block diagnostics by method."""
    hardness: dict[str, list[str]]
    """Hardness of each method's knee, described in sentences; methods without hardness diagnostics are left out."""
    runs: dict[str, str]
    """Configuration of each front point as YAML, by trial id."""


def evaluated(problem: Problem) -> list[Objective]:
    """Return the objectives that are measured while a trial runs: all but costs."""
    return [objective for objective in problem.objectives if objective.metric not in COSTS]


def fetch(problem: Problem) -> Details:
    """Read the details of the methods' knees and of the front's points; other trials are not read."""
    knees = list(problem.knees.values())
    others = [one for one in problem.front if one not in knees]
    drawn = (*knees, *others[:FRONT_DRAWN])
    chosen = _distinct(trial for one in drawn for trial in one.trials[:SEEDS_DRAWN])
    steps, blocks, hardness = {}, {}, {}
    first = problem.knee.method if problem.knee else ""
    for method in sorted(problem.knees, key=lambda name: (name != first, name)):
        knee = problem.knees[method]
        trial = knee.trials[0]
        histories = {name: trial.sweep.source.history(trial.name_in_sweep, name) for name in STEP_METRICS}
        steps[method] = {name: history for name, history in histories.items() if history}
        sentences = hardness_sentences(steps[method], trial.record.configuration.get("method") or {})
        if sentences:
            hardness[method] = sentences
        found = _blocks(trial)
        if found is not None:
            blocks[method] = found
    return Details(
        curves={
            m.record.trial_id: objective_curve(m.sweep.source, m.name_in_sweep, evaluated(problem))
            for m in chosen
        },
        drawn=drawn,
        left_out=len(others) - len(others[:FRONT_DRAWN]),
        steps=steps,
        blocks=blocks,
        hardness=hardness,
        runs={one.record.trial_id: run_of(one.trials[0]) for one in problem.front},
    )


def run_of(trial: ReportTrial) -> str:
    """Return a trial's full configuration as YAML, or its logged parameters if the file was not kept."""
    content = trial.sweep.source.file(trial.name_in_sweep, RUN_FILE)
    if content is not None:
        return content.decode(errors="replace")
    return yaml.safe_dump(trial.record.configuration, sort_keys=False)


MAX_CELLS = 12_000
"""Maximum number of cells in a heat map; longer runs are thinned out to fit."""


def _blocks(trial: ReportTrial) -> Blocks | None:
    """Return the block diagnostics of a trial, or None if they were not kept."""
    content = trial.sweep.source.file(trial.name_in_sweep, HARDNESS_FILE)
    if content is None:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            names = [str(name) for name in file["blocks"]]
            arrays = {name: file[name] for name in BLOCK_METRICS if name in file}
    except (ValueError, OSError, KeyError, BadZipFile):  # truncated, or not a hardness file
        return None
    if not arrays or not names or not np.any(arrays.get("retain_forget", np.ones(1))):
        return None  # only one objective: there are no gradients to compare
    count = len(next(iter(arrays.values())))
    every = max(1, math.ceil(count * len(names) / MAX_CELLS))
    return Blocks(
        names=names,
        steps=list(range(1, count + 1, every)),
        values={name: values[::every].astype(np.float32) for name, values in arrays.items()},
    )


def _distinct(trials: Iterable[ReportTrial]) -> list[ReportTrial]:
    return list({m.record.trial_id: m for m in trials}.values())
