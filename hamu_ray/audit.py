"""``python -m hamu_ray.audit TARGET``: attack the unlearned model of a run, or the models on a sweep's front."""

import argparse

from hamu_ray.command import program, run_command
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.metrics.attacks.names import ATTACKS


def main() -> int:
    """Attack models and print the results."""
    arguments = make_parser().parse_args()
    attacks = None if arguments.attacks is None else chosen_attacks(arguments.attacks)

    from hamu_ray.auditing.run import run_audit  # imported late: errors above are reported immediately

    return run_audit(arguments.target, attacks, arguments.originals, arguments.references)


def make_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog=program("audit"),
        description="Attack the unlearned model of a run, or the models on a sweep's front, and compare the results "
        "with those of models that never saw the forget set. What was computed before is not computed again.",
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="a run's folder, such as one in runs/runs, or a sweep's folder, such as "
        "runs/sweeps/digits-20260101-120000",
    )
    parser.add_argument(
        "--attacks",
        metavar="A,B,...",
        help=f"some of {', '.join(ATTACKS)} (default: all that the data allow)",
    )
    for phase in ("originals", "references"):
        parser.add_argument(
            f"--{phase}",
            type=int,
            metavar="N",
            help=f"number of {phase} with different seeds (default: {phase[:-1]}.seeds of the run)",
        )
    return parser


def chosen_attacks(text: str) -> list[str]:
    """Return the attacks named in a comma-separated list, in their own order; raises `ConfigError`."""
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        if name not in ATTACKS:
            raise ConfigError(f"--attacks {text}: there is no attack {name}; {nearest(name, ATTACKS)}")
    if not chosen:
        raise ConfigError(f"--attacks: give some of {', '.join(ATTACKS)}")
    return [name for name in ATTACKS if name in chosen]


if __name__ == "__main__":
    run_command(main, "the same command goes on")
