"""CE-U and the inverted hinge loss: bounded forget objectives that move probability from the label to its rivals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, hyperparameter
from hamu_ray.methods.method import ForgetObjective
from hamu_ray.methods.objectives import Objective, Predictions

if TYPE_CHECKING:
    from torch import Tensor

_CEU_PAPER = "Yang 2025, arXiv 2503.01224"
_IHL_PAPER = "Cha et al. 2025, arXiv 2408.06621"


@dataclass(frozen=True)
class _CEU:
    skip_first: int

    def __call__(self, predictions: Predictions) -> Tensor:
        others = _without_labels(predictions).logsumexp(-1)
        longer = predictions.lengths > self.skip_first
        skipped = (predictions.places < self.skip_first) & longer[predictions.examples]
        return torch.where(skipped, 0.0, others)


@dataclass(frozen=True, kw_only=True)
class CEUHyperparameters(Hyperparameters):
    """CE-U's."""

    skip_first: int = hyperparameter(
        1,
        "number of first tokens of each answer that are left alone; an answer that is not longer has none of them",
        source=f"{_CEU_PAPER}, a footnote to its training settings",
        search={"choice": (0, 1)},
        ge=0,
    )


def ceu(hyperparameters: CEUHyperparameters) -> Objective:
    """CE-U, ``log(1 - p)`` with p the probability of the label: at most 0, where the label is impossible.

    The paper minimises the cross-entropy to a constant target: the model's own distribution with the label's logit at
    minus infinity. The gradients of both are equal: ``p_v p / (1 - p)`` with respect to the logit of another class v,
    and ``-p`` of the label (of log(1 - p); the negative of the paper's).

    Of each answer the paper leaves the first token alone. The mean here is over all answer tokens, there over the
    others: a constant factor of the gradient for answers of equal length. An image is not left alone.

    Source: Yang, "CE-U: Cross Entropy Unlearning", arXiv 2503.01224; code: `CEU` in open-unlearning.
    """
    return Objective("ceu", _CEU(hyperparameters.skip_first))


def _inverted_hinge(predictions: Predictions) -> Tensor:
    rival = _without_labels(predictions).amax(-1).exp()
    return rival - predictions.label_log_probabilities.exp() - 1


_INVERTED_HINGE = Objective("inverted_hinge", _inverted_hinge)


def inverted_hinge(hyperparameters: Hyperparameters) -> Objective:
    """Return the negative inverted hinge loss, ``max over v other than the label of p_v - p - 1``, in -2 to 0.

    Source: Cha et al., "Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs", ICLR 2025, arXiv
    2408.06621: the IHL (negated); its initialisation of adapters is not part of it.
    """
    return _INVERTED_HINGE


def _without_labels(predictions: Predictions) -> Tensor:
    """Return log-probabilities with minus infinity in place of the labels'."""
    found = predictions.log_probabilities
    return found.scatter(-1, predictions.labels[:, None], -torch.inf)


CEU = ForgetObjective(
    name="ceu",
    summary="log(1 - p) of every image or answer token: at most 0, where the label is impossible",
    source=_CEU_PAPER,
    make=ceu,
    hyperparameters=CEUHyperparameters,
)

INVERTED_HINGE = ForgetObjective(
    name="inverted_hinge",
    summary="largest probability of another class minus p minus 1, of every image or answer token; in -2 to 0",
    source=_IHL_PAPER,
    make=inverted_hinge,
)
