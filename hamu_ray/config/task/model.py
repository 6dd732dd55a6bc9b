"""The model and its computation."""

from typing import Literal

from hamu_ray.config.schema import Section

OWN = ("resnet20", "resnet20-projection", "resnet18", "vit-tiny")
"""Names of the built-in models."""


class ModelConfig(Section):
    """The architecture and its computation."""

    task: Literal["vision"] = "vision"
    """Follows from the data and can be omitted."""
    name: str = "resnet20"
    """`resnet20` (parameter-free shortcuts, 269,722 weights with 10 classes), `resnet20-projection` (1x1 convolutions
    with BatchNorm as shortcuts, 272,474 weights: the model of the HAMU paper's experiments), `resnet18` (torchvision's,
    with a 3x3 stem without pooling for small images, 11,173,962 weights), `vit-tiny` (12 layers, 192 wide, 8x8 patches,
    5,362,762 weights for images of 32 pixels), or a `transformers` image-classification checkpoint (hub name or
    folder).
    """
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast precision of forward and backward passes; weights and gradients stay float32."""
    channels_last: bool = True
    """Use channels-last memory format for images and convolution weights (faster on CPU and GPU)."""
    freeze_batchnorm: bool = True
    """Use BatchNorm's running statistics in unlearning. They are always updated in training.
    False: each worker normalises its part of a batch by itself, so that results depend on the number of workers."""
    new_head: bool = False
    """Give a checkpoint a new head for the data set's classes; false keeps its head and classes."""
    trust_remote_code: bool = False
    """Allow a `transformers` checkpoint to run its own code."""

    @property
    def embedded(self) -> bool:
        """Whether the model is built in, rather than a checkpoint."""
        return self.name in OWN

    @property
    def pretrained(self) -> str | None:
        """The checkpoint that training starts from; None for random weights."""
        return None if self.embedded else self.name

    def recipe(self, parameters: str) -> dict[str, object]:
        """Return what a trained model's weights depend on, as plain data; all ``parameters`` are trained."""
        return self.model_dump(mode="json", include={"name", "precision", "channels_last", "new_head"})
