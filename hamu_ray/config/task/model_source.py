"""Sources of the original model and the reference."""

from typing import Literal

from pydantic import Field, model_validator

from hamu_ray.config.schema import Section


class ModelSource(Section):
    """The source of a model that unlearning starts from or is compared with."""

    source: Literal["train", "path", "none"] = "train"
    """`train` with the recipe in `training` (cached after the first time), load from `path`, or use `none`."""
    path: str | None = None
    """An argument of `from_pretrained`: a model folder, whole or sharded, a `peft` adapter folder, or a hub name; or a
    `model.safetensors` file, or a folder that contains one.
    """
    seeds: int = Field(default=1, ge=1)
    """How many originals are trained, with the training's seed and those after it. Unlearning starts from the first.
    `python -m hamu_ray.train` and `python -m hamu_ray.audit` train the others, for attacks that need several."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone_is_enough(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("path") is not None and "source" not in value:
            return {**value, "source": "path"}
        return value

    @model_validator(mode="after")
    def _path_where_needed(self) -> "ModelSource":
        if (self.source == "path") != (self.path is not None):
            raise ValueError("path must be given if and only if source is path")
        if self.seeds > 1 and self.source != "train":
            raise ValueError("seeds: applies only to source: train; remove it")
        return self


class ReferenceSource(ModelSource):
    """The source of the reference, and the model that its training starts from."""

    seeds: int = Field(default=1, ge=1)
    """How many references are trained, with the training's seed and those after it. A model is then compared with the
    losses of all of them, and their spread (`forget_quality_ceiling`) shows how much of a difference is a seed's."""
    start: str | None = None
    """Initial model of its training, declared to be free of the forget set, such as the pretrained base model of a
    fine-tuned original; same forms as `path`. Null: the model of the `model` section.
    """
    new_head: bool = False
    """Give `start` a new head for the data set's classes."""
    assume_clean: bool = False
    """Allow it to start from the original's weights. Results then call it *assumed*, because its metrics are those of a
    model that may have been trained on the forget set.
    """

    @model_validator(mode="after")
    def _starts_only_if_trained(self) -> "ReferenceSource":
        given = [key for key in ("start", "new_head", "assume_clean") if getattr(self, key)]
        if given and self.source != "train":
            raise ValueError(f"{given[0]}: applies only to source: train; remove it")
        if self.new_head and self.start is None:
            raise ValueError("new_head: applies to start, which is missing; add start, or set model.new_head")
        return self
