"""``python -m hamu_ray.report TARGET [...]``: what sweeps found, as a page that a person can read."""

import argparse

from hamu_ray.command import run_command


def main() -> int:
    """Report on sweeps, read back from MLflow."""
    parser = argparse.ArgumentParser(
        prog="python -m hamu_ray.report",
        description="Report on sweeps, from MLflow alone: one HTML file that needs no network, with tables and "
        "pictures beside it. For a sweep's folder, first draw its tables and pictures again and send what tracking "
        "has not got yet.",
    )
    parser.add_argument(
        "targets",
        metavar="TARGET",
        nargs="+",
        help="an experiment's name, a sweep's name, or a sweep's folder such as runs/sweeps/digits-20260101-120000; "
        "several are reported on together",
    )
    parser.add_argument(
        "--tracking",
        metavar="URI",
        help="where names are looked for (default: MLFLOW_TRACKING_URI, or runs/mlflow.db)",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where the report goes (default: the sweep's folder, or runs/reports/NAME)",
    )
    arguments = parser.parse_args()

    from hamu_ray.reports.targets import report

    return report(arguments.targets, arguments.tracking, arguments.output)


if __name__ == "__main__":
    run_command(main)
