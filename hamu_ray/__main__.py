"""``python -m hamu_ray``: an overview of the commands."""

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


def main() -> None:
    """Print the commands."""
    width = max(map(len, COMMANDS)) + len("python -m hamu_ray.")
    for command, purpose in COMMANDS.items():
        print(f"{f'python -m hamu_ray.{command}':<{width}}  {purpose}")
    print("\nEach command lists its options with --help. More: README.md and docs/.")


if __name__ == "__main__":
    main()
