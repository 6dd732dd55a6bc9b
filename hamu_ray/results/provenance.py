"""Where an unlearned model comes from: code, data, models, hardware, seeds. Written once, by the run."""

import csv
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from io import StringIO
from typing import Any

from hamu_ray.results.durable.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.results.folder import MODEL_FILE, PROVENANCE_FILE
from hamu_ray.results.wording import duration
from hamu_ray.storage import StoragePath

logger = logging.getLogger(__name__)

SHORT = 12
"""Number of hexadecimal digits of a hash in texts for people."""


@dataclass(frozen=True)
class Code:
    """The code of hamu_ray that ran."""

    version: str
    """Of the installed distribution; empty if it is not installed."""
    sha256: str
    """SHA-256 over the names and contents of the package's Python files."""
    commit: str = ""
    """The git commit; empty outside a checkout."""
    dirty: bool = False
    """Whether the checkout had changes that are not in the commit."""

    def __str__(self) -> str:
        """Return version and commit in a few words."""
        changed = " with uncommitted changes" if self.dirty else ""
        commit = f", commit {self.commit[:SHORT]}{changed}" if self.commit else ""
        return f"hamu_ray {self.version or 'without a version'}{commit}, source {self.sha256[:SHORT]}"


@dataclass(frozen=True)
class PluginCode:
    """The code of a method or a forget objective of another package."""

    name: str
    """Its name in the configuration."""
    distribution: str
    """Name and version of the installed distribution; empty if it is in none."""
    sha256: str
    """SHA-256 of its module's file; of a package, over the names and contents of its Python files."""

    def __str__(self) -> str:
        """Return name, distribution and hash in a few words."""
        return f"{self.name} of {self.distribution or 'no installed package'}, source {self.sha256[:SHORT]}"


@dataclass(frozen=True)
class ModelIdentity:
    """A base model: where it was, and the hash of its content."""

    place: str
    sha256: str
    """SHA-256 of its safetensors file; of a checkpoint, over the hashes of its files, or its commit on the hub."""
    training_seconds: float | None = None
    """Wall time of the steps of its training; None if it was not trained here, or by an earlier version."""


@dataclass(frozen=True)
class Interpolation:
    """How a model between two others was made: its weights are ``(1 - at)`` the first's plus ``at`` the second's."""

    at: float
    ends: list[ModelIdentity]

    def __str__(self) -> str:
        """Return place and ends in a few words, the ends by their hashes: cards with it are published."""
        first, second = (end.sha256[:SHORT] for end in self.ends)
        return f"weights {self.at:g} of the way from model {first} to model {second}"


@dataclass(frozen=True)
class Provenance:
    """Everything that a run's model comes from."""

    code: Code
    data: str
    """SHA-256 of the data as the run used them (`hamu_ray.tasks.task.Task.fingerprint`)."""
    forget_count: int
    """Number of examples that were to be forgotten."""
    forget_list: str
    """SHA-256 of `FORGET_FILE`."""
    original: ModelIdentity
    references: list[ModelIdentity]
    """The references of all seeds; empty without one."""
    files: dict[str, str]
    """SHA-256 of each file of the unlearned model by name: its weights, and what other programs need with them."""
    seeds: dict[str, int]
    """Seeds by what they determine: ``training`` and ``unlearning``."""
    hardware: str
    """Number of workers that made the model, the last ones if there were others before, and their device."""
    platform: str
    """Operating system and Python."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Versions of installed libraries that take part in the numbers."""
    plugins: list[PluginCode] = field(default_factory=list)
    """Of the method and the forget objective, where they are of another package."""
    interpolation: Interpolation | None = None
    """For a model between two others, of which the second is the run's."""
    start: ModelIdentity | None = None
    """The model at which unlearning started, where it is not the original; its own provenance is beside it."""
    retain_count: int | None = None
    """Number of examples that were to be retained; unknown for runs of earlier versions."""

    @property
    def result(self) -> str:
        """SHA-256 of the unlearned model's weights."""
        return self.files[MODEL_FILE]

    @property
    def retraining_seconds(self) -> float | None:
        """Wall time of training the first reference, which is what unlearning is to save; None if unknown."""
        return self.references[0].training_seconds if self.references else None

    def sets(self) -> dict[str, dict[str, Any]]:
        """Return ``digest`` (SHA-256) and number of ``examples`` of the sets by role, as far as they are known."""
        rest = sha256_of(f"{self.data} without {self.forget_list}".encode())
        known = {"forget": (self.forget_list, self.forget_count), "retain": (rest, self.retain_count)}
        return {
            role: {"digest": digest, "examples": count}
            for role, (digest, count) in known.items()
            if count is not None
        }

    def labels(self) -> dict[str, str]:
        """Return it as texts by name, for tags, tables and the foot of a page."""
        libraries = ", ".join(f"{name} {version}" for name, version in self.libraries.items())
        return {
            "code": str(self.code),
            "plugins": "; ".join(str(plugin) for plugin in self.plugins),
            "commit": self.code.commit,
            "data": self.data,
            "forget_list": self.forget_list,
            "original": self.original.sha256,
            "start": self.start.sha256 if self.start else "",
            "reference": ", ".join(reference.sha256 for reference in self.references),
            "retraining": "" if self.retraining_seconds is None else duration(self.retraining_seconds),
            "model": self.result,
            "interpolation": str(self.interpolation or ""),
            "seeds": ", ".join(f"{name} {seed}" for name, seed in self.seeds.items()),
            "hardware": self.hardware,
            "platform": self.platform,
            "libraries": libraries,
        }


