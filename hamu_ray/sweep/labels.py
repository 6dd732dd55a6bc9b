"""What trials are compared by where people look at many: in searches, columns and charts of the MLflow UI."""

from collections.abc import Sequence
from typing import Any

from hamu_ray.config.run import RunConfig
from hamu_ray.config.vision import ForgetClass
from hamu_ray.engine.plan import DEFAULT_CONSTRAINT_RATIO
from hamu_ray.methods import keys_of
from hamu_ray.sweep.scene import OKABE_ITO


def labels_of(run: RunConfig) -> dict[str, Any]:
    """Return the values that say most about a trial, by names without a path: its tags and parameters in MLflow.

    `rho` is there where the forget set has it, `constraint_ratio` where the method reads it.
    """
    method = run.method
    labels: dict[str, Any] = {"method": method.name, "seed": run.seed}
    if isinstance(run.forget, ForgetClass):
        labels["rho"] = run.forget.rho
    if "constraint_ratio" in keys_of(method.name, method.forget_objective) and method.constraint is None:
        ratio = method.constraint_ratio
        labels["constraint_ratio"] = DEFAULT_CONSTRAINT_RATIO if ratio is None else ratio
    return {**labels, "learning_rate": run.optimizer.learning_rate}


def colour_of(method: str, methods: Sequence[str]) -> str:
    """Return the method's colour in the pictures of a sweep of these methods; lighter where colours come again."""
    again, place = divmod(sorted(methods).index(method), len(OKABE_ITO))
    channels = (int(OKABE_ITO[place][i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - channel) // 2**again:02X}" for channel in channels)
