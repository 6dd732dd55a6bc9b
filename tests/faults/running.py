"""A sweep in real processes that faults happen to, and the comparison with one that was left alone."""

import hashlib
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient

from hamu_ray.results.diagnosis.diagnose import diagnose
from hamu_ray.results.folder import MODEL_FILE, read_records
from tests.sweep_processes import log_of, ray_processes, start, wait_until, write_space

STEPS = 60
SEARCH = {"samples": 2, "concurrent": 1}
LENGTH: dict[str, Any] = {
    "duration": {"steps": STEPS},
    "checkpoint": {"every_steps": 5},
    "evaluation": {"every_steps": 20, "subset": 100},
    "batch": {"retain": 16, "forget": 16},
}
RESUME = "--resume"


@dataclass
class Running:
    """A sweep of four trials, and its driver."""

    space: Path
    driver: subprocess.Popen
    shared: Path | None = None
    """The storage, if it is not the driver's folder."""

    @property
    def storage(self) -> Path:
        return self.shared or self.space.parent / "runs"

    @property
    def folder(self) -> Path:
        """The sweep's folder, once it has started."""
        (folder,) = (self.space.parent / "runs" / "sweeps").glob("tiny-*")
        return folder

    @property
    def log(self) -> str:
        return log_of(self.space).read_text()

    def wait_for_trial(self, trial: str, step: int = 10) -> None:
        """Wait until a trial has a checkpoint of this step."""

        def under_way() -> bool:
            results = self.storage / "sweeps"
            steps = [
                int(p.stem[5:]) for p in results.glob(f"*/trials/{trial}/checkpoints/*/step-*.safetensors")
            ]
            return any(results.glob(f"*/trials/{trial}/outcome.json")) or max(steps, default=0) >= step

        wait_until(under_way, self.driver, self.space)

    def processes(self, name: str) -> list[psutil.Process]:
        """The processes of the cluster with a name: an actor class, `raylet` or `gcs_server`."""
        children = psutil.Process(self.driver.pid).children(recursive=True)
        return [p for p in children if p.name() == name] or ray_processes(name, self.driver.pid)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> psutil.Process:
        """Send a signal to the newest process with a name."""
        process = self.processes(name)[-1]
        process.send_signal(number)
        return process

    def ends(self, code: int, *lines: str) -> None:
        """Wait for the driver's end, and check its exit code and that the log has these texts and no traceback."""
        try:
            assert self.driver.wait(timeout=900) == code, self.log
        except subprocess.TimeoutExpired:
            self.driver.kill()
            raise
        for line in lines:
            assert line in self.log, self.log
        assert "Traceback" not in self.log, self.log

    def resumes(self) -> None:
        """Run the rest of the sweep."""
        self.driver = start(self.space, RESUME)
        self.ends(0)


def new_space(folder: Path, base: Path | None = None, **sections: Any) -> Path:
    """Write a space, with the base models of another sweep."""
    if base is not None:
        shutil.copytree(base.parent / "runs" / "models", folder / "runs" / "models")
    return write_space(folder, str(folder / "runs"), sections.pop("search", SEARCH), **{**LENGTH, **sections})


def weights(storage: Path) -> dict[str, str]:
    """The hash of each trial's model; equal weights are equal files."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((storage / "sweeps").glob(f"*/trials/*/{MODEL_FILE}"))
    }


def points(uri: str, folder: Path, metric: str = "gradient_cosine") -> dict[str, list[int]]:
    """The steps of a metric that MLflow has for each trial of a sweep."""
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = client.search_experiments(filter_string="name = 'hamu_ray'")
    found: dict[str, list[int]] = {}
    for run in client.search_runs(
        [experiment.experiment_id], f"tags.kind = 'trial' and tags.sweep = '{folder.name}'"
    ):
        name = run.data.tags["trial"]
        assert name not in found, f"{name} is tracked twice"
        found[name] = sorted(point.step for point in client.get_metric_history(run.info.run_id, metric))
    return found


def assert_nothing_lost(sweep: Running, undisturbed: Path, uri: str = "") -> None:
    """Every trial once, with the weights of the undisturbed sweep, every step tracked once, every file sound."""
    expected = weights(undisturbed.parent / "runs")
    assert weights(sweep.storage) == expected
    assert [record.trial_id for record in read_records(sweep.folder)] == sorted(expected)
    steps = points(uri or f"sqlite:///{sweep.storage}/mlflow.db", sweep.folder)
    assert steps == {trial: list(range(1, STEPS + 1)) for trial in expected}
    diagnosis = diagnose(sweep.folder)
    assert not diagnosis.problems, "\n".join(map(str, diagnosis.problems))
