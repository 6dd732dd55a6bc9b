"""``python -m hamu_ray.doctor SWEEP``: verify every file of a sweep, and set damaged ones aside."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack

from hamu_ray.command import program, run_command
from hamu_ray.results.diagnosis.diagnose import Diagnosis, diagnose, repair
from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.sweep_folders import given_or_newest
from hamu_ray.results.wording import counted, shown
from hamu_ray.storage import StoragePath


def main() -> int:
    """Print a line for each damaged file of a sweep. Returns 0 if there is none, and 1 otherwise."""
    arguments = make_parser().parse_args()
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
        "--repair",
        action="store_true",
        help="rename damaged files to NAME.damaged, and write again what other files determine",
    )
    return parser


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
