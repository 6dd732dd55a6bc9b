"""A run's folder as a run leaves it, without the run."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.results.durable.sealed import write_sealed
from hamu_ray.results.folder import FORGET_FILE, MODEL_FILE, OUTCOME_FILE, REPORTS_FILE, RUN_FILE
from hamu_ray.results.outcome import Outcome, Report, Status, dump_reports
from hamu_ray.results.provenance import (
    Code,
    ModelIdentity,
    Provenance,
    forget_list,
    sha256_of,
    write_provenance,
)

MODEL = bytes(range(256)) * 4
FORGOTTEN = forget_list((f"row {row}", hashlib.sha256(bytes([row])).hexdigest()) for row in range(12))

OUTCOME = Outcome(
    Status.FINISHED,
    "all steps",
    40,
    {"forget_quality": 0.83, "retain_utility": 0.97, "forget_accuracy": 0.02, "avg_gap": float("nan")},
    1.5,
    80,
    reference_kind="random",
    reference_origin="was trained from random weights",
    steps_outside_guarantee=0,
)

PROVENANCE = Provenance(
    code=Code("0.1.0", "c" * 64, "a" * 40),
    data="d" * 64,
    forget_count=12,
    forget_list=sha256_of(FORGOTTEN),
    original=ModelIdentity("/home/ada/original/model.safetensors", "0" * 64),
    references=[ModelIdentity("/home/ada/reference/model.safetensors", "1" * 64)],
    files={MODEL_FILE: sha256_of(MODEL)},
    seeds={"training": 41, "unlearning": 42},
    hardware="2 x NVIDIA H100 80GB HBM3",
    platform="Linux, Python 3.11.9",
    libraries={"torch": "2.14.1"},
)

Make = Callable[..., Path]


def made(
    parent: Path,
    run: dict[str, Any] | None = None,
    outcome: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write a run's folder below another, with changes to configuration, outcome and provenance."""
    folder = parent / "run"
    folder.mkdir()
    config = RunConfig.model_validate({"name": "made", **(run or {})})
    ended = replace(OUTCOME, **(outcome or {}))
    (folder / MODEL_FILE).write_bytes(MODEL)
    (folder / FORGET_FILE).write_bytes(FORGOTTEN)
    write_provenance(folder, replace(PROVENANCE, **(provenance or {})))
    (folder / RUN_FILE).write_text(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)))
    reports = [Report("original", 0, 0, {"forget_quality": 0.01, "forget_accuracy": 1.0})]
    if config.reference.source != "none":
        reports.append(Report("reference", 0, 0, {"forget_quality": 1.0, "forget_accuracy": 0.0}))
    (folder / REPORTS_FILE).write_bytes(dump_reports(reports))
    write_sealed(folder / OUTCOME_FILE, asdict(ended))
    return folder
