"""NPO and SimNPO: forget objectives that saturate once an answer has become unlikely, and their methods.

Both are losses of a whole example, over all tokens of an answer. Every method in this package *raises* its forget
objective, while the papers state a loss to minimise; each objective is therefore the negative of the paper's loss.
`npo` and `simnpo` step along its gradient f as `gdiff` does. HAMU-Q guarantees a first-order increase of the objective
by B, which is a decrease of the NPO (or SimNPO) loss; it does not guarantee an increase of the answers' cross-entropy.
HAMU-U's guarantee remains about the retain loss.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from hamu_ray.methods.method import Method, weighted_difference
from hamu_ray.methods.objectives import Objective, Predictions, cross_entropy
from hamu_ray.methods.registry import FORGET_OBJECTIVES, settings_of


@dataclass(frozen=True)
class _NPO:
    beta: float

    def __call__(self, predictions: Predictions) -> Tensor:
        gain = predictions.label_log_probabilities - predictions.original.label_log_probabilities
        return 2 / self.beta * F.logsigmoid(-self.beta * predictions.sum_per_example(gain))


@dataclass(frozen=True)
class _SimNPO:
    beta: float
    gamma: float

    def __call__(self, predictions: Predictions) -> Tensor:
        total = predictions.sum_per_example(predictions.label_log_probabilities)
        mean = total / predictions.lengths.clamp(min=1)
        return 2 / self.beta * F.logsigmoid(-self.beta * mean - self.gamma)


def npo(beta: float | None = None) -> Objective:
    """Negative preference optimisation, ``(2 / beta) log sigmoid(-beta (log p(y|x) - log p_original(y|x)))``.

    ``log p(y|x)`` is the sum over the answer's tokens. At the original model, and everywhere in the limit of beta to 0,
    its gradient is that of the answer's cross-entropy (summed over tokens), which means gradient ascent.

    Args:
        beta: Inverse temperature, above 0; None uses the paper's 0.1.

    Raises:
        ValueError: If beta is not above 0.

    Source: Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning", COLM
    2024, arXiv 2404.05868: the NPO loss (negated), and the proposition on its limit.
    """
    beta = _checked("beta", 0.1 if beta is None else beta)
    return Objective("npo", _NPO(beta), needs_original=True, unit="example")


def simnpo(beta: float | None = None, gamma: float = 0.0) -> Objective:
    """NPO without the original model, ``(2 / beta) log sigmoid(-(beta / |y|) log p(y|x) - gamma)``.

    ``|y|`` is the number of the answer's tokens, so that long answers have no more weight than short ones.

    Args:
        beta: Inverse temperature, above 0; None uses the paper's 2.5 on TOFU.
        gamma: Margin, at least 0: the larger, the less likely an answer is when the loss saturates.

    Raises:
        ValueError: If beta is not above 0, or gamma is below 0.

    Source: Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning", arXiv
    2410.07163: the SimNPO loss (negated).
    """
    beta = _checked("beta", 2.5 if beta is None else beta)
    return Objective("simnpo", _SimNPO(beta, _checked("gamma", gamma, or_zero=True)), unit="example")


def _checked(name: str, value: float, *, or_zero: bool = False) -> float:
    if not (value > 0 or (or_zero and value == 0)):
        raise ValueError(f"{name} must be {'at least' if or_zero else 'above'} 0, found {value}")
    return value


def forget_objective(name: str, *, beta: float | None = None, gamma: float = 0.0) -> Objective:
    """Return a forget objective by its name in configurations, with the hyperparameters that it uses.

    Raises:
        ValueError: If there is no forget objective with that name, or a hyperparameter is out of range.
    """
    if name not in FORGET_OBJECTIVES:
        raise ValueError(f"forget_objective must be one of {', '.join(FORGET_OBJECTIVES)}, found {name!r}")
    if name == "npo":
        return npo(beta)
    return simnpo(beta, gamma) if name == "simnpo" else cross_entropy


NPO = Method(
    name="npo",
    summary="descent on the retain loss and on the NPO loss of the forget set, half each unless retain_weight is given",
    source="Zhang et al. 2024, arXiv 2404.05868",
    weighting=weighted_difference,
    retain=cross_entropy,
    forget=npo(),
    settings=settings_of("npo"),
)

SIMNPO = Method(
    name="simnpo",
    summary="as npo, with the SimNPO loss",
    source="Fan et al. 2024, arXiv 2410.07163",
    weighting=weighted_difference,
    retain=cross_entropy,
    forget=simnpo(),
    settings=settings_of("simnpo"),
)
