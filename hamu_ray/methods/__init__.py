"""Unlearning methods, each defined by two objectives and a weighting. Requires only torch.

A method sees two gradients per block of parameters, r of the retain loss and f of the forget loss, only through their
Gram matrix, and steps along ``-(a r + b f)``:

    gram = gram_matrix(r, f, blocks)                     # the only reduction over the parameters  (blocks, 2, 2)
    gram, scales = clip_gram(gram, max_norm)             # clipping, without another pass
    decision = method.weighting(gram, context)           # the decision, on a few numbers          (blocks, 2)
    step = combine(decision.weights * scales, r, f, blocks)

`equivalent_gradients` runs all of these steps for gradients given as lists of tensors. Nothing in this package
synchronises with the device except the weightings from torchjd. README.md in this folder explains how to add a method.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hamu_ray.methods import plugins
from hamu_ray.methods.catalogue.hamu.hyperparameters import CONSTRAINTS
from hamu_ray.methods.catalogue.hamu.target import remaining_to_target
from hamu_ray.methods.catalogue.hamu.trust_region import agreement, next_scale, promise_kept, promised_changes
from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Branch, Constraint, Decision
from hamu_ray.methods.hyperparameters import Hyperparameter, Hyperparameters, hyperparameter
from hamu_ray.methods.method import ForgetObjective, Method
from hamu_ray.methods.objectives import Objective, Predictions
from hamu_ray.methods.registry import (
    FORGET_OBJECTIVES,
    METHODS,
    all_hyperparameters,
    check_installed,
    forget_objective,
    forget_objectives_of,
    get_method,
    hyperparameters_of,
    keys_of,
)

if TYPE_CHECKING:
    from hamu_ray.methods.equivalent import equivalent_gradients
    from hamu_ray.methods.gram import Blocks, clip_gram, combine, gram_matrix

__all__ = [
    "CONSTRAINTS",
    "FORGET_OBJECTIVES",
    "METHODS",
    "Blocks",
    "Branch",
    "Constraint",
    "Context",
    "Decision",
    "ForgetObjective",
    "Hyperparameter",
    "Hyperparameters",
    "Method",
    "Objective",
    "Predictions",
    "agreement",
    "all_hyperparameters",
    "check_installed",
    "clip_gram",
    "combine",
    "equivalent_gradients",
    "forget_objective",
    "forget_objectives_of",
    "get_method",
    "gram_matrix",
    "hyperparameter",
    "hyperparameters_of",
    "keys_of",
    "next_scale",
    "plugins",
    "promise_kept",
    "promised_changes",
    "remaining_to_target",
]

_MODULES = {
    "Blocks": "gram",
    "clip_gram": "gram",
    "combine": "gram",
    "equivalent_gradients": "equivalent",
    "gram_matrix": "gram",
}
"""Names whose modules import torch. They are imported on first use, so that checking a configuration stays fast."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
