"""Random labels, SalUn and boundary shrink: learning other labels on the forget set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.draws import drawn
from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method, weighted_difference
from hamu_ray.methods.objectives import PERTURBED, SEEDS, Objective, Predictions, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Golatkar et al. 2020, arXiv 1911.04933; Graves et al. 2021, arXiv 2010.10981"
_SALUN_PAPER = "Fan et al. 2024, arXiv 2310.12508"
_BOUNDARY_PAPER = "Chen et al. 2023, arXiv 2303.11570"


def other_labels(predictions: Predictions) -> Tensor:
    """Return a class other than the label for each item ``(items,)`` int64, drawn by its example and place.

    It does not depend on the step, the batch or the worker.

    Raises:
        ValueError: The predictions have no seeds.
    """
    if predictions.seeds is None:
        raise ValueError("the objective needs seeds (one per example), found None")
    seeds = predictions.seeds[predictions.examples]
    found = drawn(seeds, predictions.places, max(predictions.logits.shape[-1] - 1, 1))
    return found + (found >= predictions.labels)


def _random_label(predictions: Predictions) -> Tensor:
    found = predictions.log_probabilities  # first: it refuses outputs that are not of classes
    return found.gather(-1, other_labels(predictions)[:, None]).squeeze(-1)


_RANDOM_LABEL = Objective("random_label", _random_label, needs=frozenset({SEEDS}))


def random_label(hyperparameters: Hyperparameters) -> Objective:
    """Return ``log p(random other label)``: raising it is learning that label by its cross-entropy.

    Each image or token has one random label throughout, of the other classes with equal probabilities. Graves et al.
    draw it once, among the other classes, too; the code of SalUn draws it once among all classes, so that a tenth of
    CIFAR-10's forget set keeps its label.

    Source: Golatkar et al., "Eternal Sunshine of the Spotless Net", CVPR 2020, arXiv 1911.04933; Graves et al.,
    "Amnesiac Machine Learning", AAAI 2021, arXiv 2010.10981.
    """
    return _RANDOM_LABEL


@dataclass(frozen=True, kw_only=True)
class SalUnHyperparameters(WeightedSum):
    """SalUn's."""

    saliency: float = hyperparameter(
        0.5,
        "fraction of the weights that may change: those with the largest gradients of the forget loss at the original",
        source=_SALUN_PAPER,
        search={"uniform": (0.1, 1.0)},
        gt=0,
        le=1,
    )


@dataclass(frozen=True, kw_only=True)
class BoundaryHyperparameters(Hyperparameters):
    """Boundary shrink's."""

    perturbation: float = hyperparameter(
        0.1,
        "how far each pixel, in 0..1, is moved along the sign of the original's gradient to find the nearest class",
        source=f"{_BOUNDARY_PAPER}; default: its code",
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


RANDOM_LABEL = ForgetObjective(
    name="random_label",
    summary="log p(label') of every image or answer token, where label' is another label, drawn once",
    source=_PAPER,
    make=random_label,
)

SALUN = Method(
    name="salun",
    summary="as gdiff, towards random labels on the forget set, changing only the weights salient to it",
    source=_SALUN_PAPER,
    weighting=weighted_difference,
    retain=cross_entropy,
    forget=_RANDOM_LABEL,
    own_forget=True,
    hyperparameters=SalUnHyperparameters,
)

BOUNDARY = ForgetObjective(
    name="boundary",
    summary="log p(label') of every image, where label' is the original's for the image a step of its gradient away",
    source=_BOUNDARY_PAPER,
    make=boundary,
    hyperparameters=BoundaryHyperparameters,
)
