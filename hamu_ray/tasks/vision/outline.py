"""An image classifier without its weights, and its passes over images."""

from typing import Any

import torch
from torch import nn

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.model import ModelConfig
from hamu_ray.config.task.vision import DataConfig, DigitsData, ImagesData
from hamu_ray.tasks.forecast import Forecast
from hamu_ray.tasks.outline import Outline
from hamu_ray.tasks.task import Outputs
from hamu_ray.tasks.vision.images.labels import DIGITS, digits_content, labelled_rows
from hamu_ray.tasks.vision.images.preprocessing import checkpoint_of, preprocessing_of
from hamu_ray.tasks.vision.models import MODELS, ImageShape, arguments_of, logits_of


def outline_vision(run: RunConfig, forecast: Forecast | None) -> Outline:
    """Return the outline of a run's model. Decodes one image at most, to see its size.

    Raises `ValueError`, in one line, if data or the model's configuration cannot be loaded.
    """
    config, data = run.model, run.data
    assert isinstance(config, ModelConfig)
    assert isinstance(data, DigitsData | ImagesData)
    shape, classes = shape_of(data, config)

    def build(unlearned: bool) -> nn.Module:
        with torch.device("meta"):
            model = _without_weights(config, shape, classes)
        return model.to(memory_format=torch.channels_last) if config.channels_last else model

    def forward(network: nn.Module, examples: int, sharded: bool) -> Outputs:
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        weight = next(network.parameters())
        pixels = weight.new_zeros(examples, *shape, dtype=torch.uint8).contiguous(memory_format=layout)
        labels = torch.zeros(examples, dtype=torch.int64)
        with torch.autocast("cpu", torch.bfloat16, config.precision == "bfloat16"):
            logits = logits_of(network, pixels.float().sub_(1.0).mul_(1.0))
        return Outputs(logits.float(), labels, torch.arange(examples))

    def evaluate(network: nn.Module, examples: int) -> object:
        return forward(network, examples, False)

    examples = f"images of {shape[2]}x{shape[1]}"
    return Outline(examples, build, forward, evaluate, config.freeze_batchnorm, teacher_outlives_model=True)


def shape_of(data: DataConfig, config: ModelConfig) -> tuple[ImageShape, int]:
    """Return channels, height and width of preprocessed images, and the number of classes of the data."""
    preprocessing, checkpoint = preprocessing_of(data, config), checkpoint_of(config)
    channels, size = len(preprocessing.mean), preprocessing.image_size
    declared = checkpoint.config.get("image_size") if checkpoint else None
    size = size or (declared if isinstance(declared, int) else None)
    if isinstance(data, DigitsData):
        height, width = (size, size) if size else digits_content()[0].shape[1:]
        return (channels, height, width), len(DIGITS)
    rows, _, names = labelled_rows(data)
    width, height = (size, size) if size else rows.dataset[0][data.image_column].size
    return (channels, height, width), len(names)


def _without_weights(config: ModelConfig, shape: ImageShape, classes: int) -> Any:
    if config.embedded:
        kind = MODELS[config.name]
        return kind(*arguments_of(kind, shape, classes))
    from transformers import AutoConfig, AutoModelForImageClassification

    checkpoint = checkpoint_of(config)
    assert checkpoint is not None, "built-in models are built above"
    described = AutoConfig.from_pretrained(
        (checkpoint.base or checkpoint).name,
        trust_remote_code=config.trust_remote_code,
        **({"num_labels": classes} if config.new_head else {}),
    )
    return AutoModelForImageClassification.from_config(
        described, trust_remote_code=config.trust_remote_code, dtype=torch.float32
    )
