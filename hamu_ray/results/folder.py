"""Names and formats of the files in a run's folder and in a sweep's folder."""

import logging
import shlex
from dataclasses import asdict
from pathlib import Path

from hamu_ray.config.run import MODEL_FILE
from hamu_ray.results.durable.sealed import Damaged, read_sealed, unseal, write_sealed
from hamu_ray.results.outcome import Outcome, Report, Status, StepPoint, load_reports
from hamu_ray.results.trial import AT, TrialRecord, point_name
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath

__all__ = ["MODEL_FILE"]

RUNS = "runs"
"""Folder of runs without a sweep."""
SWEEPS = "sweeps"
"""Folder of all sweeps."""
SWEEP_FILE = "sweep.yaml"
"""The resolved configuration of a sweep."""

OUTCOME_FILE = "outcome.json"
"""The outcome of a run. Written last: a folder that contains it is complete."""
RUN_FILE = "run.yaml"
"""The resolved configuration of a run."""
CARD_FILE = "README.md"
"""The model card of a run."""
PROVENANCE_FILE = "provenance.json"
"""Where a run's model comes from (`hamu_ray.results.provenance`)."""
FORGET_FILE = "forget.csv"
"""The examples that a run was to forget: place and SHA-256 of each."""
HARDNESS_FILE = "hardness.npz"
"""Diagnostics of every block in every step."""
REPORTS_FILE = "reports.json"
"""All reports of a run."""
AUDIT_FILE = "audit.json"
"""Results of the attacks on a run's model."""
AUDIT = "audit"
"""Folder of what the attacks on a run's model computed on the way."""
CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints."""

MODELS = "models"
"""Folder of a storage's original and reference models, each in a folder of its own."""
MEASURES_FILE = "measures.json"
"""The metrics of a stored model. Written last: a model without metrics is incomplete."""
ITEM_METRICS_FILE = "items.json"
"""The metrics of each item, of a stored model."""

OUTBOX_FILE = "tracking.jsonl"
"""In the sweep's folder: the calls to the tracking store, one JSON document per line."""

SENT_FILE = "tracking.sent.json"
"""In the sweep's folder: how much of the outbox has been sent, and to which store."""

REFUSED_FILE = "tracking.refused.jsonl"
"""In the sweep's folder: calls that the tracking store rejected."""

TRIALS = "trials"
"""Folder of a sweep's trials."""
INTERPOLATED = "interpolated"
"""Folder of the models between those of a sweep's trials, each in a run folder of its own."""
KEPT = "kept"
"""Folder of the weights that a run may have as points; see `hamu_ray.engine.files.kept`."""
RECORD_FILE = "record.json"
"""The driver's record of an ended trial."""

STUDY_FILE = "optuna.log"
"""In the sweep's folder: the operations of the Optuna studies."""

RAY_LOG = "ray.log"
"""In the sweep's folder: what Ray said in the driver."""

MOST_LETTERS = 100
"""Maximum length of a run's name."""

logger = logging.getLogger(__name__)


def read_outcome(folder: StoragePath) -> Outcome | None:
    """Return how the run in a folder ended, or None if it has not ended or was interrupted.

    Raises:
        Damaged: It cannot be read.
    """
    try:
        document = read_sealed(folder / OUTCOME_FILE)
    except FileNotFoundError:
        return None
    points = tuple(StepPoint(**point) for point in document.get("points", ()))
    outcome = Outcome(**{**document, "status": Status(document["status"]), "points": points})
    return None if outcome.status is Status.INTERRUPTED else outcome


def read_reports(folder: StoragePath) -> list[Report]:
    """Return all reports of the run in a folder; raises `Damaged`."""
    return load_reports((folder / REPORTS_FILE).read_bytes(), shown(folder / REPORTS_FILE))


def write_record(sweep: Path, record: TrialRecord) -> None:
    """Write a trial's record into the sweep's folder."""
    write_sealed(sweep / TRIALS / record.trial_id / RECORD_FILE, asdict(record))


def read_records(sweep: Path) -> list[TrialRecord]:
    """Return the records of the trials that have ended, in order of their names; logs those that are damaged."""
    trials = sorted(path.parent.name for path in (sweep / TRIALS).glob(f"*/{RECORD_FILE}"))
    return [record for trial in trials if (record := read_record(sweep, trial)) is not None]


def read_record(sweep: Path, trial: str) -> TrialRecord | None:
    """Return the record of a trial, or None if it has not ended; logs it if it is damaged, which is None as well."""
    path = sweep / TRIALS / trial / RECORD_FILE
    try:
        return load_record(path.read_bytes(), shown(path))
    except FileNotFoundError:
        return None
    except Damaged as error:
        logger.warning("%s; --resume of its sweep writes it again", error)
        return None


def load_record(content: bytes, name: str) -> TrialRecord:
    """Return a record from the content of a file; raises `Damaged` with the file's name."""
    document = unseal(content, name)
    curve = {int(step): tuple(values) for step, values in document.get("curve", {}).items()}
    points = tuple(StepPoint(**point) for point in document.get("points", ()))
    status = Status(document["status"])
    return TrialRecord(**{**document, "status": status, "curve": curve, "points": points})


def rerun_command(run: str, sweep: str, trial: str) -> str:
    """Return the command that runs a trial's configuration again, under a name that identifies the trial."""
    trial = trial.replace(AT, "-")
    name = f"{sweep[: MOST_LETTERS - len(trial) - 1]}-{trial}"
    return f"python -m hamu_ray.unlearn {shlex.quote(run)} --set name={name}"


def point_folder(run: StoragePath, step: int) -> StoragePath:
    """Return the run folder of a model that a run had on its way, beside the run's own."""
    return run.with_name(point_name(run.name, step))


def trial_name(number: int) -> str:
    """Return the name of a trial in folders, tables and tracking."""
    return f"{number:04d}"
