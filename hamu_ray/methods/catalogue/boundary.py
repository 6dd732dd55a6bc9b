"""Boundary shrink: the forget set is learned with the labels on the other side of the nearest decision boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.hyperparameters import Hyperparameters, hyperparameter
from hamu_ray.methods.method import ForgetObjective
from hamu_ray.methods.objectives import PERTURBED, Objective, Predictions

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Chen et al. 2023, arXiv 2303.11570"


@dataclass(frozen=True, kw_only=True)
class BoundaryHyperparameters(Hyperparameters):
    """Boundary shrink's."""

    perturbation: float = hyperparameter(
        0.1,
        "how far each pixel, in 0..1, is moved along the sign of the original's gradient to find the nearest class",
        source=f"{_PAPER}; default: its code",
        search={"loguniform": (0.01, 0.5)},
        gt=0,
        le=1,
    )


def _nearest_label(predictions: Predictions) -> Tensor:
    found = predictions.log_probabilities
    nearest = predictions.teacher(PERTURBED).logits.argmax(-1)
    return found.gather(-1, nearest[:, None]).squeeze(-1)


def boundary(hyperparameters: BoundaryHyperparameters) -> Objective:
    """Return ``log p(nearest label)``: raising it is learning that label by its cross-entropy.

    The nearest label is what the original model, in eval mode, says of the image after one step of the fast gradient
    sign method. It is the image's own label where that step crosses no boundary; the published code keeps it, too.

    Source: Chen et al., "Boundary Unlearning", CVPR 2023, arXiv 2303.11570: boundary shrink, as in its code.
    """
    return Objective(
        "boundary",
        _nearest_label,
        needs=frozenset({PERTURBED}),
        perturbation=hyperparameters.perturbation,
    )


BOUNDARY = ForgetObjective(
    name="boundary",
    summary="log p(label') of every image, where label' is the original's for the image a step of its gradient away",
    source=_PAPER,
    make=boundary,
    hyperparameters=BoundaryHyperparameters,
)
