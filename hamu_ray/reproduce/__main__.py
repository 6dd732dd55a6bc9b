"""``python -m hamu_ray.reproduce STUDY``: run a published study again, and state how far its numbers are off."""

import argparse
from pathlib import Path

from hamu_ray.command import add_overrides, program, run_command


def main() -> int:
    """Run a study, or a part of it, and compare its numbers with the published ones."""
    arguments = make_parser().parse_args()

    from hamu_ray.reproduce.study import Part, reproduce

    return reproduce(
        arguments.study,
        Part(arguments.requests, arguments.methods, arguments.seeds),
        arguments.table,
        changes=arguments.overrides,
        minutes=arguments.minutes,
        as_json=arguments.json,
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog=program("reproduce"),
        description="Run a published study again, or a part of it, in this process, and state how far each number is "
        "from the published one: the difference as a multiple of half the length of the published 95 %% interval.",
    )
    parser.add_argument(
        "study", help="a study by name, such as study/digits, or its YAML file, with the rows beside it"
    )
    parser.add_argument("--requests", nargs="+", metavar="NAME", help="such as digits-class (default: all)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="such as hamu-u gdiff (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="of the search (default: all)")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE.csv",
        help="rows of the runs; continued (default: study/NAME.csv below storage.local; another name for each --set)",
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so long")
    add_overrides(
        parser, "change a key of all search spaces, such as --set data.path=FOLDER; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


if __name__ == "__main__":
    run_command(main)
