"""``python -m hamu_ray``: an overview of the commands; with ``methods``, of the methods and their hyperparameters."""

import argparse

from hamu_ray.methods import FORGET_OBJECTIVES, METHODS, plugins, tables

COMMANDS = {
    "tune SPACE.yaml": "run a whole sweep, with its front and its report",
    "unlearn RUN.yaml": "one run without Tune: model in, model out",
    "train FILE.yaml": "only the originals and the references",
    "select SWEEP": "a point of a sweep's front that meets a bound",
    "doctor SWEEP": "verify every file of a sweep, and repair it",
    "audit RUN_OR_SWEEP": "attacks on unlearned models, compared with models that never saw the data",
    "report TARGET ...": "the results of sweeps as an HTML page",
    "certify RUN": "a signed certificate of a run as page, PDF and JSON; --verify checks one",
}


def overview() -> None:
    """Print the commands."""
    width = max(map(len, COMMANDS)) + len("python -m hamu_ray.")
    for command, purpose in COMMANDS.items():
        print(f"{f'python -m hamu_ray.{command}':<{width}}  {purpose}")
    print(f"{'python -m hamu_ray methods':<{width}}  all methods, with their sources and hyperparameters")
    print("\nEach command lists its options with --help. More: README.md and docs/.")


def methods() -> None:
    """Print the methods, the forget objectives and their hyperparameters, those of installed packages included."""
    origins, broken = {}, []
    for group in plugins.GROUPS:
        for name in plugins.found(group):
            try:
                plugins.load(group, name)
                origins[name] = plugins.origin(group, name)
            except ValueError as error:
                broken.append(str(error))
    for title, table, rows in (
        ("Methods", METHODS, tables.method_rows()),
        ("Forget objectives", FORGET_OBJECTIVES, tables.objective_rows()),
    ):
        print(f"{title}\n")
        for name, summary, *objectives, _, source in rows:
            print(f"{name}\n    {summary}\n    {source}")
            if name in origins:
                print(f"    from {origins[name]}")
            if objectives:
                print(f"    retain objective: {objectives[0]}; forget objective: {objectives[1]}")
            for line in tables.lines(table[name].hyperparameters):
                print(f"    {line}")
            print()
    for line in broken:
        print(line)


def main() -> None:
    """Print an overview."""
    parser = argparse.ArgumentParser(prog="python -m hamu_ray", description=overview.__doc__)
    parser.add_argument("topic", nargs="?", choices=["methods"], help="what to list; the commands if omitted")
    (methods if parser.parse_args().topic == "methods" else overview)()


if __name__ == "__main__":
    main()
