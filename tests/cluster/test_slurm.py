"""`cluster/slurm.sh` run for real, with a scheduler that runs every step on this machine."""

import os
import random
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.sweep.sweep_processes import write_space

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"

SRUN = """#!/bin/bash
# Steps run here; those for all but the head have no machine to run on.
while [[ $1 == --* ]]; do
    echo "$1" >>"$STEPS"
    shift
done
echo "$*" >>"$STEPS"
exec "$@"
"""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the job's script as Slurm does: on the first node of the allocation, in the folder it was submitted from."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name, text in {"srun": SRUN, "scontrol": "#!/bin/bash\necho localhost\n"}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    own = {
        "SLURM_JOB_ID": str(random.SystemRandom().randrange(1, 10**6)),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_CPUS_PER_TASK": "2",
        "HAMU_VENV": str(Path(sys.executable).parents[1]),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(SCRIPT.parents[1]),
        "STEPS": str(folder / "steps"),
        "TMPDIR": "/tmp",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={**inherited, **own, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_without_a_search_space_it_says_how_it_is_used(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: sbatch cluster/slurm.sh SPACE.yaml")


def test_it_sweeps_and_leaves_nothing_behind(tmp_path: Path) -> None:
    space = write_space(
        tmp_path, str(tmp_path / "runs"), {"samples": 1, "concurrent": 1}, duration={"steps": 3}
    )
    done = run(tmp_path, str(space))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "runs" / "sweeps").glob("tiny-*/front.csv"))
    steps = (tmp_path / "steps").read_text()
    assert "ray start --head" in steps
    assert "--dashboard-host 127.0.0.1" in steps
    assert not list(tmp_path.glob(".hamu-ray-*")), "the token is gone"
    temporary = next(line for line in steps.splitlines() if line.startswith("rm -rf -- ")).removeprefix(
        "rm -rf -- "
    )
    assert not Path(temporary).exists()
    assert not [
        p.pid for p in psutil.process_iter(["cmdline"]) if temporary in " ".join(p.info["cmdline"] or [])
    ]
