"""Verification of the files of trials and of stored models."""

from collections.abc import Iterator
from pathlib import Path

from hamu_ray.results.diagnosis.problem import Problem, sealed_problem
from hamu_ray.results.durable.listing import LISTING_FILE, differs, read_listing, unlist_files
from hamu_ray.results.durable.sealed import Damaged, read_sealed
from hamu_ray.results.durable.tensor_files import is_intact
from hamu_ray.results.folder import (
    CHECKPOINTS,
    ITEM_METRICS_FILE,
    MEASURES_FILE,
    MODEL_FILE,
    MODELS,
    OUTCOME_FILE,
    PROVENANCE_FILE,
    RECORD_FILE,
    REPORTS_FILE,
    TRIALS,
    read_outcome,
)
from hamu_ray.results.items import ITEMS_FILE, LAYERS_FILE
from hamu_ray.results.trial import trial_of
from hamu_ray.storage import StoragePath

EXAMPLES = (ITEMS_FILE, LAYERS_FILE)
NO_EXAMPLES = (
    "the report lacks the trial's single examples, which are measured again when a driver ends the sweep"
)
RUNS_AGAIN = "`--resume` runs the trial again, with the same result"


def trial_problems(folder: Path, results: StoragePath, trial: str) -> Iterator[Problem]:
    """Yield the problems of a trial: its record in the sweep's folder, and its files in the storage.

    A point on its way has no record of its own: its trial runs again.
    """
    name, place = trial_of(trial), results / TRIALS / trial
    record = folder / TRIALS / name / RECORD_FILE
    outcomes = [place / OUTCOME_FILE, results / TRIALS / name / OUTCOME_FILE]
    damaged = list(dict.fromkeys(run_problems(place)))
    for path, what in damaged:
        yield Problem(path, what, RUNS_AGAIN, [path, record, *outcomes], reruns=name)
    if name != trial:
        return
    if problem := sealed_problem(record, "`--resume` writes it again from the trial's outcome"):
        if damaged or not (place / OUTCOME_FILE).exists():
            problem = Problem(record, problem.what, RUNS_AGAIN, [record], reruns=trial)
        yield problem
    for path, what in listed_problems(place):
        if path.name in EXAMPLES:
            aside = [place / name for name in EXAMPLES]
            yield Problem(path, what, NO_EXAMPLES, aside, mend=lambda: unlist_files(place, EXAMPLES))
    checkpoints: list[StoragePath] = [*(place / CHECKPOINTS).glob("*/step-*.safetensors")]
    for path in sorted(checkpoints, key=str):
        if not is_intact(path):
            yield Problem(path, "damaged", "the run resumes from the checkpoint before it", [path])


def run_problems(folder: StoragePath) -> Iterator[tuple[StoragePath, str]]:
    """Yield the damaged and missing files of a run that has ended, each with what is wrong."""
    try:
        if read_outcome(folder) is None:
            return
    except Damaged:
        yield folder / OUTCOME_FILE, "damaged"
    for name in (REPORTS_FILE, PROVENANCE_FILE):
        if not _is_intact(folder / name):
            yield _state(folder / name)
    if not is_intact(folder / MODEL_FILE):
        yield _state(folder / MODEL_FILE)
    yield from (problem for problem in listed_problems(folder) if problem[0].name not in EXAMPLES)


def listed_problems(folder: StoragePath) -> Iterator[tuple[StoragePath, str]]:
    """Yield the damaged and missing files of a folder's list, or the list if it is damaged."""
    try:
        listed = read_listing(folder)
    except Damaged:
        yield folder / LISTING_FILE, "damaged"
        return
    for name, digest in listed.items():
        if differs(folder / name, digest):
            yield _state(folder / name)


def _is_intact(path: StoragePath) -> bool:
    """Whether a JSON file exists and matches its digest."""
    try:
        read_sealed(path)
    except (FileNotFoundError, Damaged):
        return False
    return True


def _state(path: StoragePath) -> tuple[StoragePath, str]:
    return path, "damaged" if path.exists() else "missing"


def has_ended(folder: Path, results: StoragePath, trial: str) -> bool:
    """Whether a trial has a record or an outcome, intact or not."""
    return (folder / TRIALS / trial / RECORD_FILE).exists() or _ended_run(results / TRIALS / trial)


def _ended_run(folder: StoragePath) -> bool:
    try:
        return read_outcome(folder) is not None
    except Damaged:
        return True


def model_problems(storage: StoragePath) -> Iterator[Problem]:
    """Yield the problems of the original models and references in a storage."""
    found: list[StoragePath] = [*(storage / MODELS).glob(f"*/{MEASURES_FILE}")]
    for measures in sorted(found, key=str):
        model = measures.with_name(MODEL_FILE)
        if model.exists() and not is_intact(model):
            yield Problem(model, "damaged", "the model is trained again when a run needs it", [model])
        for path in (measures, measures.with_name(ITEM_METRICS_FILE)):
            if problem := sealed_problem(path, "the model is measured again when a run needs it"):
                yield problem
        for path, what in listed_problems(measures.parent):
            aside = [path, model, path.with_name(LISTING_FILE)]
            yield Problem(path, what, "the model is trained again when a run needs it", aside)
