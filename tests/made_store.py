"""Synthetic sweeps in real MLflow stores, written like a driver does."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hamu_ray.config.space import Scalar
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import TRIALS, write_record
from hamu_ray.results.outcome import Report, dump_reports
from hamu_ray.results.recorded_run import point_tags, provenance_tags
from hamu_ray.results.trial import Status, TrialRecord
from hamu_ray.results.wording import describe
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.delivery import Delivery, OutboxSender
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tuning.finish import leave_result
from hamu_ray.tuning.plan import plan_sweep

SPACE: Mapping[str, Any] = {
    "method.name": {"grid": ["hamu-q", "gdiff", "ga"]},
    "optimizer.learning_rate": {"grid": [0.003, 0.03, 0.3]},
    "method.constraint_ratio": {"grid": [0.1, 0.5]},
    "seed": {"grid": [41, 42, 43]},
}
GOOD = {"hamu-q": 0.97, "hamu-u": 0.95, "gdiff": 0.9, "ga": 0.75}
BLOCKS = ("stem.weight", "layer1.weight", "layer2.weight", "head.weight", "head.bias")
STEPS = 12
BEGAN = 1767268800.5
OBJECTIVES = ("forget_quality", "retain_utility")
REFERENCE = {
    "forget_quality": 1.0,
    "retain_utility": 0.985,
    "avg_gap": 0.0,
    "retain_accuracy": 0.985,
    "forget_accuracy": 0.02,
    "mia_confidence": 0.9,
}
ORIGINAL = {
    "forget_quality": 0.02,
    "retain_utility": 0.99,
    "avg_gap": 0.45,
    "retain_accuracy": 0.99,
    "forget_accuracy": 1.0,
    "mia_confidence": 0.1,
}


def sweep_config(space: Mapping[str, Any] = SPACE, **sections: Any) -> SweepConfig:
    """A search space over runs on digits."""
    document: dict[str, Any] = {
        "name": "made",
        "seed": 41,
        "data": {"name": "digits"},
        "forget": {"kind": "class", "label": 0, "rho": 0.0},
        "batch": {"retain": 64, "forget": 64},
        "duration": {"steps": STEPS},
        "space": dict(space),
        **sections,
    }
    return SweepConfig.model_validate(document)


def points(config: SweepConfig) -> list[dict[str, Scalar]]:
    """The trials' parameters: the cells of the grids, with random values for other keys."""
    rng = np.random.default_rng(config.search.seed)
    found = []
    for cell in (cell for _ in range(config.search.samples) for cell in config.cells()):
        point = dict(cell)
        for path in config.space:
            domain = config.domain(path, point)
            bounds = domain and (domain.loguniform or domain.uniform)
            if domain and bounds:
                low, high = np.log(bounds) if domain.loguniform else bounds
                value = rng.uniform(low, high)
                point[path] = float(np.exp(value) if domain.loguniform else value)
        found.append(point)
    return found


