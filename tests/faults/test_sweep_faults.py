"""A sweep in real processes whose disk fills up, and that a second driver tries to run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hamu_ray.results.durable.append_log import read_log
from hamu_ray.results.folder import OUTBOX_FILE, read_records
from hamu_ray.results.outcome import Status
from tests.sweep_processes import log_of, start, wait_until, write_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

STEPS = 400
LENGTH = {
    "duration": {"steps": STEPS},
    "checkpoint": {"every_steps": 50},
    "evaluation": {"every_steps": 20, "subset": 100},
    "batch": {"retain": 16, "forget": 16},
    "workers": {"count": 1, "cpus": 0.5},
    "stop": {"collapse_ratio": None},
}
MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write a file until there is no room left."""
    with path.open("wb", buffering=0) as file:
        for size in (MEGABYTE, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_a_full_disk_and_a_second_driver(small_disk: Path) -> None:
    space = write_space(small_disk, str(small_disk / "runs"), {"samples": 2, "concurrent": 1}, **LENGTH)
    sweeps = small_disk / "runs" / "sweeps"
    driver = start(space)
    wait_until(lambda: list(sweeps.glob("*/trials/0000/record.json")), driver, space)

    second = subprocess.run(
        [sys.executable, "-m", "hamu_ray.tune", str(space), "--resume"],
        cwd=small_disk,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2, second.stderr
    assert f": process {driver.pid} on " in second.stderr
    assert second.stderr.count("\n") == 1

    fill(small_disk / "filler")
    assert driver.wait(timeout=300) == 1
    filled = (small_disk / "filler").stat().st_size
    (small_disk / "filler").unlink()
    assert filled > MEGABYTE
    text = log_of(space).read_text()
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert re.search(
        r"No space left on device; the \d trials? left to run needs? about \d+ MB; free space", line
    )
    assert line.endswith("the same command with --resume goes on")
    (folder,) = sweeps.iterdir()
    ended = read_records(folder)
    assert 1 <= len(ended) < 4

    assert start(space, "--resume").wait(timeout=600) == 0, log_of(space).read_text()
    records = read_records(folder)
    assert len(records) == 4
    assert records[: len(ended)] == ended, "what had ended is not run again"
    assert all(call is not None for call, _ in read_log(folder / OUTBOX_FILE))
    for name in ("front.png", "front.html", "trials.csv", "report.html"):
        assert (folder / name).stat().st_size > 0
    client = MlflowClient(tracking_uri=f"sqlite:///{small_disk}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("hamu_ray")
    assert experiment is not None
    trials = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    assert len(trials) == 4
    for run in trials:
        if run.data.tags["status"] == Status.FINISHED:
            steps = [m.step for m in client.get_metric_history(run.info.run_id, "gradient_cosine")]
            assert sorted(steps) == list(range(1, STEPS + 1)), "every step once"
