"""Original models and retain-only references: trained once for each thing that determines them, then found again."""

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from hamu_ray.engine.state import changing_state
from hamu_ray.engine.tensors import is_damaged, is_whole, save_tensors
from hamu_ray.metrics.measured import Measured, Measures
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.results.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, rename, write_atomically
from hamu_ray.tasks.task import Start

MEASURES_FILE = "measures.json"
ITEMS_FILE = "items.json"
RECIPE_FILE = "recipe.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredModel:
    """A model on disk and what was measured of it."""

    key: str
    """The hash of what determines it."""
    source: StoragePath | Start
    """The safetensors file, or the checkpoint that was given."""
    measures: Measures

    @property
    def path(self) -> StoragePath:
        """The safetensors file of a model that is one."""
        assert not isinstance(self.source, Start), "a checkpoint is loaded by name"
        return self.source

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.source.name if isinstance(self.source, Start) else shown(self.source)

    @property
    def folder(self) -> str:
        """The folder that holds it, or a checkpoint's name on the hub."""
        return self.source.name if isinstance(self.source, Start) else str(self.source.parent)


class ModelStore:
    """Models by the hash of what determines them, under one folder.

    A model counts only with its measures, which are written last: a half-written one is never taken for a whole
    one, and two writers of the same model do no harm. One that does not match its digest is set aside.
    """

    def __init__(self, root: StoragePath) -> None:
        """Keep models under ``root``, which need not exist yet."""
        self.root = root

    def find(self, key: str) -> StoredModel | None:
        """Return the model of a key, or None where it is not there whole and intact."""
        path = self.root / key / MODEL_FILE
        measures = self.measures(key)
        if measures is None or not path.exists() or self._set_aside(path):
            return None
        return StoredModel(key, path, measures)

    def _set_aside(self, path: StoragePath) -> bool:
        """Rename a model that is damaged; return whether it is."""
        if is_whole(path) and not is_damaged(path):
            return False
        aside = path.with_name(f"{path.name}.damaged")
        logger.warning("%s: damaged; made again, the old one is %s", shown(path), aside.name)
        with suppress(FileNotFoundError):  # another worker was quicker
            rename(path, aside)
        return True

    def measures(self, key: str) -> Measures | None:
        """Return what was measured of a model, which may be kept elsewhere; None where nothing was."""
        try:
            return read_measures(self.root / key / MEASURES_FILE)
        except FileNotFoundError:
            return None
        except Damaged as error:
            logger.warning("%s; measured again", error)
            return None

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
        self.note(key, measures)
        return StoredModel(key, folder / MODEL_FILE, measures)

    def note(self, key: str, measures: Measures) -> None:
        """Write only the measures, of a model that is kept elsewhere."""
        write_measures(self.root / key / MEASURES_FILE, measures)


def key_of(recipe: Mapping[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the hash of plain data."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def write_measures(path: StoragePath, measures: Measures) -> None:
    """Write measures as JSON with a digest, what is behind them first."""
    if isinstance(measures, Measured) and measures.per_item:
        write_sealed(path.with_name(ITEMS_FILE), measures.per_item)
    write_sealed(path, measures)


def read_measures(path: StoragePath) -> Measures:
    """Read what `write_measures` wrote; raises `Damaged`, or `FileNotFoundError` where nothing was measured."""
    measures = read_sealed(path)
    items = path.with_name(ITEMS_FILE)
    return Measured(measures, read_sealed(items) if items.exists() else {})
