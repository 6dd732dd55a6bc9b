"""Preprocessing of images, from a checkpoint's image processor or from the configuration. Needs no torch."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamu_ray.config.task.model import OWN, ModelConfig
from hamu_ray.config.task.vision import DataConfig, ImagesData
from hamu_ray.tasks.models.checkpoints import PREPROCESSOR, Checkpoint

CLOSE = 1e-6
"""Tolerance when comparing values of configuration files."""

RESIZING = ("do_resize", "do_center_crop", "do_pad")
"""Options of an image processor that change the size of images."""


@dataclass(frozen=True)
class Preprocessing:
    """Resizing and normalisation. ``mean`` and ``std`` apply to pixels scaled to 0..1, with one value per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int | None
    """Side length of the square that images are resized to; None leaves resizing to the ``processor``, if there is one.
    """
    processor: Path | None
    """The `preprocessor_config.json` of the checkpoint whose image processor resizes the images."""

    @property
    def resizing(self) -> str:
        """What the pixels depend on, as text: equal texts imply equal pixels."""
        content = self.processor.read_text() if self.processor else ""
        return json.dumps([len(self.mean), self.image_size, content])


def checkpoint_of(model: ModelConfig) -> Checkpoint | None:
    """Return a model's checkpoint, None for a built-in model; raises `ValueError` if it is neither."""
    if model.embedded:
        return None
    checkpoint = Checkpoint("model.name", model.name)
    if checkpoint.local and not Path(model.name).expanduser().exists():
        raise ValueError(
            f"model.name: {model.name}: no such folder; use {', '.join(OWN)} or a transformers checkpoint"
        )
    try:
        _ = checkpoint.config
    except ValueError as error:
        near = difflib.get_close_matches(model.name, OWN, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"built-in models: {', '.join(OWN)}"
        problem = str(error).removeprefix("model.name: ").removeprefix(f"{model.name}: ")
        raise ValueError(
            f"model.name: {model.name} is neither a model of the vision task ({hint}) nor a transformers image "
            f"classifier that can be loaded: {problem}"
        ) from error
    return checkpoint


def preprocessing_of(data: DataConfig, model: ModelConfig) -> Preprocessing:
    """Return the checkpoint's preprocessing if it has one, else the data's.

    Raises `ValueError` if the configuration contradicts the checkpoint.
    """
    checkpoint = checkpoint_of(model)
    file = checkpoint.file(PREPROCESSOR) if checkpoint else None
    given = data if isinstance(data, ImagesData) else None
    if checkpoint is None or file is None:
        mean, std = (given and given.mean) or data.usual[0], (given and given.std) or data.usual[1]
        if len(mean) != len(std):
            raise ValueError(f"data.std: data.mean has {len(mean)} channels, data.std {len(std)}; give both")
        return Preprocessing(mean, std, given.image_size if given else None, None)
    described = checkpoint.json(PREPROCESSOR)
    mean, std = _normalisation(described, checkpoint)
    resizes = any(described.get(key, False) for key in RESIZING)
    if given is not None:
        for key, own, theirs in (("mean", given.mean, mean), ("std", given.std, std)):
            if own is not None and not _close(own, theirs):
                raise _contradiction(f"data.{key}", list(own), checkpoint, list(theirs))
        size = given.image_size
        if size is not None and resizes and (square := _square(described)) != size:
            raise _contradiction("data.image_size", size, checkpoint, square or described.get("size"))
        if size is not None and not resizes:
            return Preprocessing(mean, std, size, None)
    return Preprocessing(mean, std, None, file if resizes else None)


def _normalisation(
    described: dict[str, Any], checkpoint: Checkpoint
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return a processor's mean and standard deviation, converted to pixels scaled to 0..1."""
    channels = int(checkpoint.config.get("num_channels", 3))
    if not described.get("do_normalize", True):
        return (0.0,) * channels, (1.0,) * channels
    numbers = [described.get(key, 0.5) for key in ("image_mean", "image_std")]
    mean, std = (tuple(map(float, n)) if isinstance(n, list) else (float(n),) * channels for n in numbers)
    # A processor normalises after rescaling by its own factor; without rescaling, pixels are in 0..255.
    factor = described.get("rescale_factor", 1 / 255) if described.get("do_rescale", True) else 1.0
    unit = 1 / (255 * float(factor))
    return (
        (mean, std)
        if abs(unit - 1) < CLOSE
        else (tuple(m * unit for m in mean), tuple(s * unit for s in std))
    )


def _square(described: dict[str, Any]) -> int | None:
    """Return the side length of a processor's square outputs; None for other shapes."""
    crops = described.get("do_center_crop", False)
    size = described.get("crop_size" if crops else "size")
    if isinstance(size, int):
        return size
    sides = {size.get("height"), size.get("width")} if isinstance(size, dict) else {None}
    side = sides.pop()
    return side if not sides else None


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) < CLOSE for a, b in zip(one, other, strict=True))


def _contradiction(key: str, own: object, checkpoint: Checkpoint, theirs: object) -> ValueError:
    return ValueError(
        f"{key}: {own} contradicts {PREPROCESSOR} of {checkpoint.name} ({theirs}); remove {key} to use "
        "the checkpoint's"
    )
