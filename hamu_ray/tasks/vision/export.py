"""Image classifiers in the format of `transformers`: the files in addition to the weights."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.tasks.models.checkpoints import PREPROCESSOR
from hamu_ray.tasks.vision.data import VisionData
from hamu_ray.tasks.vision.images.preprocessing import checkpoint_of
from hamu_ray.tasks.vision.models import arguments_of


def exported(model: nn.Module, data: VisionData, config: ModelConfig) -> Mapping[str, bytes]:
    """Return the contents of the files, by name, that `from_pretrained` needs in addition to the weights.

    These are the configuration and the image processor, which is the checkpoint's own, or applies the data's
    preprocessing.
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


def loading_code(model: nn.Module, data: VisionData, config: ModelConfig) -> str:
    """Return the Python code that loads a model from its folder."""
    if not config.embedded:
        return (
            "from transformers import AutoImageProcessor, AutoModelForImageClassification\n"
            'model, processor = AutoModelForImageClassification.from_pretrained("."), '
            'AutoImageProcessor.from_pretrained(".")\n'
        )
    name = type(model).__name__
    arguments = ", ".join(map(str, arguments_of(type(model), data.image_shape, len(data.class_names))))
    return (
        f"from {type(model).__module__} import {name}; from safetensors.torch import load_model\n"
        f'load_model(model := {name}({arguments}), "model.safetensors")\n'
    )


def _processor(data: VisionData) -> Any:
    """Return an image processor that applies the data's preprocessing."""
    from transformers import ViTImageProcessor

    _, height, width = data.image_shape
    return ViTImageProcessor(
        size={"height": height, "width": width}, image_mean=list(data.mean), image_std=list(data.std)
    )
