"""RMU: the hidden states of the forget set are steered towards a random direction, those of the retain set kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hamu_ray.methods.draws import uniform
from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method, weighted_difference
from hamu_ray.methods.objectives import HIDDEN, Objective, Predictions, precise

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Li et al. 2024, arXiv 2403.03218"


@dataclass(frozen=True)
class _RMU:
    coefficient: float

    def __call__(self, predictions: Predictions) -> Tensor:
        hidden = precise(predictions.logits)
        return -(hidden - self.coefficient * control_vector(predictions)).square().mean(-1)


def control_vector(predictions: Predictions) -> Tensor:
    """Return the direction that a run steers towards ``(width,)``: uniform in 0..1, of norm 1, by the run's seed."""
    hidden = precise(predictions.logits)
    found = uniform(predictions.seed, hidden.shape[-1], hidden.device)
    return (found / found.norm()).to(hidden.dtype)


@dataclass(frozen=True, kw_only=True)
class RMUHyperparameters(Hyperparameters):
    """RMU's."""

    layer: Literal["early"] | int = hyperparameter(
        "early",
        "the block of the model whose outputs are steered, from 0; early: 7 of 32, and as deep in other models",
        source=f"{_PAPER}: 7 of 32",
        search={"choice": ("early",)},
        ge=0,
    )
    steering: float = hyperparameter(
        6.5,
        "length of the vector that hidden states are steered towards",
        source=f"{_PAPER}: 6.5 for Zephyr-7B, 20 unless given in its code; larger for models with larger hidden states",
        search={"loguniform": (1.0, 100.0)},
        gt=0,
    )


def rmu(hyperparameters: RMUHyperparameters) -> Objective:
    """RMU's forget loss, ``-|h - c u|^2 / width`` of each answer token, with a random unit vector u for the run.

    h is the output of a block at the place that predicts the token. The published code takes the mean over all places,
    with prompt and padding. Later blocks are not changed by this objective.

    Source: Li et al., "The WMDP Benchmark: Measuring and Reducing Malicious Use With Unlearning", ICML 2024, arXiv
    2403.03218, section 4 (negated), as the mean over the width of its code.
    """
    return Objective(
        "rmu", _RMU(hyperparameters.steering), needs=frozenset({HIDDEN}), layer=hyperparameters.layer
    )


def _hidden_to_original(predictions: Predictions) -> Tensor:
    kept = precise(predictions.original.logits)
    return (precise(predictions.logits) - kept).square().mean(-1)


hidden_to_original = Objective(
    "hidden_to_original", _hidden_to_original, needs=frozenset({HIDDEN, "original"})
)
"""``|h - h_original|^2 / width`` at the block of the forget objective."""

RMU_OBJECTIVE = ForgetObjective(
    name="rmu",
    summary="-|h - c u|^2 / width of every answer token, with the hidden state h and a random direction u",
    source=_PAPER,
    make=rmu,
    hyperparameters=RMUHyperparameters,
)

RMU = Method(
    name="rmu",
    summary="as gdiff, hidden states towards a random direction on the forget set, and unchanged on the retain set",
    source=_PAPER,
    weighting=weighted_difference,
    retain=hidden_to_original,
    forget=rmu(RMUHyperparameters()),
    own_forget=True,
    hyperparameters=WeightedSum,
)
