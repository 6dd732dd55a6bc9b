"""``python -m hamu_ray.doctor SWEEP``: verify every file of a sweep, or with ``--cluster`` the running cluster."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack

from hamu_ray.command import program, run_command
from hamu_ray.config.run import StorageConfig, TrackingConfig
from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.files import load_sweep
from hamu_ray.results.diagnosis.diagnose import Diagnosis, diagnose, repair
from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.sweep_folders import given_or_newest
from hamu_ray.results.wording import counted, shown
from hamu_ray.storage import StoragePath, local_folder, storage_path


def main() -> int:
    """Print a line for each damaged file of a sweep, or on the cluster. Returns 0 without problems, and 1 otherwise."""
    arguments = make_parser().parse_args()
    if arguments.cluster is not None:
        return verify_cluster(arguments.cluster)
    folder = given_or_newest(arguments.sweep)
    with ExitStack() as held:
        if arguments.repair:
            held.enter_context(Lease(folder))
        diagnosis = diagnose(folder)
        for problem in diagnosis.problems:
            print(problem)
        aside = repair(diagnosis) if arguments.repair else None
    for line in conclusion(diagnosis, shown(folder), aside):
        print(line)
    return 1 if diagnosis.problems else 0


def make_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog=program("doctor"),
        description="Verify every file that a sweep leaves, print a line for each one that is damaged, and what "
        "--resume of the sweep runs again. Exit code 0: all files are sound, 1: there are damaged ones.",
    )
    parser.add_argument(
        "sweep",
        nargs="?",
        help="a sweep's folder, such as runs/sweeps/digits-20260101-120000 (default: the newest)",
    )
    parser.add_argument(
        "--cluster",
        nargs="?",
        const="",
        metavar="SPACE.yaml",
        help="check the running cluster instead: Ray, nodes, GPUs, storage and MLflow, as a search space or the "
        "environment names them",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="rename damaged files to NAME.damaged, and write again what other files determine",
    )
    return parser


def verify_cluster(space: str) -> int:
    """Print a line for each part of the running cluster. Returns 0 if all can be used, and 1 otherwise.

    Raises:
        ConfigError: The search space is invalid.
    """
    # Imported late: checking a sweep's files needs none of them.
    from hamu_ray.tracking import store
    from hamu_ray.tracking.client import MlflowTracker
    from hamu_ray.workers.checkup import Finding, check_up

    config = load_sweep(space) if space else None
    storage = config.storage if config else StorageConfig()
    tracking = config.tracking if config else TrackingConfig()
    problems = 0

    def say(finding: Finding) -> None:
        nonlocal problems
        problems += finding.is_problem
        mark = "problem: " if finding.is_problem else ""
        print(f"{finding.subject:8} {mark}{without_credentials(finding.text)}")

    for finding in check_up(str(storage_path(storage.path))):
        say(finding)
    uri = store.store_uri(tracking.uri, local_folder(storage))
    if store.is_missing(uri):
        say(Finding("mlflow", f"{uri}: does not exist yet; the first sweep creates it"))
        return 1 if problems else 0
    try:
        tracker = MlflowTracker.open(tracking.uri, tracking.experiment, local_folder(storage))
        tracker.check_writable()
        say(Finding("mlflow", f"{tracker.uri}: experiment {tracking.experiment!r} can be written"))
    except ValueError as error:
        say(Finding("mlflow", str(error), True))
    return 1 if problems else 0


def conclusion(diagnosis: Diagnosis, folder: str, aside: Sequence[StoragePath] | None) -> list[str]:
    """Return the last lines: how much is damaged, and what `--resume` runs; ``aside`` is None without a repair."""
    lines = []
    if diagnosis.problems:
        state = "repair with --repair" if aside is None else f"set {counted(len(aside), 'file')} aside"
        lines.append(f"{counted(len(diagnosis.problems), 'problem')}; {state}")
    else:
        lines.append(f"{folder} is sound")
    if diagnosis.trials:
        lines.append(f"trials   {diagnosis.trials}, {len(diagnosis.unfinished)} not ended")
    if diagnosis.reruns:
        when = " after a repair" if aside is None else ""
        lines.append(f"--resume runs {', '.join(diagnosis.reruns)} again{when}")
    return lines


if __name__ == "__main__":
    run_command(main)
