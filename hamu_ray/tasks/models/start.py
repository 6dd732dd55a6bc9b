"""Starting points of base models, and whether they may have been trained on the forget set. Needs no torch."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hamu_ray.config.run import MODEL_FILE, RunConfig
from hamu_ray.tasks.models.checkpoints import (
    ADAPTER,
    ADAPTER_CONFIG,
    CONFIG,
    WHOLE,
    Checkpoint,
    check_tensors,
    same_weights,
)
from hamu_ray.tasks.models.hub import is_local

logger = logging.getLogger(__name__)


class Origin(StrEnum):
    """The origin of a reference: the reason to consider its weights free of the forget set."""

    NONE = "none"
    """There is no reference: of a class that is forgotten whole, an accuracy of 0 is assumed."""
    HELD_OUT = "held_out"
    """There is no reference: the original's losses on test data stand for its losses on the forget set."""
    RANDOM = "random"
    """Its training started from random weights."""
    SHARED = "shared"
    """Its training started from the same pretrained weights as the original's."""
    DECLARED = "declared"
    """Its training started from weights that the configuration declares clean (`reference.start`)."""
    UNDECLARED = "undeclared"
    """Its training started from the model's pretrained weights, without a declaration."""
    ASSUMED = "assumed"
    """Its training started from the original's own weights, or a given adapter (`reference.assume_clean`)."""
    BASE = "base"
    """It is the model's own pretrained weights (`reference.path` is `model.name`), which stand for a reference."""
    GIVEN = "given"
    """It was not trained here."""


@dataclass(frozen=True)
class ReferenceOrigin:
    """Origin and starting point of a reference."""

    kind: Origin
    start: str | None = None
    """The checkpoint or file that its training started from, or that it was loaded from."""

    def __str__(self) -> str:
        """Return a description that continues `the reference`."""
        return {
            Origin.NONE: "is missing: the forget accuracy of a model that never saw the class is assumed to be 0",
            Origin.HELD_OUT: "is missing: the original's losses on test data stand for its losses on the forget set",
            Origin.RANDOM: "was trained from random weights",
            Origin.SHARED: f"was trained from {self.start}, as the original was",
            Origin.DECLARED: f"was trained from {self.start}, declared clean of the forget set",
            Origin.UNDECLARED: f"was trained from {self.start}, not declared clean (reference.start)",
            Origin.ASSUMED: f"was trained from {self.start}, which is only ASSUMED to be clean of the forget set",
            Origin.BASE: f"is missing: the pretrained base ({self.start}) stands for it",
            Origin.GIVEN: f"was given ({self.start})",
        }[self.kind]


def reference_origin(run: RunConfig) -> ReferenceOrigin:
    """Return where a run's reference comes from.

    Raises:
        ValueError: It would start from the original's own weights or from a given adapter, or be the original, without
            a declaration that these are clean.
    """
    reference, original = run.reference, run.original.path
    if reference.source == "none":
        return ReferenceOrigin(Origin.NONE if run.lacks_forget_losses else Origin.HELD_OUT)
    if reference.path is not None:
        if original is not None and same_model(reference.path, original):
            raise ValueError(
                f"reference.path: {reference.path} has the original's own weights, which were trained on the forget "
                "set; give a model trained without it, or reference.source: train"
            )
        pretrained = run.model.pretrained
        base = pretrained is not None and same_model(reference.path, pretrained)
        return ReferenceOrigin(Origin.BASE if base else Origin.GIVEN, reference.path)
    start = reference.start or own_start(run)
    if start is None:
        return ReferenceOrigin(Origin.RANDOM)
    tuned = ""
    if original is not None and same_model(start, original):
        tuned = "the original's own weights, which were trained on the forget set"
    elif reference.start is None and start != run.model.pretrained:
        tuned = "an adapter (model.lora.adapter) that may have been trained on the forget set"
    if tuned and reference.assume_clean:
        return ReferenceOrigin(Origin.ASSUMED, start)
    if tuned:
        raise ValueError(
            f"reference.start: the reference would be trained from {start}, {tuned}; give clean weights, "
            "such as the pretrained base (--set reference.start=BASE), or accept it as assumed "
            "(--set reference.assume_clean=true)"
        )
    if reference.start is not None:
        return ReferenceOrigin(Origin.DECLARED, start)
    return ReferenceOrigin(Origin.SHARED if original is None else Origin.UNDECLARED, start)


