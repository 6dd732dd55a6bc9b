"""The models of the vision task by name: its own, or any image classifier that transformers can load."""

import difflib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hamu_ray.config.model import ModelConfig
from hamu_ray.tasks.hub import hub_or_cache, one_line
from hamu_ray.tasks.vision.resnet import ResNet20

ImageShape = tuple[int, int, int]


def _projection_resnet20(channels: int, classes: int) -> nn.Module:
    # Imported here: other models can do without the seconds that transformers takes.
    from hamu_ray.tasks.vision.projection_resnet import ProjectionResNet20

    return ProjectionResNet20(channels, classes)


MODELS: Mapping[str, Callable[[int, int], nn.Module]] = {
    "resnet20": ResNet20,
    "resnet20-projection": _projection_resnet20,
}
"""Names of the task's own models to what builds them from the numbers of channels and classes."""


class TransformersClassifier(nn.Module):
    """A transformers image classifier that, like every model here, maps images to logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(n, channels, h, w)`` to logits ``(n, classes)``."""
        return self.network(pixel_values=images).logits


def build_vision_model(config: ModelConfig, image_shape: ImageShape, classes: int, seed: int) -> nn.Module:
    """Return a model on the CPU whose random weights the seed decides, in the configured memory order.

    Building on the CPU gives the same weights whatever the device, and leaves the caller's generators alone.
    A transformers checkpoint keeps its weights; its head is fresh where the number of classes differs.

    Raises `ValueError` for a name that is neither, and for a checkpoint that does not fit the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.name in MODELS:
            model = MODELS[config.name](image_shape[0], classes)
        else:
            model = _transformers_model(config, image_shape, classes)
    return model.to(memory_format=torch.channels_last) if config.channels_last else model


def _transformers_model(config: ModelConfig, image_shape: ImageShape, classes: int) -> nn.Module:
    # Imported here: runs with the task's own models can do without the seconds that it takes.
    from transformers import AutoModelForImageClassification

    try:
        with hub_or_cache(config.name):
            network = AutoModelForImageClassification.from_pretrained(
                config.name,
                num_labels=classes,
                ignore_mismatched_sizes=True,
                trust_remote_code=config.trust_remote_code,
                dtype=torch.float32,
            )
    except Exception as error:  # transformers and the hub's client raise a zoo of types
        near = difflib.get_close_matches(config.name, MODELS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"own models: {', '.join(MODELS)}"
        raise ValueError(
            f"model.name: {config.name} is neither a model of the vision task ({hint}) nor a transformers "
            f"image classifier that can be loaded: {one_line(error)}"
        ) from error
    _check_images_fit(config.name, network.config, image_shape)
    return TransformersClassifier(network)


def _check_images_fit(name: str, expects: object, image_shape: ImageShape) -> None:
    """Compare the images with what a checkpoint says of its own; not every checkpoint says it."""
    channels, *size = image_shape
    wanted_channels = getattr(expects, "num_channels", channels)
    if wanted_channels != channels:
        raise ValueError(
            f"model.name: {name} takes images of {wanted_channels} channels, the data have {channels}: "
            f"give data.mean and data.std that many numbers"
        )
    wanted = getattr(expects, "image_size", None)
    wanted_size = [wanted, wanted] if isinstance(wanted, int) else list(wanted or size)
    if wanted_size != size:
        raise ValueError(
            f"model.name: {name} takes images of {wanted_size[1]}x{wanted_size[0]} pixels, the data have "
            f"{size[1]}x{size[0]}: set data.image_size"
        )
