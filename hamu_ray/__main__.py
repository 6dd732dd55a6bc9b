"""``hamu-ray COMMAND ...`` and ``python -m hamu_ray COMMAND ...``: all commands, and an overview of them."""

import os
import runpy
import sys
from importlib import metadata

from hamu_ray.config.sources.nearest import nearest

BASH = """_hamu_ray() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = tune ]; then
    COMPREPLY=($(compgen -W "{spaces}" -- "$word") $(compgen -f -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _hamu_ray hamu-ray"""
"""Completes commands, search spaces by name, and files."""

ZSH = """(( $+functions[compdef] )) || { autoload -U +X compinit && compinit }
autoload -U +X bashcompinit && bashcompinit"""
"""Lets zsh read a completion for bash, also where nothing has started its own completion yet."""

COMMANDS = {
    "tune": ("SPACE.yaml", "run a whole sweep, with its front and its report"),
    "watch": ("SWEEP", "how far a running sweep is, from another shell"),
    "steer": ("SWEEP stop|clone TRIAL", "stop a trial of a running sweep, or start one from another"),
    "unlearn": ("RUN.yaml", "one run without Tune: model in, model out"),
    "train": ("FILE.yaml", "only the originals and the references"),
    "select": ("SWEEP", "a point of a sweep's front that meets a bound"),
    "doctor": (
        "SWEEP | MODEL DATA",
        "verify a sweep, or --cluster; or write the search space for a model and data",
    ),
    "audit": ("RUN_OR_SWEEP", "attacks on unlearned models, compared with models that never saw the data"),
    "report": ("TARGET ...", "the results of sweeps as an HTML page"),
    "certify": ("RUN", "a signed certificate of a run as page, PDF and JSON; --verify checks one"),
    "reproduce": ("STUDY", "run a published study again, and how far its numbers are off"),
    "methods": ("", "all methods, with their sources and hyperparameters"),
}


def main() -> None:
    """Run a command as its module does, or print the overview."""
    try:
        run()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def run() -> None:
    """See `main`."""
    match sys.argv[1:]:
        case [] | ["-h" | "--help"]:
            print(overview())
        case ["--version"]:
            print(f"hamu-ray {metadata.version('hamu-ray')}")
        case ["--completion", "bash" | "zsh" as shell]:
            print(completion(shell))
        case ["--completion", *given]:
            print(f"error: --completion {' '.join(given)}: give bash or zsh", file=sys.stderr)
            sys.exit(2)
        case [name, *arguments] if name in COMMANDS:
            sys.argv[1:] = arguments
            runpy.run_module(f"hamu_ray.{name}", run_name="__main__", alter_sys=True)
        case [name, *_]:
            print(f"error: unknown command {name}; {nearest(name, COMMANDS)}", file=sys.stderr)
            sys.exit(2)


def completion(shell: str) -> str:
    """Return the script that completes the command in bash or zsh."""
    from hamu_ray.config.sources.shipped import shipped_spaces

    script = BASH.format(commands=" ".join(COMMANDS), spaces=" ".join(shipped_spaces()))
    return script if shell == "bash" else f"{ZSH}\n{script}"


def overview() -> str:
    """Return a line per command, and the names of the search spaces that come with the package."""
    from hamu_ray.config.sources.shipped import shipped_spaces

    lines = {f"hamu-ray {name} {argument}": purpose for name, (argument, purpose) in COMMANDS.items()}
    width = max(map(len, lines))
    spaces = ", ".join(name for name in shipped_spaces() if "/" not in name)
    return "\n".join(
        [
            *(f"{line:<{width}}  {purpose}" for line, purpose in lines.items()),
            "",
            f"Search spaces by name: {spaces}. Each command lists its options with --help;",
            '`python -m hamu_ray.COMMAND` is the same. Completion: eval "$(hamu-ray --completion bash)", or zsh.',
        ]
    )


if __name__ == "__main__":
    main()
