"""Image classifiers of `transformers` as it has them on disk: the files beside the weights that the engine writes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hamu_ray.config.model import ModelConfig
from hamu_ray.tasks.checkpoints import PREPROCESSOR
from hamu_ray.tasks.vision.data import VisionData
from hamu_ray.tasks.vision.preprocessing import checkpoint_of


def exported(model: nn.Module, data: VisionData, config: ModelConfig) -> Mapping[str, bytes]:
    """Return the contents of files by name that make a folder one which `from_pretrained` loads.

    To go beside a ``model.safetensors`` with all weights: the configuration, and the image processor, which is the
    checkpoint's own, or does as the data were prepared.
    """
    network: Any = model
    network.config.architectures = [type(network).__name__]
    checkpoint = checkpoint_of(config)
    own = checkpoint.file(PREPROCESSOR) if checkpoint else None
    with tempfile.TemporaryDirectory() as folder:
        network.config.save_pretrained(folder)
        if own is None:
            _processor(data).save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
    return files if own is None else {**files, PREPROCESSOR: own.read_bytes()}


def _processor(data: VisionData) -> Any:
    """Return an image processor that prepares images as the data were."""
    from transformers import ViTImageProcessor

    _, height, width = data.image_shape
    return ViTImageProcessor(
        size={"height": height, "width": width}, image_mean=list(data.mean), image_std=list(data.std)
    )
