"""A custom task on disk: its description as JSON, and pickled objects, each loaded when it is first used.

Needs no torch. The configuration identifies the description by its hash, and the description identifies the objects:
a file with any other content is refused before it is unpickled.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hamu_ray.config.task.custom import CustomData
from hamu_ray.storage import StoragePath, storage_path, write_atomically

DESCRIPTION_FILE = "task.json"
OBJECTS = "objects"
"""Folder of the pickled objects, beside those of the tasks: tasks with the same dataset share its file."""


@dataclass(frozen=True)
class Description:
    """What is known of a custom task without loading an object."""

    objects: Mapping[str, str]
    """SHA-256 of each pickled object: ``model``, ``retain``, ``forget``, ``test``, ``collate``, ``loss``,
    ``metrics``."""
    examples: Mapping[str, int]
    """Number of examples of each split."""
    fingerprint: str
    """SHA-256 of the examples, and of what model, loss and metrics compute."""
    forget_items: tuple[str, ...]
    """SHA-256 of each example to forget: of types, shapes and bytes of all that it holds."""
    output_shape: tuple[int, ...]
    """Of the model's output on an example."""
    classes: int | None
    """How many classes the outputs are logits of; None where the model is no classifier."""
    utility: str
    """Key of the metric that `retain_utility` is."""
    overlaps: tuple[str, ...] = field(default=())
    """A line for each example to forget that also stands in the retain or test set."""

    @property
    def forget_digest(self) -> str:
        """SHA-256 of the examples to forget."""
        return digest("".join(self.forget_items).encode())

    def dumped(self) -> bytes:
        """Return it as JSON, the same bytes each time."""
        return json.dumps(asdict(self), indent=2, sort_keys=True).encode()


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def write_object(folder: StoragePath, content: bytes) -> str:
    """Write a pickled object under a storage folder of tasks, unless it is there; return its SHA-256."""
    found = digest(content)
    path = folder / OBJECTS / f"{found}.pickle"
    if not path.exists():
        write_atomically(path, content)
    return found


def read_description(config: CustomData) -> Description:
    """Return a task's description; raises `ValueError`, in one line, where it is not what the configuration names."""
    content = _read(storage_path(config.path) / DESCRIPTION_FILE, config.digest, config)
    document = json.loads(content)
    tuples = {name: tuple(document[name]) for name in ("forget_items", "output_shape", "overlaps")}
    return Description(**{**document, **tuples})


def read_object(config: CustomData, description: Description, name: str) -> Any:
    """Load one of a task's objects, which runs its code.

    Raises:
        ValueError: The file has other content than the description identifies, or a module that it needs is missing;
            in one line.
    """
    found = description.objects[name]
    folder = storage_path(config.path).parent
    content = _read(folder / OBJECTS / f"{found}.pickle", found, config)
    try:
        return pickle.loads(content)
    except Exception as error:  # whatever the object's own code raises
        reason = " ".join(str(error).split())
        raise ValueError(
            f"data.path: {config.path}: {name} cannot be loaded here: {type(error).__name__}: {reason}; run where its "
            "module can be imported"
        ) from error


def _read(path: StoragePath, expected: str, config: CustomData) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"data.path: {config.path}: no such task ({path.name} is missing); give the folder that hamu_ray.sweep "
            "wrote, or call it again"
        ) from error
    if digest(content) != expected:
        raise ValueError(
            f"data.path: {path if isinstance(path, Path) else path.name} is not the file that data.digest identifies; "
            "it is not loaded, since loading it runs its code: call hamu_ray.sweep again"
        )
    return content
