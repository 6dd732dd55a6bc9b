import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench" / "step"


@pytest.mark.parametrize("task", ["vision", "language"])
def test_the_step_benchmark_runs(task: str) -> None:
    """Only that it runs: timings of such small batches, on a machine that runs tests, are meaningless."""
    small = ["--task", task, "--device", "cpu", "--batch", "4", "--repeats", "1", "--threads", "1"]
    small += ["--precision", "float32"]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *small], capture_output=True, text=True, timeout=100
    )
    assert result.returncode in (0, 1), result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.strip().startswith("float32")]
    assert [row[1] for row in rows] == ["bare", "task", "step"]
    assert float(rows[2][-2]) > 0
