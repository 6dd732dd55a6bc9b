"""Models that are not trained here: found, identified and loaded."""

import torch
from torch import nn

from hamu_ray.config.run import RunConfig, StartConfig
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.storage import StoragePath, storage_path
from hamu_ray.tasks.models.checkpoints import Checkpoint, file_digest
from hamu_ray.tasks.models.start import checkpoint_at
from hamu_ray.tasks.task import Start, Task

Given = Start | StoragePath
"""A model that is not trained here: a checkpoint, or a safetensors file."""


def given(run: RunConfig, key: str, name: str) -> Given:
    """Return the model that a configuration key names; raises `ValueError` if the file does not exist."""
    checkpoint = checkpoint_at(run, key, name)
    if checkpoint is not None:
        return Start(key, checkpoint.name, new_head=run.reference.new_head and key == "reference.start")
    path = storage_path(name)
    path = path / MODEL_FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{key}: {path}: no such file; give a {MODEL_FILE} or a folder that contains one")
    return path


def built(
    task: Task, seed: int, source: Given, key: str = "", *, device: torch.device | None = None
) -> nn.Module:
    """Return a model with the weights of a given or stored one, by default on the task's device.

    Raises `ValueError` if they do not fit, with the configuration's ``key`` of a given file.
    """
    if isinstance(source, Start):
        return task.build_model(seed, source, device)
    model = task.build_model(seed, device=device)
    try:
        load_model(model, source)
    except ValueError as error:
        raise ValueError(f"{key}: {error}" if key else str(error)) from error
    return model


def start_file(start: StartConfig) -> StoragePath:
    """Return the file of the model of an earlier run; raises `ValueError` if it does not exist, or was changed."""
    path = storage_path(start.path) / MODEL_FILE
    if not path.is_file():
        raise ValueError(f"start.path: {path}: no such file; give the folder of a run with a model")
    found = file_digest(path)
    if start.sha256 is not None and found != start.sha256:
        raise ValueError(
            f"start.sha256: {path} has {found}; it was written again since, remove start.sha256 to take it"
        )
    return path


def identity_of_start(start: StartConfig) -> str:
    """Return the SHA-256 of the model of an earlier run; it need not exist any more where the configuration has it."""
    return start.sha256 or file_digest(start_file(start))


def load_start(model: nn.Module, start: StartConfig) -> None:
    """Load the model of an earlier run in place; raises `ValueError` as `start_file`, or if it does not fit."""
    path = start_file(start)
    try:
        load_model(model, path)
    except ValueError as error:
        raise ValueError(f"start.path: {error}") from error


def identity_of(run: RunConfig, key: str, name: str) -> str:
    """Return the identity of a given model: its content, or its commit on the hub."""
    source = given(run, key, name)
    if isinstance(source, Start):
        return Checkpoint(source.key, source.name).identity
    return file_digest(source)