def made_record(number: int, config: SweepConfig, parameters: dict[str, Scalar], folder: Path) -> TrialRecord:
    """A trial's outcome: better for better methods and for learning rates close to 0.03."""
    run = config.resolve(parameters)
    rng = np.random.default_rng([run.seed, number])
    off = abs(math.log10(run.optimizer.learning_rate / 0.03))
    good = GOOD.get(run.method.name, 0.85)
    quality = float(np.clip(good - 0.25 * off + rng.normal(0, 0.01), 0, 1))
    utility = float(np.clip(0.99 - 0.3 * (1 - good) - 0.1 * off**2 + rng.normal(0, 0.01), 0, 1))
    status, reason = Status.FINISHED, "all steps taken"
    if run.method.name == "ga" and off > 0.9:
        status, reason, utility = Status.COLLAPSED, "retain perplexity more than 10 times the original's", 0.1
    measures = {
        "forget_quality": quality,
        "retain_utility": utility,
        "avg_gap": (1 - quality) / 2,
        "retain_accuracy": utility,
        "forget_accuracy": 1 - quality,
        "mia_confidence": 0.1 + 0.8 * quality,
    }
    if run.seed == 43:
        measures["auc_loss_forget_test"] = math.nan
    return TrialRecord(
        trial_id=f"{number:04d}",
        status=status,
        parameters=dict(parameters),
        configuration=run.model_dump(mode="json"),
        measures=measures,
        original=dict(ORIGINAL),
        reference=dict(REFERENCE),
        reason=reason,
        model_path=str(folder / TRIALS / f"{number:04d}" / "model.safetensors"),
        curve={0: (0.02, 0.99), STEPS // 2: (quality / 2, utility), STEPS: (quality, utility)},
        steps=STEPS,
        unlearning_seconds=1.5 + 0.1 * run.seed,
        evaluation_seconds=0.5,
        gradient_computations=2.0 * STEPS,
        exchange_bytes=1024.0,
        trial_seconds=3.0,
        provenance={"code": "hamu_ray 0.1.0, source 0123456789ab", "data": "d" * 64},
        steps_outside_guarantee=(STEPS // 4 if off > 0.9 else 0)
        if run.method.name.startswith("hamu")
        else None,
    )


def log_trial(outbox: Outbox, sweep: str, record: TrialRecord, folder: Path, hardness: bool) -> None:
    """Log what a driver logs for a trial, and write the files that workers write."""
    name, steps = record.trial_id, list(range(1, STEPS + 1))
    run = record.configuration
    tags = {"method": run["method"]["name"], "seed": str(run["seed"]), "status": "running"}
    outbox.start_trial(name, sweep, describe(record.parameters), run, tags)
    for step, (first, second) in record.curve.items():
        outbox.log_metrics(name, {"forget_quality": first, "retain_utility": second}, step)
    outbox.log_metrics(name, record.measures, record.steps)
    history = {
        "gradient_cosine": [math.cos(step / 4) for step in steps],
        "gradient_dot": [math.cos(step / 4) / step for step in steps],
        "retain_norm": [1 / step for step in steps],
        "forget_norm": [2 / step for step in steps],
    }
    if run["method"]["name"].startswith("hamu"):
        history["stopping_margin"] = [1 / step - 0.1 for step in steps]
        history["infeasible_blocks"] = [float(step > 9) for step in steps]
        history["hardness"] = [0.25 + 0.5 * (step - 1) / (STEPS - 1) for step in steps]
        history["promise_kept"] = [0.75 if step in (1, 11) else math.nan for step in steps]
    outbox.log_history(name, history, steps)
    outbox.log_metrics(name, record.costs, record.steps)
    place = folder / TRIALS / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False))
    objectives = {step: dict(zip(OBJECTIVES, point, strict=True)) for step, point in record.curve.items()}
    reports = [Report("unlearning", step, STEPS, measures) for step, measures in objectives.items()]
    reports.append(Report("unlearning", STEPS, STEPS, record.measures, history, steps))
    (place / "reports.json").write_bytes(dump_reports(reports))
    if hardness:
        write_hardness(place / "hardness.npz", run["method"]["name"].startswith("hamu"))
        outbox.log_files(name, [place / "run.yaml", place / "hardness.npz"])
    tags = {"model_path": record.model_path, "on_front": "false", **provenance_tags(record.provenance)}
    tags |= point_tags(record.points)
    outbox.finish(name, record.status, record.reason, tags)
    write_record(folder, record)


def write_hardness(path: Path, constrained: bool) -> None:
    """Write diagnostics of every block and step; the angle of block b at step s is 10 b + s degrees."""
    grid = np.add.outer(np.arange(1, STEPS + 1), 10 * np.arange(len(BLOCKS))).astype(np.float32)
    arrays = {"angle": grid, "retain_forget": np.cos(np.deg2rad(grid)), "branch": np.ones_like(grid)}
    arrays |= {"retain_retain": np.ones_like(grid), "forget_forget": np.ones_like(grid)}
    if constrained:
        arrays |= {"feasibility": grid / 100, "stopping_term": 1 / grid}
    np.savez_compressed(path, blocks=np.array(BLOCKS), **arrays)


def fill(
    storage: Path,
    config: SweepConfig,
    *,
    name: str = "made-20260101-120000",
    experiment: str = "made",
    status: Status = Status.FINISHED,
    records: Sequence[TrialRecord] | None = None,
    running: Sequence[dict[str, Scalar]] = (),
    hardness: bool = True,
    tags: Mapping[str, str] | None = None,
) -> MlflowTracker:
    """Write a sweep like its driver, with given or synthetic records, and some running trials."""
    folder = storage / "sweeps" / name
    folder.mkdir(parents=True, exist_ok=True)
    document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    tracking = MlflowTracker.open(uri_of(storage), experiment, storage)
    outbox = Outbox(folder)
    outbox.start_sweep(name, document, {"algorithm": "random", "began": BEGAN, **(tags or {})})
    outbox.log_files(name, [folder / "sweep.yaml"])
    if records is None:
        records = [made_record(i, config, point, folder) for i, point in enumerate(points(config))]
    for record in records:
        log_trial(outbox, name, record, folder, hardness)
    for number, parameters in enumerate(running, start=len(records)):
        run = config.resolve(parameters).model_dump(mode="json")
        outbox.start_trial(f"{number:04d}", name, describe(parameters), run, {"status": "running"})
    if not running:
        leave_result(plan_sweep(config, folder), outbox, list(records), status)
    assert OutboxSender(Delivery(folder, tracking)).close() == 0
    return tracking


def uri_of(storage: Path) -> str:
    """The tracking URI of a storage path's store."""
    return f"sqlite:///{storage / 'mlflow.db'}"


def as_json(record: TrialRecord) -> dict[str, Any]:
    """A record as in its file, so that NaN equals NaN."""
    return json.loads(json.dumps(asdict(record)).replace("NaN", '"NaN"'))
