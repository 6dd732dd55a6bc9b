"""What is remembered of a sweep's trials: outcomes, which workers write into the storage, and the driver's records."""

import json
from dataclasses import asdict
from pathlib import Path

from hamu_ray.engine.files import StoragePath, write_atomically
from hamu_ray.engine.outcome import Outcome, Report, Status, load_reports
from hamu_ray.engine.unlearn import OUTCOME_FILE, REPORTS_FILE
from hamu_ray.sweep.front import Point
from hamu_ray.sweep.trial import TrialRecord

TRIALS = "trials"
RECORD_FILE = "record.json"


def read_outcome(folder: StoragePath) -> Outcome | None:
    """Return how the run in a folder ended, or None where it is not over."""
    try:
        document = json.loads((folder / OUTCOME_FILE).read_text())
    except FileNotFoundError:
        return None
    outcome = Outcome(**{**document, "status": Status(document["status"])})
    return None if outcome.status is Status.INTERRUPTED else outcome


def read_reports(folder: StoragePath) -> list[Report]:
    """Return all that the run in a folder, which is over, has reported."""
    return load_reports((folder / REPORTS_FILE).read_bytes())


def write_record(sweep: Path, record: TrialRecord) -> None:
    """Write a trial's record into the sweep's folder."""
    content = json.dumps(asdict(record), indent=2).encode()
    write_atomically(sweep / TRIALS / record.trial_id / RECORD_FILE, content)


def read_records(sweep: Path) -> list[TrialRecord]:
    """Return the records of the trials that are over, in order of their names."""
    documents = [json.loads(path.read_text()) for path in sorted((sweep / TRIALS).glob(f"*/{RECORD_FILE}"))]
    return [
        TrialRecord(
            **{**document, "status": Status(document["status"]), "curve": _curve(document.get("curve", {}))}
        )
        for document in documents
    ]


def _curve(document: dict[str, list[float]]) -> dict[int, Point]:
    """Return a curve from JSON, whose keys are texts."""
    return {int(step): (first, second) for step, (first, second) in document.items()}
