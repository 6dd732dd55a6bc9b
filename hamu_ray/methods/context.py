"""What a weighting knows of a step besides the Gram matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from hamu_ray.methods.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from torch import Tensor

Record = TypeVar("Record", bound=Hyperparameters, covariant=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Context(Generic[Record]):
    """A step as its weighting sees it. Tensors are on the gradients' device; reading one would synchronise."""

    lr: float | Tensor
    """The schedule's current learning rate, a float or a 0-d tensor."""
    hyperparameters: Record
    """The method's own record."""
    losses: Tensor | None = None
    """The retain and the forget objective of the step's global batches ``(2,)``; 0 for one that the method lacks. None
    outside a run.
    """
    state: Mapping[str, Tensor] = field(default_factory=dict)
    """The state that the method left in its previous step, 0-d float64 by name; at first
    `Hyperparameters.initial_state`."""
    step: int = 0
    """Number of steps taken before."""
    steps: int = 1
    """Number of steps of the whole run."""
    remaining: Tensor | None = None
    """With ``target: reference``, the remaining fraction of the way to the target, 1 to 0, 0-d float64; see
    `hamu_ray.methods.catalogue.hamu.target`. None: all of it.
    """
