"""What a sweep leaves: the front as a table, CSV, picture and MLflow run, and its configurations to run again."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.files import storage_path
from hamu_ray.engine.unlearn import RUN_FILE
from hamu_ray.sweep import stores
from hamu_ray.sweep.journal import Journal
from hamu_ray.sweep.picture import write_html, write_png
from hamu_ray.sweep.progress import shown
from hamu_ray.sweep.records import RECORD_FILE, TRIALS
from hamu_ray.sweep.summary import SweepSummary, summarise
from hamu_ray.sweep.tables import describe, front_table, write_csv
from hamu_ray.sweep.tracking import Tracking
from hamu_ray.sweep.trial import Status, TrialRecord


def summary_of(config: SweepConfig, records: Sequence[TrialRecord]) -> SweepSummary:
    """Return the summary of a sweep's trials against the means of its original and reference models."""
    return summarise(
        records,
        [(objective.metric, objective.mode) for objective in config.search.objectives],
        mean_measures([record.original for record in records]),
        mean_measures([record.reference for record in records]),
    )


def mean_measures(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over the trials that have it; they differ where seeds or splits vary."""
    present = [measures for measures in measured if measures]
    names = {name: None for measures in present for name in measures}
    means = {}
    for name in names:
        values = [measures[name] for measures in present if name in measures]
        means[name] = math.fsum(values) / len(values)
    return means


def leave_result(
    config: SweepConfig,
    journal: Journal,
    sweep: str,
    folder: Path,
    records: Sequence[TrialRecord],
    status: Status,
) -> SweepSummary:
    """Write the front's files and tell tracking; ``status`` is that of the sweep."""
    summary = summary_of(config, records)
    files = write_files(summary, folder)
    journal.tell("log_files", sweep, paths=files)
    front = {trial.trial_id for trial in summary.front}
    for trial in summary.trials:
        if trial.trial_id in front:
            source = storage_path(trial.model_path).with_name(RUN_FILE)
            journal.tell("log_files", sweep, paths=[str(source)], artifact_path=f"front/{trial.trial_id}")
        knee = summary.knee is not None and trial.trial_id == summary.knee.trial_id
        tags = {"on_front": str(trial.trial_id in front).lower(), "knee": str(knee).lower()}
        journal.tell("set_tags", trial.trial_id, tags=tags)
        record = folder / TRIALS / trial.trial_id / RECORD_FILE
        if record.exists():  # an interrupted trial has none
            journal.tell("log_files", trial.trial_id, paths=[record])
    journal.tell("log_metrics", sweep, metrics=totals(summary))
    journal.tell("describe", sweep, markdown=describe(summary))
    journal.tell("finish", sweep, status=status)
    return summary


def print_result(summary: SweepSummary, folder: Path, tracking: Tracking, console: Console) -> None:
    """Print the front, where its files are, and what to do next."""
    console.print(front_table(summary))
    lines = {
        "picture": f"{shown(folder / 'front.png')}, interactive: {shown(folder / 'front.html')}",
        "tables": f"{shown(folder / 'front.csv')}, {shown(folder / 'trials.csv')}",
    }
    if summary.knee is not None:
        run = shown(storage_path(summary.knee.model_path).with_name(RUN_FILE))
        lines["knee"] = f"python -m hamu_ray.unlearn {run}"
    lines["MLflow"] = stores.shown(tracking.uri)
    lines["UI"] = tracking.ui_command()
    for name, text in lines.items():
        console.print(f"{name:<8} {text}", soft_wrap=True, markup=False)


def write_files(summary: SweepSummary, folder: Path) -> list[Path]:
    """Write the front and all trials as tables, and the picture."""
    return [
        write_csv(folder / "front.csv", summary, summary.front),
        write_csv(folder / "trials.csv", summary, summary.trials),
        write_png(folder / "front.png", summary),
        write_html(folder / "front.html", summary),
    ]


def totals(summary: SweepSummary) -> dict[str, float]:
    """Return the sweep's metrics: the hypervolume, how the trials ended, and O's and R's measures."""
    ended = {f"trials_{status.value}": float(count) for status, count in summary.counts.items()}
    bases = {
        f"{name}.{metric}": value
        for name, measures in (("original", summary.original), ("reference", summary.reference))
        for metric, value in measures.items()
    }
    return {
        "hypervolume": summary.hypervolume,
        "hypervolume_share": summary.hypervolume_share,
        "front_points": float(len(summary.front)),
        **ended,
        **bases,
    }
