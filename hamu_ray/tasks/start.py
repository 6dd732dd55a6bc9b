"""Starting points of base models, and whether they may have seen the forget set. Needs no torch."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hamu_ray.config.run import MODEL_FILE, RunConfig
from hamu_ray.tasks.checkpoints import (
    ADAPTER,
    ADAPTER_CONFIG,
    CONFIG,
    WHOLE,
    Checkpoint,
    check_tensors,
    same_weights,
)
from hamu_ray.tasks.hub import is_local

logger = logging.getLogger(__name__)


class Origin(StrEnum):
    """What is known of a reference: why its weights should never have met the data to forget."""

    NONE = "none"
    """There is no reference."""
    RANDOM = "random"
    """Its training started from random weights."""
    SHARED = "shared"
    """Its training started from the pretrained weights from which the original is trained, too."""
    DECLARED = "declared"
    """Its training started from weights that the configuration declares clean (`reference.start`)."""
    UNDECLARED = "undeclared"
    """Its training started from the model's pretrained weights, of which nothing is declared."""
    ASSUMED = "assumed"
    """Its training started from the original's own weights, or a given adapter (`reference.assume_clean`)."""
    GIVEN = "given"
    """It was not trained here."""


@dataclass(frozen=True)
class ReferenceOrigin:
    """Where the reference comes from."""

    kind: Origin
    start: str | None = None
    """The checkpoint or file that its training started from, or that it is."""

    def __str__(self) -> str:
        """Return it in words, to follow after `the reference`."""
        return {
            Origin.NONE: "is missing",
            Origin.RANDOM: "was trained from random weights",
            Origin.SHARED: f"was trained from {self.start}, as the original was",
            Origin.DECLARED: f"was trained from {self.start}, declared never to have met the data",
            Origin.UNDECLARED: f"was trained from {self.start}, of which nothing is declared (reference.start)",
            Origin.ASSUMED: f"was trained from {self.start}, which is only ASSUMED never to have met the data",
            Origin.GIVEN: f"was given ({self.start})",
        }[self.kind]


def reference_origin(run: RunConfig) -> ReferenceOrigin:
    """Return where a run's reference comes from.

    Raises:
        ValueError: It would start from the original's own weights or from a given adapter, or be the original, and
            nothing says that these may be taken for clean.
    """
    reference, original = run.reference, run.original.path
    if reference.source == "none":
        return ReferenceOrigin(Origin.NONE)
    if reference.path is not None:
        if original is not None and same_model(reference.path, original):
            raise ValueError(
                f"reference.path: {reference.path} has the original's own weights, which have met the data to forget; "
                "give a model that never saw them, or reference.source: train"
            )
        return ReferenceOrigin(Origin.GIVEN, reference.path)
    start = reference.start or own_start(run)
    if start is None:
        return ReferenceOrigin(Origin.RANDOM)
    tuned = ""
    if original is not None and same_model(start, original):
        tuned = "the original's own weights, which have met the data to forget"
    elif reference.start is None and start != run.model.pretrained:
        tuned = "an adapter (model.lora.adapter) that may have met the data to forget"
    if tuned and reference.assume_clean:
        return ReferenceOrigin(Origin.ASSUMED, start)
    if tuned:
        raise ValueError(
            f"reference.start: the reference would be trained from {start}, {tuned}; give weights that never did, "
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
    """Check a run's given models by their files: complete, of the model's kind, and clean.

    Raises:
        ValueError: In one line with the key and the remedy.
    """
    if run.original.path is not None and getattr(run.data, "holds_out", False):
        logger.warning(
            "the test examples are held out of those to retain, which the original (%s) may have been trained on: "
            "name others with data.%s",
            run.original.path,
            "test_subset" if run.data.name == "tofu" else "test_split",
        )
    for key, name in given_models(run):
        checkpoint = checkpoint_at(run, key, name)
        if checkpoint is None:
            if "://" not in name:  # behind a URL the engine looks
                check_tensors(key, _existing_file(key, name))
            continue
        checkpoint.check()
        if run.model.embedded:
            continue
        kinds = [c.config.get("model_type") for c in (checkpoint, Checkpoint("model.name", run.model.name))]
        if None not in kinds and len(set(kinds)) > 1:
            raise ValueError(
                f"{key}: {name} is a {kinds[0]} model, model.name ({run.model.name}) a {kinds[1]} model; take two of "
                "one kind"
            )
    reference_origin(run)


def checkpoint_at(run: RunConfig, key: str, name: str) -> Checkpoint | None:
    """Return the checkpoint that a given model is; None where it is a safetensors file, or a folder of just that.

    A file of a checkpoint's folder stands for the folder. Models that are built here are files always, but for those
    of texts.
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
    """Return the file of a model that is no checkpoint."""
    path = Path(name).expanduser()
    return path / MODEL_FILE if path.is_dir() else path


def _existing_file(key: str, name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir() and not (path / MODEL_FILE).is_file():
        raise ValueError(
            f"{key}: {name}: the folder has no {MODEL_FILE}; give a checkpoint, a {MODEL_FILE} or a folder that "
            "holds one"
        )
    return weights_file(name)


def same_model(one: str, other: str) -> bool:
    """Whether two models on this machine have the same weights; of the hub, whether they are of one commit."""
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
    """Return what a trained model's weights depend on, as plain data: of checkpoints the content, not the name."""
    recipe = run.model.recipe(run.training.parameters)
    if not run.model.embedded:
        recipe["name"] = Checkpoint("model.name", run.model.name).identity
    lora = recipe.get("lora")
    if isinstance(lora, dict) and lora.get("adapter") is not None:
        recipe["lora"] = {**lora, "adapter": Checkpoint("model.lora.adapter", lora["adapter"]).identity}
    return recipe
