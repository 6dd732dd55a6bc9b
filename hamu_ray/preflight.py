"""What the schema cannot know, checked before anything expensive starts: storage, tracking, models, data."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from hamu_ray.config.files import ConfigError
from hamu_ray.config.nearest import nearest
from hamu_ray.config.run import RunConfig
from hamu_ray.sweep import stores
from hamu_ray.tasks import check_data, metric_names


def check_run(run: RunConfig, source: str) -> None:
    """Check a run's surroundings, the quickest first.

    Raises:
        ConfigError: In one line with the file, the key and the remedy.
    """
    try:
        storage = check_storage(run)
        check_tracking(run, storage)
        check_models(run)
        check_data(run.data, [(run.forget, run.seed)])
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error


def check_storage(run: RunConfig) -> Path:
    """Return the storage path, which can be written; raises `ValueError`."""
    storage = Path(run.storage.path).expanduser().absolute()
    probe = storage / f".probe-{uuid4().hex}"
    try:
        storage.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"storage.path: {run.storage.path} cannot be written ({error.strerror}); take another folder"
        ) from error
    return storage


def check_tracking(run: RunConfig, storage: Path) -> None:
    """Check that the tracking store answers; raises `ValueError`."""
    try:
        stores.probe(stores.store_uri(run.tracking.uri, storage))
    except ValueError as error:
        raise ValueError(f"tracking.uri: {error}") from error


def check_models(run: RunConfig) -> None:
    """Check that the models that are given are there; raises `ValueError`."""
    for key, model in (("original", run.original), ("reference", run.reference)):
        if model.path is not None and not Path(model.path).expanduser().exists():
            raise ValueError(f"{key}.path: {model.path}: no such file or folder")


def check_objectives(metrics: Sequence[str], task: str, source: str) -> None:
    """Check that a task measures what a sweep optimises; raises `ConfigError`."""
    known = metric_names(task)
    for number, metric in enumerate(metrics):
        if metric not in known:
            raise ConfigError(
                f"{source}: search.objectives.{number}.metric: the {task} task has no metric {metric}; "
                f"{nearest(metric, known)}"
            )
