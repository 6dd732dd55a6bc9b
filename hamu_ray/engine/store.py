"""Original models and retain-only references: trained once for each thing that determines them, then found again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from hamu_ray.engine.state import changing_state
from hamu_ray.engine.tensors import is_whole, save_tensors
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.storage import StoragePath, write_atomically

MEASURES_FILE = "measures.json"
ITEMS_FILE = "items.json"
RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class StoredModel:
    """A model on disk and what was measured of it."""

    key: str
    """The hash of what determines it."""
    path: StoragePath
    """The safetensors file."""
    measures: Measures


class ModelStore:
    """Models by the hash of what determines them, under one folder.

    A model counts only with its measures, which are written last: a half-written one is never taken for a whole
    one, and two writers of the same model do no harm.
    """

    def __init__(self, root: StoragePath) -> None:
        """Keep models under ``root``, which need not exist yet."""
        self.root = root

    def find(self, key: str, path: StoragePath | None = None) -> StoredModel | None:
        """Return the model of a key, or None where it is not there whole; ``path`` is of one kept elsewhere."""
        path = path or self.root / key / MODEL_FILE
        try:
            measures = read_measures(self.root / key / MEASURES_FILE)
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return StoredModel(key, path, measures) if is_whole(path) else None

    def add(
        self,
        key: str,
        model: nn.Module,
        measures: Measures,
        recipe: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> StoredModel:
        """Write a model with its measures and, for people, the recipe that the key is the hash of.

        ``files`` are what other programs need beside the weights.
        """
        folder = self.root / key
        save_tensors(folder / MODEL_FILE, changing_state(model))
        for name, content in (files or {}).items():
            write_atomically(folder / name, content)
        write_atomically(folder / RECIPE_FILE, json.dumps(recipe, indent=2).encode())
        return self.note(key, folder / MODEL_FILE, measures)

    def note(self, key: str, path: StoragePath, measures: Measures) -> StoredModel:
        """Write only the measures, of a model that is kept elsewhere."""
        write_measures(self.root / key / MEASURES_FILE, measures)
        return StoredModel(key, path, measures)


def key_of(recipe: Mapping[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the hash of plain data."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def write_measures(path: StoragePath, measures: Measures) -> None:
    """Write measures as JSON, what is behind them first; NaN stays NaN, which Python's JSON reads back."""
    if isinstance(measures, Measured) and measures.per_item:
        write_atomically(path.with_name(ITEMS_FILE), json.dumps(measures.per_item).encode())
    write_atomically(path, json.dumps(measures, indent=2).encode())


def read_measures(path: StoragePath) -> Measures:
    """Read what `write_measures` wrote."""
    measures = json.loads(path.read_text())
    items = path.with_name(ITEMS_FILE)
    return Measured(measures, json.loads(items.read_text()) if items.exists() else {})
