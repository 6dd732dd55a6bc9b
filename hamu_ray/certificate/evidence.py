"""What a run's folder says about its unlearning."""

from dataclasses import dataclass
from typing import Any

import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.files import check_run_document
from hamu_ray.metrics.table import BASES
from hamu_ray.results.audit.file import load_audit
from hamu_ray.results.durable.sealed import Damaged
from hamu_ray.results.folder import (
    AUDIT_FILE,
    FORGET_FILE,
    MODEL_FILE,
    OUTCOME_FILE,
    RUN_FILE,
    SWEEP_FILE,
    TRIALS,
    read_outcome,
    read_reports,
)
from hamu_ray.results.outcome import Outcome
from hamu_ray.results.provenance import Provenance, read_provenance, sha256_of
from hamu_ray.results.wording import runnable, shown
from hamu_ray.storage import StoragePath, sha256_of_file


@dataclass(frozen=True)
class Evidence:
    """The record of a run that has ended."""

    run: RunConfig
    outcome: Outcome
    provenance: Provenance
    bases: dict[str, dict[str, float]]
    """Metrics of the ``original`` and the ``reference``."""
    forgotten: bytes
    """The list of the examples to forget."""
    attacks: dict[str, Any] | None
    """What an audit of the model found (`Audit.as_document`); None without one."""


def read_evidence(folder: StoragePath) -> Evidence:
    """Read a run's folder.

    Raises:
        ConfigError: It is not the folder of a run that has ended, or a file in it was changed since.
    """
    try:
        outcome, provenance = read_outcome(folder), read_provenance(folder)
        if outcome is None:
            raise ConfigError(_no_run(folder))
        if provenance is None:
            raise ConfigError(
                f"{shown(folder)}: the run has no record of where its model comes from, as it was made by an earlier "
                f"version; run it again: {runnable(f'python -m hamu_ray.unlearn {shown(folder / RUN_FILE)}')}"
            )
        reports = read_reports(folder)
        attacks = _attacks(folder, provenance)
    except (Damaged, FileNotFoundError) as error:
        raise ConfigError(f"{shown(folder)}: {error}; run it again") from error
    forgotten = _forgotten(folder, provenance)
    for name, expected in provenance.files.items():
        path = folder / name
        if not path.is_file() or sha256_of_file(path) != expected:
            raise ConfigError(
                f"{shown(path)}: is missing or was changed after the run; restore it, or run again"
            )
    run = check_run_document(yaml.safe_load((folder / RUN_FILE).read_text()), shown(folder / RUN_FILE))
    bases = {
        report.phase: dict(report.measures) for report in reports if report.phase in BASES and report.measures
    }
    return Evidence(run, outcome, provenance, bases, forgotten, attacks)


def _forgotten(folder: StoragePath, provenance: Provenance) -> bytes:
    path = folder / FORGET_FILE
    content = path.read_bytes() if path.is_file() else b""
    if sha256_of(content) != provenance.forget_list:
        raise ConfigError(f"{shown(path)}: is missing or was changed after the run; restore it, or run again")
    return content


def _attacks(folder: StoragePath, provenance: Provenance) -> dict[str, Any] | None:
    """Return what an audit of the run's model found; None without one. Raises `Damaged`."""
    path = folder / AUDIT_FILE
    if not path.is_file():
        return None
    audit = load_audit(path.read_bytes(), shown(path))
    if audit.model != provenance.result:
        raise ConfigError(f"{shown(path)}: of another model than {MODEL_FILE}; run the audit again")
    return audit.as_document()


def _no_run(folder: StoragePath) -> str:
    if (folder / SWEEP_FILE).is_file():
        trial = shown(folder / TRIALS / "0000")
        return f"{shown(folder)}: a sweep; give the folder of one of its trials, such as {trial}"
    return f"{shown(folder)}: not the folder of a run that has ended: it has no {OUTCOME_FILE}"
