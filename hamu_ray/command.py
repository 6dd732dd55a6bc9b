"""Common parts of the commands: arguments, and one-line errors with exit code 2."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sources.packages import missing
from hamu_ray.config.sources.shipped import space_path
from hamu_ray.storage import storage_error


def make_parser(name: str, description: str, config_help: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every command: a configuration and changes to it."""
    parser = argparse.ArgumentParser(prog=program(name), description=description)
    parser.add_argument("config", metavar="CONFIG.yaml", type=space_path, help=config_help)
    add_overrides(
        parser, "change one key of the configuration, such as --set data.path=../cifar10; may be repeated"
    )
    return parser


def add_overrides(parser: argparse.ArgumentParser, description: str) -> None:
    """Add `--set`, whose values are `overrides`."""
    parser.add_argument(
        "--set", metavar="KEY.PATH=VALUE", dest="overrides", action="append", default=[], help=description
    )


def add_dry_run(parser: argparse.ArgumentParser, description: str) -> None:
    """Add the arguments of commands that can state what a run needs before it starts."""
    parser.add_argument("--dry-run", action="store_true", help=description)
    parser.add_argument(
        "--device-memory",
        metavar="SIZE_OR_GPU",
        help="with --dry-run: the memory of the workers' device, such as 80GB, or a GPU, such as H100 (default: that "
        "of workers.accelerator, or of this machine)",
    )


def program(name: str) -> str:
    """Return how a command was started: as ``hamu-ray NAME`` or as a module."""
    started = {Path(word).stem for word in sys.orig_argv[:2]}
    return f"hamu-ray {name}" if "hamu-ray" in started else f"python -m hamu_ray.{name}"


def run_command(main: Callable[[], int], again: str = "then run the same command again") -> NoReturn:
    """Run a command; errors that the user can fix end it with one line.

    The exit code is 2 for an invalid configuration or a missing optional package, 1 for a storage that cannot be
    written, and 130 for Ctrl-C; ``again`` describes how to continue afterwards.
    """
    try:
        code = main()
    except ConfigError as error:
        code = _say(str(error), 2)
    except KeyboardInterrupt:
        print(f"interrupted; {again.removeprefix('then ')}", file=sys.stderr)
        code = 130
    except ModuleNotFoundError as error:
        line = missing(error)
        if line is None:
            raise
        code = _say(line, 2)
    except Exception as error:
        lost = storage_error(error)
        if lost is None:
            raise
        place = f"{lost.filename}: " if lost.filename else ""
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        code = _say(f"{place}{lost.strerror}{notes}; free space or restore the storage, {again}", 1)
    sys.exit(code)


def _say(text: str, code: int) -> int:
    line = without_credentials(" ".join(text.split()))
    print(f"error: {line}", file=sys.stderr)
    return code
