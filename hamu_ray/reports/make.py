"""A report on disk: the page and its tables and pictures."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hamu_ray.reports.analysis.comparison import comparisons, volumes
from hamu_ray.reports.analysis.problems import Problem, problems_of
from hamu_ray.reports.front.picture import write_png
from hamu_ray.reports.front.tables import write_csv
from hamu_ray.reports.page.page import render
from hamu_ray.results.durable.listing import list_files
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.storage import write_atomically
from hamu_ray.tracking.tracker import Tracker

REPORT_FILE = "report.html"


def write_report(sweeps: Sequence[SweepResult], title: str, folder: Path, own: bool = False) -> Path:
    """Write the report of some sweeps and return the path of the page.

    Args:
        sweeps: the sweeps to report on; with none, the page says so.
        title: the target as the user named it.
        folder: the output folder.
        own: whether the folder is the sweep's own, which already contains its front and trials.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problems = problems_of(sweeps)
    page = folder / REPORT_FILE
    write_atomically(page, render(sweeps, title, problems).encode())
    if not problems:
        return page
    for i, problem in enumerate(problems if not own else ()):
        suffix = "" if len(problems) == 1 else f"-{i + 1}"
        write_png(folder / f"front{suffix}.png", problem.summary)
        write_csv(folder / f"front{suffix}.csv", problem.summary, problem.summary.front)
        trials = problem.of_trials(problem.trials)
        write_csv(folder / f"trials{suffix}.csv", trials, trials.candidates)
    tables = {"hypervolume.csv": volume_rows, "comparisons.csv": comparison_rows, "measures.csv": metric_rows}
    for name, rows_of in tables.items():
        write_rows(folder / name, (row for p in problems for row in rows_of(p)))
    if own:
        list_files(folder, [REPORT_FILE, *(name for name in tables if (folder / name).exists())])
    return page


def leave_report(folder: Path, tracker: Tracker, run: str) -> Path:
    """Write the report of a sweep into its own folder, and log it to the sweep's run."""
    page = write_report([read_sweep(folder)], folder.name, folder, own=True)
    tracker.log_files(run, [page])
    return page


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as CSV in full precision; undefined numbers are empty. Without rows, no file is written."""
    rows = list(rows)
    if not rows:
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            blank = {key: "" for key, value in row.items() if isinstance(value, float) and math.isnan(value)}
            writer.writerow(row | blank)


def volume_rows(problem: Problem) -> Iterator[dict[str, Any]]:
    """Yield the hypervolume of each method and seed."""
    for one in volumes(problem):
        for seed, value in one.by_seed.items():
            yield {"problem": problem.title, "method": one.method, "seed": seed, "hypervolume": value}


def comparison_rows(problem: Problem) -> Iterator[dict[str, Any]]:
    """Yield the paired comparisons of methods."""
    for one in comparisons(volumes(problem)):
        yield {
            "problem": problem.title,
            "variant": one.variant,
            "baseline": one.baseline,
            "pairs": one.pairs,
            "difference": one.difference.mean,
            "low": one.difference.low,
            "high": one.difference.high,
            "p_paired_t": one.p_value,
            "p_holm": one.adjusted,
            "p_wilcoxon": one.wilcoxon,
        }


def metric_rows(problem: Problem) -> Iterator[dict[str, Any]]:
    """Yield every metric of the original, the reference and the methods' knees."""
    models = [("original", "", problem.original), ("reference", "", problem.reference)]
    models += [(method, one.record.trial_id, one.record.measures) for method, one in problem.knees.items()]
    for model, trial, measures in models:
        for name, value in measures.items():
            yield {
                "problem": problem.title,
                "model": model,
                "trial": trial,
                "measure": name,
                "value": value,
                "less_reference": value - problem.reference.get(name, math.nan),
            }
