"""Common parts of the commands: arguments, and one-line errors with exit code 2."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from hamu_ray.config.sources.credentials import without_credentials
from hamu_ray.config.sources.files import ConfigError


def make_parser(name: str, description: str, config_help: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every command: a configuration and changes to it."""
    parser = argparse.ArgumentParser(prog=f"python -m hamu_ray.{name}", description=description)
    parser.add_argument("config", metavar="CONFIG.yaml", help=config_help)
    parser.add_argument(
        "--set",
        metavar="KEY.PATH=VALUE",
        dest="overrides",
        action="append",
        default=[],
        help="change one key of the configuration, such as --set data.path=../cifar10; may be repeated",
    )
    return parser


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command; an invalid configuration ends it with one line and exit code 2."""
    try:
        code = main()
    except ConfigError as error:
        line = without_credentials(" ".join(str(error).split()))
        print(f"error: {line}", file=sys.stderr)
        code = 2
    sys.exit(code)
