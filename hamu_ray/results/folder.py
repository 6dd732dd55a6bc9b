"""What is remembered of a sweep's trials: outcomes, which workers write into the storage, and the driver's records."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import yaml

from hamu_ray.config.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.front import Point
from hamu_ray.results.outcome import Outcome, Report, Status, load_reports
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, write_atomically

SWEEPS = "sweeps"

SWEEP_FILE = "sweep.yaml"

TIME = "[0-9]" * 8 + "-" + "[0-9]" * 6
"""The end of a folder's name, as a pattern: another sweep's name may begin with this one's."""


MODEL_FILE = "model.safetensors"


OUTCOME_FILE = "outcome.json"

RUN_FILE = "run.yaml"

HARDNESS_FILE = "hardness.npz"

REPORTS_FILE = "reports.json"

OUTBOX_FILE = "tracking.jsonl"
"""In the sweep's folder: the calls to the tracking store, one JSON document per line."""

SENT_FILE = "tracking.sent.json"
"""In the sweep's folder: how much of the outbox is delivered."""

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


def trial_name(number: int) -> str:
    """Return what a trial is called, in folders, tables and tracking."""
    return f"{number:04d}"


def new_folder(config: SweepConfig, local: Path) -> Path:
    """Make the folder of a new sweep, with its resolved configuration, which runs the same sweep again."""
    folder = local / SWEEPS / f"{config.name}-{datetime.now():%Y%m%d-%H%M%S}"
    document = config.whole
    write_atomically(folder / SWEEP_FILE, yaml.safe_dump(document, sort_keys=False).encode())
    return folder


def newest_folder(name: str, local: Path) -> Path | None:
    """Return the folder of the newest sweep of a name, if there is one."""
    files = sorted((local / SWEEPS).glob(f"{name}-{TIME}/{SWEEP_FILE}"))
    return files[-1].parent if files else None


def resumable_folder(config: SweepConfig, local: Path) -> Path:
    """Return the folder of the newest sweep of this name; raises `ConfigError` if it is another sweep's."""
    folder = newest_folder(config.name, local)
    if folder is None:
        raise ConfigError(
            f"--resume: no sweep of the name {config.name} in {shown(local)}; leave --resume out"
        )
    earlier, now = load_sweep(folder / SWEEP_FILE).whole, config.whole
    for key in sorted(earlier.keys() | now.keys()):
        if earlier.get(key) != now.get(key) and key not in ("tracking", "storage"):
            raise ConfigError(
                f"--resume: {key} differs from {shown(folder / SWEEP_FILE)}: "
                "take the configuration back, or leave --resume out"
            )
    return folder
