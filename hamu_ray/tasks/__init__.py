"""Tasks: a model, data with a forget set, and measures, behind one protocol."""

from hamu_ray.tasks.registry import build_task, load_data, metric_names
from hamu_ray.tasks.task import Measures, Outputs, Share, Task, Teacher

__all__ = ["Measures", "Outputs", "Share", "Task", "Teacher", "build_task", "load_data", "metric_names"]
