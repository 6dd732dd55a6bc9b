"""NPO, SimNPO and DPO: forget objectives that saturate once an answer has become unlikely, and their methods.

They are losses of a whole example, over all tokens of an answer. DPO prefers a second answer: a refusal (IdkDPO, and
IdkNLL, which only learns it) or an alternative in the data (AltPO). Every method in this package *raises* its forget
objective, while the papers state a loss to minimise; each objective is therefore the negative of the paper's loss.
`npo`, `simnpo` and `dpo` step along its gradient f as `gdiff` does. HAMU-Q guarantees a first-order increase of the
objective by B, which is a decrease of the paper's loss; it does not guarantee an increase of the answers'
cross-entropy. HAMU-U's guarantee remains about the retain loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method, weighted_difference
from hamu_ray.methods.objectives import SECOND, Objective, Predictions, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_DPO_PAPER = "Rafailov et al. 2023, arXiv 2305.18290; for unlearning Maini et al. 2024, arXiv 2401.06121"


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


@dataclass(frozen=True)
class _DPO:
    beta: float

    def __call__(self, predictions: Predictions) -> Tensor:
        gained = _gain(predictions.second_answers) - _gain(predictions)
        return 2 / self.beta * torch.nn.functional.logsigmoid(self.beta * gained)


def _gain(predictions: Predictions) -> Tensor:
    """Return ``log p(y|x) - log p_original(y|x)`` of each answer ``(count,)``."""
    gain = predictions.label_log_probabilities - predictions.original.label_log_probabilities
    return predictions.sum_per_example(gain)


@dataclass(frozen=True, kw_only=True)
class DPOHyperparameters(Hyperparameters):
    """DPO's."""

    beta: float = hyperparameter(
        0.1,
        "inverse temperature: the larger, the sooner the objective saturates",
        source="Maini et al. 2024, arXiv 2401.06121",
        search={"loguniform": (0.01, 1.0)},
        gt=0,
    )


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
    """SimNPO's; the defaults are those of its code for TOFU's forget05 (``TOFU/README.md``)."""

    beta: float = hyperparameter(
        2.5,
        "inverse temperature: the larger, the sooner the objective saturates",
        source="Fan et al. 2024, arXiv 2410.07163: 2.5 for forget05, 4.5 for forget10 (and in open-unlearning)",
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


def dpo(hyperparameters: DPOHyperparameters) -> Objective:
    """Direct preference optimisation, ``(2 / beta) log sigmoid(beta (g(second) - g(answer)))``.

    ``g(y) = log p(y|x) - log p_original(y|x)``, summed over the tokens of y. At the original model its gradient is that
    of ``log p(second) - log p(answer)``, for every beta; without the second answer it is NPO.

    Codebases differ in the factor: that of TOFU has 1, as the paper on DPO; those of NPO and open-unlearning have
    2 / beta, as here. With beta = 0.1 the gradient is 20 times TOFU's, which only the learning rate and the
    weight of the retain loss notice.

    Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model", NeurIPS
    2023, arXiv 2305.18290, equation 7 (negated); with refusals: Maini et al., "TOFU", arXiv 2401.06121; with
    alternative answers: Mekala et al., "Alternate Preference Optimization", COLING 2025, arXiv 2409.13474.
    """
    return Objective("dpo", _DPO(hyperparameters.beta), needs=frozenset({"original", SECOND}), unit="example")


def _second_nll(predictions: Predictions) -> Tensor:
    second = predictions.second_answers
    total = second.sum_per_example(second.label_log_probabilities)
    return total / second.lengths.clamp(min=1)


_SECOND_NLL = Objective("second_nll", _second_nll, needs=frozenset({SECOND}), unit="example")


def second_nll(hyperparameters: Hyperparameters) -> Objective:
    """Return ``log p(second|x) / length of second``: raising it is learning the second answer by its cross-entropy.

    With refusals this is IdkNLL, TOFU's "IDK". The code takes the mean over all tokens of a batch with those of the
    retain set; here answers of any length have the same weight.

    Source: Maini et al., "TOFU", arXiv 2401.06121 (negated).
    """
    return _SECOND_NLL


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

DPO_OBJECTIVE = ForgetObjective(
    name="dpo",
    summary="(2 / beta) log sigmoid(beta (gain of a second answer - gain of the answer)), gains as in npo",
    source=_DPO_PAPER,
    make=dpo,
    hyperparameters=DPOHyperparameters,
)

SECOND_NLL = ForgetObjective(
    name="second_nll",
    summary="log p(second answer given x) / length of the second answer, for every answer to x",
    source="Maini et al. 2024, arXiv 2401.06121",
    make=second_nll,
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

DPO = Method(
    name="dpo",
    summary="as npo, with the DPO loss: prefer a second answer (a refusal or an alternative) on the forget set",
    source=_DPO_PAPER,
    weighting=weighted_difference,
    retain=cross_entropy,
    forget=dpo(DPOHyperparameters()),
    own_forget=True,
    hyperparameters=WeightedSum,
)
