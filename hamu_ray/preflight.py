"""Checks before anything expensive starts that the schema cannot do: packages, storage, models, tracking, data.

Imports neither torch nor ray nor mlflow, and runs fast checks first, so that mistakes are reported within seconds.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from hamu_ray.config.run import MODEL_FILE, RunConfig, StorageConfig
from hamu_ray.config.search import Objective, SearchConfig
from hamu_ray.config.sources.document import ConfigError, first_line
from hamu_ray.config.sources.nearest import nearest
from hamu_ray.config.sources.packages import check_methods, check_packages
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.task.forget import DrawnForgetSection
from hamu_ray.config.trials import trials_of
from hamu_ray.metrics.attacks.names import DURABILITY
from hamu_ray.metrics.benchmark_names import MEASURED_ON
from hamu_ray.metrics.names import ENGINE, STEPS_OUTSIDE_GUARANTEE
from hamu_ray.metrics.openunlearning_names import ON_MUSE, OPENUNLEARNING
from hamu_ray.metrics.table import own_metrics
from hamu_ray.results.provenance import check_same_split
from hamu_ray.storage import check_outlives_job, local_folder, storage_path, write_atomically
from hamu_ray.tasks import check_data, check_sample, forecast_data, metric_names
from hamu_ray.tasks.forecast import Forecast
from hamu_ray.tasks.models.hub import is_local
from hamu_ray.tasks.models.start import check_given_models
from hamu_ray.tracking import store

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
"""Prefixes of MLflow's tracking URIs; a plain path is one too."""

DECIDES_SPLIT_OR_MODELS = ("seed", "data.", "forget.", "original.", "reference.")
"""Prefixes of the keys that determine the data, the forget set and the given models."""

RunForecast = tuple[RunConfig, Forecast | None]
"""A run, and what it forgets; None if that is drawn from data on the hub."""

CHECKED_COMBINATIONS = 64
"""Maximum number of combinations of their values checked before a sweep starts; others are checked by their trials."""


def check_run(run: RunConfig, source: str) -> None:
    """Check a run's environment, fast checks first; for a sweep, that of its base configuration.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    _check([run], [run.method.name], source)


def check_sweep(config: SweepConfig, source: str) -> None:
    """Check a sweep's objectives, constraints, budgets and environment, and the forget sets and models of its space.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    of_task = metric_names(config.data.task, own_metrics(config.model_dump(include={"data"})))
    data = config.data.name
    measured_on = {**MEASURED_ON, **dict.fromkeys(ON_MUSE, "muse")}
    known = {name: metric for name, metric in of_task.items() if measured_on.get(name, data) == data}
    if config.metrics.convention is None:
        known = {name: metric for name, metric in known.items() if metric not in OPENUNLEARNING}
    for number, objective in enumerate(config.search.objectives):
        if reason := unsearchable(objective, config.search):
            raise ConfigError(f"{source}: search.objectives.{number}.{reason}")
        if objective.metric not in known:
            raise ConfigError(
                f"{source}: search.objectives.{number}.metric: the {config.data.task} task has no metric "
                f"{objective.metric}; {nearest(objective.metric, known)}"
            )
    for metric in config.search.constraints:
        if metric not in known or metric in ENGINE:  # models have no costs
            models = [name for name in known if name not in ENGINE]
            raise ConfigError(
                f"{source}: search.constraints.{metric}: the {config.data.task} task has no such metric of models; "
                f"{nearest(metric, models)}"
            )
    try:
        trials_of(config)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
    if config.search.gpu_hours and not any(run.workers.gpus for run in config.variants("workers.")):
        raise ConfigError(
            f"{source}: search.gpu_hours: {config.search.gpu_hours:g}, but no worker has a GPU; give workers.gpus, or "
            "limit search.time_budget"
        )
    _check(distinct_runs(config), config.methods, source)


def unsearchable(objective: Objective, search: SearchConfig) -> str:
    """Return why a sweep cannot have an objective, with its key; empty if it is a metric, or a cost as it should be."""
    name = objective.metric
    if name == DURABILITY:
        return (
            f"metric: {name} is what an audit measures after the sweep; remove it, and run "
            "python -m hamu_ray.audit SWEEP: it is an axis of the report then, and --min durability=X a bound of select"
        )
    if name not in ENGINE:
        return ""
    if name == STEPS_OUTSIDE_GUARANTEE:
        return f"metric: only HAMU's trials have {name}; give another metric or cost"
    if objective.maximise:
        return f"mode: less {name} is better; give mode: min"
    if objective.worst is None:
        return f"worst: give the {name} beyond which a trial counts nothing, as a cost has no worst value of its own"
    early = {
        "pruning": search.pruning,
        "scheduler": search.scheduler,
        "points_per_trial": search.points_per_trial,
    }
    for key, given in early.items():
        if given:
            return f"metric: {name} is known only at the end of a trial, and search.{key} compares earlier; remove one"
    return ""


