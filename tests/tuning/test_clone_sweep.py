"""A trial that a person starts from the model of another, in real processes, killed meanwhile and resumed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hamu_ray.config.sources.files import load_run
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import CHECKPOINTS, MODEL_FILE, RECORD_FILE, RUN_FILE, read_records
from hamu_ray.results.outcome import Status, Verdict
from hamu_ray.results.reader import read_sweep
from hamu_ray.storage import sha256_of_file
from hamu_ray.tracking.reader import MlflowReader
from tests.sweep_processes import log_of, start, wait_until, write_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]


def test_a_clone_is_resumed_bit_by_bit(tmp_path: Path) -> None:
    space = write_space(
        tmp_path,
        str(tmp_path / "runs"),
        {"samples": 3, "concurrent": 1},
        space={"optimizer.learning_rate": {"loguniform": [1e-3, 1e-2]}},
        workers={"count": 1, "cpus": 0.5},
        duration={"steps": 30},
        checkpoint={"every_steps": 5},
        batch={"retain": 16, "forget": 16},
    )
    trials = tmp_path / "runs" / "sweeps"
    driver = start(space)
    wait_until(lambda: list(trials.glob(f"*/trials/0000/{RECORD_FILE}")), driver, space)
    (folder,) = trials.iterdir()
    steer = [sys.executable, "-m", "hamu_ray.steer", str(folder), "clone", "0", "--set", "batch.forget=24"]
    said = subprocess.run(steer, capture_output=True, text=True, check=True).stdout
    assert said == "trial 0003 starts at the model of 0000 when a worker group is free\n"
    wait_until(lambda: list(folder.glob(f"trials/0003/{CHECKPOINTS}/*/*")), driver, space)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert start(space, "--resume").wait(timeout=900) == 0, log_of(space).read_text()

    records = {record.trial_id: record for record in read_records(folder)}
    assert {name: record.status for name, record in records.items()} == dict.fromkeys(
        ("0000", "0001", "0002", "0003"), Status.FINISHED
    )
    run = load_run(folder / "trials" / "0003" / RUN_FILE)
    assert run.start is not None
    assert run.start.sha256 == sha256_of_file(folder / "trials" / "0000" / MODEL_FILE)
    assert (run.batch.forget, run.optimizer) == (
        24,
        load_run(folder / "trials" / "0000" / RUN_FILE).optimizer,
    )
    unlearn(
        run,
        Resident(tmp_path / "runs", torch.device("cpu")),
        Alone(),
        tmp_path / "alone",
        lambda report: Verdict.GO_ON,
    )
    content = (folder / "trials" / "0003" / MODEL_FILE).read_bytes()
    assert content == (tmp_path / "alone" / MODEL_FILE).read_bytes()

    sweep = read_sweep(folder)
    (logged,) = MlflowReader.open(None, tmp_path / "runs").sweeps()
    for found in (sweep, logged):
        assert [trial.cloned_from for trial in found.trials] == ["", "", "", "0000"]
        assert found.trials[3].parameters == {**records["0000"].parameters, "batch.forget": 24}
        assert (found.expected, found.running, found.reason) == (4, False, "")
    assert (folder / "report.html").is_file()
