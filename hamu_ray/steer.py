"""``python -m hamu_ray.steer SWEEP stop TRIAL``: stop a trial of a running sweep, from another shell."""

import argparse

from hamu_ray.command import program, run_command
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.folder import request_stop
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.sweep_folders import given_or_newest


def main() -> int:
    """Ask the driver of a sweep to stop a trial.

    Raises:
        ConfigError: The sweep or the trial does not run.
    """
    parser = argparse.ArgumentParser(
        prog=program("steer"),
        description="Stop a trial of a running sweep. It ends at its next report with the status `pruned`, and its "
        "worker group takes the next trial.",
    )
    parser.add_argument("sweep", help="the sweep's folder, such as runs/sweeps/digits-20260101-120000")
    actions = parser.add_subparsers(dest="action", required=True)
    stop = actions.add_parser("stop", help="stop a trial")
    stop.add_argument("trial", metavar="TRIAL", help="its number, such as 0003")
    arguments = parser.parse_args()
    folder = given_or_newest(arguments.sweep)
    sweep = LiveSweep(folder)
    sweep.update()
    trial = f"{int(arguments.trial):04d}" if arguments.trial.isdecimal() else arguments.trial
    running = [each.name for each in sweep.running if not each.paused]
    if sweep.status is not None:
        raise ConfigError(f"{arguments.sweep}: no driver runs this sweep")
    if trial not in running:
        raise ConfigError(f"{arguments.trial}: does not run; running trials: {', '.join(running) or 'none'}")
    request_stop(folder, trial)
    print(f"trial {trial} ends at its next report")
    return 0


if __name__ == "__main__":
    run_command(main)
