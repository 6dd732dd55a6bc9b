"""Metrics of models that are known to have forgotten or not. Digits, class 0."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cheap_runs import Done, ReportList, cheap_run, done

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.resident import Resident
from hamu_ray.metrics.comparison import forget_quality
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.pairing.group import Alone

SEEDS = 3
REFERENCES = {"seeds": SEEDS}


def bases(run: RunConfig, resident: Resident) -> tuple[StoredModel, StoredModel, ReportList]:
    reports = ReportList()
    original, reference = base_models(run, resident.task(run), Alone(), reports, resident.models)
    assert reference is not None
    return original, reference, reports


def judged(measures: Measures, resident: Resident) -> Measures:
    """Compare a model with the references of all seeds."""
    run = cheap_run(reference=REFERENCES)
    original, reference, _ = bases(run, resident)
    return resident.task(run).compare(measures, original.measures, reference.measures)


def test_references_are_trained_once_and_found_by_any_run(tmp_path: Path) -> None:
    store = Resident(tmp_path, torch.device("cpu"))
    recipe = {"epochs": 1, "batch_size": 2000, "select": "last"}

    def run(seed: int = 41, training_seed: int | None = None, references: int = SEEDS) -> RunConfig:
        return cheap_run(
            seed=seed, training={**recipe, "seed": training_seed}, reference={"seeds": references}
        )

    _, reference, reports = bases(run(), store)
    phases = [report.phase for report in reports.reports]
    assert (phases.count("original"), phases.count("reference")) == (
        phases.count("original"),
        SEEDS * phases.count("original"),
    )
    for known in (run(), run(references=1), run(seed=7, training_seed=41)):
        assert not bases(known, store)[2].reports
    assert isinstance(reference.measures, Measured)
    losses = np.reshape(reference.measures.per_item["forget_losses"], (SEEDS, -1))
    _, second, reports = bases(run(seed=42, references=1), store)
    assert not list(reports.of("reference")), "the reference of seed 42 is the second of seed 41"
    assert isinstance(second.measures, Measured)
    assert second.measures.per_item["forget_losses"] == losses[1].tolist()


def test_a_reference_of_another_seed_is_at_the_ceiling(resident: Resident) -> None:
    """It passes: it is no farther from the references than they are from each other."""
    original, _, _ = bases(cheap_run(), resident)
    run = cheap_run(training={"seed": 41 + SEEDS}, original={"path": str(original.path)})
    _, another, _ = bases(run, resident)
    compared = judged(another.measures, resident)
    _, reference, _ = bases(cheap_run(reference=REFERENCES), resident)
    assert isinstance(reference.measures, Measured)
    losses = np.reshape(reference.measures.per_item["forget_losses"], (SEEDS, -1))
    each = [forget_quality(losses[i], np.delete(losses, i, axis=0).ravel()) for i in range(SEEDS)]
    assert compared["forget_quality_ceiling"] == pytest.approx(np.mean(each))
    assert compared["forget_quality"] > min(each) - 0.1
    assert compared["forget_quality"] > 0.5
    assert compared["forget_accuracy_quality"] > 0.95
    assert compared["avg_gap"] < 0.05


def test_the_original_fails(resident: Resident) -> None:
    original, _, _ = bases(cheap_run(), resident)
    compared = judged(original.measures, resident)
    assert compared["forget_quality"] < 0.05
    assert compared["forget_accuracy_quality"] < 0.05
    assert compared["avg_gap"] > 0.3


def over_forgotten(resident: Resident, folder: Path) -> Done:
    run = cheap_run(
        method={"name": "gdiff"},
        optimizer={"learning_rate": 0.3},
        duration={"steps": 20},
        reference=REFERENCES,
        stop={"collapse_ratio": None},
    )
    return done(run, resident, folder)


def test_a_model_that_forgot_too_much_fails(resident: Resident, tmp_path: Path) -> None:
    """Its accuracy on the class equals the references': zero. Its losses are far above theirs."""
    measures = over_forgotten(resident, tmp_path).outcome.measures
    _, reference, _ = bases(cheap_run(), resident)
    assert measures["forget_loss"] > 2 * reference.measures["forget_loss"]
    assert measures["forget_accuracy_quality"] > 0.95
    assert measures["forget_quality"] < 0.1
