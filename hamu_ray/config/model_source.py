"""Where the original model and the reference come from."""

from typing import Literal

from pydantic import Field, model_validator

from hamu_ray.config.schema import Section


class ModelSource(Section):
    """Where a model comes from that unlearning starts from or is measured against."""

    source: Literal["train", "path", "none"] = "train"
    """`train` by the recipe in `training` (once, then found again), take from `path`, or do without."""
    path: str | None = None
    """What `from_pretrained` takes: a folder of a model, whole or in shards, or of a `peft` adapter, or a name on the
    hub; or a `model.safetensors` alone, or a folder that holds one."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone_is_enough(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("path") is not None and "source" not in value:
            return {**value, "source": "path"}
        return value

    @model_validator(mode="after")
    def _path_where_needed(self) -> "ModelSource":
        if (self.source == "path") != (self.path is not None):
            raise ValueError("path goes with source: path, and only with it")
        return self


class ReferenceSource(ModelSource):
    """The same of the reference, and what its training starts from."""

    seeds: int = Field(default=1, ge=1)
    """How many references are trained, with the training's seed and those after it. A model is then compared with the
    losses of all of them, and their spread (`forget_quality_ceiling`) shows how much of a difference is a seed's."""
    start: str | None = None
    """What its training starts from, declared never to have met the data to forget, such as the pretrained base of a
    fine-tuned original; forms as of `path`. Null: what `model` names."""
    new_head: bool = False
    """Give `start` a fresh head for the data set's classes."""
    assume_clean: bool = False
    """Let it start from the original's own weights. It is then called *assumed* wherever results are shown: its
    measures are those of a model that may have met the data."""

    @model_validator(mode="after")
    def _starts_only_if_trained(self) -> "ReferenceSource":
        given = [key for key in ("start", "new_head", "assume_clean") if getattr(self, key)]
        given += ["seeds"] * (self.seeds > 1)
        if given and self.source != "train":
            raise ValueError(
                f"{given[0]}: goes with source: train, a reference that is trained here; remove it"
            )
        if self.new_head and self.start is None:
            raise ValueError("new_head: is of start, and there is none; give it, or set model.new_head")
        return self
