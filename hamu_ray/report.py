"""``python -m hamu_ray.report FOLDER``: a sweep's tables and pictures again, and what tracking has not got yet."""

import argparse
from pathlib import Path

from hamu_ray.command import run_command
from hamu_ray.config.files import ConfigError, load_sweep


def main() -> int:
    """Report on the folder of a sweep."""
    parser = argparse.ArgumentParser(
        prog="python -m hamu_ray.report",
        description="Draw the tables and pictures of a sweep again, and send what tracking has not got yet.",
    )
    parser.add_argument("folder", help="a sweep's folder, such as runs/sweeps/digits-20260101-120000")
    folder = Path(parser.parse_args().folder).absolute()
    if not (folder / "sweep.yaml").exists():
        raise ConfigError(f"{folder}: not a sweep's folder: it has no sweep.yaml")
    config = load_sweep(folder / "sweep.yaml")

    from hamu_ray.sweep.result import report

    return report(config, folder)


if __name__ == "__main__":
    run_command(main)
