"""The results of a sweep: the Pareto front as table, CSV and picture, in its folder and in tracking."""

import time
from collections.abc import Sequence

from hamu_ray.reports.front.files import write_files
from hamu_ray.reports.front.picture import write_png
from hamu_ray.reports.front.tables import describe
from hamu_ray.results.durable.listing import LISTING_FILE, list_files
from hamu_ray.results.folder import HARDNESS_FILE, OUTCOME_FILE, RECORD_FILE, REPORTS_FILE, RUN_FILE, TRIALS
from hamu_ray.results.items import ITEMS_FILE, LAYERS_FILE
from hamu_ray.results.pareto.summary import SweepSummary, method_of, summary_of
from hamu_ray.results.reader import read_outbox
from hamu_ray.results.trial import Status, TrialRecord, step_of, trial_of
from hamu_ray.storage import storage_path
from hamu_ray.tracking.client import RUN
from hamu_ray.tracking.tracker import Tracker
from hamu_ray.tracking.ui_views import relative_link, view_id
from hamu_ray.tuning.plan import SweepPlan
from hamu_ray.workers.items import measure_items

SMALL_PICTURE = "front_small.png"
"""Small version for MLflow's UI, which shows pictures at their original size."""
SCREEN_DPI = 72
NOT_OF_THE_MODEL = {
    OUTCOME_FILE,
    HARDNESS_FILE,
    REPORTS_FILE,
    RECORD_FILE,
    ITEMS_FILE,
    LAYERS_FILE,
    LISTING_FILE,
}
"""Files in a trial's folder that do not belong to the model."""


MEASURED_POINTS = 12
"""Maximum number of points, besides the knee, whose single examples are measured; longer fronts are thinned out."""


def leave_result(
    plan: SweepPlan, tracker: Tracker, records: Sequence[TrialRecord], status: Status, reason: str = ""
) -> SweepSummary:
    """Write the front's files and log the result; ``status`` and ``reason`` are those of the sweep's end."""
    sweep, folder = plan.name, plan.folder
    summary = summary_of(plan.config, records)
    files = write_files(summary, folder)
    small = write_png(folder / SMALL_PICTURE, summary, dpi=SCREEN_DPI)
    list_files(folder, [small.name])
    tracker.log_files(sweep, [*files, small])
    for point in summary.front:
        source = storage_path(point.model_path).with_name(RUN_FILE)
        tracker.log_files(sweep, [str(source)], f"front/{point.trial_id}")
    logged = read_outbox(folder)
    for trial in summary.trials:
        name = trial.trial_id
        before = logged.get(name)
        tags = front_tags(summary, trial)
        if before is None or any(before.tags.get(tag) != value for tag, value in tags.items()):
            tracker.set_tags(name, tags)
        for candidate in trial.candidates:
            model = f"{sweep}-{candidate.trial_id}"
            # A resumed sweep may have better ones than those that are listed.
            if summary.place(candidate) or (before is not None and model in before.models):
                known = {
                    "sweep": sweep,
                    "trial": candidate.trial_id,
                    "method": method_of(candidate),
                    "model_path": candidate.model_path,
                    **front_tags(summary, candidate),
                }
                tracker.log_model(name, model, candidate.steps, known, candidate.measures)
        record = folder / TRIALS / trial.trial_id / RECORD_FILE
        if record.exists():  # an interrupted trial has none
            tracker.log_files(trial.trial_id, [record])
    tracker.log_metrics(sweep, totals(summary))
    registered = plan.config.tracking.register_models
    if registered is not None and status is Status.FINISHED:
        register_front(registered, summary, tracker, sweep)
    tracker.describe(sweep, describe(summary, picture_in_ui(summary, sweep)))
    tracker.finish(sweep, status, reason, tags={"ended": time.time()})
    return summary


def front_tags(summary: SweepSummary, candidate: TrialRecord) -> dict[str, str]:
    """Return the tags that say whether a trial or a point is on the front, and its knee."""
    place = summary.place(candidate)
    return {"on_front": str(bool(place)).lower(), "knee": str(place == "knee").lower()}


def leave_items(plan: SweepPlan, tracker: Tracker, summary: SweepSummary) -> None:
    """Measure single examples of the front's points, at most `MEASURED_POINTS` and the knee, and log the files."""
    front = summary.front
    last = max(0, len(front) - 1)
    places = {round(at * last / (MEASURED_POINTS - 1)) for at in range(MEASURED_POINTS)}
    chosen = [
        trial
        for at, trial in enumerate(front)
        if trial.model_path and (at in places or summary.place(trial) == "knee")
    ]
    folders = {trial.trial_id: storage_path(trial.model_path).parent for trial in chosen}
    missing = [folder for folder in folders.values() if not (folder / ITEMS_FILE).exists()]
    measure_items(missing, plan.groups[0], plan.storage)
    for name, folder in folders.items():
        if (folder / ITEMS_FILE).exists():
            place = "" if step_of(name) is None else name
            tracker.log_files(trial_of(name), [str(folder / ITEMS_FILE), str(folder / LAYERS_FILE)], place)


def picture_in_ui(summary: SweepSummary, sweep: str) -> str:
    """Return Markdown that shows the front's picture in MLflow's UI and links to its charts."""
    charts = relative_link(view_id(summary.objectives, sweep))
    return (
        f"![The front](get-artifact?path={SMALL_PICTURE}&run_uuid={RUN})\n\n[Charts of all trials]({charts})"
    )


def register_front(name: str, summary: SweepSummary, tracker: Tracker, sweep: str) -> None:
    """Register the front's models as versions of a model, the knee's under the alias `knee`."""
    for trial in summary.front:
        if step_of(trial.trial_id) is not None:
            continue  # a version is of a run's own model
        folder = storage_path(trial.model_path).parent
        files = sorted(
            path for path in folder.iterdir() if path.is_file() and path.name not in NOT_OF_THE_MODEL
        )
        objectives = {o.metric: trial.measures[o.metric] for o in summary.objectives}
        tags = {"sweep": sweep, "trial": trial.trial_id, "method": method_of(trial), **objectives}
        alias = "knee" if summary.place(trial) == "knee" else None
        tracker.register_model(trial.trial_id, name, list(map(str, files)), tags, alias)


def totals(summary: SweepSummary) -> dict[str, float]:
    """Return the sweep's metrics: hypervolume, trials by status, and the original's and the reference's metrics."""
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
