"""What a report is asked for: sweeps' folders, experiments, or sweeps by name."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hamu_ray.config.document import first_line
from hamu_ray.config.files import ConfigError, load_sweep
from hamu_ray.reports.front.files import print_result, write_files
from hamu_ray.reports.make import leave_report, write_report
from hamu_ray.results.folder import OUTBOX_FILE, SWEEP_FILE, read_records
from hamu_ray.results.summary import summary_of
from hamu_ray.results.wording import shown
from hamu_ray.storage import DEFAULT_LOCAL
from hamu_ray.terminal.console import Console
from hamu_ray.tracking import store
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.outbox import Delivery, OutboxSender
from hamu_ray.tracking.reader import Archive, ArchivedSweep

REPORTS = "reports"
NAMED = 12
"""Names that a message lists, at most."""


def report(targets: Sequence[str], tracking: str | None, output: str | None) -> int:
    """Report on all targets together; return 0, or 1 where records of a sweep's folder still wait for MLflow.

    Raises:
        ConfigError: A target is none, or a store cannot be opened.
    """
    console = Console()
    folders = [Path(target).absolute() for target in targets if is_folder(target)]
    names = [target for target in targets if not is_folder(target)]
    sweeps = [sweep for name in names for sweep in named(name, open_archive(tracking))]
    waiting = 0
    for folder in folders:
        left, found = deliver(folder, console, page=output is None and len(targets) == 1)
        waiting += left
        sweeps += found
    if output is None and len(folders) == len(targets) == 1:
        return 1 if waiting else 0
    distinct = {(sweep.archive.uri, sweep.run_id): sweep for sweep in sweeps}
    title = ", ".join([*names, *(folder.name for folder in folders)])
    place = Path(output) if output else Path(DEFAULT_LOCAL) / REPORTS / file_name(title)
    page = write_report(list(distinct.values()), title, place.absolute())
    console.fields({"report": shown(page)})
    return 1 if waiting else 0


def is_folder(target: str) -> bool:
    """Whether a target is the folder of a sweep."""
    return (Path(target) / SWEEP_FILE).is_file()


def open_archive(tracking: str | None) -> Archive:
    """Open the store to look in; raises `ConfigError`."""
    try:
        return Archive.open(tracking, Path(DEFAULT_LOCAL))
    except ValueError as error:
        raise ConfigError(f"--tracking: {error}") from error


def named(name: str, archive: Archive) -> list[ArchivedSweep]:
    """Return an experiment's sweeps, or those of a name; raises `ConfigError` where there is neither."""
    experiments = archive.experiments()
    if name in experiments:
        return archive.sweeps(experiment=name)
    found = archive.sweeps(name=name)
    if found:
        return found
    held = [place for place in experiments if archive.names(place)]
    raise ConfigError(
        f"{name}: no experiment, sweep or sweep's folder of this name; {store.shown(archive.uri)} has the "
        f"experiments {listed(held, name)} and the sweeps {listed(archive.names(), name)}"
    )


def listed(names: Sequence[str], wanted: str) -> str:
    """Return names in one line, those most like the wanted one first, not all where there are many."""
    nearest = get_close_matches(wanted, names, n=NAMED, cutoff=0.0)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(nearest) + more if names else "(none)"


def file_name(title: str) -> str:
    """Return a title as a folder's name."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in title)[:100].strip(".") or "report"


def deliver(folder: Path, console: Console, page: bool) -> tuple[int, list[ArchivedSweep]]:
    """Write a sweep's files again from its records, and send what tracking has not got.

    Returns how many records wait, and the sweep as MLflow has it. With ``page``, its own report is written into its
    folder and kept with its run.
    """
    config = load_sweep(folder / SWEEP_FILE)
    local = folder.parent.parent
    # First what can go wrong without a store: opening one makes it where there is none.
    if not (folder / OUTBOX_FILE).is_file():
        raise ConfigError(
            f"{shown(folder)}: holds no {OUTBOX_FILE}, so nothing of this sweep was recorded; name the folder that the "
            "sweep left"
        )
    try:
        summary = summary_of(config, read_records(folder))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{shown(folder)}: a record of a trial cannot be read: {first_line(error)}"
        ) from error
    write_files(summary, folder)
    try:
        tracking = MlflowTracker.open(config.tracking.uri, config.tracking.experiment, local)
    except ValueError as error:
        raise ConfigError(f"tracking.uri: {error}") from error
    delivery = Delivery(folder, tracking)
    before = delivery.waiting
    waiting = OutboxSender(delivery).close()
    print_result(summary, folder, tracking, console)
    archive = Archive.open(tracking.uri, local)
    found = archive.sweeps(config.tracking.experiment, folder.name)
    if page and found:
        path = leave_report(archive, config.tracking.experiment, folder, tracking, delivery.runs[folder.name])
        console.fields({"report": shown(path)})
    console.fields({"sent": f"{before - waiting} records to MLflow, {waiting} wait"})
    return waiting, found
