"""Curves, diagnostics and configurations of the few trials that a report shows in detail."""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import yaml

from hamu_ray.reports.analysis.problems import Configuration, Member, Problem
from hamu_ray.results.folder import HARDNESS_FILE, RUN_FILE
from hamu_ray.results.front import Point
from hamu_ray.results.hardness import hardness_sentences
from hamu_ray.results.sweep_result import objective_curve

FRONT_DRAWN = 12
"""Points of a front whose learning curves are drawn beside those of the methods' knees."""

SEEDS_DRAWN = 5
"""Trials of one configuration that are drawn."""

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
"""Diagnostics that are drawn over steps."""

BLOCK_MEASURES = ("angle", "retain_forget", "feasibility", "stopping_term")
"""Diagnostics that are drawn over steps and blocks, where a method has them."""

Curve = Mapping[int, Point]


@dataclass(frozen=True)
class Blocks:
    """Diagnostics of every block, thinned out to what can be drawn."""

    names: list[str]
    steps: list[int]
    values: dict[str, np.ndarray]
    """float32 (steps, blocks) by measure."""


@dataclass(frozen=True)
class Details:
    """Details of the trials that a report shows closely."""

    curves: dict[str, Curve]
    """The two objectives by step, by trial."""
    drawn: tuple[Configuration, ...]
    """Whose curves these are: the methods' knees, then other points of the front."""
    left_out: int
    """Points of the front whose curves are not drawn."""
    steps: dict[str, dict[str, dict[int, float]]]
    """Diagnostics by step, of each method's knee: method to metric to step."""
    blocks: dict[str, Blocks]
    """By method."""
    hardness: dict[str, list[str]]
    """What the hardness of each method's knee says, in sentences; methods without one are left out."""
    runs: dict[str, str]
    """The configuration of each front point as YAML, by the names of the configurations."""


def fetch(problem: Problem) -> Details:
    """Read the details of the methods' knees and of the front's points, and of no other trials."""
    knees = list(problem.knees.values())
    others = [one for one in problem.front if one not in knees]
    drawn = (*knees, *others[:FRONT_DRAWN])
    chosen = _distinct(member for one in drawn for member in one.members[:SEEDS_DRAWN])
    steps, blocks, hardness = {}, {}, {}
    first = problem.knee.method if problem.knee else ""
    for method in sorted(problem.knees, key=lambda name: (name != first, name)):
        knee = problem.knees[method]
        member = knee.members[0]
        histories = {name: member.sweep.source.history(member.trial, name) for name in STEP_METRICS}
        steps[method] = {name: history for name, history in histories.items() if history}
        sentences = hardness_sentences(steps[method], member.record.configuration.get("method") or {})
        if sentences:
            hardness[method] = sentences
        found = _blocks(member)
        if found is not None:
            blocks[method] = found
    return Details(
        curves={
            m.record.trial_id: objective_curve(m.sweep.source, m.trial, problem.objectives) for m in chosen
        },
        drawn=drawn,
        left_out=len(others) - len(others[:FRONT_DRAWN]),
        steps=steps,
        blocks=blocks,
        hardness=hardness,
        runs={one.record.trial_id: run_of(one.members[0]) for one in problem.front},
    )


def run_of(member: Member) -> str:
    """Return a trial's exact configuration: its file, or what its parameters say where that was not kept."""
    content = member.sweep.source.file(member.trial, RUN_FILE)
    if content is not None:
        return content.decode(errors="replace")
    return yaml.safe_dump(member.record.configuration, sort_keys=False)


MAX_CELLS = 12_000
"""Numbers of one heat map; long runs are thinned out to as many steps as fit."""


def _blocks(member: Member) -> Blocks | None:
    """Return a trial's diagnostics of every block, or None where they were not kept."""
    content = member.sweep.source.file(member.trial, HARDNESS_FILE)
    if content is None:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            names = [str(name) for name in file["blocks"]]
            arrays = {name: file[name] for name in BLOCK_MEASURES if name in file}
    except (ValueError, OSError, KeyError, BadZipFile):  # cut off, or not ours
        return None
    if not arrays or not names or not np.any(arrays.get("retain_forget", np.ones(1))):
        return None  # of one objective alone: no gradients to compare
    count = len(next(iter(arrays.values())))
    every = max(1, math.ceil(count * len(names) / MAX_CELLS))
    return Blocks(
        names=names,
        steps=list(range(1, count + 1, every)),
        values={name: values[::every].astype(np.float32) for name, values in arrays.items()},
    )


def _distinct(members: Iterable[Member]) -> list[Member]:
    return list({m.record.trial_id: m for m in members}.values())
