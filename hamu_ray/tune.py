"""``python -m hamu_ray.tune SPACE.yaml``: run a whole sweep."""

from typing import TYPE_CHECKING

from hamu_ray.command import add_dry_run, make_parser, run_command
from hamu_ray.config.sources.files import (
    ConfigError,
    has_automatic_shards,
    load_sweep,
    naming_origins,
    read_source,
    with_shards,
)
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import check_steps

if TYPE_CHECKING:
    from hamu_ray.preflight import RunForecast


def main() -> int:
    """Run a sweep, or with ``--dry-run`` print its plan."""
    parser = make_parser(
        "tune",
        "Train the original model and its retain-only reference, sweep unlearning from them, and write the Pareto "
        "front of forget quality against retain utility as a table, a picture and an MLflow run.",
        "search space: a run's configuration with `space` and `search`",
    )
    add_dry_run(parser, "print the plan, and the memory and the time that it needs, without running it")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="resume the sweep in a folder; by default the newest with this name that has trials left to run. With "
        "`auto`, start a new sweep if there is none with this configuration",
    )
    arguments = parser.parse_args()
    if arguments.device_memory and not arguments.dry_run:
        parser.error("--device-memory: requires --dry-run")
    automatic = has_automatic_shards(arguments.config, arguments.overrides)
    overrides = with_shards(arguments.overrides, 1) if automatic else arguments.overrides
    config = load_sweep(arguments.config, overrides)

    from hamu_ray.preflight import check_samples, distinct_runs, forecast_lines
    from hamu_ray.terminal.console import Console  # imported late: errors above are reported immediately

    console = Console()
    with naming_origins(arguments.config, arguments.overrides):
        with console.waiting("checking the data, the models and the storage"):
            forecasts = checked(config, arguments.config)
            if arguments.dry_run:
                check_samples(distinct_runs(config), arguments.config)
        for line in forecast_lines(forecasts, brief=not arguments.dry_run):
            console.print(line, markup=False, soft_wrap=not console.is_terminal)
        if automatic:
            from hamu_ray.tuning.preview import with_fewest_shards

            config, reason = with_fewest_shards(
                arguments.config, arguments.overrides, forecasts, arguments.device_memory
            )
            console.print(
                f"{reason.subject:<10} {reason.text}", markup=False, soft_wrap=not console.is_terminal
            )
        if arguments.dry_run:
            from hamu_ray.tuning.preview import costs_of, preview

            costs = costs_of(config, arguments.config, forecasts, arguments.device_memory)
            preview(config, console, read_source(arguments.config, arguments.overrides).fixed, costs)
            return 0

    with console.waiting("loading Ray and MLflow"):
        from hamu_ray.tuning.run import run_sweep

    return run_sweep(config, arguments.resume).exit_code


def checked(config: SweepConfig, source: str) -> "list[RunForecast]":
    """Check a sweep's environment; return the forecasts of its forget sets."""
    from hamu_ray.preflight import check_sweep, distinct_runs, forecasts_of

    check_sweep(config, source)
    found = list(forecasts_of(distinct_runs(config), source))
    try:
        check_steps(config, {known.splits["retain"].examples for _, known in found if known})
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
    return found


if __name__ == "__main__":
    run_command(main, "the same command with --resume goes on")
