"""UNDIAL and Bad Teacher: distillation of the forget set from a teacher that does not know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method, weighted_difference
from hamu_ray.methods.objectives import Objective, Predictions, kl_to, kl_to_original

if TYPE_CHECKING:
    from torch import Tensor

_UNDIAL_PAPER = "Dong et al. 2025, arXiv 2402.10052"
_BAD_TEACHER_PAPER = "Chundawat et al. 2023, arXiv 2205.08096"


@dataclass(frozen=True)
class _Undial:
    strength: float

    def __call__(self, predictions: Predictions) -> Tensor:
        lowered = predictions.original.log_probabilities.clone()
        lowered.scatter_add_(
            -1, predictions.labels[:, None], lowered.new_full((len(lowered), 1), -self.strength)
        )
        return (lowered.softmax(-1) * predictions.log_probabilities).sum(-1)


@dataclass(frozen=True, kw_only=True)
class UndialHyperparameters(Hyperparameters):
    """UNDIAL's."""

    strength: float = hyperparameter(
        10.0,
        "how much the teacher's logit of the label is lowered",
        source=f"{_UNDIAL_PAPER}; default: open-unlearning",
        search={"uniform": (1.0, 30.0)},
        ge=0,
    )


def undial(hyperparameters: UndialHyperparameters) -> Objective:
    """UNDIAL, minus the cross-entropy to ``softmax(original's logits - strength at the label)``.

    The paper's loss is of the answer's tokens, as this one. The code in open-unlearning takes the mean over all places,
    with question and padding, where it lowers the logit of the next token or of the vocabulary's last entry.

    Source: Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language
    Models", NAACL 2025, arXiv 2402.10052 (negated).
    """
    return Objective("undial", _Undial(hyperparameters.strength), needs=frozenset({"original"}))


def _bad_teacher(predictions: Predictions) -> Tensor:
    return -kl_to(predictions, "random")


_BAD_TEACHER = Objective("bad_teacher", _bad_teacher, needs=frozenset({"random"}))


def bad_teacher(hyperparameters: Hyperparameters) -> Objective:
    """Return ``-KL(random || model)``, with the predictions of a model with newly initialised weights.

    Source: Chundawat et al., "Can Bad Teaching Induce Forgetting? Unlearning in Deep Networks Using an Incompetent
    Teacher", AAAI 2023, arXiv 2205.08096, with temperature 1 as in its code (negated).
    """
    return _BAD_TEACHER


UNDIAL = ForgetObjective(
    name="undial",
    summary="-cross-entropy to the original's prediction with the label's logit lowered, of each image or answer token",
    source=_UNDIAL_PAPER,
    make=undial,
    hyperparameters=UndialHyperparameters,
)

BAD_TEACHER_OBJECTIVE = ForgetObjective(
    name="bad_teacher",
    summary="-KL(random || model), of every image or answer token, where random is a model that was never trained",
    source=_BAD_TEACHER_PAPER,
    make=bad_teacher,
)

BAD_TEACHER = Method(
    name="bad-teacher",
    summary="as gdiff, towards the original model on the retain set and towards an untrained one on the forget set",
    source=_BAD_TEACHER_PAPER,
    weighting=weighted_difference,
    retain=kl_to_original,
    forget=_BAD_TEACHER,
    own_forget=True,
    hyperparameters=WeightedSum,
)
