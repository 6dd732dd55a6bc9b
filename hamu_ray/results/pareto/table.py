"""The Pareto front of a sweep as a table of text cells, for the terminal and for Markdown."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from hamu_ray.metrics.attacks.names import DURABILITY
from hamu_ray.results.pareto.summary import SweepSummary, method_of, settings_of
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import counted, number, setting, words

HEADLINE = "avg_gap"
HEADLINES = (HEADLINE, DURABILITY)
"""Shown next to the objectives if they were measured."""

NO_FRONT = "No trial finished with finite objectives: the front is empty."
KNEE = "*"
KNEE_NOTE = "; * is the knee"
NOT_GUARANTEED = "\N{WHITE CIRCLE}"
NOT_GUARANTEED_NOTE = f"; {NOT_GUARANTEED} not guaranteed: some steps were outside the method's guarantee"
EQUALS_NOTE = "; +n: n other trials at the same point"


@dataclass(frozen=True)
class FrontTable:
    """The front as text cells, with a row for each of its points."""

    title: str
    caption: str
    """How the trials ended, and the meaning of the marks."""
    header: list[str]
    """The first three columns are texts: mark, trial, method. The others are numbers."""
    rows: list[list[str]]
    anchors: list[list[str]]
    """Rows of the original model (O) and the retain-only reference (R)."""


def front_table(summary: SweepSummary) -> FrontTable:
    """Return the front as a table; trials at the same point share a row."""
    metrics = [objective.metric for objective in summary.objectives]
    measured = {name for trial in summary.front for name in trial.measures}
    metrics += [name for name in HEADLINES if name in measured and name not in metrics]
    paths = list(dict.fromkeys(path for trial in summary.front for path in settings_of(trial)))
    lasts = Counter(path.rpartition(".")[2] for path in paths)
    titles = [path if lasts[path.rpartition(".")[2]] > 1 else path.rpartition(".")[2] for path in paths]
    rows = []
    for trial, equals in _distinct(summary):
        mark = KNEE * (summary.place(trial) == "knee") + NOT_GUARANTEED * (trial.guaranteed is False)
        values = [number(trial.measures.get(metric)) for metric in metrics]
        sampled = [setting(trial.parameters.get(path, "")) for path in paths]
        name = f"{trial.trial_id} +{equals}" if equals else trial.trial_id
        rows.append([mark, name, method_of(trial), *values, *sampled])
    bases = (("O", "original", summary.original), ("R", "retain-only", summary.reference))
    anchors = [
        [mark, "", name, *(number(measures.get(metric)) for metric in metrics), *[""] * len(paths)]
        for mark, name, measures in bases
        if measures
    ]
    several = any(equals for _, equals in _distinct(summary))
    unsure = any(NOT_GUARANTEED in row[0] for row in rows)
    notes = KNEE_NOTE * bool(summary.front) + NOT_GUARANTEED_NOTE * unsure + EQUALS_NOTE * several + "."
    header = ["", "trial", "method", *map(words, metrics), *map(words, titles)]
    return FrontTable(_title(summary), counts_line(summary) + notes, header, rows, anchors)


def counts_line(summary: SweepSummary) -> str:
    """Return a summary such as `45 trials: 40 finished, 3 collapsed, 2 failed`."""
    short = f"; {summary.outside_constraints} of the finished do not meet {summary.bounds}" * bool(
        summary.constraints
    )
    counts = ", ".join(f"{count} {status.value}" for status, count in summary.counts.items() if count)
    return counted(len(summary.trials), "trial") + (f": {counts}" if counts else "") + short


def _distinct(summary: SweepSummary) -> Iterator[tuple[TrialRecord, int]]:
    """Yield one trial per point of the front (the knee for its own), and the number of others at the point."""
    for _, group in groupby(summary.front, lambda trial: summary.point(trial.measures)):
        trials = list(group)
        yield next((t for t in trials if summary.place(t) == "knee"), trials[0]), len(trials) - 1


def _title(summary: SweepSummary) -> str:
    if not summary.front:
        return (
            f"No finished trial meets {summary.bounds}: the front is empty."
            if summary.outside_constraints
            else NO_FRONT
        )
    corner = ", ".join(f"{value:.4g}" for value in summary.best_corner)
    points = sum(len(trial.points) for trial in summary.trials)
    also = f" and {counted(points, 'point')} on their way" if points else ""
    return (
        f"Front: {len(summary.front)} of {counted(len(summary.trials), 'trial')}{also}, "
        f"hypervolume {summary.hypervolume:.4f}, "
        f"{summary.hypervolume_share:.1%} of the box up to ({corner})."
    )
