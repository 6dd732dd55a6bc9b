"""A long sweep with a random kill every few seconds, compared with the same trials in one process without Ray."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from hamu_ray.config.sources.files import load_sweep
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.diagnosis.diagnose import diagnose
from hamu_ray.results.folder import MODEL_FILE, read_records
from hamu_ray.results.outcome import Verdict
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, STATUS
from hamu_ray.workers.ray_private import ONE_MACHINE
from tests.faults.running import Running, new_space, points, weights
from tests.sweep_processes import ray_processes, start

KILL_SECONDS = 20.0
SAMPLE_SECONDS = 5.0
GROUPS_SECONDS = 60
GROWTH = 1.2
"""Maximum ratio of a size in the last third of the sweep to that in the first third."""
VICTIMS = ("RayTrainWorker", "TrainController", "Slot", "ImplicitFunc", "Pool", "driver")
STEPS = 40
SECTIONS: Mapping[str, Any] = {
    "space": {"optimizer.learning_rate": {"loguniform": [1e-3, 1e-1]}},
    "duration": {"steps": STEPS},
    "checkpoint": {"every_steps": 10},
    "evaluation": {"every_steps": 40, "subset": 100},
    "workers": {"count": 1, "cpus": 0.5},
    "stop": {"collapse_ratio": None},
}
GROUPS = """
import sys, ray
from ray.util import placement_group_table
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(group["state"] != "REMOVED" for group in placement_group_table().values()))
"""


@dataclass
class Sizes:
    """Samples of a sweep's processes."""

    memory: list[float] = field(default_factory=list)
    """Resident memory of the largest worker, in MB."""
    files: list[float] = field(default_factory=list)
    """Open files of the driver."""
    processes: list[float] = field(default_factory=list)
    """Actors of the cluster."""
    groups: list[float] = field(default_factory=list)
    """Placement groups, at the start and at the end only."""

    def sample(self, driver: int) -> None:
        """Add a sample; processes may end meanwhile."""
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = ray_processes("RayTrainWorker", driver)
            if workers:
                self.memory.append(max(worker.memory_info().rss for worker in workers) / 2**20)
            self.files.append(psutil.Process(driver).num_fds())
            self.processes.append(len(ray_processes("", driver)))

    def count_groups(self, driver: int) -> None:
        """Count the cluster's placement groups, as a client of the cluster."""
        raylets = [p for p in psutil.Process(driver).children(recursive=True) if p.name() == "raylet"]
        address = next(a for a in raylets[0].cmdline() if a.startswith("--gcs-address=")).partition("=")[2]
        command = [sys.executable, "-c", GROUPS, address]
        client = {**os.environ, ONE_MACHINE: "0", "RAY_AUTH_MODE": "token"}  # as the driver sets itself
        found = subprocess.run(
            command, env=client, capture_output=True, text=True, check=False, timeout=GROUPS_SECONDS
        )
        if found.returncode == 0:  # otherwise the cluster ended meanwhile
            self.groups.append(float(found.stdout))


