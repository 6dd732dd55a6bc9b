"""The models of the vision task by name: built-in ones, or any image classifier that transformers can load."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.models.pretrained import pretrained
from hamu_ray.tasks.task import Start
from hamu_ray.tasks.vision.classes import order_of
from hamu_ray.tasks.vision.images.preprocessing import checkpoint_of
from hamu_ray.tasks.vision.networks.projection_resnet import ProjectionResNet20
from hamu_ray.tasks.vision.networks.resnet import ResNet20
from hamu_ray.tasks.vision.networks.resnet18 import ResNet18
from hamu_ray.tasks.vision.networks.vit import ViTTiny

ImageShape = tuple[int, int, int]

MODELS: Mapping[str, type[nn.Module]] = {
    "resnet20": ResNet20,
    "resnet20-projection": ProjectionResNet20,
    "resnet18": ResNet18,
    "vit-tiny": ViTTiny,
}
"""Maps names of the built-in models to their classes; see `arguments_of`."""

SIZED = (ViTTiny,)
"""The classes whose weights depend on the size of the images."""


def arguments_of(
    kind: type[nn.Module], image_shape: ImageShape, classes: int
) -> tuple[int | tuple[int, int], ...]:
    """Return the arguments of a built-in model's class: channels, classes, and if needed the images' size."""
    channels, height, width = image_shape
    return (channels, classes, (height, width)) if issubclass(kind, SIZED) else (channels, classes)


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return logits ``(n, classes)`` of normalised images ``(n, channels, h, w)``, for any kind of model."""
    output = model(images)
    return output if isinstance(output, Tensor) else output.logits


def build_vision_model(
    config: ModelConfig,
    image_shape: ImageShape,
    class_names: Sequence[str],
    seed: int,
    start: Start | None = None,
) -> nn.Module:
    """Return a model on the CPU, in the configured memory format; the seed determines its random weights.

    Building on the CPU gives the same weights for every device, and does not change global random states. A checkpoint
    keeps its weights, except for a new head if configured. ``start`` names another checkpoint to load the weights from;
    ``class_names`` are in the order of the model's outputs.

    Raises `ValueError` for a name that is neither, and for a checkpoint that does not fit images or classes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not config.embedded:
            model = _transformers_model(config, image_shape, class_names, start)
        elif start is None:
            kind = MODELS[config.name]
            model = kind(*arguments_of(kind, image_shape, len(class_names)))
        else:
            raise ValueError(
                f"{start.key}: {config.name} needs weights in a model.safetensors; {start.name} is not one"
            )
    return model.to(memory_format=torch.channels_last) if config.channels_last else model


def _transformers_model(
    config: ModelConfig, image_shape: ImageShape, class_names: Sequence[str], start: Start | None
) -> nn.Module:
    # Imported here: runs with built-in models do not need it, and it takes seconds.
    from transformers import AutoModelForImageClassification

    checkpoint = Checkpoint(start.key, start.name) if start else checkpoint_of(config)
    assert checkpoint is not None, "built-in models are built elsewhere"
    new_head = start.new_head if start else config.new_head
    if new_head:
        labels = {
            "id2label": dict(enumerate(class_names)),
            "label2id": {n: i for i, n in enumerate(class_names)},
        }
    else:
        _check_same_order(checkpoint, class_names)
        labels = {}
    network = pretrained(
        AutoModelForImageClassification,
        checkpoint,
        new_head=new_head,
        trust_remote_code=config.trust_remote_code,
        dtype=torch.float32,
        **labels,
    )
    _check_images_fit(checkpoint, network.config, image_shape)
    return network


def _check_same_order(checkpoint: Checkpoint, class_names: Sequence[str]) -> None:
    """Check that a checkpoint has the same classes in the same order as the model."""
    order = order_of(class_names, checkpoint)
    if list(order) != list(range(len(class_names))):
        raise ValueError(
            f"{checkpoint.key}: {checkpoint.name} has its classes in a different order than model.name; "
            f"set model.name to it, or give one in the order {', '.join(class_names)}"
        )


def _check_images_fit(checkpoint: Checkpoint, expects: object, image_shape: ImageShape) -> None:
    """Compare the images with the input that a checkpoint declares, if it does."""
    where = f"{checkpoint.key}: {checkpoint.name}"
    channels, *size = image_shape
    wanted_channels = getattr(expects, "num_channels", channels)
    if wanted_channels != channels:
        raise ValueError(
            f"{where} expects images with {wanted_channels} channels, the data have {channels}: "
            f"set data.mean and data.std for this number of channels"
        )
    wanted = getattr(expects, "image_size", None)
    wanted_size = [wanted, wanted] if isinstance(wanted, int) else list(wanted or size)
    if wanted_size != size:
        raise ValueError(
            f"{where} expects images of {wanted_size[1]}x{wanted_size[0]} pixels, the data have "
            f"{size[1]}x{size[0]}: set data.image_size"
        )
