"""Fixtures of audits: originals and references of several seeds on digits, trained once for all tests."""

from pathlib import Path

import pytest
import torch
from quick_digits import MORE, ORIGINALS, REFERENCES, quick_run

from hamu_ray.auditing.evidence import Evidence
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.seeds import seed_models
from hamu_ray.results.outcome import Verdict


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What is known without an unlearned model, whose folder does not exist."""
    storage = tmp_path_factory.mktemp("storage")
    run = quick_run(storage, original={"seeds": ORIGINALS}, reference={"seeds": REFERENCES + MORE})
    resident = Resident(storage, torch.device("cpu"))
    models = seed_models(run, resident.task(run), lambda report: Verdict.GO_ON, resident.models)
    return Evidence(run, storage / "none", resident, models["original"], models["reference"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an unlearned model."""
    return tmp_path / "run"
