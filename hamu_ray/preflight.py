"""What the schema cannot know, checked before anything expensive starts: packages, storage, models, tracking, data.

Imports neither torch nor ray nor mlflow, and what is quick to check comes first, so that a mistake is answered within
seconds.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from hamu_ray.config.forget import DrawnForgetSection
from hamu_ray.config.run import RunConfig, StorageConfig
from hamu_ray.config.sources.document import ConfigError, first_line
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.methods import check_installed
from hamu_ray.metrics.table import own_metrics
from hamu_ray.storage import DEFAULT_LOCAL, local_folder, storage_path, write_atomically
from hamu_ray.tasks import check_data, forecast_data, metric_names
from hamu_ray.tasks.hub import is_local
from hamu_ray.tasks.start import check_given_models
from hamu_ray.tracking import store

RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this variable for what was submitted as a job."""

SCHEMES = (
    "http",
    "https",
    "sqlite",
    "postgresql",
    "mysql",
    "mssql",
    "file",
    "databricks",
    "databricks-uc",
    "uc",
)
"""How the URIs begin that MLflow knows; a path alone is one too."""

DECIDES_SPLIT_OR_MODELS = ("seed", "data.", "forget.", "original.", "reference.")
"""Beginnings of the keys on which the data, the forget set and the given models depend."""

CHECKED_COMBINATIONS = 64
"""Combinations of their values that are checked before a sweep starts; the rest when their trials do."""


def check_run(run: RunConfig, source: str) -> None:
    """Check a run's surroundings, the quickest first; of a sweep those of its base.

    Raises:
        ConfigError: In one line with the file, the key and the remedy.
    """
    _check([run], [run.method.name], source)


def check_sweep(config: SweepConfig, source: str) -> None:
    """Check a sweep's objectives and surroundings, and every forget set and given model of its space.

    Raises:
        ConfigError: In one line with the file, the key and the remedy.
    """
    known = metric_names(config.data.task, own_metrics(config.model_dump(include={"data"})))
    for number, objective in enumerate(config.search.objectives):
        if objective.metric not in known:
            raise ConfigError(
                f"{source}: search.objectives.{number}.metric: the {config.data.task} task has no metric "
                f"{objective.metric}; {nearest(objective.metric, known)}"
            )
    _check(distinct_runs(config), config.methods, source)


def distinct_runs(config: SweepConfig) -> list[RunConfig]:
    """Return runs of a sweep with all of its data, forget sets and given models among them, up to a bound."""
    return list(islice(config.variants(DECIDES_SPLIT_OR_MODELS), CHECKED_COMBINATIONS))


def forecast_lines(runs: Sequence[RunConfig], source: str) -> Iterator[str]:
    """Yield what each forget set of these runs holds, as lines of text: how much, the first of it, its hash.

    Of forget sets that differ by their seed alone, the first.

    Raises:
        ConfigError: In one line with the file, the key and the remedy.
    """
    distinct = {(run.data, run.forget): run for run in reversed(runs)}
    for run in reversed(distinct.values()):
        settings = run.forget.model_dump(mode="json", exclude_defaults=True)
        yield f"forget set {' '.join(f'{key}={value}' for key, value in {'kind': run.forget.kind, **settings}.items())}"
        path = getattr(run.data, "path", None)
        if isinstance(run.forget, DrawnForgetSection) and path is not None and not is_local(path):
            yield "drawn when the data are loaded"  # of a data set on the hub, which this alone would download
            continue
        try:
            yield from forecast_data(
                run.data, run.forget, run.seed, run.model, local_folder(run.storage) / "data"
            ).lines()
        except ValueError as error:
            raise ConfigError(f"{source}: {first_line(error)}") from error


def _check(runs: Sequence[RunConfig], methods: Sequence[str], source: str) -> None:
    """Check runs that share storage, tracking and kind of model, and what their methods need."""
    run = runs[0]
    try:
        _check_methods(methods)
        local = _check_storage(run.storage)
        for each in runs:
            check_given_models(each)
        _check_tracking(run.tracking.uri, local)
        for data in dict.fromkeys(each.data for each in runs):
            check_data(data, [(each.forget, each.seed) for each in runs if each.data == data], run.model)
    except ValueError as error:
        raise ConfigError(f"{source}: {first_line(error)}") from error


def _check_methods(names: Sequence[str]) -> None:
    """Check that optional packages are there."""
    for name in names:
        try:
            check_installed(name)
        except ValueError as error:
            raise ValueError(f"method.name: {error}") from error


def _check_storage(config: StorageConfig) -> Path:
    """Write into the storage, and into the driver's folder where that is another; return the latter."""
    if RAY_JOB in os.environ:
        _check_outlives_the_job(config)
    _check_writable("storage.path", config.path)
    local = local_folder(config)
    if storage_path(config.path) != local:
        _check_writable("storage.local", str(local))
    return local


def _check_outlives_the_job(config: StorageConfig) -> None:
    """Check that nothing is kept in the folder of a submitted job, which each submission has anew."""
    local = config.local or (DEFAULT_LOCAL if "://" in config.path else config.path)
    for key, place in (("path", config.path), ("local", local)):
        if "://" not in place and not Path(place).expanduser().is_absolute():
            raise ValueError(
                f"storage.{key}: {place} would lie in the job's own folder, where --resume does not find it and Ray "
                f"deletes it; give an absolute path or a URL with --set storage.{key}=PATH"
            )


def _check_writable(key: str, place: str) -> None:
    try:
        probe = storage_path(place) / f".probe-{uuid4().hex}"
        write_atomically(probe, b"probe")
        probe.unlink()
    except Exception as error:  # each of fsspec's file systems raises its own
        raise ValueError(
            f"{key}: cannot write to {place}: {first_line(error)}; choose another with --set {key}=FOLDER"
        ) from error


def _check_tracking(given: str | None, storage: Path) -> None:
    """Check that the tracking store answers."""
    from_environment = not given and os.environ.get("MLFLOW_TRACKING_URI")
    key = "tracking.uri (from MLFLOW_TRACKING_URI)" if from_environment else "tracking.uri"
    uri = store.store_uri(given, storage)
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme and scheme not in SCHEMES:
            raise ValueError(
                f"{store.shown(uri)} is no tracking store; begin it with one of {', '.join(SCHEMES[:6])}, or "
                "give none to use a SQLite file"
            )
        store.probe(uri)
    except ValueError as error:
        raise ValueError(f"{key}: {first_line(error)}") from error
