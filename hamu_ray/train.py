"""``python -m hamu_ray.train RUN.yaml``: train the original model and its retain-only reference if they are missing."""

from hamu_ray.command import make_parser, run_command
from hamu_ray.config.sources.files import has_automatic_shards, load, naming_origins, with_shards


def main() -> int:
    """Train missing models; print their locations and metrics."""
    parser = make_parser(
        "train",
        "Train the original model and its retain-only reference of a run or a search space, unless they are "
        "already stored; sweeps reuse them.",
        "a run's configuration, or a search space",
    )
    arguments = parser.parse_args()
    automatic = has_automatic_shards(arguments.config, arguments.overrides)
    run = load(arguments.config, with_shards(arguments.overrides, 1) if automatic else arguments.overrides)

    from hamu_ray.preflight import (
        check_run,
        forecasts_of,
    )  # imported late: errors above are reported immediately

    with naming_origins(arguments.config, arguments.overrides):
        check_run(run, arguments.config)
        if automatic or run.workers.shards > 1:
            from hamu_ray.footprint.shards import whole_models

            (known,) = forecasts_of([run], arguments.config)
            found = whole_models(known, arguments.config)
            print(f"{found.subject:<10} {found.text}")

    from hamu_ray.workers.single import train_models

    return train_models(run)


if __name__ == "__main__":
    run_command(main, "the same command goes on")
