"""DPO and the likelihood of second answers: learning to refuse, or to say something else, on the forget set.

Second answers are refusals (IdkDPO, IdkNLL) or alternatives in the data (AltPO). Both objectives are maximised, and are
losses of a whole answer.
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
