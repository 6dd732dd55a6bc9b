"""NPO and SimNPO: forget objectives that saturate once an answer has become unlikely, and their methods.

Both are losses of a whole example, over all tokens of an answer. Every method in this package *raises* its forget
objective, while the papers state a loss to minimise; each objective is therefore the negative of the paper's loss.
`npo` and `simnpo` step along its gradient f as `gdiff` does. HAMU-Q guarantees a first-order increase of the objective
by B, which is a decrease of the NPO (or SimNPO) loss; it does not guarantee an increase of the answers' cross-entropy.
HAMU-U's guarantee remains about the retain loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method, weighted_difference
from hamu_ray.methods.objectives import Objective, Predictions, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _NPO:
    beta: float

    def __call__(self, predictions: Predictions) -> Tensor:
        gain = predictions.label_log_probabilities - predictions.original.label_log_probabilities
        return 2 / self.beta * torch.nn.functional.logsigmoid(-self.beta * predictions.sum_per_example(gain))


@dataclass(frozen=True)
class _SimNPO:
    beta: float
    gamma: float

    def __call__(self, predictions: Predictions) -> Tensor:
        total = predictions.sum_per_example(predictions.label_log_probabilities)
        mean = total / predictions.lengths.clamp(min=1)
        return 2 / self.beta * torch.nn.functional.logsigmoid(-self.beta * mean - self.gamma)


@dataclass(frozen=True, kw_only=True)
class NPOHyperparameters(Hyperparameters):
    """NPO's."""

    beta: float = hyperparameter(
        0.1,
        "inverse temperature: the larger, the sooner the objective saturates",
        source="Zhang et al. 2024, arXiv 2404.05868",
        search={"loguniform": (0.01, 1.0)},
        gt=0,
    )


@dataclass(frozen=True, kw_only=True)
class SimNPOHyperparameters(Hyperparameters):
    """SimNPO's; the defaults are the paper's on TOFU."""

    beta: float = hyperparameter(
        2.5,
        "inverse temperature: the larger, the sooner the objective saturates",
        source="Fan et al. 2024, arXiv 2410.07163",
        search={"loguniform": (0.5, 5.0)},
        gt=0,
    )
    gamma: float = hyperparameter(
        0.0,
        "margin: the larger, the less likely an answer is when the objective saturates",
        source="Fan et al. 2024, arXiv 2410.07163",
        search={"uniform": (0.0, 2.0)},
        ge=0,
    )


def npo(hyperparameters: NPOHyperparameters) -> Objective:
    """Negative preference optimisation, ``(2 / beta) log sigmoid(-beta (log p(y|x) - log p_original(y|x)))``.

    ``log p(y|x)`` is the sum over the answer's tokens. At the original model, and everywhere in the limit of beta to 0,
    its gradient is that of the answer's cross-entropy (summed over tokens), which means gradient ascent.

    Source: Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning", COLM
    2024, arXiv 2404.05868: the NPO loss (negated), and the proposition on its limit.
    """
    return Objective("npo", _NPO(hyperparameters.beta), needs=frozenset({"original"}), unit="example")


def simnpo(hyperparameters: SimNPOHyperparameters) -> Objective:
    """NPO without the original model, ``(2 / beta) log sigmoid(-(beta / |y|) log p(y|x) - gamma)``.

    ``|y|`` is the number of the answer's tokens, so that long answers have no more weight than short ones.

    Source: Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning", arXiv
    2410.07163: the SimNPO loss (negated).
    """
    return Objective("simnpo", _SimNPO(hyperparameters.beta, hyperparameters.gamma), unit="example")


NPO_OBJECTIVE = ForgetObjective(
    name="npo",
    summary="(2 / beta) log sigmoid(-beta (log p(y given x) - log p_original(y given x))), of every answer y to x",
    source="Zhang et al. 2024, arXiv 2404.05868",
    make=npo,
    hyperparameters=NPOHyperparameters,
)

SIMNPO_OBJECTIVE = ForgetObjective(
    name="simnpo",
    summary="(2 / beta) log sigmoid(-beta log p(y given x) / length of y - gamma), of every answer y to x",
    source="Fan et al. 2024, arXiv 2410.07163",
    make=simnpo,
    hyperparameters=SimNPOHyperparameters,
)

NPO = Method(
    name="npo",
    summary="descent on the retain loss and on the NPO loss of the forget set, half each unless retain_weight is given",
    source="Zhang et al. 2024, arXiv 2404.05868",
    weighting=weighted_difference,
    retain=cross_entropy,
    forget=npo(NPOHyperparameters()),
    own_forget=True,
    hyperparameters=WeightedSum,
)

SIMNPO = Method(
    name="simnpo",
    summary="as npo, with the SimNPO loss",
    source="Fan et al. 2024, arXiv 2410.07163",
    weighting=weighted_difference,
    retain=cross_entropy,
    forget=simnpo(SimNPOHyperparameters()),
    own_forget=True,
    hyperparameters=WeightedSum,
)
