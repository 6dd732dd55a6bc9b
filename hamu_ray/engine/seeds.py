"""Original models and references of several training seeds, each trained once and found again by its hash.

The number of a model is added to the training's seed, and the split stays that of `training.seed`: all models of a
phase are training runs of the same problem, and an original has the seed of the reference with the same number. Only
one model at a time is in memory.
"""

from hamu_ray.config.run import RunConfig
from hamu_ray.engine.base_models import (
    BaseModel,
    measure_again,
    measured_from_path,
    raise_if_failed,
    train_missing,
    training_recipe,
)
from hamu_ray.engine.files.store import ModelStore, StoredModel, key_of
from hamu_ray.engine.loop import OnReport
from hamu_ray.pairing.group import Alone
from hamu_ray.tasks.models.start import check_given_models
from hamu_ray.tasks.task import Task

PHASES = ("original", "reference")


def bases_of_seeds(run: RunConfig) -> list[BaseModel]:
    """Return the base models of a run that are trained, with all of their seeds, those of the same seed together."""
    counts = {
        phase: source.seeds
        for phase, source in zip(PHASES, (run.original, run.reference), strict=True)
        if source.source == "train"
    }
    return [
        BaseModel(phase, run.training_seed + number)
        for number in range(max(counts.values(), default=0))
        for phase, count in counts.items()
        if number < count
    ]


def trained_base(
    run: RunConfig, task: Task, base: BaseModel, on_report: OnReport, models: ModelStore
) -> StoredModel:
    """Return a base model, after training it in this process if it is not stored yet.

    Raises:
        Interrupted: The callback asked to stop.
        ValueError: It cannot be trained as configured.
    """
    key = key_of(training_recipe(run, task, base))
    measure_again(run, task, Alone(), key, models)
    raise_if_failed(train_missing(run, task, [base], Alone(), on_report, models))
    found = models.find(key)
    assert found is not None, "it has been trained"
    return found


def seed_models(
    run: RunConfig, task: Task, on_report: OnReport, models: ModelStore
) -> dict[str, list[StoredModel]]:
    """Return the models of each phase, ``original`` and ``reference``, after training missing ones.

    A given model is the only one of its phase; without a reference, there is none. Raises as `trained_base`.
    """
    check_given_models(run)
    found: dict[str, list[StoredModel]] = {phase: [] for phase in PHASES}
    for phase, source in zip(PHASES, (run.original, run.reference), strict=True):
        if source.source == "path":
            found[phase].append(measured_from_path(run, task, Alone(), phase, models))
    for base in bases_of_seeds(run):
        found[base.phase].append(trained_base(run, task, base, on_report, models))
    return found
