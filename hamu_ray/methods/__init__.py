"""Unlearning methods: two objectives and a weighting each. Pure torch.

Every method looks at two gradients per block of parameters, r of the retain loss and f of the forget loss,
through their Gram matrix alone, and steps along ``-(a r + b f)``:

    gram = gram_matrix(r, f, blocks)                     # the one pass that reduces       (blocks, 2, 2)
    gram, scales = clip_gram(gram, max_norm)             # clipping, without another pass
    decision = method.weighting(gram, lr, settings)      # the decision, on a few numbers  (blocks, 2)
    step = combine(decision.weights * scales, r, f, blocks)

`equivalent_gradients` does all of it for gradients given as lists of tensors. Nothing in this package waits
for the device; README.md beside this file says how to add a method.
"""

from hamu_ray.methods.decision import Branch, Constraint, Decision
from hamu_ray.methods.equivalent import equivalent_gradients
from hamu_ray.methods.gram import Blocks, clip_gram, combine, gram_matrix
from hamu_ray.methods.method import Method
from hamu_ray.methods.objectives import Objective
from hamu_ray.methods.registry import METHODS, get_method
from hamu_ray.methods.settings import StepSettings

__all__ = [
    "METHODS",
    "Blocks",
    "Branch",
    "Constraint",
    "Decision",
    "Method",
    "Objective",
    "StepSettings",
    "clip_gram",
    "combine",
    "equivalent_gradients",
    "get_method",
    "gram_matrix",
]
