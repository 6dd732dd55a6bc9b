"""A task of Python objects: a model, datasets, a loss, metrics, given to `hamu_ray.sweep` or `hamu_ray.Unlearner`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hamu_ray.config.schema import Section

MetricNames = Annotated[tuple[str, ...], Field(strict=False)]


class CustomData(Section):
    """Three map-style datasets, with the other objects of their task, as `hamu_ray.sweep` wrote them.

    The objects are pickled: loading them runs their code. Only files whose content ``digest`` identifies are loaded.
    """

    task: ClassVar[str] = "custom"
    forget_kinds: ClassVar[tuple[str, ...]] = ("split",)
    name: Literal["custom"] = "custom"
    path: str
    """Folder of the task, or its URL."""
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the task's description (`task.json`), which holds those of its pickled objects."""
    metrics: MetricNames = ()
    """Names of the task's own metrics. Each is reported for every split, such as `test_rmse`."""


class CustomModelConfig(Section):
    """How the model of a custom task computes."""

    task: Literal["custom"] = "custom"
    """Follows from the data; it need not be given."""
    name: str = "custom"
    """What people call the model: the name of its class or of the function that builds it."""
    start: str | None = None
    """File with the weights that training starts from, where they do not depend on the seed; null: random weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast precision of forward and backward passes; weights and gradients stay float32."""
    freeze_batchnorm: bool = True
    """Unlearn with the running statistics of BatchNorm. They are always updated in training.
    False: each worker normalises its part of a batch by itself, so that results depend on the number of workers."""

    embedded: ClassVar[bool] = True
    """Whether the model is built here, rather than a checkpoint."""

    @property
    def pretrained(self) -> str | None:
        """What training starts from; None for random weights."""
        return self.start

    def recipe(self, parameters: str) -> dict[str, object]:
        """Return what a trained model's weights depend on beside the data's fingerprint, as plain data."""
        return self.model_dump(mode="json", include={"precision"})
