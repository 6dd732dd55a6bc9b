"""Originals and references of several seeds are trained once, and found by every run that they belong to."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from quick_digits import quick_run

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.seeds import seed_models
from hamu_ray.metrics.measured import Measured
from hamu_ray.pairing.group import Alone
from hamu_ray.results.outcome import Report, Verdict

BRIEF = {"epochs": 1, "batch_size": 2000}


class Trained:
    """A callback that counts the trained models."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def __call__(self, report: Report) -> Verdict:
        self.count[report.phase] += report.step == report.total_steps and bool(report.measures)
        return Verdict.GO_ON


def made(run: RunConfig, resident: Resident) -> tuple[dict[str, list[StoredModel]], Counter[str]]:
    trained = Trained()
    return seed_models(run, resident.task(run), trained, resident.models), +trained.count


@pytest.fixture
def resident(tmp_path: Path) -> Resident:
    return Resident(tmp_path, torch.device("cpu"))


def test_models_of_seeds_are_trained_once(tmp_path: Path, resident: Resident) -> None:
    def run(seed: int = 41, training_seed: int | None = None, **counts: int) -> RunConfig:
        sections = {phase: {"seeds": count} for phase, count in counts.items()}
        return quick_run(tmp_path, seed=seed, training={**BRIEF, "seed": training_seed}, **sections)

    found, trained = made(run(original=2, reference=3), resident)
    assert trained == {"original": 2, "reference": 3}
    assert len({model.key for models in found.values() for model in models}) == 5
    for known in (run(original=2, reference=3), run(reference=2), run(seed=7, training_seed=41, original=2)):
        assert not made(known, resident)[1]
    assert made(run(original=3), resident)[1] == {"original": 1}
    # Number and seed add up: the second of seed 41 is the first of seed 42 with the same forget set.
    following, trained = made(run(seed=42), resident)
    assert not trained
    assert [following[phase][0].key for phase in found] == [models[1].key for models in found.values()]


def test_unlearning_starts_from_the_first_original_and_trains_no_other(
    tmp_path: Path, resident: Resident
) -> None:
    run = quick_run(tmp_path, training=BRIEF, original={"seeds": 3}, reference={"seeds": 2})
    trained = Trained()
    original, reference = base_models(run, resident.task(run), Alone(), trained, resident.models)
    assert +trained.count == {"original": 1, "reference": 2}
    found, _ = made(run, resident)
    assert original.key == found["original"][0].key
    assert reference is not None
    assert isinstance(reference.measures, Measured)
    losses = np.reshape(reference.measures.per_item["forget_losses"], (2, -1))
    for row, stored in zip(losses, found["reference"], strict=True):
        assert isinstance(stored.measures, Measured)
        assert row.tolist() == stored.measures.per_item["forget_losses"]


@pytest.mark.parametrize("phase", ["original", "reference"])
def test_only_what_is_trained_has_seeds(phase: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {phase: {"path": "model.safetensors", "seeds": 2}}
    with pytest.raises(ValidationError, match="seeds: applies only to source: train; remove it"):
        quick_run(tmp_path, **given)
