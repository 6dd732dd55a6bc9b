"""What a sweep leaves: the front as a table, CSV, picture and MLflow run, and its configurations to run again."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.engine.files import storage_path
from hamu_ray.engine.unlearn import HARDNESS_FILE, OUTCOME_FILE, REPORTS_FILE, RUN_FILE
from hamu_ray.sweep import stores
from hamu_ray.sweep.journal import Journal
from hamu_ray.sweep.picture import write_html, write_png
from hamu_ray.sweep.progress import shown
from hamu_ray.sweep.records import RECORD_FILE, TRIALS
from hamu_ray.sweep.summary import SweepSummary, method_of, summarise
from hamu_ray.sweep.tables import describe, front_table, write_csv
from hamu_ray.sweep.tracking import RUN, Tracking
from hamu_ray.sweep.trial import Status, TrialRecord
from hamu_ray.sweep.views import relative_link, view_id

SMALL_PICTURE = "front_small.png"
"""For MLflow's UI, which shows pictures as large as they are."""
SCREEN_DPI = 72
NOT_OF_THE_MODEL = {OUTCOME_FILE, HARDNESS_FILE, REPORTS_FILE, RECORD_FILE}
"""Files in a trial's folder that tell how it went."""


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
    small = write_png(folder / SMALL_PICTURE, summary, dpi=SCREEN_DPI)
    journal.tell("log_files", sweep, paths=[*files, small])
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
    if config.tracking.register_models is not None and status is Status.FINISHED:
        register_front(config.tracking.register_models, summary, journal, sweep)
    journal.tell("describe", sweep, markdown=describe(summary, picture_in_ui(summary, sweep)))
    journal.tell("finish", sweep, status=status)
    return summary


def picture_in_ui(summary: SweepSummary, sweep: str) -> str:
    """Return Markdown of the front's picture as MLflow's UI shows it, and of the way to its charts."""
    charts = relative_link(view_id(summary.objectives, sweep))
    return (
        f"![The front](get-artifact?path={SMALL_PICTURE}&run_uuid={RUN})\n\n[Charts of all trials]({charts})"
    )


def register_front(name: str, summary: SweepSummary, journal: Journal, sweep: str) -> None:
    """Have the front's models registered as versions of a model, the knee under that alias."""
    for trial in summary.front:
        folder = storage_path(trial.model_path).parent
        files = sorted(
            path for path in folder.iterdir() if path.is_file() and path.name not in NOT_OF_THE_MODEL
        )
        objectives = {o.metric: trial.measures[o.metric] for o in summary.objectives}
        tags = {"sweep": sweep, "trial": trial.trial_id, "method": method_of(trial), **objectives}
        alias = "knee" if summary.place(trial) == "knee" else None
        journal.tell(
            "register_model", trial.trial_id, name=name, paths=list(map(str, files)), tags=tags, alias=alias
        )


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
    lines["charts"] = tracking.view_link(view_id(summary.objectives, folder.name))
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