def write_provenance(folder: StoragePath, provenance: Provenance) -> None:
    """Write it beside the run's configuration."""
    write_sealed(folder / PROVENANCE_FILE, asdict(provenance))


def read_provenance(folder: StoragePath) -> Provenance | None:
    """Return the provenance of the run in a folder; None if it has none, as runs of earlier versions.

    Raises:
        Damaged: It cannot be read.
    """
    try:
        return provenance_of(read_sealed(folder / PROVENANCE_FILE))
    except FileNotFoundError:
        return None


def check_same_split(folder: StoragePath, seed: int) -> None:
    """Check that the run in a folder, if it says so, split its data with this seed: its model may know test examples.

    Raises:
        ValueError: It did not; one line with the keys.
    """
    known = readable_provenance(folder)
    found = known.seeds.get("training", seed) if known else seed
    if found != seed:
        raise ValueError(
            f"start.path: the model in {folder} is of the split of seed {found}, and this run's is of {seed}; set "
            f"training.seed: {found}"
        )


def readable_provenance(folder: StoragePath) -> Provenance | None:
    """Return the provenance of the run in a folder; None if it has none, or a damaged one."""
    try:
        return read_provenance(folder)
    except Damaged as error:
        logger.warning("%s", error)
        return None


def labels_in(folder: StoragePath) -> dict[str, str]:
    """Return the non-empty labels of the provenance in a run's folder; empty if it has none, or a damaged one."""
    provenance = readable_provenance(folder)
    return {name: text for name, text in provenance.labels().items() if text} if provenance else {}


def provenance_of(document: Mapping[str, Any]) -> Provenance:
    """Return a provenance from plain data."""
    if "references" not in document:  # earlier versions knew one
        rest = {name: value for name, value in document.items() if name != "reference"}
        document = {**rest, "references": [document["reference"]] if document["reference"] else []}
    between = document.get("interpolation")
    return Provenance(
        **{
            **document,
            "interpolation": between
            and Interpolation(between["at"], [ModelIdentity(**end) for end in between["ends"]]),
            "code": Code(**document["code"]),
            "original": ModelIdentity(**document["original"]),
            "start": ModelIdentity(**start) if (start := document.get("start")) else None,
            "references": [ModelIdentity(**reference) for reference in document["references"]],
            "plugins": [PluginCode(**plugin) for plugin in document.get("plugins", [])],
        }
    )


def forget_list(identities: Iterable[tuple[str, str]]) -> bytes:
    """Return the content of `FORGET_FILE`: a CSV table of the place and the SHA-256 of each example to forget."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["example", "sha256"])
    table.writerows(identities)
    return text.getvalue().encode()


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
