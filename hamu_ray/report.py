"""``python -m hamu_ray.report TARGET [...]``: the results of sweeps as an HTML report."""

import argparse

from hamu_ray.command import program, run_command


def main() -> int:
    """Report on sweeps, read back from MLflow."""
    parser = argparse.ArgumentParser(
        prog=program("report"),
        description="Report on sweeps in MLflow: one self-contained HTML file, with tables and "
        "pictures in the same folder. For a sweep's folder, first regenerate its tables and pictures and send pending "
        "tracking records.",
    )
    parser.add_argument(
        "targets",
        metavar="TARGET",
        nargs="+",
        help="an experiment's name, a sweep's name, or a sweep's folder such as runs/sweeps/digits-20260101-120000; "
        "several targets give one report",
    )
    parser.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow store to search for names (default: MLFLOW_TRACKING_URI, or runs/mlflow.db)",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="output folder (default: the sweep's folder, or runs/reports/NAME)",
    )
    parser.add_argument(
        "--bundle",
        metavar="FOLDER",
        help="write a static site instead, for any web server: an index, and a folder for each sweep with its report",
    )
    arguments = parser.parse_args()
    if arguments.output and arguments.bundle:
        parser.error("--output is for one report, --bundle for a site: give one of them")

    from hamu_ray.reports.targets import report

    return report(arguments.targets, arguments.tracking, arguments.output, arguments.bundle)


if __name__ == "__main__":
    run_command(main)
