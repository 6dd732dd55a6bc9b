"""The tables of the page: metrics compared with the reference, outcomes and costs of methods, and all trials."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hamu_ray.reports.analysis.problems import Problem, ReportTrial, SeedGroup
from hamu_ray.results.pareto.summary import method_of, settings_of
from hamu_ray.results.trial import Status
from hamu_ray.results.wording import (
    NONE,
    SHORT,
    defined,
    duration,
    number,
    settings,
    signed,
    without_numbers,
    words,
)

HEADLINES = (
    "forget_quality_ceiling",
    "durability",
    "avg_gap",
    "unlearning_accuracy",
    "retain_accuracy",
    "test_accuracy",
    "mia_confidence",
    "forget_prob",
    "retain_prob",
    "model_utility",
    "forget_quality_ks_log10",
    "privleak",
)
"""Metrics that come first, after the objectives."""

ENDS = (*map(str, Status), "running")


@dataclass(frozen=True)
class Cell:
    """The text of a table cell, and its sort key."""

    text: str
    value: float | str
    note: str = ""
    """Small text below."""


@dataclass(frozen=True)
class Column:
    """The column of a metric."""

    name: str
    short: str
    definition: str
    better: str

    @property
    def defined(self) -> tuple[str, str] | None:
        """The name in words, and the definition with what is better; None if there is no definition."""
        parts = [self.definition] if self.definition else []
        parts += [f"({self.better})"] if self.better else []
        return (words(self.name), " ".join(parts)) if parts else None


@dataclass(frozen=True)
class MetricRow:
    """The metrics of the original, the reference, or a method's knee."""

    name: str
    detail: str
    method: str
    cells: list[Cell]


def metric_table(problem: Problem) -> tuple[list[Column], list[MetricRow]]:
    """Return all metrics of O, the knee, R and the other methods' knees, with their differences to R."""
    task = str((problem.trials[0].record.configuration.get("model") or {}).get("task", ""))
    objectives = [objective.metric for objective in problem.objectives]
    sources = [problem.reference, problem.original, *(k.record.measures for k in problem.knees.values())]
    present = dict.fromkeys(name for measures in sources for name in measures)
    first = [name for name in (*objectives, *HEADLINES) if name in present]
    names = list(dict.fromkeys([*first, *present]))
    columns = [Column(n, SHORT.get(n, ""), *defined(n, task)) for n in names]
    rows = [
        MetricRow(
            title, detail, "", _metric_cells(measures, names, problem.reference if title == "O" else {})
        )
        for title, detail, measures in (
            ("O", "original, before unlearning", problem.original),
            ("R", "retain-only reference", problem.reference),
        )
        if measures
    ]
    best = problem.knee.method if problem.knee else ""
    for method, knee in sorted(problem.knees.items(), key=lambda item: item[0] != best):
        cells = _metric_cells(knee.record.measures, names, problem.reference, knee)
        place = bool(problem.original) if method == best else len(rows)
        rows.insert(place, MetricRow(method, knee_detail(knee), method, cells))
    return columns, rows


def knee_detail(knee: SeedGroup) -> str:
    """Return a group's name, seeds and hyperparameters in one line."""
    seeds = f"{len(knee.seeds)} seeds" if len(knee.seeds) > 1 else f"seed {knee.seeds[0]}"
    return ", ".join(part for part in (knee.record.trial_id, seeds, settings(knee.settings)) if part)


def _metric_cells(
    measures: Mapping[str, float],
    names: Sequence[str],
    reference: Mapping[str, float],
    knee: SeedGroup | None = None,
) -> list[Cell]:
    cells = []
    for name in names:
        value = measures.get(name, math.nan)
        note = ""
        if name in reference and math.isfinite(value) and name != "avg_gap":
            note = signed(value - reference[name])
        text = number(value)
        if knee is not None and len(knee.seeds) > 1 and math.isfinite(value):
            interval = knee.interval(name)
            text += f" ± {number(interval.high - interval.mean)}" if math.isfinite(interval.high) else ""
        cells.append(Cell(text, value, note))
    return cells


