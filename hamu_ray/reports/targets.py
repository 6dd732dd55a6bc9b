"""The targets of a report: sweep folders, experiments, or sweeps by name."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hamu_ray.config.sources.document import first_line
from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.reports.bundle import file_name, write_bundle
from hamu_ray.reports.front.files import print_result, write_files
from hamu_ray.reports.make import leave_report, write_report
from hamu_ray.results.durable.lease import Held, Lease
from hamu_ray.results.folder import OUTBOX_FILE, SWEEP_FILE
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_folders import check_not_copy
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.wording import shown
from hamu_ray.storage import DEFAULT_LOCAL
from hamu_ray.terminal.console import Console
from hamu_ray.tracking import store
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery, OutboxSender
from hamu_ray.tracking.reader import MlflowReader

REPORTS = "reports"
NAMED = 12
"""Maximum number of names listed in a message."""


def report(
    targets: Sequence[str], tracking: str | None, output: str | None, bundle: str | None = None
) -> int:
    """Write one report on all targets, or with ``bundle``, a folder, a static site with one for each sweep.

    Returns:
        0, or 1 if records of a sweep's folder are still waiting to be sent to MLflow.

    Raises:
        ConfigError: A target does not exist, a store cannot be opened, or the output folder cannot be created.
    """
    console = Console()
    for option, given in (("--output", output), ("--bundle", bundle)):
        if given is not None:
            make_output(option, given)
    folders = [Path(target).absolute() for target in targets if is_folder(target)]
    names = [target for target in targets if not is_folder(target)]
    sweeps = [sweep for name in names for sweep in named(name, open_reader(tracking))]
    waiting = 0
    for folder in folders:
        alone = output is None and bundle is None and len(targets) == 1
        left, found = deliver(folder, console, page=alone)
        waiting += left
        sweeps.append(found)
    if output is None and bundle is None and len(folders) == len(targets) == 1:
        return 1 if waiting else 0
    distinct = list({sweep.key: sweep for sweep in sweeps}.values())
    title = ", ".join([*names, *(folder.name for folder in folders)])
    if bundle is not None:
        console.fields({"index": shown(write_bundle(distinct, title, Path(bundle).absolute()))})
        return 1 if waiting else 0
    place = Path(output) if output else Path(DEFAULT_LOCAL) / REPORTS / file_name(title)
    page = write_report(distinct, title, place.absolute())
    console.fields({"report": shown(page)})
    return 1 if waiting else 0


def make_output(option: str, output: str) -> None:
    """Create the output folder before anything else is done; raises `ConfigError`."""
    try:
        Path(output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{option} {output}: {error.strerror}; give a folder that can be written"
        ) from error


def is_folder(target: str) -> bool:
    """Whether a target is the folder of a sweep."""
    return (Path(target) / SWEEP_FILE).is_file()


def open_reader(tracking: str | None) -> MlflowReader:
    """Open the MLflow store to search; raises `ConfigError`."""
    try:
        return MlflowReader.open(tracking, Path(DEFAULT_LOCAL))
    except ValueError as error:
        raise ConfigError(f"--tracking: {error}") from error


def named(name: str, reader: MlflowReader) -> list[SweepResult]:
    """Return the sweeps of an experiment, or the sweeps with a name; raises `ConfigError` if there are none."""
    experiments = reader.experiments()
    if name in experiments:
        return reader.sweeps(experiment=name)
    found = reader.sweeps(name=name)
    if found:
        return found
    held = [place for place in experiments if reader.names(place)]
    raise ConfigError(
        f"{name}: no experiment, sweep or sweep folder with this name; {store.shown(reader.uri)} has the "
        f"experiments {listed(held, name)} and the sweeps {listed(reader.names(), name)}"
    )


def listed(names: Sequence[str], wanted: str) -> str:
    """Return names in one line, closest matches first, truncated to `NAMED`."""
    nearest = get_close_matches(wanted, names, n=NAMED, cutoff=0.0)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(nearest) + more if names else "(none)"


def deliver(folder: Path, console: Console, page: bool) -> tuple[int, SweepResult]:
    """Regenerate the files of a sweep from its folder, and send the rest of its outbox to MLflow.

    Returns the number of records that could not be sent, and the sweep. With ``page``, its report is written into its
    folder and logged to its run.
    """
    config = load_sweep(folder / SWEEP_FILE)
    local = folder.parent.parent
    # Check the local files first: opening the store would create it.
    check_not_copy(folder)
    if not (folder / OUTBOX_FILE).is_file():
        raise ConfigError(
            f"{shown(folder)}: contains no {OUTBOX_FILE}, so there is nothing to send; name the folder that the "
            "sweep wrote"
        )
    try:
        summary = read_sweep(folder).summary
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{shown(folder)}: cannot read a trial's record: {first_line(error)}") from error
    write_files(summary, folder)
    try:
        tracking = MlflowTracker.open(config.tracking.uri, config.tracking.experiment, local)
    except ValueError as error:
        raise ConfigError(f"tracking.uri: {error}") from error
    delivery = Delivery(folder, tracking, tracking.store)
    before = delivery.waiting
    try:
        with Lease(folder):
            waiting = OutboxSender(delivery).close()
    except Held:  # its driver runs, and delivers itself
        waiting = before
    print_result(summary, folder, tracking, console)
    if page and folder.name in delivery.runs:
        path = leave_report(folder, tracking, delivery.runs[folder.name])
        console.fields({"report": shown(path)})
    console.fields({"sent": f"{before - waiting} records to MLflow, {waiting} waiting"})
    if delivery.refused:
        console.fields({"refused": f"{delivery.refused} records: {shown(delivery.refused_file)}"})
    return waiting, read_sweep(folder)
