"""The forget set that a search space starts with: as asked for on the command line, or an example."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.inspection.dataset import Data

FEW = 0.05
"""Fraction of the training examples in an example of a request."""


@dataclass(frozen=True)
class Request:
    """A forget section, and what to say about it."""

    section: Mapping[str, Any]
    comment: str


def request_of(data: Data, condition: str | None, ids: str | None) -> Request:
    """Return the section for `--forget COLUMN=VALUE` or `--forget-ids FILE`, or an example.

    Raises:
        ConfigError: The condition is no pair, or there is no such file.
    """
    if ids is not None:
        return Request(_listed(data, ids), "as asked for by --forget-ids")
    if condition is not None:
        return Request(_condition(data, condition), "as asked for by --forget")
    others = "a condition on a column (kind: where), identifiers (ids)"
    if data.task == "vision":
        label = 0 if data.embedded else data.class_names[0]
        section = {"kind": "class", "label": label}
        return Request(
            section, f"an EXAMPLE; put your request here: another class, {others} or file names (files)"
        )
    if "forget" in data.splits or data.tofu_layout:
        return Request({"kind": "split", "split": "forget"}, f"the data's own forget split; or {others}")
    return Request({"kind": "random", "share": FEW}, f"an EXAMPLE; put your request here: {others}")


def _condition(data: Data, text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise ConfigError(f"--forget {text}: give COLUMN=VALUE, such as label=3")
    name = name.strip()
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        found = value.strip()
    if data.task == "vision" and name in ("label", data.labels):
        known = data.class_names
        return {"kind": "class", "label": str(found) if str(found) in known else found}
    if name == "split":
        return {"kind": "split", "split": value.strip()}
    return {"kind": "where", "column": name, "equals": found}


def _listed(data: Data, path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise ConfigError(f"--forget-ids {path}: no such file; give a text file with one identifier per line")
    if not data.embedded and data.ids is not None:
        return {"kind": "ids", "column": data.ids, "path": path}
    try:
        lines = list(filter(None, map(str.strip, Path(path).read_text().splitlines())))
    except UnicodeDecodeError:
        raise ConfigError(f"--forget-ids {path}: not a text file; write one identifier per line") from None
    if not all(line.isdigit() for line in lines) and data.task == "vision":
        return {"kind": "files", "names": lines}
    return {"kind": "indices", "path": path}
