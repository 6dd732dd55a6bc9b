"""One run without Tune: in this process where one worker does it, in a slot of Ray Train workers otherwise."""

import torch
from rich.console import Console

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import base_models
from hamu_ray.engine.resident import Resident
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.outcome import Outcome, Status
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.terminal.measures import measures_table
from hamu_ray.terminal.progress import RunView


def run_single(run: RunConfig, output: str | None) -> int:
    """Unlearn once and print what became of it; return the exit code: 0 finished, 1 not, 130 interrupted."""
    console = Console(highlight=False)
    storage = storage_path(run.storage.path)
    folder = storage_path(output) if output else storage / "runs" / run.name
    with RunView(console) as view:
        if run.workers.count == 1:
            end: Outcome | str = unlearn(run, Resident(storage, device()), Alone(), folder, view.hear)
        else:
            end = in_slot(run, storage, folder, view)
    if isinstance(end, str):
        console.print(f"[red]failed[/red]: {end}")
        return 1
    console.print(measures_table({**view.bases, "unlearned": end.measures}))
    style = "green" if end.status is Status.FINISHED else "red"
    console.print(f"[{style}]{end.status}[/{style}]: {end.reason} ({end.steps} steps in {end.seconds:.1f} s)")
    console.print(f"model  {shown(folder / MODEL_FILE)}")
    return {Status.FINISHED: 0, Status.INTERRUPTED: 130}.get(end.status, 1)


def in_slot(run: RunConfig, storage: StoragePath, folder: StoragePath, view: RunView) -> Outcome | str:
    """Do a run on Ray Train workers; return its outcome, or why it failed."""
    import ray

    from hamu_ray.results.outcome import Failure
    from hamu_ray.workers.cluster import connect
    from hamu_ray.workers.messages import Job
    from hamu_ray.workers.slot import CLOSE_SECONDS, follow, start_slot

    connect([run.workers], str(storage), Console(highlight=False))
    slot = start_slot(run.workers, str(storage), f"run-{run.name}")
    try:
        end = follow(Job(run.name, run, str(folder), attempts=2), slot, view.hear_all)
    finally:
        ray.wait([slot.close.remote()], timeout=CLOSE_SECONDS)
        ray.shutdown()
    return end.reason if isinstance(end, Failure) else end


def train_models(run: RunConfig) -> int:
    """Train the original model and the reference where they are missing; print where they are. Return 0."""
    console = Console(highlight=False)
    resident = Resident(storage_path(run.storage.path), device())
    with RunView(console) as view:
        task = resident.task(run)
        original, reference = base_models(run, task, Alone(), view.hear, resident.models)
    found = {"original": original, **({"reference": reference} if reference else {})}
    console.print(measures_table({name: model.measures for name, model in found.items()}))
    for name, model in found.items():
        console.print(f"{name:<10} {shown(model.path)}")
    return 0


def device() -> torch.device:
    """Return the device of this process: the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
