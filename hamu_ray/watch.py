"""``python -m hamu_ray.watch SWEEP``: how far a running sweep is, from another shell."""

import argparse

from hamu_ray.command import program, run_command
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.live import LiveSweep
from hamu_ray.results.sweep_folders import newest_folder
from hamu_ray.storage import storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.watch_view import WatchView


def main() -> int:
    """Show a sweep until it ends; Ctrl-C ends the view, not the sweep."""
    parser = argparse.ArgumentParser(
        prog=program("watch"),
        description="Show how far a sweep is: the front so far, its hypervolume, the running trials, and the time "
        "left, until the sweep ends or Ctrl-C, which ends only the view. Reads the sweep's files; writes nothing.",
    )
    parser.add_argument(
        "sweep",
        nargs="?",
        help="a sweep's folder, or its copy in the storage, such as s3://bucket/runs/sweeps/digits-20260101-120000 "
        "(default: the newest in runs)",
    )
    parser.add_argument("--once", action="store_true", help="show it once")
    arguments = parser.parse_args()
    view = WatchView(Console(), opened(arguments.sweep))
    try:
        view.print() if arguments.once else view.follow()
    except KeyboardInterrupt:
        view.print()
    return 0


def opened(given: str | None) -> LiveSweep:
    """Open the sweep in a folder or behind a URL, or the newest one in `runs`.

    Raises:
        ConfigError: There is none.
    """
    try:
        return LiveSweep(newest_folder() if given is None else storage_path(given))
    except ConfigError:
        raise
    except Exception as error:  # fsspec's file systems raise many unrelated types
        raise ConfigError(f"{given}: cannot be read: {error}") from error


if __name__ == "__main__":
    run_command(main)
