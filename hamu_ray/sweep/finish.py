"""What a sweep leaves: the front as a table, CSV, picture and MLflow run, and its configurations to run again."""

from collections.abc import Sequence
from pathlib import Path

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.reports.front.files import write_files
from hamu_ray.reports.front.picture import write_png
from hamu_ray.reports.front.tables import describe
from hamu_ray.results.folder import HARDNESS_FILE, OUTCOME_FILE, RECORD_FILE, REPORTS_FILE, RUN_FILE, TRIALS
from hamu_ray.results.summary import SweepSummary, method_of, summary_of
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.storage import storage_path
from hamu_ray.tracking.client import RUN
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tracking.ui_views import relative_link, view_id

SMALL_PICTURE = "front_small.png"
"""For MLflow's UI, which shows pictures as large as they are."""
SCREEN_DPI = 72
NOT_OF_THE_MODEL = {OUTCOME_FILE, HARDNESS_FILE, REPORTS_FILE, RECORD_FILE}
"""Files in a trial's folder that tell how it went."""


def leave_result(
    config: SweepConfig,
    journal: Outbox,
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


def register_front(name: str, summary: SweepSummary, journal: Outbox, sweep: str) -> None:
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
