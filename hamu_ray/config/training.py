"""The schema of optimizers, and of the training of base models."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from hamu_ray.config.schema import Section

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class OptimizerConfig(Section):
    """The optimizer that turns a gradient into a step."""

    name: Literal["sgd", "adamw"] = "sgd"
    """`sgd` takes exactly the method's step; `adamw` rescales it, so that HAMU's per-step guarantee is lost."""
    learning_rate: PositiveFloat = 1e-4
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum of SGD; above zero, the step is no longer exactly the method's."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine` decreases to zero over the whole run."""
    clip_norm: PositiveFloat | None = 1.0
    """Maximum norm of each objective's gradient, clipped after averaging over its global batch."""


class TrainingOptimizerConfig(OptimizerConfig):
    """The optimizer of training; omitted keys keep these defaults."""

    name: Literal["sgd", "adamw"] = "adamw"
    learning_rate: PositiveFloat = 1e-3


class AugmentConfig(Section):
    """Random changes of the training images, others in every epoch, as drawn from the seed for each image."""

    crop: int = Field(default=4, ge=0)
    """Padding in black pixels on each side, out of which a random crop of the image's size is taken; 0: none."""
    flip: bool = True
    """Mirror every other image left to right, at random. Not for digits."""


class TrainingConfig(Section):
    """The training recipe of the original model and of its retain-only reference."""

    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    """Seed of the forget set, of base models' initial weights and batches, and of evaluation subsets; `seed` then only
    affects unlearning, so that several seeds share their base models. Null: `seed` for everything."""
    epochs: PositiveInt = 50
    batch_size: PositiveInt = 5000
    micro_batch_size: PositiveInt | None = None
    """Examples per forward pass; null: the whole batch."""
    optimizer: TrainingOptimizerConfig = TrainingOptimizerConfig()
    select: Literal["best", "last"] = "best"
    """`best`: the epoch with the best mean of retain and forget accuracy (for the reference: retain accuracy)."""
    parameters: Literal["all", "lora"] = "all"
    """`lora` trains only the adapters of `model.lora`, and unlearning continues with them."""
    augment: AugmentConfig | None = None
    """Random crops and flips of the images; `{}` is the usual recipe for CIFAR. Null: images as they are. Unlearning
    and evaluation always see them as they are."""

    def recipe(self) -> dict[str, object]:
        """Return what a trained model's weights depend on, besides the seed, as plain data."""
        return self.model_dump(mode="json", exclude={"seed"})

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``augment`` out where it is null: keys and comparisons of runs that do not have it stay the same."""
        return {key: value for key, value in handler(self).items() if key != "augment" or value is not None}
