"""``python -m hamu_ray.select SWEEP``: select a point of a sweep's front that meets a bound, and confirm it."""

import argparse

from hamu_ray.command import program, run_command
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.results.sweep_folders import given_or_newest


def main() -> int:
    """Select a point of a sweep's front, print it, and confirm it with new seeds if requested."""
    parser = make_parser()
    arguments = parser.parse_args()
    if arguments.dry_run and arguments.push is None:
        parser.error("--dry-run: requires --push")
    if arguments.interpolate and (arguments.confirm is not None or arguments.seeds is not None):
        parser.error("--interpolate: not with --confirm or --seeds, which run a trial again")
    folder = given_or_newest(arguments.sweep)

    from hamu_ray.selection.answer import decide

    return decide(
        folder,
        asked=bounds_asked(arguments),
        confirm=arguments.confirm,
        seeds=arguments.seeds,
        as_json=arguments.json,
        push=arguments.push,
        dry_run=arguments.dry_run,
        interpolate=arguments.interpolate,
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog=program("select"),
        description="Select the point of a sweep's front that is best in one objective among those that meet a bound "
        "on the other; without a bound, the knee. The search's constraints hold, too, except those on "
        "metrics that have a bound.",
    )
    parser.add_argument(
        "sweep",
        nargs="?",
        help="a sweep's folder, such as runs/sweeps/digits-20260101-120000 (default: the newest)",
    )
    for name in ("forget-quality", "retain-utility"):
        metric = name.replace("-", "_")
        parser.add_argument(
            f"--min-{name}", type=float, metavar="VALUE", help=f"the same as --min {metric}=VALUE"
        )
    for option, words in (("--min", "at least"), ("--max", "at most")):
        parser.add_argument(
            option,
            metavar="METRIC=VALUE",
            action="append",
            default=[],
            help=f"an objective must be {words} this; may be repeated",
        )
    parser.add_argument(
        "--interpolate",
        action="store_true",
        help="also search the models between the points of the front, and between them and the original, for the one "
        "that is just within the bound; evaluation only",
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--confirm", type=int, metavar="N", help="run it again with N new seeds")
    seeds.add_argument("--seeds", metavar="S1,S2,...", help="run it again with these seeds")
    parser.add_argument(
        "--push",
        metavar="OWNER/NAME",
        help="put the model on the Hugging Face hub, in a new private repository or an existing one, with the token in "
        "HF_TOKEN",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="with --push: write the files into a folder instead"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def bounds_asked(arguments: argparse.Namespace) -> list[tuple[str, str, float]]:
    """Return the requested bounds: `min` or `max`, the metric, the value."""
    asked = [
        ("min", metric, value)
        for metric in ("forget_quality", "retain_utility")
        if (value := getattr(arguments, f"min_{metric}")) is not None
    ]
    for kind in ("min", "max"):
        for text in getattr(arguments, kind):
            metric, _, value = text.partition("=")
            try:
                asked.append((kind, metric.strip(), float(value)))
            except ValueError:
                raise ConfigError(f"--{kind} {text}: give METRIC=VALUE, such as retain_utility=0.9") from None
    return asked


if __name__ == "__main__":
    run_command(main)
