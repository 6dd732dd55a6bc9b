"""``python -m hamu_ray.methods``: all methods and forget objectives, with their sources and hyperparameters."""

import argparse

from hamu_ray.methods import FORGET_OBJECTIVES, METHODS, plugins, tables


def load_installed() -> tuple[dict[str, str], list[str]]:
    """Import the entry points of installed packages; return their origins by name, and errors."""
    origins, errors = {}, []
    for group in plugins.GROUPS:
        for name in plugins.found(group):
            try:
                plugins.load(group, name)
                origins[name] = plugins.origin(group, name)
            except ValueError as error:
                errors.append(str(error))
    return origins, errors


def main() -> None:
    """Print the methods, the forget objectives and their hyperparameters, those of installed packages included."""
    argparse.ArgumentParser(prog="hamu-ray methods", description=main.__doc__).parse_args()
    origins, errors = load_installed()
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
    for error in errors:
        print(error)


if __name__ == "__main__":
    main()
