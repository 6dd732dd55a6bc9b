"""NPO and SimNPO: forget objectives that level off once an answer has become unlikely, and their methods.

Both are losses of a whole example, an answer's tokens together. Every method here *raises* its forget
objective, while the papers state a loss that falls; so each objective is the negative of the paper's loss.
f is then its gradient like any other: `npo` and `simnpo` step along it as `gdiff` does, and HAMU-Q on it
guarantees a first-order rise of the objective by B, that is a fall of the NPO (or SimNPO) loss; by how much
the answers' cross-entropy rises, it does not say. HAMU-U's is about the retain loss, as ever.
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

    ``log p(y|x)`` is the sum over the answer's tokens. At the original model, and everywhere as beta goes to
    0, its gradient is that of the answer's cross-entropy (again a sum over tokens): gradient ascent.

    Args:
        beta: Inverse temperature, above 0; None takes 0.1, the paper's.

    Raises:
        ValueError: If beta is not above 0.

    Source: Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective
    Unlearning", COLM 2024, arXiv 2404.05868: the NPO loss (negated), and the proposition on its limit.
    """
    beta = _checked("beta", 0.1 if beta is None else beta)
    return Objective("npo", _NPO(beta), needs_original=True, unit="example")


def simnpo(beta: float | None = None, gamma: float = 0.0) -> Objective:
    """NPO without the original, ``(2 / beta) log sigmoid(-(beta / |y|) log p(y|x) - gamma)``.

    ``|y|`` is the number of the answer's tokens: long answers count no more than short ones.

    Args:
        beta: Inverse temperature, above 0; None takes 2.5, the paper's on TOFU.
        gamma: Margin, at least 0: the larger, the less likely an answer is by the time the loss levels off.

    Raises:
        ValueError: If beta is not above 0, or gamma below.

    Source: Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM
    Unlearning", arXiv 2410.07163: the SimNPO loss (negated).
    """
    beta = _checked("beta", 2.5 if beta is None else beta)
    return Objective("simnpo", _SimNPO(beta, _checked("gamma", gamma, or_zero=True)), unit="example")


def _checked(name: str, value: float, *, or_zero: bool = False) -> float:
    if not (value > 0 or (or_zero and value == 0)):
        raise ValueError(f"{name} must be {'at least' if or_zero else 'above'} 0, found {value}")
    return value


def forget_objective(name: str, *, beta: float | None = None, gamma: float = 0.0) -> Objective:
    """Return a forget objective by its name in configurations; it takes of the settings what it reads.

    Raises:
        ValueError: If there is none of that name, or a setting is out of its range.
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
