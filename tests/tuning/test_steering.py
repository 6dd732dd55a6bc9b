"""A person stops trials: the request is read, and removed once the trial has ended."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from hamu_ray.results.durable.lease import Lease
from hamu_ray.results.folder import SWEEP_FILE
from hamu_ray.results.outcome import Verdict
from hamu_ray.results.steering.stops import request_stop, stop_requests
from hamu_ray.tracking.outbox import Outbox
from hamu_ray.tuning import steering
from hamu_ray.tuning.steering import Steering
from hamu_ray.tuning.trainable import NUMBER, PAUSED
from tests.made_store import points, sweep_config

CONFIG = sweep_config()
NAME = "made-20260101-120000"


def completed(number: int, paused: int) -> SimpleNamespace:
    """A Tune trial that has ended, or waits at the rung of a step."""
    return SimpleNamespace(config={NUMBER: number}, last_result={PAUSED: paused})


def test_requests_hold_until_their_trials_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "POLL_SECONDS", 0.0)
    cancelled: list[tuple[str, Verdict]] = []
    pool = SimpleNamespace(cancel=SimpleNamespace(remote=lambda *call: cancelled.append(call)))
    callback = Steering(tmp_path, cast("Any", pool))
    callback.on_step_end(0, [])
    assert not cancelled
    request_stop(tmp_path, "0003")
    for _ in range(2):
        callback.on_step_end(0, [])
    assert cancelled == [("0003", Verdict.STOP)] * 2
    for number, paused in ((2, 0), (3, 10)):
        callback.on_trial_complete(0, [], completed(number, paused))
        assert stop_requests(tmp_path) == {"0003"}
    callback.on_trial_complete(0, [], completed(3, 0))
    assert not stop_requests(tmp_path)


def test_the_command(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / SWEEP_FILE).write_text(yaml.safe_dump(CONFIG.whole))
    outbox = Outbox(folder)
    outbox.start_sweep(NAME, CONFIG.whole)
    run = CONFIG.resolve(points(CONFIG)[3]).model_dump(mode="json")
    outbox.start_trial("0003", NAME, "", run, {"status": "running"})

    def stop(trial: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hamu_ray.steer", NAME, "stop", trial]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    ended = stop("3")
    assert (ended.returncode, ended.stderr) == (2, f"error: {NAME}: no driver runs this sweep\n")
    with Lease(folder):
        wrong = stop("0004")
        assert (wrong.returncode, wrong.stderr) == (
            2,
            "error: 0004: does not run; running trials: 0003\n",
        )
        assert "error: ²: does not run" in stop("²").stderr
        assert not stop_requests(folder)
        assert stop("3").stdout == "trial 0003 ends at its next report\n"
    assert stop_requests(folder) == {"0003"}
