"""The Ray Train trainer of a worker group."""

from pathlib import Path
from typing import Any

from ray.actor import ActorHandle
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from hamu_ray.config.workers import WorkersConfig
from hamu_ray.pairing.group import COLLECTIVE_TIMEOUT_SECONDS
from hamu_ray.storage import storage_path
from hamu_ray.workers.nodes.shared_storage import write_marker
from hamu_ray.workers.worker import serve


def make_trainer(
    workers: WorkersConfig, storage: str, name: str, slot: ActorHandle, heartbeat_seconds: float
) -> TorchTrainer:
    """Return the Ray Train trainer of a slot's worker group, which restarts the group whenever a worker dies."""
    resources = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    place = storage_path(storage) / "ray" / f"{name}.marker"
    return TorchTrainer(
        serve,
        train_loop_config={
            "slot": slot,
            "storage": storage,
            "place": str(place),
            "marker": write_marker(place),
            "heartbeat_seconds": heartbeat_seconds,
        },
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.gpus > 0,
            resources_per_worker=resources,
            accelerator_type=workers.accelerator,
            placement_strategy="PACK",
        ),
        run_config=RunConfig(
            name=name, failure_config=FailureConfig(max_failures=-1), **train_storage(storage)
        ),
        # NCCL does not support workers that share a GPU. None selects NCCL for whole GPUs and gloo for CPUs.
        torch_config=TorchConfig(
            backend="gloo" if 0 < workers.gpus < 1 else None, timeout_s=COLLECTIVE_TIMEOUT_SECONDS
        ),
    )


def train_storage(storage: str) -> dict[str, Any]:
    """Return Ray Train's storage arguments: a folder in the same storage, with the same file system."""
    place = storage_path(storage) / "ray"
    if isinstance(place, Path):
        return {"storage_path": str(place)}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return {"storage_path": place.path, "storage_filesystem": PyFileSystem(FSSpecHandler(place.fs))}