def own_start(run: RunConfig) -> str | None:
    """Return the checkpoint, or file, that the model's training starts from; None for random weights."""
    lora = getattr(run.model, "lora", None)
    if run.training.parameters == "lora" and lora is not None and lora.adapter is not None:
        return str(lora.adapter)
    return run.model.pretrained


def given_models(run: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield the key and name of every model that a run takes its base models from."""
    for key, name in (
        ("original.path", run.original.path),
        ("reference.path", run.reference.path),
        ("reference.start", run.reference.start),
    ):
        if name is not None:
            yield key, name


def check_given_models(run: RunConfig) -> None:
    """Check a run's given models by their files: complete, of the right architecture, and clean.

    Raises:
        ValueError: One line with the key and the remedy.
    """
    if run.original.path is not None and getattr(run.data, "holds_out", False):
        logger.warning(
            "the test examples are held out of the retain examples, which the original (%s) may have been trained on: "
            "set others with data.%s",
            run.original.path,
            "test_subset" if run.data.name == "tofu" else "test_split",
        )
    for key, name in given_models(run):
        checkpoint = checkpoint_at(run, key, name)
        if checkpoint is None:
            if "://" not in name:  # models behind a URL are checked by the engine
                check_tensors(key, _existing_file(key, name))
            continue
        checkpoint.check()
        if run.model.embedded:
            continue
        kinds = [c.config.get("model_type") for c in (checkpoint, Checkpoint("model.name", run.model.name))]
        if None not in kinds and len(set(kinds)) > 1:
            raise ValueError(
                f"{key}: {name} is a {kinds[0]} model, model.name ({run.model.name}) a {kinds[1]} model; use two of "
                "the same kind"
            )
    reference_origin(run)


def checkpoint_at(run: RunConfig, key: str, name: str) -> Checkpoint | None:
    """Return the checkpoint of a given model; None for a safetensors file, or a folder with nothing else.

    A file in a checkpoint's folder refers to the folder. Built-in models are always files, except language models.
    """
    if "://" in name or (run.data.task != "language" and run.model.embedded):
        return None
    if not is_local(name):
        return Checkpoint(key, name)
    path = Path(name).expanduser()
    folder = path.parent if path.name in (*WHOLE, *ADAPTER) else path
    described = any((folder / file).is_file() for file in (CONFIG, ADAPTER_CONFIG))
    return Checkpoint(key, str(folder)) if described else None


def weights_file(name: str) -> Path:
    """Return the file of a model that is not a checkpoint."""
    path = Path(name).expanduser()
    return path / MODEL_FILE if path.is_dir() else path


def _existing_file(key: str, name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir() and not (path / MODEL_FILE).is_file():
        raise ValueError(
            f"{key}: {name}: the folder has no {MODEL_FILE}; give a checkpoint, a {MODEL_FILE} or a folder that "
            "contains one"
        )
    return weights_file(name)


def same_model(one: str, other: str) -> bool:
    """Whether two local models have the same weights; on the hub, whether they have the same commit."""
    if one == other:
        return True
    if "://" in one or "://" in other:
        return False
    if is_local(one) != is_local(other):
        return False
    if not is_local(one):
        return Checkpoint("", one).identity == Checkpoint("", other).identity
    return same_weights(*(_files(name) for name in (one, other)))


def _files(name: str) -> list[Path]:
    path = Path(name).expanduser()
    folder = path.parent if path.name in (*WHOLE, *ADAPTER) else path
    if any((folder / file).is_file() for file in (CONFIG, ADAPTER_CONFIG)):
        return Checkpoint("", str(folder)).weights
    return [weights_file(name)]


def model_recipe(run: RunConfig) -> dict[str, object]:
    """Return what a trained model's weights depend on, as plain data: for checkpoints the content, not the name."""
    recipe = run.model.recipe(run.training.parameters)
    if not run.model.embedded:
        recipe["name"] = Checkpoint("model.name", run.model.name).identity
    lora = recipe.get("lora")
    if isinstance(lora, dict) and lora.get("adapter") is not None:
        recipe["lora"] = {**lora, "adapter": Checkpoint("model.lora.adapter", lora["adapter"]).identity}
    return recipe
