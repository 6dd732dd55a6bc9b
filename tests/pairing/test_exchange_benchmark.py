"""The exchange benchmark runs, and the counted bytes match the formula."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "scripts" / "bench" / "exchange"


def test_the_benchmark_matches_the_formula() -> None:
    options = ["--workers", "2", "--parameters", "1000", "--blocks", "3", "--steps", "1"]
    result = subprocess.run(
        [sys.executable, str(BENCH), *options], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "segments" in result.stdout
