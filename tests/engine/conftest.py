"""Fixtures of the engine's tests: one store, whose base models are trained once."""

from pathlib import Path

import pytest
import torch
from cheap_runs import ReportList, cheap_run

from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.files.store import StoredModel
from hamu_ray.engine.resident import Resident
from hamu_ray.pairing.group import Alone


@pytest.fixture(scope="session")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Resident:
    return Resident(tmp_path_factory.mktemp("storage"), torch.device("cpu"))


@pytest.fixture(scope="session")
def bases(resident: Resident) -> tuple[StoredModel, StoredModel]:
    """The original model and the reference of every cheap run with default sections."""
    run = cheap_run()
    original, reference = base_models(run, resident.task(run), Alone(), ReportList(), resident.models)
    assert reference is not None
    return original, reference


@pytest.fixture
def folder(tmp_path: Path, bases: object) -> Path:
    """A run's folder; depends on the base models."""
    return tmp_path / "run"
