"""What a sweep leaves: the front as a table, CSV, picture and MLflow run, and its configurations to run again."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.unlearn import RUN_FILE
from hamu_ray.sweep.picture import write_html, write_png
from hamu_ray.sweep.progress import shown
from hamu_ray.sweep.summary import SweepSummary, summarise
from hamu_ray.sweep.tables import describe, front_table, write_csv
from hamu_ray.sweep.tracking import Tracking
from hamu_ray.sweep.trial import Status, TrialRecord

FRONT = "front"


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
    tracking: Tracking,
    runs: dict[str, str],
    parent: str,
    folder: Path,
    records: Sequence[TrialRecord],
    console: Console,
    status: Status,
) -> None:
    """Write the front's files, record them in the sweep's run and print the table.

    ``runs`` are the tracking runs of the trials, ``status`` is that of the sweep.
    """
    summary = summary_of(config, records)
    files = write_files(summary, folder)
    tracking.log_files(parent, files)
    for number, trial in enumerate(summary.front, 1):
        source = Path(trial.model_path).with_name(RUN_FILE)
        tracking.log_files(parent, source, f"front/{number:02d}-{trial.trial_id}")
        tracking.set_tags(
            runs[trial.trial_id], {"on_front": "true", "knee": str(trial is summary.knee).lower()}
        )
    tracking.log_metrics(parent, totals(summary))
    tracking.describe(parent, describe(summary))
    tracking.finish(parent, status)
    console.print(front_table(summary))
    console.print(f"picture   {shown(folder / 'front.png')}  (interactive: {shown(folder / 'front.html')})")
    console.print(f"tables    {shown(folder / 'front.csv')}, {shown(folder / 'trials.csv')}")
    if summary.knee is not None:
        run = shown(Path(summary.knee.model_path).with_name(RUN_FILE))
        console.print(f"knee      python -m hamu_ray.unlearn {run}")
    console.print(f"MLflow    {tracking.uri}", soft_wrap=True)
    console.print(f"look      {tracking.ui_command()}", soft_wrap=True)


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
