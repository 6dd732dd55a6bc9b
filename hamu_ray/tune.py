"""``python -m hamu_ray.tune SPACE.yaml``: run a whole sweep."""

from hamu_ray.command import make_parser, run_command
from hamu_ray.config.sources.files import load_sweep, read_source
from hamu_ray.config.sweep import SweepConfig


def main() -> int:
    """Run a sweep, or with ``--dry-run`` print its plan."""
    parser = make_parser(
        "tune",
        "Train the original model and its retain-only reference, sweep unlearning from them, and write the Pareto "
        "front of forget quality against retain utility as a table, a picture and an MLflow run.",
        "search space: a run's configuration with `space` and `search`",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan without running it")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="resume the sweep in a folder; by default the newest with this name that has trials left to run. With "
        "`auto`, start a new sweep if there is none with this configuration",
    )
    arguments = parser.parse_args()
    config = load_sweep(arguments.config, arguments.overrides)

    from hamu_ray.terminal.console import Console  # imported late: errors above are reported immediately

    console = Console()
    with console.waiting("checking the data, the models and the storage"):
        lines = forecast(config, arguments.config, brief=not arguments.dry_run)
    for line in lines:
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    if arguments.dry_run:
        from hamu_ray.tuning.preview import preview

        preview(config, fixed=read_source(arguments.config, arguments.overrides).fixed)
        return 0

    with console.waiting("loading Ray and MLflow"):
        from hamu_ray.tuning.run import run_sweep

    return run_sweep(config, arguments.resume).exit_code


def forecast(config: SweepConfig, source: str, brief: bool) -> list[str]:
    """Check a sweep's environment; return lines on its forget sets."""
    from hamu_ray.preflight import check_sweep, distinct_runs, forecast_lines

    check_sweep(config, source)
    return list(forecast_lines(distinct_runs(config), source, brief))


if __name__ == "__main__":
    run_command(main, "the same command with --resume goes on")
