"""The Ray Train trainer of a worker group."""

from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from hamu_ray.config.run import WorkersConfig
from hamu_ray.storage import storage_path
from hamu_ray.workers.shared_storage import write_marker
from hamu_ray.workers.worker import serve


def make_trainer(workers: WorkersConfig, storage: str, name: str, slot: Any) -> TorchTrainer:
    """Return the Ray Train trainer of a slot's worker group."""
    resources = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    place = storage_path(storage) / "ray" / f"{name}.sign"
    return TorchTrainer(
        serve,
        train_loop_config={
            "slot": slot,
            "storage": storage,
            "place": str(place),
            "sign": write_marker(place),
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
        # NCCL refuses workers that share a GPU; None is NCCL for whole GPUs, and gloo for CPUs.
        torch_config=TorchConfig(
            backend="gloo" if 0 < workers.gpus < 1 else None, timeout_s=COLLECTIVE_TIMEOUT_SECONDS
        ),
    )


def train_storage(storage: str) -> dict[str, Any]:
    """Return where Ray Train keeps what it needs itself: in the same storage, by the same file system."""
    place = storage_path(storage) / "ray"
    if isinstance(place, Path):
        return {"storage_path": str(place)}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return {"storage_path": place.path, "storage_filesystem": PyFileSystem(FSSpecHandler(place.fs))}


COLLECTIVE_TIMEOUT_SECONDS = 6 * 3600
"""One worker may wait for another that trains a base model; a dead worker is noticed by Ray long before."""
