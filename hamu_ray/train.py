"""``python -m hamu_ray.train RUN.yaml``: the original model and its retain-only reference, where not there yet."""

from hamu_ray.command import make_parser, run_command
from hamu_ray.config.sources.files import load


def main() -> int:
    """Train what is missing and say where it is and what was measured of it."""
    parser = make_parser(
        "train",
        "Train the original model and its retain-only reference of a run or a search space, unless they are "
        "stored already; a sweep finds them there.",
        "a run's configuration, or a search space",
    )
    arguments = parser.parse_args()
    run = load(arguments.config, arguments.overrides)

    from hamu_ray.preflight import check_run  # only now: a mistake above is answered at once

    check_run(run, arguments.config)

    from hamu_ray.workers.single import train_models

    return train_models(run)


if __name__ == "__main__":
    run_command(main, "the same command goes on")
