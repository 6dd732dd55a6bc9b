"""Labels of trials for searches, columns and charts of the MLflow UI."""

from typing import Any

from hamu_ray.config.method import DEFAULT_CONSTRAINT_RATIO
from hamu_ray.config.run import RunConfig
from hamu_ray.config.vision import ForgetClass
from hamu_ray.methods import keys_of


def labels_of(run: RunConfig) -> dict[str, Any]:
    """Return the main values of a trial by names without a path, which become tags and parameters in MLflow.

    `rho` is included if the forget set has it, `constraint_ratio` if the method uses it.
    """
    method = run.method
    labels: dict[str, Any] = {"method": method.name, "seed": run.seed}
    if isinstance(run.forget, ForgetClass):
        labels["rho"] = run.forget.rho
    if "constraint_ratio" in keys_of(method.name, method.forget_objective) and method.constraint is None:
        ratio = method.constraint_ratio
        labels["constraint_ratio"] = DEFAULT_CONSTRAINT_RATIO if ratio is None else ratio
    return {**labels, "learning_rate": run.optimizer.learning_rate}
