"""Formatting of numbers, hyperparameters, paths and metrics for people.

`number` is for metrics, `setting` for sampled values; the others are for one kind of value each.
"""

import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hamu_ray.config.sources.key_paths import METHOD_NAME, METHOD_PREFIX
from hamu_ray.metrics.table import OBJECTIVES, metric_of
from hamu_ray.results.pareto.front import Interval
from hamu_ray.storage import RAY_JOB, StoragePath

DEFINITIONS = {name: metric.definition for name, metric in OBJECTIVES.items()}
"""Definitions of objectives by name, for subtitles of axes."""

SHORT_KEYS = {"learning_rate": "lr", "constraint_ratio": "ratio", "constraint_fraction": "fraction"}
"""Abbreviations of the last words of key paths."""

NUMBER = re.compile(r"[-+]?\b\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?\b")

NONE = "\N{EN DASH}"
"""Text of an undefined number."""

SHORT = {
    "unlearning_accuracy": "UA",
    "retain_accuracy": "RA",
    "test_accuracy": "TA",
}
"""The literature's abbreviations of metrics."""


def words(name: str) -> str:
    """Return a key as words."""
    return name.replace("_", " ")


def capitalised(text: str) -> str:
    """Return a text with a capital first letter, as a sentence."""
    return text[:1].upper() + text[1:]


def last_word(path: str) -> str:
    """Return the last key of a path as words: `learning rate` for `optimizer.learning_rate`.

    For a domain of several keys, return all of them: `batch retain, forget` for `batch.{retain,forget}`.
    """
    if "{" in path:
        return words(path.replace("{", "").replace("}", "").replace(".", " ").replace(",", ", "))
    return words(path.rpartition(".")[2])


def number(value: Any) -> str:
    """Format a number with about four significant digits; `NONE` if it is missing or not finite."""
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
    """Format a sampled value with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, Any]) -> str:
    """Format sampled values in one line."""
    return ", ".join(f"{last_word(key)} {setting(value)}" for key, value in values.items())


def signed(value: float) -> str:
    """Format a difference with its sign."""
    if not math.isfinite(value):
        return NONE
    text = number(abs(value))
    return text if float(text.replace(",", "")) == 0 else ("+" if value > 0 else "\N{MINUS SIGN}") + text


def without_numbers(text: str) -> str:
    """Return a text with an ellipsis for each number: reasons that differ in their numbers alone are equal then."""
    return NUMBER.sub("\u2026", text)


def spread(interval: Interval) -> str:
    """Format a mean with its 95 % interval, if it has one."""
    if math.isnan(interval.low):
        return number(interval.mean)
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def percent(value: float) -> str:
    """Format a fraction in percent."""
    return f"{value:.1%}".replace("%", " %") if math.isfinite(value) else NONE


def duration(seconds: float) -> str:
    """Format a time with its unit."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def p_value(p: float) -> str:
    """Format a p-value."""
    if math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 trial` or `45 trials`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def defined(name: str, task: str) -> tuple[str, str]:
    """Return a metric's definition and better direction; empty if the table does not contain it."""
    metric = metric_of(name, task) or metric_of(name)
    if metric is None:
        return "", ""
    better = {"higher": "higher is better", "lower": "lower is better"}
    return metric.definition, better.get(metric.better, "close to R's is better")


def shown(path: StoragePath) -> str:
    """Return a path relative to the working directory, if it is inside and the user's, which that of a job is not."""
    if isinstance(path, Path) and path.is_relative_to(Path.cwd()) and RAY_JOB not in os.environ:
        return str(path.relative_to(Path.cwd()))
    return str(path)


def runnable(line: str) -> str:
    """Return a shell line that begins with `python`, with the path of this interpreter where `python` is another."""
    python = shutil.which("python")
    if python is not None and Path(python).parent == Path(sys.executable).parent:
        return line
    return f"{shlex.quote(shown(Path(sys.executable)))} {line.removeprefix('python ')}"


def describe(parameters: Mapping[str, Any]) -> str:
    """Describe sampled values in a short text: the method, then last words of keys with values, the seed last."""
    words = [str(parameters[METHOD_NAME])] if METHOD_NAME in parameters else []
    for path in sorted(parameters, key=lambda path: (path == "seed", path.startswith(METHOD_PREFIX))):
        if path != METHOD_NAME:
            word = path.rpartition(".")[2]
            words += [SHORT_KEYS.get(word, word), setting(parameters[path])]
    return " ".join(words)


def short(node: str) -> str:
    """Return a node's address and the last characters of its id."""
    address, _, ray_id = node.rpartition("/")
    return f"{address}/{ray_id[-6:]}"
