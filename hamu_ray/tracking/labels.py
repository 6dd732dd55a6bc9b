"""Labels of trials for searches, columns and charts of the MLflow UI."""

from typing import Any

from hamu_ray.config.constraint import constraint_of
from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.vision import ForgetClass


def labels_of(run: RunConfig) -> dict[str, Any]:
    """Return the main values of a trial by names without a path, which become tags and parameters in MLflow.

    `rho` is there where the forget set has it, and the constraint by its key where the method has one.
    """
    method = run.method
    labels: dict[str, Any] = {"method": method.name, "seed": run.seed}
    if isinstance(run.forget, ForgetClass):
        labels["rho"] = run.forget.rho
    constraint = constraint_of(method.model_dump())
    labels |= dict([constraint] if constraint else [])
    return {**labels, "learning_rate": run.optimizer.learning_rate}
