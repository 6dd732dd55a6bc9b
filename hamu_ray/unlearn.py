"""``python -m hamu_ray.unlearn RUN.yaml``: one run without Tune. Model in, model out."""

from hamu_ray.command import add_dry_run, make_parser, run_command
from hamu_ray.config.sources.files import has_automatic_shards, load_run, with_shards


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
    add_dry_run(parser, "print what would be forgotten and the memory that it needs, without running it")
    arguments = parser.parse_args()
    if arguments.device_memory and not arguments.dry_run:
        parser.error("--device-memory: requires --dry-run")
    automatic = has_automatic_shards(arguments.config, arguments.overrides)
    overrides = with_shards(arguments.overrides, 1) if automatic else arguments.overrides
    run = load_run(arguments.config, overrides)

    from hamu_ray.preflight import (  # imported late: errors above are reported immediately
        check_output,
        check_run,
        forecast_lines,
        forecasts_of,
    )

    check_run(run, arguments.config)
    if arguments.output is not None:
        check_output(arguments.output)
    forecasts = list(forecasts_of([run], arguments.config))
    for line in forecast_lines(forecasts):
        print(line)
    if automatic:
        from hamu_ray.footprint.shards import fewest_shards

        shards, reason = fewest_shards(
            lambda number: [load_run(arguments.config, with_shards(arguments.overrides, number))],
            run.workers.count,
            forecasts[0][1],
            source=arguments.config,
            device=arguments.device_memory,
        )
        run = load_run(arguments.config, with_shards(arguments.overrides, shards))
        print(f"{reason.subject:<10} {reason.text}")
    if arguments.dry_run:
        from hamu_ray.footprint.statement import state_memory

        device = arguments.device_memory
        for finding in state_memory([run], forecasts[0][1], source=arguments.config, device=device):
            print(f"{finding.subject:<10} {finding.text}")
        return 0

    from hamu_ray.workers.single import run_single

    return run_single(run, arguments.output, arguments.force).exit_code


if __name__ == "__main__":
    run_command(main, "the same command goes on")
