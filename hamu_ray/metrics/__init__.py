"""Metrics: pure functions of logits, losses and labels, and the tables of their names.

An undefined metric is `Undefined`, a NaN that carries its reason, and never a made-up number.
"""

from hamu_ray.metrics.language_names import LANGUAGE
from hamu_ray.metrics.names import ENGINE, VISION, Metric
from hamu_ray.metrics.undefined import Undefined, reasons

__all__ = ["ENGINE", "LANGUAGE", "VISION", "Metric", "Undefined", "reasons"]
