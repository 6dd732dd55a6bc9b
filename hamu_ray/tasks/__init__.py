"""Tasks: a model, data with a forget set, and metrics, behind one protocol."""

from typing import TYPE_CHECKING, Any

from hamu_ray.tasks.forecast import Forecast
from hamu_ray.tasks.registry import build_task, check_data, forecast_data, load_data, metric_names

if TYPE_CHECKING:
    from hamu_ray.metrics.measured import Measures
    from hamu_ray.tasks.task import Outputs, Share, Task, Teacher

__all__ = [
    "Forecast",
    "Measures",
    "Outputs",
    "Share",
    "Task",
    "Teacher",
    "build_task",
    "check_data",
    "forecast_data",
    "load_data",
    "metric_names",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hamu_ray.tasks import task  # imported late: it needs torch

    return getattr(task, name)
