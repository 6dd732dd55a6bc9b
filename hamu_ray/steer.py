"""``python -m hamu_ray.steer SWEEP stop|clone TRIAL``: stop a trial of a running sweep, or start one from another."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hamu_ray.command import add_overrides, program, run_command
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.folder import read_record, read_records, trial_name
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.steering.clones import check_no_costs, clone_of, request_clone
from hamu_ray.results.steering.stops import request_stop
from hamu_ray.results.sweep_folders import given_or_newest
from hamu_ray.results.trial import AT, trial_of


def main() -> int:
    """Ask the driver of a sweep to stop a trial, or to start one from another's model.

    Raises:
        ConfigError: The sweep or the trial does not run, or the clone cannot be made.
    """
    arguments = _parser().parse_args()
    folder = given_or_newest(arguments.sweep)
    sweep = LiveSweep(folder)
    sweep.update()
    if sweep.status is not None:
        raise ConfigError(f"{arguments.sweep}: no driver runs this sweep")
    if arguments.action == "clone":
        name = clone(folder, sweep, named(arguments.trial), arguments.overrides)
        print(f"trial {name} starts at the model of {named(arguments.trial)} when a worker group is free")
        return 0
    trial = named(arguments.trial)
    running = [each.name for each in sweep.running if not each.paused]
    if trial not in running:
        raise ConfigError(f"{arguments.trial}: does not run; running trials: {', '.join(running) or 'none'}")
    request_stop(folder, trial)
    print(f"trial {trial} ends at its next report")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("steer"),
        description="Stop a trial of a running sweep, or start one from the model of another, from another shell.",
    )
    parser.add_argument("sweep", help="the sweep's folder, such as runs/sweeps/digits-20260101-120000")
    actions = parser.add_subparsers(dest="action", required=True)
    stop = actions.add_parser(
        "stop",
        help="stop a trial",
        description="Stop a trial. It ends at its next report with the status `pruned`, and its worker group takes "
        "the next trial.",
    )
    stop.add_argument("trial", metavar="TRIAL", help="its number, such as 0003")
    cloning = actions.add_parser(
        "clone",
        help="start a trial from the model of another",
        description="Start a trial at the model of one that has ended, or of a point on its way, with other settings. "
        "It is a further trial of the sweep, of which the search does not learn.",
    )
    cloning.add_argument(
        "trial", metavar="TRIAL", help="its number, such as 0003, or a point's, such as 0003@12"
    )
    add_overrides(cloning, "a setting that differs, such as optimizer.learning_rate=0.001; repeatable")
    return parser


def named(given: str) -> str:
    """Return a trial's name, of which the zeros in front may be left out."""
    trial, at, step = given.partition(AT)
    return f"{trial_name(int(trial)) if trial.isdecimal() else trial}{at}{step}"


def clone(folder: Path, sweep: LiveSweep, name: str, changes: Sequence[str]) -> str:
    """Write the request of a clone into a sweep's folder; return the clone's name.

    Raises:
        ConfigError: The trial has not ended, or left no model; a change is invalid; or a cost is an objective.
    """
    trial = read_record(folder, trial_of(name))
    model = trial and trial.candidate(name)
    if trial is None or model is None:
        ended = ", ".join(record.trial_id for record in read_records(folder)) or "none"
        raise ConfigError(
            f"{name}: has not ended, or is no point of a trial; trials that have ended: {ended}"
        )
    check_no_costs(name, sweep.result.objectives)
    number = sweep.result.expected
    if number is None:
        raise ConfigError(f"{folder}: its configuration is of another version")
    while not request_clone(folder, clone_of(trial, model, number, changes)):
        number += 1
    return trial_name(number)


if __name__ == "__main__":
    run_command(main)
