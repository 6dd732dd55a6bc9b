"""Storage of original models and retain-only references, by a hash of everything that determines them."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from torch import Tensor

from hamu_ray.engine.files.tensors import Written, as_written, save_tensors, take_part
from hamu_ray.metrics.measured import DEFINITIONS, Measured, Measures
from hamu_ray.results.durable.lease import Held, Lease
from hamu_ray.results.durable.listing import write_listed
from hamu_ray.results.durable.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.results.durable.tensor_files import is_intact
from hamu_ray.results.folder import ITEM_METRICS_FILE, MEASURES_FILE, MODEL_FILE
from hamu_ray.results.wording import shown
from hamu_ray.storage import StoragePath, rename
from hamu_ray.tasks.task import Start

RECIPE_FILE, TRAINING_FILE = "recipe.json", "training.json"
LEASES = "leases"
"""Folder with a folder for each model that is being made."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredModel:
    """A model on disk with its metrics."""

    key: str
    """The hash of everything that determines it."""
    source: StoragePath | Start
    """The safetensors file, or the given checkpoint."""
    measures: Measures
    others: tuple["StoredModel", ...] = ()
    """The same model trained with other seeds, whose forget losses ``measures`` contains, too."""

    @property
    def path(self) -> StoragePath:
        """The safetensors file, for a model that is one."""
        assert not isinstance(self.source, Start), "a checkpoint is loaded by name"
        return self.source

    @property
    def training_seconds(self) -> float | None:
        """Wall time of the steps of its training; None if it was not trained here."""
        if isinstance(self.source, Start):
            return None
        try:
            return float(json.loads((self.source.parent / TRAINING_FILE).read_bytes())["seconds"])
        except (OSError, ValueError, KeyError):
            return None

    @property
    def place(self) -> str:
        """Its location, for messages."""
        return self.source.name if isinstance(self.source, Start) else shown(self.source)

    @property
    def folder(self) -> str:
        """The folder that contains it, or a checkpoint's name on the hub."""
        return self.source.name if isinstance(self.source, Start) else str(self.source.parent)


class Turn(IntEnum):
    """Whose turn it is to make a model."""

    MADE = 0
    """Nobody's: it exists."""
    OURS = 1
    OTHERS = 2
    """Another process is making it."""


class ModelStore:
    """Models in a folder, keyed by the hash of everything that determines them.

    A model counts only together with its metrics, which are written last: a partially written model is never used, and
    a complete one is never written again, so that concurrent makers of the same model are harmless; `to_make` lets one
    of them do the work. Metrics of earlier definitions do not count. A model that does not match its digest is renamed.
    """

    def __init__(self, root: StoragePath) -> None:
        """Store models under ``root``, which need not exist yet."""
        self.root = root

    def find(self, key: str) -> StoredModel | None:
        """Return the model of a key, or None if it is missing, incomplete or damaged."""
        path = self.root / key / MODEL_FILE
        measures = self.measures(key)
        if measures is None or not path.exists() or self._set_aside(path):
            return None
        return StoredModel(key, path, measures)

    @contextmanager
    def to_make(self, key: str) -> Iterator[Turn]:
        """Look for a model, and within the context keep others from making it if this process may."""
        if self.find(key) is not None:
            yield Turn.MADE
            return
        with ExitStack() as held:
            try:
                held.enter_context(Lease(self.root / LEASES / key, work="makes this model"))
            except Held:
                yield Turn.OTHERS
                return
            # Another process may have made it between the look and the lease.
            yield Turn.OURS if self.find(key) is None else Turn.MADE

    def _set_aside(self, path: StoragePath) -> bool:
        """Rename a damaged model; return whether it was damaged."""
        if is_intact(path):
            return False
        aside = path.with_name(f"{path.name}.damaged")
        logger.warning("%s: damaged; made again, the old one is %s", shown(path), aside.name)
        with suppress(FileNotFoundError):  # another worker was quicker
            rename(path, aside)
        return True

    def measures(self, key: str) -> Measures | None:
        """Return the metrics of a model, which may be stored elsewhere; None if there are none."""
        try:
            return read_measures(self.root / key / MEASURES_FILE)
        except FileNotFoundError:
            return None
        except Damaged as error:
            logger.warning("%s; measured again", error)
            return None

    def outdated(self, key: str) -> StoragePath | None:
        """Return the weights of a model whose metrics have outdated definitions; None if there is none."""
        path = self.root / key / MODEL_FILE
        written = (self.root / key / MEASURES_FILE).is_file()
        if not written or self.measures(key) is not None or not path.exists() or self._set_aside(path):
            return None
        return path

    def add(
        self,
        key: str,
        weights: Written,
        measures: Measures,
        recipe: Mapping[str, Any],
        export: Callable[[Mapping[str, Tensor]], Mapping[str, bytes]] | None = None,
        seconds: float | None = None,
    ) -> StoredModel:
        """Write a model with its metrics and, for information, the recipe that the key is the hash of.

        ``weights`` are the output of `whole_state`; ``export`` returns the files that other programs need in addition,
        given the weights; ``seconds`` is the time of its training. If another process has written the model meanwhile,
        that one is returned.
        """
        if (made := self.find(key)) is not None:
            take_part(weights)  # as the other shards do
            return made
        folder = self.root / key
        save_tensors(folder / MODEL_FILE, weights)
        files = export(as_written(folder / MODEL_FILE, weights)) if export else {}
        written = {**files, RECIPE_FILE: json.dumps(recipe, indent=2).encode()}
        if seconds is not None:
            written[TRAINING_FILE] = json.dumps({"seconds": seconds}).encode()
        write_listed(folder, written)
        self.note(key, measures)
        return StoredModel(key, folder / MODEL_FILE, measures)

    def note(self, key: str, measures: Measures) -> None:
        """Write only the metrics, for a model that is stored elsewhere."""
        write_measures(self.root / key / MEASURES_FILE, measures)


def key_of(recipe: Mapping[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the hash of plain data."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def write_measures(path: StoragePath, measures: Measures) -> None:
    """Write metrics as JSON with a digest, item values first."""
    if isinstance(measures, Measured) and measures.per_item:
        write_sealed(path.with_name(ITEM_METRICS_FILE), measures.per_item)
    write_sealed(path, {"definitions": DEFINITIONS, "measures": measures})


def read_measures(path: StoragePath) -> Measures | None:
    """Read the output of `write_measures`; None if it was written with other definitions.

    Raises:
        Damaged: A file does not match its digest.
        FileNotFoundError: There are no metrics.
    """
    document = read_sealed(path)
    if document.get("definitions") != DEFINITIONS:
        return None
    items = path.with_name(ITEM_METRICS_FILE)
    return Measured(document["measures"], read_sealed(items) if items.exists() else {})