@dataclass(frozen=True)
class MethodRow:
    """How the trials of a method ended, and what they cost."""

    method: str
    ends: list[int]
    """Counts in the order of `ENDS`."""
    costs: list[Cell]


COSTS = (
    "steps per trial",
    "gradients per trial",
    "s a step",
    "steps, s a trial",
    "evaluation, s a trial",
    "all trials",
)


def method_rows(problem: Problem) -> tuple[list[str], list[MethodRow]]:
    """Return the statuses that occur, and a row for each method."""
    grouped: dict[str, list[ReportTrial]] = defaultdict(list)
    for trial in problem.trials:
        grouped[method_of(trial.record)].append(trial)
    counts = {method: Counter(m.ended for m in trials) for method, trials in grouped.items()}
    ends = [end for end in ENDS if any(counted[end] for counted in counts.values())]
    rows = [
        MethodRow(method, [counts[method][end] for end in ends], _costs(grouped[method]))
        for method in sorted(grouped)
    ]
    return ends, rows


def _costs(trials: Sequence[ReportTrial]) -> list[Cell]:
    def values(name: str) -> list[float]:
        return [m.record.costs[name] for m in trials if name in m.record.costs]

    def mean(found: Sequence[float]) -> float:
        return fmean(found) if found else math.nan

    steps, seconds = values("steps"), values("unlearning_seconds")
    a_step = math.fsum(seconds) / math.fsum(steps) if math.fsum(steps) else math.nan
    total = values("trial_seconds")
    whole = [mean(steps), mean(values("gradient_computations"))]
    times = [a_step, mean(seconds), mean(values("evaluation_seconds"))]
    cells = [Cell(f"{v:,.0f}" if math.isfinite(v) else NONE, v) for v in whole]
    cells += [Cell(f"{v:.3g}" if math.isfinite(v) else NONE, v) for v in times]
    return [*cells, Cell(duration(math.fsum(total)) if total else NONE, math.fsum(total))]


def reason_rows(problem: Problem) -> list[tuple[str, str, int]]:
    """Return statuses and reasons with their number of trials, most frequent first.

    Reasons that differ only in their numbers are one reason; the numbers are left out then.
    """
    alike: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for m in problem.trials:
        reason = " ".join(m.record.reason.split())[:160]
        alike[m.ended, without_numbers(reason)][reason] += 1
    rows = [
        (ended, next(iter(reasons)) if len(reasons) == 1 else without, reasons.total())
        for (ended, without), reasons in alike.items()
    ]
    return sorted(rows, key=lambda row: -row[2])


@dataclass(frozen=True)
class TrialRow:
    """A row in the table of all trials."""

    trial: str
    method: str
    seeds: str
    ended: str
    finished: bool
    objectives: list[Cell]
    settings: str
    reason: str
    run_id: str


def _ends(problem: Problem, trial: ReportTrial) -> Iterator[str]:
    """Yield how a trial ended, and what it did not keep."""
    yield trial.ended
    if trial.record.cloned_from:
        yield f"started from {trial.record.cloned_from}"
    if trial.record.guaranteed is False:
        yield "not guaranteed"
    if missed := problem.summary.missed(trial.record):
        yield f"without {' and '.join(missed)}"


def trial_rows(problem: Problem) -> list[TrialRow]:
    """Return a row for every trial, regardless of its status."""
    return [
        TrialRow(
            trial=m.record.trial_id,
            method=method_of(m.record),
            seeds=m.seeds,
            ended=", ".join(_ends(problem, m)),
            finished=m.record.status is Status.FINISHED,
            objectives=[Cell(number(value), value) for value in problem.summary.point(m.record.measures)],
            settings=settings(settings_of(m.record, without_seeds=True)),
            reason=" ".join(m.record.reason.split())[:300],
            run_id=m.sweep.source.run_id(m.name_in_sweep),
        )
        for m in problem.trials
    ]
