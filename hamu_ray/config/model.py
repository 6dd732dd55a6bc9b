"""Which model is trained and unlearned, and how it computes."""

from typing import Literal

from hamu_ray.config.schema import Section

OWN = ("resnet20", "resnet20-projection")
"""Names of the models that are built here."""


class ModelConfig(Section):
    """The architecture and how it computes."""

    task: Literal["vision"] = "vision"
    """Follows from the data; it need not be given."""
    name: str = "resnet20"
    """`resnet20` (parameter-free shortcuts, 269,722 weights of 10 classes), `resnet20-projection` (1x1 convolutions
    with BatchNorm as shortcuts, 272,474 weights: the model of the HAMU paper's experiments), or a `transformers`
    image-classification checkpoint (hub name or folder)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast precision of forward and backward passes; weights and gradients stay float32."""
    channels_last: bool = True
    """Keep images and convolution weights in channels-last memory order (faster on CPU and GPU)."""
    freeze_batchnorm: bool = True
    """Unlearn with the running statistics of BatchNorm. They are always updated in training."""
    new_head: bool = False
    """Give a checkpoint a fresh head for the data set's classes; false takes the head and the classes that it has."""
    trust_remote_code: bool = False
    """Let a `transformers` checkpoint run its own code."""

    @property
    def embedded(self) -> bool:
        """Whether the model is built here, rather than a checkpoint."""
        return self.name in OWN

    @property
    def pretrained(self) -> str | None:
        """The checkpoint that training starts from; None for random weights."""
        return None if self.embedded else self.name

    def recipe(self, parameters: str) -> dict[str, object]:
        """Return what a trained model's weights depend on, as plain data; all of its ``parameters`` are trained."""
        return self.model_dump(mode="json", include={"name", "precision", "channels_last", "new_head"})
