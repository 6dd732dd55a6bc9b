"""WGA and SatImp: gradient ascent with a weight per token that depends on the token's own probability.

Both papers state a cross-entropy whose weight is a constant to differentiation. The objectives here have the same
gradients, and the values that belong to them, so that a step's predicted change, HAMU's constraint and a trust region
refer to the function whose gradient it is: with p the probability of the label, ``w(p) d(-log p) = -w(p) / p dp``, and
the value is the integral of ``w(t) / t`` from p to 1. It is bounded, other than the cross-entropy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, hyperparameter
from hamu_ray.methods.method import ForgetObjective
from hamu_ray.methods.objectives import Objective, Predictions

if TYPE_CHECKING:
    from torch import Tensor

_WGA_PAPER = "Wang et al. 2025, arXiv 2502.19301"
_SATIMP_PAPER = "Yang et al. 2025, arXiv 2505.11953"
_TERMS = 64
"""Terms of the binomial series of SatImp's value, which ends where beta2 is a whole number."""


@dataclass(frozen=True)
class _WGA:
    beta: float

    def __call__(self, predictions: Predictions) -> Tensor:
        return -torch.expm1(self.beta * predictions.label_log_probabilities) / self.beta


@dataclass(frozen=True)
class _SatImp:
    beta1: float
    beta2: float

    def __call__(self, predictions: Predictions) -> Tensor:
        log_p = predictions.label_log_probabilities
        fixed = log_p.detach().double()  # the series' terms have both signs
        weight = torch.exp(self.beta1 * fixed) * (-torch.expm1(fixed)).pow(self.beta2)
        value = torch.zeros_like(fixed)
        coefficient = 1.0  # (-1)^k times the binomial coefficient of beta2 and k
        for k in range(_TERMS):
            value = value - coefficient * torch.expm1((self.beta1 + k) * fixed) / (self.beta1 + k)
            coefficient *= (k - self.beta2) / (k + 1)
            if math.isclose(coefficient, 0.0, abs_tol=1e-300):
                break
        return value.to(log_p.dtype) - weight.to(log_p.dtype) * (log_p - log_p.detach())


@dataclass(frozen=True, kw_only=True)
class WGAHyperparameters(Hyperparameters):
    """WGA's."""

    beta: float = hyperparameter(
        1.0,
        "exponent of the weight p^beta: the larger, the less an unlikely token counts",
        source=f"{_WGA_PAPER}; default: open-unlearning",
        search={"loguniform": (0.1, 10.0)},
        gt=0,
    )


@dataclass(frozen=True, kw_only=True)
class SatImpHyperparameters(Hyperparameters):
    """SatImp's; the defaults are those of the code in open-unlearning."""

    beta1: float = hyperparameter(
        5.0,
        "exponent of p in the weight: the larger, the less an unlikely token counts (saturation)",
        source=f"{_SATIMP_PAPER}; default: open-unlearning",
        search={"uniform": (1.0, 8.0)},
        gt=0,
    )
    beta2: float = hyperparameter(
        1.0,
        "exponent of 1 - p in the weight: the larger, the less a certain token counts (importance)",
        source=f"{_SATIMP_PAPER}; default: open-unlearning",
        search={"uniform": (0.1, 2.0)},
        ge=0,
        le=10,
    )


def wga(hyperparameters: WGAHyperparameters) -> Objective:
    """Weighted gradient ascent: the gradient of ``-p^beta log p`` with a constant p^beta; ``(1 - p^beta) / beta``.

    In the limit of beta to 0 it is the cross-entropy.

    Source: Wang et al., "Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond", ICLR 2025, arXiv
    2502.19301: WGA. The code in open-unlearning takes the same mean over answer tokens.
    """
    return Objective("wga", _WGA(hyperparameters.beta))


def satimp(hyperparameters: SatImpHyperparameters) -> Objective:
    """Return the gradient of ``-p^beta1 (1 - p)^beta2 log p`` with constant weights, as an objective.

    Its value is the incomplete beta integral of ``t^(beta1 - 1) (1 - t)^beta2`` from p to 1, by its binomial series:
    exact for whole beta2. Its gradient is exact always.

    Source: Yang et al., "Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning", ICML 2025, arXiv
    2505.11953: SatImp. The code in open-unlearning takes the same mean over answer tokens.
    """
    return Objective("satimp", _SatImp(hyperparameters.beta1, hyperparameters.beta2))


WGA = ForgetObjective(
    name="wga",
    summary="(1 - p^beta) / beta of every image or answer token: ascent of -log p with the weight p^beta",
    source=_WGA_PAPER,
    make=wga,
    hyperparameters=WGAHyperparameters,
)

SATIMP = ForgetObjective(
    name="satimp",
    summary="ascent of -log p of every image or answer token with the weight p^beta1 (1 - p)^beta2; bounded",
    source=_SATIMP_PAPER,
    make=satimp,
    hyperparameters=SatImpHyperparameters,
)
