"""Clones: trials that a person starts from the model of another trial, with other settings.

A clone is a file in the sweep's folder, which is copied to the storage with the others, so that `--resume` runs a clone
that has not ended. Its number follows those of the sweep's own trials.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hamu_ray.config.run import MODEL_FILE, RunConfig
from hamu_ray.config.search import Objective
from hamu_ray.config.sources.document import ConfigError, assign, parse_override
from hamu_ray.config.sources.files import check_run_document
from hamu_ray.config.sources.key_paths import flatten
from hamu_ray.metrics.table import COSTS
from hamu_ray.results.durable.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.results.folder import trial_name
from hamu_ray.results.trial import TrialRecord
from hamu_ray.storage import sha256_of_file, storage_path

PREFIX = "clone-"
"""Of the files of clones; their trials' names follow."""

SHARED = (
    *("name", "data", "forget", "model", "training", "original", "reference"),
    *("start", "workers", "storage", "tracking"),
)
"""Sections of a configuration that a clone shares with its trial."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clone:
    """A trial that starts at the model of another trial, or of a point of one."""

    number: int
    cloned_from: str
    """The name of the other trial or point."""
    parameters: dict[str, Any]
    """The sampled values of the other trial, and those that were set."""
    configuration: dict[str, Any]
    """The whole run as plain data."""

    @property
    def run(self) -> RunConfig:
        """The validated configuration."""
        return RunConfig.model_validate(self.configuration)


def clone_of(trial: TrialRecord, model: TrialRecord, number: int, changes: Iterable[str]) -> Clone:
    """Return a clone of a trial.

    Args:
        trial: the trial, whose configuration the clone has.
        model: the trial, or the point on its way, at whose model the clone starts.
        number: the clone's number.
        changes: settings that differ, as ``KEY=VALUE``.

    Raises:
        ConfigError: A setting is invalid, or must not differ; or the model was not kept.
    """
    place = storage_path(model.model_path).parent if model.model_path else None
    if place is None or not (place / MODEL_FILE).is_file():
        raise ConfigError(
            f"clone {model.trial_id}: its model was not kept; clone a trial or point that has one"
        )
    settings = dict(map(parse_override, changes))
    document = {**trial.configuration, "stop": {**trial.configuration.get("stop", {}), "after_steps": None}}
    for key, value in settings.items():
        if key.partition(".")[0] in SHARED:
            raise ConfigError(f"--set {key}: a clone shares it with its trial; set a key of another section")
        document = nested_copy(document)
        try:
            assign(document, key, value)
        except ValueError as error:
            raise ConfigError(f"--set {error}") from error
    document["start"] = {"path": str(place), "sha256": sha256_of_file(place / MODEL_FILE)}
    run = check_run_document(document, f"clone of {model.trial_id}")
    parameters = {**trial.parameters, **flatten(settings)}
    return Clone(number, model.trial_id, parameters, run.model_dump(mode="json"))


def check_no_costs(name: str, objectives: Iterable[Objective]) -> None:
    """Raise `ConfigError` if a cost is an objective: a clone's own is a part of what its model has cost."""
    for objective in objectives:
        if objective.metric in COSTS:
            raise ConfigError(
                f"clone {name}: {objective.metric} is an objective of this sweep, and a clone's would lack that of the "
                "trial it starts from; run the changed settings in a sweep of their own"
            )


def nested_copy(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of nested sections."""
    return {
        key: nested_copy(value) if isinstance(value, Mapping) else value for key, value in document.items()
    }


def request_clone(sweep: Path, clone: Clone) -> bool:
    """Ask the driver of a sweep to run a clone; return whether its number was free."""
    path, written = (
        sweep / f"{mark}{PREFIX}{trial_name(clone.number)}.json" for mark in ("", f".{os.getpid()}-")
    )
    write_sealed(written, asdict(clone))
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    finally:
        written.unlink()
    return True


def read_clones(sweep: Path) -> list[Clone]:
    """Return the clones of a sweep in order of their numbers; logs those that are damaged."""
    found = []
    for path in sorted(sweep.glob(f"{PREFIX}*.json")):
        try:
            found.append(Clone(**read_sealed(path)))
        except Damaged as error:
            logger.warning("%s; this clone is left out", error)
    return found
