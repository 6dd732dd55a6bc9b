"""The faults that are tested, what a user sees, and what is left: the tables of docs/reliability.md.

python -m tests.faults.table     # updates docs/reliability.md
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hamu_ray.results.diagnosis.sweep_files import SEALED
from hamu_ray.results.diagnosis.trial_files import RUNS_AGAIN

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: made by python -m tests.faults.table -->", "<!-- end of faults -->"


class ProcessFault(NamedTuple):
    """A fault of a running sweep; `tests/faults/processes.py` has the function that causes it, by this name."""

    fault: str
    sees: str
    left: str


class FileFault(NamedTuple):
    """A file that was cut short, filled with zeros, or has a flipped bit."""

    files: tuple[str, ...]
    """Patterns below the storage folder."""
    doctor: str
    """What `hamu_ray.doctor` says follows from it; FOLDER stands for the sweep's folder."""
    reruns: bool = False
    """Whether `--resume` runs the trial again after a repair."""
    shown: str = ""
    """The files in the document; empty for the last parts of `files`."""


PROCESSES = {
    "worker": ProcessFault(
        "a worker is killed", "nothing", "the trial continues from its last checkpoint; same weights"
    ),
    "controller": ProcessFault("the controller of a worker group is killed", "nothing", "the same"),
    "slot": ProcessFault("a slot is killed", "nothing", "the same"),
    "trial": ProcessFault("a trial's process is killed", "nothing", "the same"),
    "pool": ProcessFault("the pool of slots is killed", "nothing", "the same"),
    "stopped worker": ProcessFault("a worker stands still for a minute (SIGSTOP)", "nothing", "the same"),
    "driver": ProcessFault(
        "the driver is killed, or the machine loses power",
        "the shell's message",
        "ended trials are complete; `--resume` continues, with the values that an uninterrupted search would draw",
    ),
    "head": ProcessFault(
        "the driver's machine is lost with its disk (`storage.local`)",
        "nothing",
        "the same from `storage.path` alone: `--resume` or `--resume auto` on another machine",
    ),
    "raylet": ProcessFault("the raylet is killed", "one line with Ray's logs, exit code 1", "the same"),
    "control store": ProcessFault(
        "the control store is killed", "one line with Ray's logs, exit code 1", "the same"
    ),
    "interrupt": ProcessFault(
        "Ctrl-C or SIGTERM", "one line, exit code 130", "the front of what has ended; `--resume` continues"
    ),
    "two interrupts": ProcessFault(
        "Ctrl-C twice", "one line, exit code 130", "ended trials are complete; `--resume` continues"
    ),
    "storage deleted": ProcessFault(
        "the storage is deleted", "one line with the file, exit code 1", "nothing; a new sweep starts"
    ),
    "storage read-only": ProcessFault(
        "the storage becomes read-only",
        "one line with the file, exit code 1",
        "ended trials are complete; `--resume` continues",
    ),
    "storage full": ProcessFault(
        "the disk is full",
        "one line with the file and the space needed, exit code 1",
        "the same, once there is space",
    ),
    "MLflow server": ProcessFault(
        "the MLflow server is killed",
        "one line, and the number of waiting calls at the end",
        "`python -m hamu_ray.report FOLDER` sends the rest",
    ),
    "MLflow locked": ProcessFault("MLflow's SQLite file is locked", "nothing", "calls wait until it is not"),
    "second driver": ProcessFault(
        "a second driver on the same sweep",
        "one line with process, host and time, exit code 2",
        "nothing is written by it",
    ),
}

SWEEP, TRIAL, MODEL = "sweeps/*", "sweeps/*/trials/0000", "models/*"
REPORT = "python -m hamu_ray.report FOLDER writes it again"

FILES = (
    FileFault(
        (f"{SWEEP}/sweep.yaml",),
        "select, report and --resume cannot rely on it; a repair writes it again from tracking.jsonl",
    ),
    *(FileFault((f"{SWEEP}/{name}",), consequence) for name, consequence in SEALED.items()),
    FileFault(
        (f"{SWEEP}/tracking.jsonl",),
        "MLflow and the report lack these calls; the records of the trials do not",
    ),
    FileFault((f"{SWEEP}/tracking.refused.jsonl",), "only the list of refused calls is incomplete"),
    FileFault((f"{SWEEP}/optuna.log",), "`--resume` rebuilds the studies from the trials"),
    FileFault(
        tuple(
            f"{SWEEP}/{name}"
            for name in ("front.csv", "trials.csv", "front.png", "front.html", "report.html")
        ),
        REPORT,
    ),
    FileFault((f"{SWEEP}/files.json",), f"its files cannot be verified; {REPORT}"),
    FileFault(
        (f"{TRIAL}/record.json",),
        "`--resume` writes it again from the trial's outcome",
        shown="a trial's `record.json`",
    ),
    FileFault(
        tuple(
            f"{TRIAL}/{name}"
            for name in (
                "model.safetensors",
                "outcome.json",
                "reports.json",
                "run.yaml",
                "hardness.npz",
                "README.md",
                "forget.csv",
                "provenance.json",
                "files.json",
            )
        ),
        RUNS_AGAIN,
        reruns=True,
        shown="another file of a trial that has ended",
    ),
    FileFault(
        (f"{TRIAL}/checkpoints/*/step-000000004.safetensors",),
        "the run resumes from the checkpoint before it",
        shown="a checkpoint",
    ),
    FileFault(
        (f"{MODEL}/model.safetensors", f"{MODEL}/recipe.json", f"{MODEL}/training.json"),
        "the model is trained again when a run needs it",
        shown="a stored original or reference",
    ),
    FileFault(
        (f"{MODEL}/measures.json", f"{MODEL}/items.json"),
        "the model is measured again when a run needs it",
        shown="its `measures.json` or `items.json`",
    ),
    FileFault(
        ("mlflow.db",),
        "move it away; `python -m hamu_ray.report` fills a new one from the folder of each of its sweeps",
    ),
)


def rows(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *lines)]


def named(fault: FileFault) -> str:
    """Return the files of a row for the document."""
    return fault.shown or ", ".join(f"`{pattern.rpartition('/')[2]}`" for pattern in fault.files)


def tables() -> str:
    """Return both tables."""
    return "\n".join(
        [
            *rows(("fault", "what you see", "what is left, and what to do"), PROCESSES.values()),
            "",
            "Of each file that a sweep leaves: cut short, with zeros in its second half, with one flipped bit.",
            "",
            *rows(
                ("damaged file", "what follows, as `python -m hamu_ray.doctor` prints it"),
                ((named(fault), fault.doctor) for fault in FILES),
            ),
        ]
    )


def with_tables(text: str) -> str:
    """Return a document with the tables between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
