"""PDU: primal-dual unlearning, with the retain loss as a constraint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Decision
from hamu_ray.methods.deferred import torch
from hamu_ray.methods.hyperparameters import Hyperparameters, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method
from hamu_ray.methods.objectives import Objective, Predictions, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = "Entesari et al. 2025, arXiv 2506.05314"
_MULTIPLIER = "multiplier"


@dataclass(frozen=True, kw_only=True)
class PDUHyperparameters(Hyperparameters):
    """The defaults are those of the class `PDU` in open-unlearning (``src/trainer/unlearn/pdu.py``).

    ``initial_multiplier`` is its ``alpha`` where ``gamma`` is 1, and ``dual_warmup`` its ``dual_warmup_epochs`` over
    the number of epochs. Its ``configs/trainer/PDU.yaml`` requires a value of ``retain_loss_eps`` and warms up for 5
    epochs. Its scripts (``community/methods/PDU/run.sh``) take a multiplier of 100, a step size of 5, eps of 0.3 and 5
    of 10 epochs on TOFU; 50, 1, eps of 0.1 to 1.5 and 3 of 10 epochs on MUSE.
    """

    retain_loss_eps: float = hyperparameter(
        0.0,
        "the retain loss that the constraint allows; a little more than the original model's is sensible",
        source=f"{_PAPER}; default: the class in open-unlearning; its scripts: 0.3 for TOFU, 0.1 to 1.5 for MUSE",
        search={"uniform": (0.0, 1.0)},
        ge=0,
    )
    dual_step_size: float = hyperparameter(
        1.0,
        "step size of the multiplier",
        source=f"{_PAPER}; default: open-unlearning; its scripts: 5 for TOFU, 1 for MUSE",
        search={"loguniform": (0.01, 10.0)},
        ge=0,
    )
    initial_multiplier: float = hyperparameter(
        1.0,
        "the multiplier of the first step, the weight of the retain loss relative to the forget objective",
        source=f"{_PAPER}; default: open-unlearning; its scripts: 100 for TOFU, 50 for MUSE",
        search={"loguniform": (1.0, 100.0)},
        ge=0,
    )
    dual_warmup: float = hyperparameter(
        0.0,
        "fraction of the steps, from the first, during which the multiplier stays",
        source=f"{_PAPER}; default: the class in open-unlearning; its scripts: 0.5 for TOFU, 0.3 for MUSE",
        search={"uniform": (0.0, 0.5)},
        ge=0,
        le=1,
    )

    @property
    def initial_state(self) -> Mapping[str, float]:
        """The multiplier."""
        return {_MULTIPLIER: self.initial_multiplier}


def pdu_weighting(gram: Tensor, context: Context[PDUHyperparameters]) -> Decision:
    """Minimise the negative forget objective subject to ``retain loss <= eps``: a step of the Lagrangian.

    The primal step descends along ``m r - f`` with the multiplier m, which then takes its own step, ``m' = max(0, m +
    s (retain loss - eps))``, with the retain loss of the step's batch. m starts at ``initial_multiplier`` and stays
    there during the warm-up.

    Differences from the code in open-unlearning (``PDU`` with ``primal_dual`` and ``dual_update_upon: step``):

    - The multiplier takes one step per step of the optimizer, with the mean retain loss of the global batch, and is the
      same on all workers; there, each process has its own, which takes a step per micro-batch of its own.
    - The warm-up is a fraction of the steps; there, a whole number of epochs.
    - The forget objective is that of the images or answer tokens; there, of all tokens, with question and padding.
    - ``dual_update_upon: epoch``, one step per epoch with the mean over the retain set, does not exist here; nor does
      ``primal_dual: false``, which ``dual_step_size: 0`` replaces.

    Args:
        gram: float64 ``(blocks, 2, 2)``, of the gradients of the two objectives.
        context: The hyperparameters, the number of steps, the retain loss and the state are used.

    Returns:
        The decision; the same weights in all blocks, branch `Branch.FIXED`, and the next multiplier as its state.

    Source: Entesari et al., "Constrained Entropic Unlearning: A Primal-Dual Framework for Large Language Models", arXiv
    2506.05314, and its code in open-unlearning.
    """
    settings, multiplier = context.hyperparameters, context.state[_MULTIPLIER]
    weights = torch.stack((multiplier, -torch.ones_like(multiplier))).expand(len(gram), 2)
    decision = Decision(weights=weights, gram=gram, branch=gram.new_full((len(gram),), Branch.FIXED).long())
    if context.losses is None or context.step < round(settings.dual_warmup * context.steps):
        return decision
    excess = context.losses[0].double() - settings.retain_loss_eps
    following = (multiplier + settings.dual_step_size * excess).clamp(min=0.0)
    return replace(decision, state={_MULTIPLIER: following})


def _confidence(predictions: Predictions) -> Tensor:
    # Logits and log-probabilities differ by a constant per item, which cancels.
    values = predictions.log_probabilities
    return -(values.amax(-1) - values.mean(-1)).square()


_LOGIT_MARGIN = Objective("logit_margin", _confidence)


def _logit_margin(hyperparameters: Hyperparameters) -> Objective:
    return _LOGIT_MARGIN


LOGIT_MARGIN = ForgetObjective(
    name="logit_margin",
    summary="-(largest logit - mean logit)^2, of every image or answer token: at most 0, where all are equally likely",
    source=_PAPER,
    make=_logit_margin,
)

PDU = Method(
    name="pdu",
    summary="towards uniform predictions on the forget set, subject to a limit of the retain loss",
    source=_PAPER,
    weighting=pdu_weighting,
    hyperparameters=PDUHyperparameters,
    retain=cross_entropy,
    forget=_LOGIT_MARGIN,
)
