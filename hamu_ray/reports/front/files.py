"""The files of a Pareto front, and its summary on the terminal."""

from pathlib import Path

from hamu_ray.reports.front.figure import write_html
from hamu_ray.reports.front.picture import write_png
from hamu_ray.reports.front.tables import write_csv
from hamu_ray.results.durable.listing import list_files
from hamu_ray.results.folder import RUN_FILE, rerun_command
from hamu_ray.results.pareto.summary import SweepSummary
from hamu_ray.results.pareto.table import front_table
from hamu_ray.results.wording import runnable, shown
from hamu_ray.storage import storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.front import rendered
from hamu_ray.tracking import store
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.ui_views import view_id


def write_files(summary: SweepSummary, folder: Path) -> list[Path]:
    """Write the front and all trials as CSV, and the front as PNG and as an interactive HTML figure."""
    files = [
        write_csv(folder / "front.csv", summary, summary.front),
        write_csv(folder / "trials.csv", summary, summary.candidates),
        write_png(folder / "front.png", summary),
        write_html(folder / "front.html", summary),
    ]
    list_files(folder, [path.name for path in files])
    return files


def print_result(summary: SweepSummary, folder: Path, tracking: MlflowTracker, console: Console) -> None:
    """Print the front, the paths of its files, and the suggested next commands."""
    console.print(rendered(front_table(summary)))
    lines = {
        "picture": shown(folder / "front.png"),
        "figure": shown(folder / "front.html"),
        "front": shown(folder / "front.csv"),
        "trials": shown(folder / "trials.csv"),
    }
    if summary.nothing_to_forget:
        lines["note"] = "; ".join(summary.nothing_to_forget)
    if summary.reference_origins:
        lines["ref"] = "the reference " + "; or ".join(summary.reference_origins)
    if summary.knee is not None:
        run = shown(storage_path(summary.knee.model_path).with_name(RUN_FILE))
        lines["knee"] = runnable(rerun_command(run, folder.name, summary.knee.trial_id))
    lines["MLflow"] = store.shown(tracking.uri)
    lines["UI"] = tracking.ui_command()
    lines["charts"] = tracking.view_link(view_id(summary.objectives, folder.name))
    console.fields(lines)
