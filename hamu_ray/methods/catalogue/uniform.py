"""Maximum entropy and JensUn: forget objectives with a fixed target for every item."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, WeightedSum, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method, weighted_difference
from hamu_ray.methods.objectives import Objective, Predictions

if TYPE_CHECKING:
    from torch import Tensor

_ME_PAPER = "Yuan et al. 2025, arXiv 2410.08109"
_JENSUN_PAPER = "Singh et al. 2025, arXiv 2509.02820"


def _entropy(predictions: Predictions) -> Tensor:
    found = predictions.log_probabilities
    return -(found.exp() * found).sum(-1)


_ENTROPY = Objective("max_entropy", _entropy)


def max_entropy(hyperparameters: Hyperparameters) -> Objective:
    """Return the entropy of the predicted distribution, at most the logarithm of the number of classes.

    The paper minimises the divergence from it to the uniform distribution, which is that logarithm minus the entropy.

    Source: Yuan et al., "A Closer Look at Machine Unlearning for Large Language Models", ICLR 2025, arXiv 2410.08109:
    ME.
    """
    return _ENTROPY


@dataclass(frozen=True)
class _JensUn:
    target_class: int | None

    def __call__(self, predictions: Predictions) -> Tensor:
        found = predictions.log_probabilities
        if self.target_class is None:
            return -_jensen_shannon(found, torch.full_like(found, -math.log(found.shape[-1])))
        if self.target_class >= found.shape[-1]:
            raise ValueError(
                f"method.target_class: there is no class {self.target_class}, only 0 to {found.shape[-1] - 1}; "
                "give one of them, or null"
            )
        log_p = found[:, self.target_class]
        p = log_p.exp()
        return -math.log(2) - 0.5 * (p * log_p - (1 + p) * p.log1p())


@dataclass(frozen=True, kw_only=True)
class JensUnHyperparameters(Hyperparameters):
    """JensUn's."""

    target_class: int | None = hyperparameter(
        None,
        "the class or token that every item is to get, or null for equal probabilities of all",
        source=_JENSUN_PAPER,
        search={"choice": (None,)},
        ge=0,
    )


def jensun(hyperparameters: JensUnHyperparameters) -> Objective:
    """Return the negative Jensen-Shannon divergence between the prediction and a target, in -log 2 to 0.

    The paper's target is the refusal "No idea", token by token; its code also has single tokens and the uniform
    distribution, which do not depend on a tokenizer and are what this objective has. For the refusal, that code gives
    both of its tokens probability 1 in every place, which is no distribution; no target here corresponds to it.

    Source: Singh et al., "Unlearning That Lasts: Utility-Preserving, Robust, and Almost Irreversible Forgetting in
    LLMs", arXiv 2509.02820: JensUn (negated), and its code.
    """
    return Objective("jensun", _JensUn(hyperparameters.target_class))


def _jensen_shannon(one: Tensor, other: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of log-probabilities ``(items, classes)``: ``(items,)``, in 0 to log 2."""
    middle = torch.logaddexp(one, other) - math.log(2)
    return 0.5 * (one.exp() * (one - middle) + other.exp() * (other - middle)).sum(-1)


def _divergence_from_original(predictions: Predictions) -> Tensor:
    return _jensen_shannon(predictions.log_probabilities, predictions.original.log_probabilities)


MAX_ENTROPY = ForgetObjective(
    name="max_entropy",
    summary="entropy of the prediction for every image or answer token",
    source=_ME_PAPER,
    make=max_entropy,
)

JENSUN_OBJECTIVE = ForgetObjective(
    name="jensun",
    summary="-Jensen-Shannon divergence of the prediction for each image or answer token from a target; in -log 2 to 0",
    source=_JENSUN_PAPER,
    make=jensun,
    hyperparameters=JensUnHyperparameters,
)

JENSUN = Method(
    name="jensun",
    summary="as gdiff, with Jensen-Shannon divergences from the original (retain set) and from a target (forget set)",
    source=_JENSUN_PAPER,
    weighting=weighted_difference,
    retain=Objective("js_to_original", _divergence_from_original, needs=frozenset({"original"})),
    forget=jensun(JensUnHyperparameters()),
    own_forget=True,
    hyperparameters=WeightedSum,
)
