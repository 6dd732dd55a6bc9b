"""The weights that unlearning may change."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hamu_ray.config.schema import Section


class SupportConfig(Section):
    """The weights that unlearning may change; the others keep their values, for every method and optimizer.

    HAMU's problem is solved on the weights that may change.
    """

    kind: Literal["all", "saliency", "layers"] = "all"
    """`saliency`: those with the largest gradients of the forget loss at the original model, as in SalUn
    (arXiv:2310.12508). `layers`: the parameters that `names` lists."""
    fraction: float = Field(default=0.5, gt=0, le=1)
    """Of `saliency`: the fraction of all weights."""
    names: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Of `layers`: names of parameters or of modules around them, with the wildcards `*`, `?` and `[...]`."""

    @model_validator(mode="after")
    def _has_a_kind(self) -> "SupportConfig":
        for key, kind in (("fraction", "saliency"), ("names", "layers")):
            if key in self.model_fields_set and "kind" not in self.model_fields_set:
                raise ValueError(f"{key}: has no effect without a kind; set support.kind to {kind}")
        return self

    @model_validator(mode="after")
    def _layers_have_names(self) -> "SupportConfig":
        if self.kind == "layers" and not self.names:
            raise ValueError("names: layers needs names of parameters or modules; set support.names")
        return self
