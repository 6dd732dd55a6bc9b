"""What an audit is about: the model of a run, or those of a sweep's front."""

from dataclasses import dataclass
from pathlib import Path

from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import ConfigError, load_run
from hamu_ray.results.folder import MODEL_FILE, RUN_FILE, SWEEP_FILE
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_folders import check_not_copy
from hamu_ray.results.wording import describe, shown
from hamu_ray.storage import StoragePath, storage_path


@dataclass(frozen=True)
class Subject:
    """A model to audit."""

    name: str
    """Its trial, or its folder."""
    title: str
    folder: str
    """Path or URL of its folder."""
    run: RunConfig


def is_sweep(target: str) -> bool:
    """Whether a target is a sweep's folder."""
    return (Path(target) / SWEEP_FILE).is_file()


def subjects_of(target: str, originals: int | None = None, references: int | None = None) -> list[Subject]:
    """Return the model of a run's folder, or the models of the front of a sweep's folder.

    ``originals`` and ``references`` replace `original.seeds` and `reference.seeds`.

    Raises:
        ConfigError: The folder holds neither or is a copy, a sweep has no front, or a number of seeds does not fit.
    """
    if is_sweep(target):
        check_not_copy(Path(target).absolute())
        sweep = read_sweep(Path(target).absolute())
        if not sweep.summary.front:
            raise ConfigError(
                f"{target}: none of its {len(sweep.trials)} trials is on a front; give another sweep"
            )
        found = [
            (trial.trial_id, describe(trial.parameters), storage_path(trial.model_path).parent)
            for trial in sweep.summary.front
        ]
    else:
        folder = storage_path(target)
        if not (folder / RUN_FILE).is_file():
            raise ConfigError(
                f"{target}: neither a sweep's folder (it has no {SWEEP_FILE}) nor a run's (it has no {RUN_FILE}); give "
                "the folder that hamu_ray.tune or hamu_ray.unlearn wrote"
            )
        found = [(folder.name, "", folder)]
    return [_subject(*one, originals, references) for one in found]


def _subject(
    name: str, title: str, folder: StoragePath, originals: int | None, references: int | None
) -> Subject:
    if not (folder / MODEL_FILE).is_file():
        raise ConfigError(f"{shown(folder)}: has no {MODEL_FILE}; run {name} again")
    counts = (("original.seeds", originals), ("reference.seeds", references))
    changes = [f"{key}={count}" for key, count in counts if count is not None]
    run = load_run(str(folder / RUN_FILE), changes)
    # Absolute, because jobs may run elsewhere.
    storage = run.storage.model_copy(update={"path": str(storage_path(run.storage.path))})
    return Subject(name, title, str(folder), run.model_copy(update={"storage": storage}))
