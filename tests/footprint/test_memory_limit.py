"""A model that does not fit under a limit of memory runs in shards under the same limit, as the estimate says."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hamu_ray.config.run import RunConfig
from hamu_ray.footprint.phases import unlearning
from hamu_ray.footprint.trace import Tracer
from hamu_ray.tasks.registry import outline_of
from tests.made_texts import text_run
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


def run_of(corpus: Path, shards: int) -> RunConfig:
    sections: dict[str, Any] = {
        "model": {"hidden_size": 512, "layers": 8, "heads": 4},
        "method": {"name": "npo"},
        "optimizer": {"name": "adamw"},
        "batch": {"retain": 2, "forget": 2, "micro": 1},
        "workers": {"count": shards, "shards": shards},
    }
    return text_run(corpus, evaluation={"enabled": False, "every_steps": None}, **sections)


def needed_by(run: RunConfig) -> int:
    found = unlearning(run, Tracer(outline_of(run)), None, "host")
    return found.total - found.held["fixed"]


def results(run: RunConfig, limit: int, storage: Path) -> list[str]:
    """Return what each worker of a run prints."""
    port = [str(free_ports(1)[0])] if run.workers.count > 1 else []
    started = [
        subprocess.Popen(
            [
                sys.executable,
                *("-m", "tests.footprint.limited_steps", str(storage / str(rank)), run.model_dump_json()),
                *(str(limit), str(rank), *port),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(run.workers.count)
    ]
    return [worker.communicate()[0].splitlines()[-1] for worker in started]


def test_a_model_that_does_not_fit_runs_in_shards(text_corpus: Path, tmp_path: Path) -> None:
    whole, halves = run_of(text_corpus, 1), run_of(text_corpus, 2)
    limit = (needed_by(whole) + needed_by(halves)) // 2
    (failed,) = results(whole, limit, tmp_path)
    assert "can't allocate memory" in failed
    losses = [float(found) for found in results(halves, limit, tmp_path)]
    (unlimited,) = results(whole, 2**34, tmp_path)
    assert losses == pytest.approx(2 * [float(unlimited)], rel=1e-5)