def distinct_runs(config: SweepConfig) -> list[RunConfig]:
    """Return runs that cover a sweep's data, forget sets and given models, up to a limit."""
    return list(islice(config.variants(DECIDES_SPLIT_OR_MODELS), CHECKED_COMBINATIONS))


def forecast_lines(forecasts: Iterable[RunForecast], brief: bool = False) -> Iterator[str]:
    """Yield a description of each of these forget sets, as lines of text: its size, first examples, and hash.

    ``brief`` leaves out the examples.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    for run, forecast in forecasts:
        settings = run.forget.model_dump(mode="json", exclude_defaults=True)
        yield f"forget set {' '.join(f'{key}={value}' for key, value in {'kind': run.forget.kind, **settings}.items())}"
        if forecast is None:
            yield "drawn when the data are loaded"  # a data set on the hub would have to be downloaded
        else:
            yield from forecast.brief() if brief else forecast.lines()


def forecasts_of(runs: Sequence[RunConfig], source: str) -> Iterator[RunForecast]:
    """Yield a forecast of each forget set of these runs; of those that differ only in their seed, the first.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    distinct = {(run.data, run.forget): run for run in reversed(runs)}
    for run in reversed(distinct.values()):
        path = getattr(run.data, "path", None)
        if isinstance(run.forget, DrawnForgetSection) and path is not None and not is_local(path):
            yield run, None
            continue
        try:
            cache = local_folder(run.storage) / "data"
            forecast = forecast_data(run.data, run.forget, run.training_seed, run.model, cache)
            run.steps_of(forecast.splits["retain"].examples)
        except ValueError as error:
            raise ConfigError(f"{source}: {first_line(error)}") from error
        yield run, forecast


def check_samples(runs: Iterable[RunConfig], source: str) -> None:
    """Read a sample of the local data of runs, for dry runs; others load them before anything expensive starts.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    for data in dict.fromkeys(run.data for run in runs):
        try:
            check_sample(data)
        except ValueError as error:
            raise ConfigError(f"{source}: {first_line(error)}") from error


def check_output(folder: str) -> None:
    """Check that the output folder of a run can be written.

    Raises:
        ConfigError: It cannot.
    """
    try:
        _write_probe(folder)
    except Exception as error:  # fsspec's file systems raise different types
        raise ConfigError(
            f"--output {folder}: cannot write there: {first_line(error)}; choose another folder"
        ) from error


def _check(runs: Sequence[RunConfig], methods: Sequence[str], source: str) -> None:
    """Check runs that share storage, tracking and kind of model, and the packages of their methods."""
    run = runs[0]
    try:
        check_methods(methods)
        for each in runs:
            check_packages(each)
        local = _check_storage(run.storage)
        for each in runs:
            check_given_models(each)
            _check_start(each)
        _check_tracking(run.tracking.uri, local)
        for data in dict.fromkeys(each.data for each in runs):
            check_data(
                data, [(each.forget, each.training_seed) for each in runs if each.data == data], run.model
            )
    except ValueError as error:
        raise ConfigError(f"{source}: {first_line(error)}") from error


def _check_start(run: RunConfig) -> None:
    """Check that the model at which a run starts exists, of this split; one behind a URL is checked by the engine."""
    if run.start is not None and "://" not in run.start.path:
        path = Path(run.start.path).expanduser() / MODEL_FILE
        if not path.is_file():
            raise ValueError(f"start.path: {path}: no such file; give the folder of a run with a model")
        check_same_split(path.parent, run.training_seed)


def _check_storage(config: StorageConfig) -> Path:
    """Write to the storage, and to the driver's folder if it is a different one; return the latter."""
    check_outlives_job(config)
    _check_writable("storage.path", config.path)
    local = local_folder(config)
    if storage_path(config.path) != local:
        _check_writable("storage.local", str(local))
    return local


def _check_writable(key: str, place: str) -> None:
    try:
        _write_probe(place)
    except Exception as error:  # fsspec's file systems raise different types
        raise ValueError(
            f"{key}: cannot write to {place}: {first_line(error)}; choose another with --set {key}=FOLDER"
        ) from error


def _write_probe(place: str) -> None:
    """Write a file to a folder and remove it."""
    probe = storage_path(place) / f".probe-{uuid4().hex}"
    write_atomically(probe, b"probe")
    probe.unlink()


def _check_tracking(given: str | None, storage: Path) -> None:
    """Check that the tracking store responds."""
    from_environment = not given and os.environ.get("MLFLOW_TRACKING_URI")
    key = "tracking.uri (from MLFLOW_TRACKING_URI)" if from_environment else "tracking.uri"
    uri = store.store_uri(given, storage)
    try:
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme and scheme not in SCHEMES:
            raise ValueError(
                f"{store.shown(uri)} is not a tracking store; it must start with one of {', '.join(SCHEMES[:6])}, or "
                "be omitted to use a SQLite file"
            )
        store.probe(uri)
    except ValueError as error:
        raise ValueError(f"{key}: {first_line(error)}") from error