def grown(samples: Sequence[float]) -> tuple[float, float]:
    """Return the medians of the first and of the last third."""
    third = max(len(samples) // 3, 1)
    return median(samples[:third]), median(samples[-third:])


def soak(folder: Path, trials: int, seed: int = 0) -> bool:
    """Run a sweep, print what was seen, and return whether nothing was lost and nothing has grown."""
    search = {"samples": trials, "concurrent": 2, "algorithm": "random", "retries": 10}
    space = new_space(folder / "soak", search=search, **SECTIONS)
    began = time.monotonic()
    sweep, kills, sizes = disturbed(space, trials, random.Random(seed))
    told = ", ".join(f"{count} {victim}" for victim, count in sorted(kills.items()))
    print(f"sweep: in {time.monotonic() - began:.0f} s, {sum(kills.values())} kills ({told})", flush=True)
    if not kills:
        print("FAIL nothing was killed", flush=True)
    sound = [level(name, getattr(sizes, name)) for name in vars(sizes)]
    began = time.monotonic()
    expected = undisturbed(space, folder / "undisturbed")
    print(f"undisturbed: {len(expected)} trials in {time.monotonic() - began:.0f} s", flush=True)
    return bool(kills) & all([*sound, *unharmed(sweep, expected)])


def undisturbed(space: Path, folder: Path) -> dict[str, str]:
    """Run the trials of a sweep in this process, one after another; return the hash of each model."""
    torch.set_num_threads(1)
    folder.mkdir()
    config = load_sweep(space)
    plan, resident = plan_sweep(config, folder), Resident(folder, torch.device("cpu"))
    searcher = UnlearningSearch(plan, lambda: 1)
    hashes = {}
    for trial in range(plan.trials):
        given = searcher.suggest(str(trial))
        assert given is not None
        run, name = config.resolve(given[PARAMETERS]), f"{given[NUMBER]:04}"
        outcome = unlearn(run, resident, Alone(), folder / name, lambda report: Verdict.GO_ON)
        hashes[name] = hashlib.sha256((folder / name / MODEL_FILE).read_bytes()).hexdigest()
        shutil.rmtree(folder / name)
        searcher.on_trial_complete(str(trial), {**outcome.measures, STATUS: outcome.status})
    return hashes


def disturbed(space: Path, trials: int, rng: random.Random) -> tuple[Running, Counter[str], Sizes]:
    """Run a sweep to its end with random kills; a killed driver is started again."""
    sweep, kills, sizes = Running(space, start(space)), Counter[str](), Sizes()
    sweep.wait_for_trial("0000")
    sizes.count_groups(sweep.driver.pid)
    next_kill, counted = time.monotonic() + KILL_SECONDS, False
    while sweep.driver.poll() is None or sweep.driver.returncode == -signal.SIGKILL:
        if sweep.driver.poll() is not None:
            sweep.driver = start(space, "--resume")
        time.sleep(SAMPLE_SECONDS)
        sizes.sample(sweep.driver.pid)
        ended = len(list(sweep.folder.glob("trials/*/record.json")))
        if not counted and ended >= 0.9 * trials:
            counted = True
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                sizes.count_groups(sweep.driver.pid)
        if not is_at_work(sweep.driver.pid):
            next_kill = time.monotonic() + KILL_SECONDS
        elif time.monotonic() > next_kill:
            kills.update(kill(sweep, rng))
            next_kill = time.monotonic() + KILL_SECONDS
    sweep.ends(0)
    return sweep, kills, sizes


def is_at_work(driver: int) -> bool:
    """Return whether a sweep has workers, so that it is not just starting again after a kill."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(ray_processes("RayTrainWorker", driver))
    return False


def kill(sweep: Running, rng: random.Random) -> list[str]:
    """Kill a random process of a random kind; return the kind, or nothing if there is none now."""
    victim = rng.choice(VICTIMS)
    with contextlib.suppress(psutil.NoSuchProcess):
        if victim == "driver":
            sweep.driver.kill()
            sweep.driver.wait()
            return [victim]
        if processes := ray_processes(victim, sweep.driver.pid):
            rng.choice(processes).kill()
            return [victim]
    return []


def unharmed(sweep: Running, expected: Mapping[str, str]) -> list[bool]:
    """Compare a sweep with the models of the undisturbed trials, and print it."""
    names = [record.trial_id for record in read_records(sweep.folder)]
    steps = points(f"sqlite:///{sweep.storage}/mlflow.db", sweep.folder)
    once = {trial: list(range(1, STEPS + 1)) for trial in expected}
    problems = diagnose(sweep.folder).problems
    left = {path.name for path in sweep.folder.rglob(".*") if "tune-" not in str(path)}
    checks = {
        f"{len(names)} records of {len(expected)} trials, each once": names == sorted(expected),
        f"{len(expected)} models are bit-identical": weights(sweep.storage) == expected,
        "MLflow has every step of every trial once": steps == once,
        f"{len(problems)} damaged files": not problems,
        f"{len(left)} partial files": not left,
    }
    for text, good in checks.items():
        print(f"{'ok  ' if good else 'FAIL'} {text}", flush=True)
    return list(checks.values())


def level(name: str, samples: Sequence[float]) -> bool:
    """Print how a size has changed; return whether it has not grown."""
    if not samples:
        print(f"FAIL {name}: never seen", flush=True)
        return False
    first, last = grown(samples)
    good = last <= first * GROWTH
    print(
        f"{'ok  ' if good else 'FAIL'} {name}: {first:.0f} in the first third, {last:.0f} in the last",
        flush=True,
    )
    return good
