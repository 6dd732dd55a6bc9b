"""A sweep whose trials keep models on their way, in real processes, killed meanwhile and resumed."""

import signal
from pathlib import Path

import pytest
import torch

from hamu_ray.config.sources.files import load_run, load_sweep
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import KEPT, MODEL_FILE, RUN_FILE, read_records
from hamu_ray.results.outcome import Verdict
from hamu_ray.results.reader import read_sweep
from hamu_ray.tuning.plan import plan_sweep
from tests.sweep_processes import log_of, start, wait_until, write_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]


def test_killed_while_trials_keep_models_the_points_are_the_same(tmp_path: Path) -> None:
    space = write_space(
        tmp_path,
        str(tmp_path / "runs"),
        {"samples": 2, "concurrent": 2, "points_per_trial": 2},
        workers={"count": 1, "cpus": 0.5},
        duration={"steps": 24},
        checkpoint={"every_steps": 5},
        evaluation={"every_steps": 2, "subset": 100},
        batch={"retain": 16, "forget": 16},
    )
    sweeps = tmp_path / "runs" / "sweeps"
    driver = start(space)
    wait_until(lambda: list(sweeps.glob(f"*/trials/*/{KEPT}/*/*")), driver, space)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    (folder,) = sweeps.iterdir()
    assert start(space, "--resume").wait(timeout=900) == 0, log_of(space).read_text()

    plan, resident = plan_sweep(load_sweep(space), folder), Resident(tmp_path / "runs", torch.device("cpu"))
    assert any(record.points for record in read_records(folder))
    for record in read_records(folder):
        run = load_run(folder / "trials" / record.trial_id / RUN_FILE)
        alone = tmp_path / "alone" / record.trial_id
        end = unlearn(run, resident, Alone(), alone, lambda report: Verdict.GO_ON, (), plan.keeping)
        assert record.points == end.points
        for one, other in zip(record.candidates, [alone, *alone.parent.glob(f"{alone.name}@*")], strict=True):
            content = (folder / "trials" / one.trial_id / MODEL_FILE).read_bytes()
            assert content == (alone.parent / one.trial_id / MODEL_FILE).read_bytes(), other
        assert not (folder / "trials" / record.trial_id / KEPT).exists()
    front = [trial.trial_id for trial in read_sweep(folder).summary.front]
    assert any("@" in name for name in front), front
