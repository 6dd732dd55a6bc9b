"""``python -m hamu_ray.unlearn RUN.yaml``: one run without Tune. Model in, model out."""

from argparse import Namespace
from itertools import chain
from typing import TYPE_CHECKING

from hamu_ray.command import add_dry_run, make_parser, run_command
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import has_automatic_shards, load_run, naming_origins, with_shards

if TYPE_CHECKING:
    from hamu_ray.preflight import RunForecast


def main() -> int:
    """Run unlearning once, in this process or on Ray Train workers, or with ``--dry-run`` state what it needs."""
    parser = make_parser(
        "unlearn",
        "Run unlearning once and write the model: to debug a configuration, or to reproduce a point of a front.",
        "a run's configuration, such as the run.yaml of a sweep's trial",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="output folder (default: STORAGE/runs/NAME-METHOD-HASH, one per configuration)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the model of an earlier run in the output folder"
    )
    add_dry_run(
        parser, "print what would be forgotten, and the memory and the time that it needs, without running it"
    )
    arguments = parser.parse_args()
    if arguments.device_memory and not arguments.dry_run:
        parser.error("--device-memory: requires --dry-run")
    automatic = has_automatic_shards(arguments.config, arguments.overrides)
    overrides = with_shards(arguments.overrides, 1) if automatic else arguments.overrides
    run = load_run(arguments.config, overrides)

    from hamu_ray.preflight import (  # imported late: errors above are reported immediately
        check_output,
        check_run,
        check_samples,
        forecast_lines,
        forecasts_of,
    )

    if arguments.output is not None:
        check_output(arguments.output)
    with naming_origins(arguments.config, arguments.overrides):
        check_run(run, arguments.config)
        forecasts = list(forecasts_of([run], arguments.config))
        for line in forecast_lines(forecasts):
            print(line)

        from hamu_ray.footprint.named_parts import check_named_parts
        from hamu_ray.workers.cluster import cluster_address

        check_named_parts([run], arguments.config)
        elsewhere = run.workers.count > 1 and cluster_address() is not None
        if automatic:
            run = with_fewest_shards(arguments, forecasts[0], elsewhere)
            forecasts = [(run, forecasts[0][1])]
        if arguments.dry_run:
            check_samples([run], arguments.config)
            print_costs(forecasts[0], arguments.config, arguments.device_memory, elsewhere)
            return 0

    from hamu_ray.workers.single import run_single

    return run_single(run, arguments.output, arguments.force).exit_code


def print_costs(forecast: "RunForecast", source: str, device: str | None, elsewhere: bool) -> None:
    """Print the memory of a run, its work and its time; raises `ConfigError` if it cannot fit."""
    from hamu_ray.footprint.compute.statement import state_run
    from hamu_ray.footprint.statement import state_memory
    from hamu_ray.footprint.trace import Tracers

    tracers = Tracers()
    memory = state_memory([forecast], source=source, device=device, elsewhere=elsewhere, tracers=tracers)
    for finding in chain(memory, state_run(forecast, device, tracers)):
        print(f"{finding.subject:<10} {finding.text}")


def with_fewest_shards(arguments: Namespace, known: "RunForecast", elsewhere: bool) -> RunConfig:
    """Return the run with as few shards as fit, after printing the reason; raises `ConfigError`."""
    from hamu_ray.footprint.shards import fewest_shards

    run, forecast = known

    def run_with(shards: int) -> RunConfig:
        return load_run(arguments.config, with_shards(arguments.overrides, shards))

    shards, reason = fewest_shards(
        lambda number: [(run_with(number), forecast)],
        run.workers.count,
        source=arguments.config,
        device=arguments.device_memory,
        elsewhere=elsewhere,
    )
    print(f"{reason.subject:<10} {reason.text}")
    return run_with(shards)


if __name__ == "__main__":
    run_command(main, "the same command goes on")
