"""Metrics: pure functions of logits, losses and labels, with the tables of their names.

A measure that is not defined is `Undefined`, a NaN that carries its reason; never a made-up number.
"""

from hamu_ray.metrics.language_names import LANGUAGE
from hamu_ray.metrics.names import ENGINE, VISION, Metric
from hamu_ray.metrics.undefined import Undefined, reasons

__all__ = ["ENGINE", "LANGUAGE", "VISION", "Metric", "Undefined", "reasons"]
