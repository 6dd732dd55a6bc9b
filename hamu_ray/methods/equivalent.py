"""The public function of this package: from two lists of gradients to the gradients for the optimizer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hamu_ray.methods.context import Context
from hamu_ray.methods.decision import Decision
from hamu_ray.methods.gram import Blocks, clip_gram, combine, gram_matrix
from hamu_ray.methods.hyperparameters import Hyperparameters
from hamu_ray.methods.method import Method
from hamu_ray.methods.registry import all_hyperparameters, get_method

_ACROSS_STEPS = ("trust_region", "target")
"""Hyperparameters with a state between steps, which a single step does not support."""


@torch.no_grad()
def equivalent_gradients(
    method: str,
    retain: Sequence[Tensor],
    forget: Sequence[Tensor],
    *,
    lr: float,
    clip_norm: float | None = None,
    **options: Any,
) -> tuple[list[Tensor], Decision]:
    """Apply a method's weighting to two gradients; return the gradients that plain SGD turns into its step.

    ``parameter -= lr * gradient`` is the method's step. The same code as in a run: flat buffers, Gram matrices,
    the method's weighting, the combination. HAMU's guarantees per step hold only with plain SGD.

        gradients, decision = equivalent_gradients("hamu-q", retain, forget, lr=1e-3, constraint_fraction=0.25)

    The weighting is one part of a method; the other part are its losses, which are the caller's responsibility: pass
    the gradients of ``METHODS[method].retain`` and ``.forget`` on the retain and the forget set. For most methods both
    losses are the cross-entropy. ``"kl"``, ``"npo"``, ``"simnpo"``, ``"dpo"``, ``"salun"``, ``"rmu"``,
    ``"bad-teacher"`` and ``"jensun"`` use the weighting of ``"gdiff"`` and differ from it only in their losses: with
    gradients of the cross-entropy they equal gdiff, as ``"scrub"`` does without phases. ``"ft"`` uses only the retain
    gradient, ``"ga"`` only the forget gradient. The weights to which ``"salun"`` restricts a run are the caller's
    choice.

    Of ``"ssd"``, which edits weights, the gradients are 0. Of a method with a state that it carries from step to step,
    this is the first step. The penalty of ``"l1-sparse"`` is the caller's: add ``decision.l1_penalty`` times the signs
    of the weights.

    Args:
        method: Name of the method whose weighting is applied, e.g. ``"hamu-q"``; see `METHODS`.
        retain: Gradients of ``METHODS[method].retain``, the loss on the retain set, one tensor per parameter.
        forget: Gradients of ``METHODS[method].forget``, the loss on the forget set, not negated, same shapes.
        lr: Learning rate of the step, above 0.
        clip_norm: Maximum total norm of each gradient, clipped first; None disables clipping.
        options: The method's hyperparameters; see ``METHODS[method].hyperparameters``. Those that only other methods
            have are ignored. Hyperparameters with a state between steps, ``trust_region`` and ``target``, are not
            supported. If ``infeasible`` is ``"stop"`` or ``"finish"``, an infeasible step is all 0.

    Returns:
        The equivalent gradients, of the shapes, dtype and device of the inputs, and the step's `Decision`,
        whose weights apply to the clipped gradients.

    Raises:
        TypeError: If an option is unknown.
        ValueError: If the method or an option's value is not valid, or the sequences are empty or do not match
            in shapes, dtype and device.
    """
    chosen = get_method(method)
    settings = _checked(chosen, lr, options)
    _check_pair(retain, forget)
    shapes = [gradient.shape for gradient in retain]
    blocks = Blocks.from_shapes(shapes, settings.granularity)
    r, f = (torch.cat([gradient.reshape(-1) for gradient in gradients]) for gradients in (retain, forget))
    gram, scales = clip_gram(gram_matrix(r, f, blocks), clip_norm)
    context = Context(lr=lr, hyperparameters=settings, state=chosen.initial_state(settings, gram.device))
    decision = chosen.weighting(gram, context)
    weights, others = decision.unclipped(scales)
    flat = combine(weights, r, f, blocks, conflict_weights=others)
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)], decision


def _checked(method: Method, lr: float, options: Mapping[str, Any]) -> Hyperparameters:
    """Return the checked hyperparameters of a step, and check its learning rate."""
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be a finite number above 0, found {lr}")
    known = dict.fromkeys(each.name for _, each in all_hyperparameters() if each.name not in _ACROSS_STEPS)
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"unknown option {', '.join(unknown)}: options are {', '.join(known)}")
    return method.hyperparameters.of(options)


def _check_pair(retain: Sequence[Tensor], forget: Sequence[Tensor]) -> None:
    if len(retain) == 0 or len(retain) != len(forget):
        raise ValueError(
            "retain and forget must each contain one gradient per parameter, at least one, "
            f"found {len(retain)} and {len(forget)}"
        )
    first = retain[0]
    for index, (r, f) in enumerate(zip(retain, forget, strict=True)):
        if r.shape != f.shape:
            raise ValueError(
                f"retain[{index}] and forget[{index}] must have the same shape, "
                f"found {tuple(r.shape)} and {tuple(f.shape)}"
            )
        for name, gradient in (("retain", r), ("forget", f)):
            if (gradient.dtype, gradient.device) != (first.dtype, first.device):
                raise ValueError(
                    f"{name}[{index}] must have the dtype and device of retain[0], {first.dtype} on "
                    f"{first.device}, found {gradient.dtype} on {gradient.device}"
                )
