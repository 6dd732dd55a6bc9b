"""What a sweep's folder remembers of its trials: outcomes, written by workers, and records, written by the driver."""

import json
from dataclasses import asdict
from pathlib import Path

from hamu_ray.engine.checkpoint import write_atomically
from hamu_ray.engine.outcome import Outcome, Status
from hamu_ray.engine.unlearn import OUTCOME_FILE
from hamu_ray.sweep.trial import TrialRecord

TRIALS = "trials"
RECORD_FILE = "record.json"


def read_outcome(folder: Path) -> Outcome | None:
    """Return how the run in a folder ended, or None where it is not over."""
    try:
        document = json.loads((folder / OUTCOME_FILE).read_text())
    except FileNotFoundError:
        return None
    outcome = Outcome(**{**document, "status": Status(document["status"])})
    return None if outcome.status is Status.INTERRUPTED else outcome


def write_record(sweep: Path, record: TrialRecord) -> None:
    """Write a trial's record into the sweep's folder."""
    content = json.dumps(asdict(record), indent=2).encode()
    write_atomically(sweep / TRIALS / record.trial_id / RECORD_FILE, content)


def read_records(sweep: Path) -> list[TrialRecord]:
    """Return the records of the trials that are over, in order of their names."""
    documents = [json.loads(path.read_text()) for path in sorted((sweep / TRIALS).glob(f"*/{RECORD_FILE}"))]
    return [TrialRecord(**{**document, "status": Status(document["status"])}) for document in documents]
