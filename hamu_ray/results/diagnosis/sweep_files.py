"""Verification of the files that a sweep's driver writes."""

import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import yaml
from pydantic import ValidationError

from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.diagnosis.problem import Problem, sealed_problem
from hamu_ray.results.durable.append_log import read_log
from hamu_ray.results.durable.lease import LEASE_FILE
from hamu_ray.results.durable.listing import LISTING_FILE, differs, read_listing, unlist_files
from hamu_ray.results.durable.sealed import Damaged
from hamu_ray.results.folder import OUTBOX_FILE, REFUSED_FILE, SENT_FILE, STUDY_FILE, SWEEP_FILE
from hamu_ray.results.sweep_folders import STARTED_FILE
from hamu_ray.results.wording import counted, shown
from hamu_ray.storage import write_atomically

SEALED = {
    STARTED_FILE: "its place in the order of sweeps is lost, so that `--resume` alone may take another one",
    SENT_FILE: "all calls are sent to MLflow again, which stores them once",
    LEASE_FILE: "nothing is lost; the next driver replaces it",
}
"""JSON files with a digest, and what follows if they are damaged."""


def driver_problems(folder: Path) -> Iterator[Problem]:
    """Yield the problems of a sweep's own files."""
    yield from configuration_problems(folder)
    for name, consequence in SEALED.items():
        if problem := sealed_problem(folder / name, consequence):
            yield problem
    yield from log_problems(folder)
    yield from result_problems(folder)


def configuration_problems(folder: Path) -> Iterator[Problem]:
    """Yield the problem of a configuration that cannot be read or is not the one that the sweep started with."""
    path, known = folder / SWEEP_FILE, started_with(folder)
    try:
        found = load_sweep(path).whole
        if known is None or found == known.whole:
            return
        what = f"differs from the configuration in {OUTBOX_FILE}"
    except ConfigError as error:
        what = str(error).removeprefix(f"{shown(path)}: ")
    if known is None:
        yield Problem(path, what, "select, report and --resume cannot read the sweep; write it again")
        return
    content = yaml.safe_dump(known.whole, sort_keys=False).encode()
    yield Problem(
        path,
        what,
        f"select, report and --resume cannot rely on it; a repair writes it again from {OUTBOX_FILE}",
        [path],
        mend=lambda: write_atomically(path, content),
    )


def started_with(folder: Path) -> SweepConfig | None:
    """Return the configuration that a sweep was started with, from its outbox; None if it is not there."""
    for call, _ in read_log(folder / OUTBOX_FILE):
        if call is not None and call["call"] == "start_sweep":
            try:
                return SweepConfig.model_validate(call["arguments"]["parameters"])
            except ValidationError:  # written by another version
                return None
    return None


def log_problems(folder: Path) -> Iterator[Problem]:
    """Yield the problems of the files of JSON lines."""
    lost = "MLflow and the report lack these calls; the records of the trials do not"
    # Offsets in a log that is written again are others: what was sent is then not known any more.
    yield from _lines_problem(folder / OUTBOX_FILE, lost, [folder / SENT_FILE])
    yield from _lines_problem(folder / REFUSED_FILE, "only the list of refused calls is incomplete", [])
    study = folder / STUDY_FILE
    if damaged_lines(study):
        yield Problem(study, "damaged", "`--resume` rebuilds the studies from the trials", [study])


def _lines_problem(path: Path, consequence: str, others: list[Path]) -> Iterator[Problem]:
    if count := damaged_lines(path):
        content = intact_lines(path)
        what = f"{counted(count, 'damaged line')}"
        yield Problem(path, what, consequence, [path, *others], mend=lambda: write_atomically(path, content))


def damaged_lines(path: Path) -> int:
    """Return the number of damaged lines of a log, including an incomplete last one."""
    found = list(read_log(path))
    whole = found[-1][1] if found else 0
    incomplete = path.exists() and path.stat().st_size > whole
    return sum(document is None for document, _ in found) + incomplete


def intact_lines(path: Path) -> bytes:
    """Return the lines of a log that are not damaged."""
    lines, start = [], 0
    with path.open("rb") as file:
        for document, end in read_log(path):
            line = file.read(end - start)
            start = end
            if document is not None:
                lines.append(line)
    return b"".join(lines)


def result_problems(folder: Path) -> Iterator[Problem]:
    """Yield the problems of tables, pictures and the report."""
    remedy = f"python -m hamu_ray.report {shown(folder)} writes it again"
    try:
        listed: Mapping[str, str] = read_listing(folder)
    except Damaged:
        path = folder / LISTING_FILE
        yield Problem(path, "damaged", f"its files cannot be verified; {remedy}", [path])
        return
    for name, digest in listed.items():
        path = folder / name
        if differs(path, digest):
            what = "damaged" if path.exists() else "missing"
            yield Problem(path, what, remedy, [path], mend=partial(unlist_files, folder, [name]))


def store_problems(local: Path) -> Iterator[Problem]:
    """Yield the problem of MLflow's SQLite file beside a storage's sweeps, if there is one."""
    path = local / "mlflow.db"
    if not path.is_file():
        return
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        if "locked" in str(error):
            return  # another process writes it
        found = str(error)
    if found != "ok":
        yield Problem(
            path,
            f"damaged ({found.splitlines()[0]})",
            "move it away; `python -m hamu_ray.report` fills a new one from the folder of each of its sweeps",
        )
