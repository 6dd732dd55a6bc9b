"""Tasks: a model, data with a forget set, and metrics, behind one protocol."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamu_ray.metrics.measured import Measures
    from hamu_ray.tasks.forecast import Forecast
    from hamu_ray.tasks.registry import (
        build_task,
        check_data,
        check_sample,
        forecast_data,
        load_data,
        metric_names,
    )
    from hamu_ray.tasks.task import Outputs, Share, Task, Teacher

_MODULES = {
    "forecast": ("Forecast",),
    "registry": ("build_task", "check_data", "check_sample", "forecast_data", "load_data", "metric_names"),
    "task": ("Measures", "Outputs", "Share", "Task", "Teacher"),
}

__all__ = [
    "Forecast",
    "Measures",
    "Outputs",
    "Share",
    "Task",
    "Teacher",
    "build_task",
    "check_data",
    "check_sample",
    "forecast_data",
    "load_data",
    "metric_names",
]


def __getattr__(name: str) -> Any:
    """Import a name's module on first access: checking data needs no torch, and a step no configuration."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
