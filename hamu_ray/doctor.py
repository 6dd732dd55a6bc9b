"""``python -m hamu_ray.doctor``: verify a sweep's files, or the running cluster, or inspect a model and data."""

import argparse
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hamu_ray.command import program, run_command
from hamu_ray.config.run import StorageConfig, TrackingConfig
from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.files import ConfigError, has_automatic_shards, load_sweep, with_shards
from hamu_ray.results.diagnosis.diagnose import Diagnosis, diagnose, repair
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.sweep_folders import given_or_newest
from hamu_ray.results.wording import counted, runnable, shown
from hamu_ray.storage import StoragePath, local_folder, storage_path


def main() -> int:
    """Print a line for each thing that is found out. Returns 0 without problems, and 1 otherwise."""
    arguments = make_parser().parse_args()
    if arguments.cluster is not None:
        return verify_cluster(arguments.cluster)
    if is_model(arguments):
        return inspect(arguments)
    return verify_sweep(arguments.target, arguments.repair)


def is_model(arguments: argparse.Namespace) -> bool:
    """Whether a model is to be inspected: data are given too, or the target is no sweep's folder.

    Raises:
        ConfigError: Options for a model and data are given without them.
    """
    target = arguments.target
    given = [
        name for name in ("base", "forget", "forget_ids", "output") if getattr(arguments, name) is not None
    ]
    model = target is not None and (arguments.data is not None or not holds_sweep(target))
    if given and not (model and arguments.data is not None):
        raise ConfigError(f"--{given[0].replace('_', '-')}: requires {'DATA' if model else 'MODEL and DATA'}")
    return model


def holds_sweep(target: str) -> bool:
    """Whether a path is meant as a sweep's folder: it is a folder without a model, or a path that does not exist."""
    path = Path(target)
    if not path.is_dir():
        return len(path.parts) > 2 or path.is_absolute()
    return not any((path / name).is_file() for name in ("config.json", "adapter_config.json"))


def inspect(arguments: argparse.Namespace) -> int:
    """Inspect a model and data, and write or print the search space. Returns 0 without problems, and 1 otherwise.

    Raises:
        ConfigError: The request or the output are invalid.
    """
    # Imported late: checking a sweep's files needs none of it.
    from hamu_ray.inspection.inspect import Inspection, write_space

    inspection, problems = Inspection(arguments.target, arguments.data, arguments.base), 0
    for finding in inspection.findings(arguments.forget, arguments.forget_ids):
        problems += finding.is_problem
        print(without_credentials(str(finding)), flush=True)
    if inspection.text is None:
        print("space    none" if arguments.data else "space    give DATA too, to get a search space")
    elif arguments.output is None:
        print(f"space    as follows; --output FILE.yaml writes it\n\n{inspection.text}")
    else:
        write_space(arguments.output, inspection.text)
        print(f"space    written to {arguments.output}; next:")
        print(runnable(f"python -m hamu_ray.tune {shlex.quote(arguments.output)} --dry-run"))
    return 1 if problems else 0


def verify_sweep(sweep: str | None, repairs: bool) -> int:
    """Print a line for each damaged file of a sweep, and repair them if requested. Returns 0 without problems, else 1.

    Raises:
        ConfigError: It is not a sweep's folder.
    """
    folder = given_or_newest(sweep)
    with ExitStack() as held:
        if repairs:
            held.enter_context(Lease(folder))
        diagnosis = diagnose(folder)
        for problem in diagnosis.problems:
            print(problem)
        aside = repair(diagnosis) if repairs else None
    for line in conclusion(diagnosis, shown(folder), aside):
        print(line)
    return 1 if diagnosis.problems else 0


def make_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog=program("doctor"),
        description="Verify every file that a sweep leaves, print a line for each one that is damaged, and what "
        "--resume of the sweep runs again. Or inspect a model and data: what they are, what could go wrong, what a "
        "sweep costs, and a search space for them. Exit code 0: no problems, 1: there are some.",
    )
    parser.add_argument(
        "target",
        nargs="?",
        metavar="SWEEP_OR_MODEL",
        help="a sweep's folder, such as runs/sweeps/digits-20260101-120000 (default: the newest); or a model: a folder "
        "of transformers or peft, a hub name, resnet20 or small-llama",
    )
    parser.add_argument(
        "data",
        nargs="?",
        help="with a model: a folder of images, Parquet, CSV or JSON lines, a hub name, or digits",
    )
    parser.add_argument("--base", metavar="MODEL", help="weights that were not trained on the data to forget")
    request = parser.add_mutually_exclusive_group()
    request.add_argument(
        "--forget", metavar="COLUMN=VALUE", help="the rows to forget, such as label=3 or split=forget"
    )
    request.add_argument(
        "--forget-ids", metavar="FILE", help="the same by identifier, file name or row, one per line"
    )
    parser.add_argument(
        "--output", metavar="FILE.yaml", help="write the search space for model and data there"
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
    from hamu_ray.workers.nodes.checkup import check_up

    chosen = with_shards((), 1) if space and has_automatic_shards(space) else ()
    config = load_sweep(space, chosen) if space else None
    storage = config.storage if config else StorageConfig()
    tracking = config.tracking if config else TrackingConfig()
    problems = 0

    def say(finding: Finding) -> None:
        nonlocal problems
        problems += finding.is_problem
        print(without_credentials(str(finding)))

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
