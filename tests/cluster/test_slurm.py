"""`cluster/slurm.sh` in practice, with a scheduler that runs every step on this machine."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.ports import are_free, free_port
from tests.sweep_processes import write_space

pytestmark = [pytest.mark.ray, pytest.mark.server, pytest.mark.timeout(1200)]

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"

SECRETS = {
    name: f"planted-{name.lower()}-4f9c2b7e"
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI")
}

SRUN = """#!/bin/bash
# Steps run here. A copy of what they remove is kept, to be looked through.
while [[ $1 == --* ]]; do
    echo "$1" >>"$STEPS"
    shift
done
echo "$*" >>"$STEPS"
if [[ $1 == rm ]]; then cp -r -- "${@: -1}" "$KEPT"; fi
exec "$@"
"""


def free_job() -> int:
    """Return a job number whose ports, which the script derives from it, are free."""
    return next(
        job for job in ((free_port() - 20_000) // 10 for _ in range(1000)) if are_free(20_000 + job * 10, 4)
    )


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the job's script like Slurm: on the first node of the allocation, in the folder it was submitted from."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    (folder / "kept").mkdir(exist_ok=True)
    for name, text in {"srun": SRUN, "scontrol": "#!/bin/bash\necho localhost\n"}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    own = {
        "SLURM_JOB_ID": str(free_job()),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_CPUS_PER_TASK": "2",
        "HAMU_VENV": str(Path(sys.executable).parents[1]),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(SCRIPT.parents[1]),
        "STEPS": str(folder / "steps"),
        "KEPT": str(folder / "kept"),
        "TMPDIR": "/tmp",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={**inherited, **own, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_without_a_search_space_it_prints_its_usage(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch cluster/slurm.sh SPACE.yaml")


def answers(port: int) -> bool:
    """Whether a server responds quickly."""
    try:
        urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Job:
    """A completed job."""

    folder: Path
    output: str
    code: int


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A sweep with an MLflow server and with secrets in its environment."""
    folder = tmp_path_factory.mktemp("job")
    space = write_space(folder, str(folder / "runs"), {"samples": 1, "concurrent": 1}, duration={"steps": 3})
    port = free_port()
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
              "--backend-store-uri", f"sqlite:///{folder}/tracked/mlflow.db",
              "--artifacts-destination", f"{folder}/tracked/artifacts"]  # fmt: skip
    (folder / "tracked").mkdir()
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(server, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not answers(port):
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        uri = f"http://me:{SECRETS['MLFLOW_TRACKING_URI']}@127.0.0.1:{port}"
        done = run(folder, str(space), **{**SECRETS, "MLFLOW_TRACKING_URI": uri})
        yield Job(folder, done.stdout + done.stderr, done.returncode)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def test_it_runs_a_sweep_and_cleans_up(job: Job) -> None:
    assert job.code == 0, job.output
    assert list((job.folder / "runs" / "sweeps").glob("tiny-*/front.csv"))
    steps = (job.folder / "steps").read_text()
    assert "ray start --head" in steps
    assert "--dashboard-host 127.0.0.1" in steps
    assert not list(job.folder.glob(".hamu-ray-*")), "the token is gone"
    temporary = next(line for line in steps.splitlines() if line.startswith("rm -rf -- ")).removeprefix(
        "rm -rf -- "
    )
    assert not Path(temporary).exists()
    assert not [
        p.pid for p in psutil.process_iter(["cmdline"]) if temporary in " ".join(p.info["cmdline"] or [])
    ]


def test_the_server_has_its_trials(job: Job) -> None:
    with sqlite3.connect(job.folder / "tracked" / "mlflow.db") as database:
        statuses = database.execute("select value from tags where key = 'status'").fetchall()
    assert statuses == [("finished",)] * 3, "two trials and their sweep"


def test_no_secret_of_the_environment_is_written_anywhere(job: Job) -> None:
    """Neither in results, tracking and the terminal, nor in the logs of Ray and of the server."""
    assert not [name for name, secret in SECRETS.items() if secret in job.output]
    files = [path for path in job.folder.rglob("*") if path.is_file()]
    for expected in (
        "kept/*/session_*/logs/gcs_server.out",
        "runs/sweeps/*/tracking.jsonl",
        "tracked/mlflow.db",
    ):
        assert list(job.folder.glob(expected)), "what is looked through is there"
    found = [
        (name, str(path.relative_to(job.folder)))
        for path in files
        for name, secret in SECRETS.items()
        if secret.encode() in path.read_bytes()
    ]
    assert found == []
