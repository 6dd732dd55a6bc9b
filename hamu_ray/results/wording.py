"""How numbers and names read on the page, and what measures mean."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hamu_ray.config.space import METHOD_NAME, METHOD_PREFIX
from hamu_ray.metrics.language_names import LANGUAGE
from hamu_ray.metrics.names import ENGINE, VISION, Metric
from hamu_ray.results.front import Interval
from hamu_ray.storage import StoragePath

DEFINITIONS = {
    "forget_quality": "1 - |score on the forget set - the retain-only reference's|; 1 = as if never seen",
    "retain_utility": "score on the retain set; 1 = perfect",
    "avg_gap": "mean distance to the retain-only reference; 0 = none",
}
"""Small print under the axes' titles."""


SHORT_KEYS = {"learning_rate": "lr", "constraint_ratio": "ratio"}
"""Words of keys that are too long for a list."""

NONE = "\N{EN DASH}"
"""Stands for a number that is not there."""

TABLES: Mapping[str, Mapping[str, Metric]] = {"vision": VISION, "language": LANGUAGE}

SHORT = {
    "unlearning_accuracy": "UA",
    "retain_accuracy": "RA",
    "test_accuracy": "TA",
}
"""What the literature calls a measure, behind its own name."""


def words(name: str) -> str:
    """Return a key as words."""
    return name.replace("_", " ")


def last_word(path: str) -> str:
    """Return the last key of a path as words: `learning rate` for `optimizer.learning_rate`.

    Of a domain for several keys, all: `batch retain, forget` for `batch.{retain,forget}`.
    """
    if "{" in path:
        return words(path.replace("{", "").replace("}", "").replace(".", " ").replace(",", ", "))
    return words(path.rpartition(".")[2])


def number(value: Any) -> str:
    """Return a measure with the digits that a person reads."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return NONE if value is None else str(value)
    if not math.isfinite(value):
        return NONE
    if isinstance(value, int) or (value == int(value) and 1 < abs(value) < 1e15):
        return f"{int(value):,}"
    if value == 0 or 1e-3 <= abs(value) < 100:
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.2e}"


def setting(value: Any) -> str:
    """Return a sampled value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, Any]) -> str:
    """Return sampled values in one line."""
    return ", ".join(f"{last_word(key)} {setting(value)}" for key, value in values.items())


def signed(value: float) -> str:
    """Return a difference with its sign."""
    if not math.isfinite(value):
        return NONE
    text = number(abs(value))
    return text if float(text.replace(",", "")) == 0 else ("+" if value > 0 else "\N{MINUS SIGN}") + text


def spread(interval: Interval) -> str:
    """Return a mean with its 95 % interval, where there is one."""
    if math.isnan(interval.low):
        return number(interval.mean)
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def share(value: float) -> str:
    """Return a share in percent."""
    return f"{value:.1%}".replace("%", " %") if math.isfinite(value) else NONE


def duration(seconds: float) -> str:
    """Return a time with its unit."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def p_value(p: float) -> str:
    """Return a p-value."""
    if math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(count: int, noun: str) -> str:
    """Return such as `1 trial` or `45 trials`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def defined(measure: str, task: str) -> tuple[str, str]:
    """Return what a measure means, as far as it is documented, and which way is better."""
    for table in (TABLES.get(task, {}), ENGINE):
        if measure in table:
            metric = table[measure]
            better = {"higher": "higher is better", "lower": "lower is better"}
            return metric.definition, better.get(metric.better, "no direction of its own")
    return DEFINITIONS.get(measure, ""), ""


def compact(value: Any) -> str:
    """Return a value with the digits that a person reads."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown(path: StoragePath) -> str:
    """Return a path as a person at the terminal would type it."""
    if isinstance(path, Path) and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def describe(parameters: Mapping[str, Any]) -> str:
    """Return sampled values as a short text: the method, then last words of keys with values, the seed last."""
    words = [str(parameters[METHOD_NAME])] if METHOD_NAME in parameters else []
    for path in sorted(parameters, key=lambda path: (path == "seed", path.startswith(METHOD_PREFIX))):
        if path != METHOD_NAME:
            word = path.rpartition(".")[2]
            words += [SHORT_KEYS.get(word, word), compact(parameters[path])]
    return " ".join(words)


def short(node: str) -> str:
    """Return a node's address and the end of its id."""
    address, _, ray_id = node.rpartition("/")
    return f"{address}/{ray_id[-6:]}"
