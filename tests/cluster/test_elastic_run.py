"""A run whose cluster loses a node goes on with fewer workers with the numbers of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Verdict
from tests.cluster import shrinking_run
from tests.runs import small_run

STEPS = 300

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

REMAINING, LEAVING = 1, 1
"""Workers on the node that stays, and on the one that leaves."""


def weights(path: Path) -> torch.Tensor:
    tensors = load_file(path)
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


def test_a_run_goes_on_with_fewer_workers(storage: Path, tmp_path: Path) -> None:
    sections = {
        "batch": {"retain": 50, "forget": 30},
        "duration": {"steps": STEPS},
        "optimizer": {"name": "adamw", "learning_rate": 1e-5},
        "checkpoint": {"every_steps": 20},
        "workers": {"count": REMAINING + LEAVING, "min_count": 1},
    }
    run = RunConfig.model_validate(small_run(storage, **sections))
    one = run.model_copy(update={"workers": run.workers.model_copy(update={"count": 1})})
    resident = Resident(storage, torch.device("cpu"))
    alone = unlearn(one, resident, Alone(), tmp_path / "alone", lambda report: Verdict.GO_ON)

    document = tmp_path / "run.json"
    document.write_text(run.model_dump_json())
    arguments = [str(document), str(tmp_path / "elastic"), str(REMAINING), str(LEAVING)]
    ended = subprocess.run(
        [sys.executable, shrinking_run.__file__, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen["sizes"] == [2, 1], seen
    assert seen["steps"] == alone.steps == STEPS, seen
    found, expected = weights(tmp_path / "elastic" / MODEL_FILE), weights(tmp_path / "alone" / MODEL_FILE)
    assert (found - expected).norm() <= 1e-5 * expected.norm()
