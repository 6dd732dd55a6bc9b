"""A single run without Tune: in this process with one worker, in slots of Ray Train workers otherwise."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.seeds import seed_models
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.durable.sealed import Damaged, digest_of
from hamu_ray.results.folder import MODEL_FILE, RUNS, read_outcome
from hamu_ray.results.outcome import Failure, Outcome, Status
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.terminal.console import Console
from hamu_ray.terminal.metrics import metrics_table
from hamu_ray.terminal.progress import RunView
from hamu_ray.workers.items import measure_here
from hamu_ray.workers.rehearsal import rehearse_runs


@dataclass(frozen=True)
class SingleRun:
    """How a run ended, and where it left its model."""

    end: Outcome | Failure
    folder: StoragePath
    bases: Mapping[str, Mapping[str, float]]
    """Metrics of the original and the reference."""

    @property
    def exit_code(self) -> int:
        """0 finished, 1 not, 130 interrupted."""
        if isinstance(self.end, Failure):
            return 1
        return {Status.FINISHED: 0, Status.INTERRUPTED: 130}.get(self.end.status, 1)


def run_single(run: RunConfig, output: str | None = None, force: bool = False) -> SingleRun:
    """Unlearn once and print the result.

    Raises:
        ConfigError: The folder holds the result of a run, and ``force`` does not say that it may be replaced; or the
            data or a model cannot be used.
    """
    console = Console()
    storage = storage_path(run.storage.path)
    folder = storage_path(output) if output else storage / RUNS / folder_name(run)
    if not force and is_taken(folder):
        raise ConfigError(
            f"{shown(folder)}: holds the model of a run that has ended; give --force to replace it, or another place "
            "with --output FOLDER"
        )
    rehearse_runs([run], storage)
    with RunView(console) as view:
        if run.workers.count == 1:
            end: Outcome | Failure = unlearn(run, Resident(storage, device()), Alone(), folder, view.show)
        else:
            end = run_in_slot(run, storage, folder, view, console)
    is_finished = isinstance(end, Outcome) and end.status is Status.FINISHED
    if is_finished and run.evaluation.enabled and (run.workers.count == 1 or not run.workers.gpus):
        measure_here([str(folder)], str(storage))
    single = SingleRun(end, folder, view.bases)
    if isinstance(end, Failure):
        console.verdict("failed", end.reason, good=False)
        return single
    console.print(metrics_table({**view.bases, "unlearned": end.measures}))
    detail = f"{end.reason} ({end.steps} steps in {end.seconds:.1f} s)"
    console.verdict(end.status, detail, good=end.status is Status.FINISHED)
    if end.nothing_to_forget:
        console.text(end.nothing_to_forget, "yellow")
    if end.reference_origin:
        console.text(f"the reference {end.reference_origin}")
    console.text(f"model  {shown(folder / MODEL_FILE)}")
    return single


def folder_name(run: RunConfig) -> str:
    """Return the name of a run's folder: that of the run, its method, and a hash of what it computes."""
    where = {"workers", "storage", "tracking", "checkpoint"}
    document = {**run.model_dump(mode="json", exclude=where), "method": run.method.used}
    settings = json.dumps(document, sort_keys=True)
    method = re.sub(r"[^\w.-]", "-", run.method.name)  # package.module:NAME
    return f"{run.name}-{method}-{digest_of(settings.encode(), 3)}"


def is_taken(folder: StoragePath) -> bool:
    """Whether a folder holds the result of a run that has ended, intact or not."""
    try:
        return read_outcome(folder) is not None
    except Damaged:
        return True


def run_in_slot(
    run: RunConfig, storage: StoragePath, folder: StoragePath, view: RunView, console: Console
) -> Outcome | Failure:
    """Run on Ray Train workers; return the outcome. A run that loses its slot continues in another one."""
    import ray

    from hamu_ray.workers.attempts import run_to_end
    from hamu_ray.workers.cluster import connected
    from hamu_ray.workers.messages import Job
    from hamu_ray.workers.pool import start_pool
    from hamu_ray.workers.slot import CLOSE_SECONDS

    with connected([run.workers], str(storage), console.text):
        pool = start_pool(str(storage), f"run-{run.name}", 1, 1, run.workers)
        try:
            return run_to_end(Job(run.name, run, str(folder), attempts=2), pool, 1, view.show_all)
        finally:
            ray.wait([pool.close.remote()], timeout=CLOSE_SECONDS)
            ray.kill(pool)


def train_models(run: RunConfig) -> int:
    """Train the originals and references of all seeds if they do not exist yet; print their paths. Return 0."""
    console = Console()
    storage = storage_path(run.storage.path)
    rehearse_runs([run], storage)
    resident = Resident(storage, device())
    with RunView(console) as view:
        task = resident.task(run)
        found = seed_models(run, task, view.show, resident.models)
    first = {phase: models[0] for phase, models in found.items() if models}
    console.print(metrics_table({phase: model.measures for phase, model in first.items()}))
    for phase, models in found.items():
        for model in models:
            console.fields({phase: model.place}, width=10)
    return 0


def device() -> torch.device:
    """Return the device of this process: the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
