"""Names and formats of the files in a run's folder and in a sweep's folder."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import yaml

from hamu_ray.config.run import MODEL_FILE
from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.outcome import Outcome, Report, Status, load_reports
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, write_atomically

__all__ = ["MODEL_FILE"]

SWEEPS = "sweeps"
"""Folder of all sweeps."""
SWEEP_FILE = "sweep.yaml"
"""The resolved configuration of a sweep."""

TIME = "[0-9]" * 8 + "-" + "[0-9]" * 6
"""Pattern of the suffix of a sweep folder's name, needed because another sweep's name may have the same prefix."""

OUTCOME_FILE = "outcome.json"
"""The outcome of a run. Written last: a folder that contains it is complete."""
RUN_FILE = "run.yaml"
"""The resolved configuration of a run."""
HARDNESS_FILE = "hardness.npz"
"""Diagnostics of every block in every step."""
REPORTS_FILE = "reports.json"
"""All reports of a run."""

OUTBOX_FILE = "tracking.jsonl"
"""In the sweep's folder: the calls to the tracking store, one JSON document per line."""

SENT_FILE = "tracking.sent.json"
"""In the sweep's folder: how much of the outbox has been sent."""

TRIALS = "trials"
"""Folder of a sweep's trials."""
RECORD_FILE = "record.json"
"""The driver's record of an ended trial."""


def read_outcome(folder: StoragePath) -> Outcome | None:
    """Return the outcome of the run in a folder, or None if it has not ended or was interrupted."""
    try:
        document = json.loads((folder / OUTCOME_FILE).read_text())
    except FileNotFoundError:
        return None
    outcome = Outcome(**{**document, "status": Status(document["status"])})
    return None if outcome.status is Status.INTERRUPTED else outcome


def read_reports(folder: StoragePath) -> list[Report]:
    """Return all reports of the run in a folder."""
    return load_reports((folder / REPORTS_FILE).read_bytes())


def write_record(sweep: Path, record: TrialRecord) -> None:
    """Write a trial's record into the sweep's folder."""
    content = json.dumps(asdict(record), indent=2).encode()
    write_atomically(sweep / TRIALS / record.trial_id / RECORD_FILE, content)


def read_records(sweep: Path) -> list[TrialRecord]:
    """Return the records of the ended trials, in order of their names."""
    return [load_record(path.read_bytes()) for path in sorted((sweep / TRIALS).glob(f"*/{RECORD_FILE}"))]


def read_record(sweep: Path, trial: str) -> TrialRecord | None:
    """Return the record of a trial, or None if it has not ended."""
    path = sweep / TRIALS / trial / RECORD_FILE
    return load_record(path.read_bytes()) if path.is_file() else None


def load_record(content: bytes) -> TrialRecord:
    """Parse a record from the content of its file; fields missing in earlier versions are unknown."""
    document = json.loads(content)
    curve = {int(step): (first, second) for step, (first, second) in document.get("curve", {}).items()}
    return TrialRecord(**{**document, "status": Status(document["status"]), "curve": curve})


def trial_name(number: int) -> str:
    """Return the name of a trial in folders, tables and tracking."""
    return f"{number:04d}"


def new_folder(config: SweepConfig, local: Path) -> Path:
    """Create the folder of a new sweep, with its resolved configuration, which reproduces the sweep."""
    folder = local / SWEEPS / f"{config.name}-{datetime.now():%Y%m%d-%H%M%S}"
    write_atomically(folder / SWEEP_FILE, yaml.safe_dump(config.whole, sort_keys=False).encode())
    return folder


def newest_folder(name: str, local: Path) -> Path | None:
    """Return the folder of the newest sweep with a name, or None."""
    files = sorted((local / SWEEPS).glob(f"{name}-{TIME}/{SWEEP_FILE}"))
    return files[-1].parent if files else None


def resumable_folder(config: SweepConfig, local: Path) -> Path:
    """Return the folder of the newest sweep with this name; raises `ConfigError` if its configuration differs."""
    folder = newest_folder(config.name, local)
    if folder is None:
        raise ConfigError(
            f"--resume: no sweep with the name {config.name} in {shown(local)}; remove --resume"
        )
    earlier, now = load_sweep(folder / SWEEP_FILE).whole, config.whole
    for key in sorted(earlier.keys() | now.keys()):
        if earlier.get(key) != now.get(key) and key not in ("tracking", "storage"):
            raise ConfigError(
                f"--resume: {key} differs from {shown(folder / SWEEP_FILE)}: "
                "revert the configuration, or remove --resume"
            )
    return folder
