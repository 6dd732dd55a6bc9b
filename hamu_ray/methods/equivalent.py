"""The public door to the mathematics: from two lists of gradients to the list for the optimizer."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hamu_ray.methods.decision import Decision
from hamu_ray.methods.gram import Blocks, clip_gram, combine, gram_matrix
from hamu_ray.methods.registry import get_method
from hamu_ray.methods.settings import ConstraintSplit, Granularity, Infeasible, StepSettings


@torch.no_grad()
def equivalent_gradients(
    method: str,
    retain: Sequence[Tensor],
    forget: Sequence[Tensor],
    *,
    lr: float,
    radius: float | Literal["lr"] = "lr",
    constraint: float | None = None,
    constraint_ratio: float | None = None,
    constraint_fraction: float | None = None,
    constraint_split: ConstraintSplit = "grad_norm",
    normalise_split: bool = True,
    granularity: Granularity = "tensor",
    infeasible: Infeasible = "least_step",
    clip_norm: float | None = None,
) -> tuple[list[Tensor], Decision]:
    """Apply a method's weighting to two gradients: what plain SGD turns into its step is returned.

    ``parameter -= lr * gradient`` is the method's step. The same code as in a run: flat buffers, Gram matrices,
    the method's weighting, the combination. Options that a method does not read (see ``Method.settings``) are
    checked and then left unused. Any other optimizer than plain SGD gives up HAMU's guarantees per step.

        gradients, decision = equivalent_gradients("hamu-q", retain, forget, lr=1e-3, constraint_ratio=0.5)

    The weighting is only half of a method. The other half is what was differentiated, which nothing here can
    see: ``METHODS[method].retain`` and ``.forget`` are the losses whose gradients the caller must pass, of the
    retain and of the forget set. For most methods both are the cross-entropy. ``"kl"``, ``"scrub"``, ``"npo"``
    and ``"simnpo"`` weigh as ``"gdiff"`` does and differ from it in their losses alone: on gradients of the
    cross-entropy they are gdiff. ``"ft"`` looks at the retain gradient only, ``"ga"`` at the forget gradient.

    Args:
        method: Name of the method whose weighting is applied, e.g. ``"hamu-q"``; see `METHODS`.
        retain: Gradients of ``METHODS[method].retain``, the loss on the retain set, one tensor per parameter.
        forget: Gradients of ``METHODS[method].forget``, the loss on the forget set, not negated, of the same
            shapes.
        lr: Learning rate of the step, above 0.
        radius: Longest step of a block in units of the weights, or ``"lr"``: learning rate x norm of the
            block's effective retain gradient (r for HAMU-Q, -f for HAMU-U).
        constraint: HAMU's least first-order change of the guaranteed loss, over the whole model.
        constraint_ratio: The same as a ratio of the learning rate.
        constraint_fraction: The same as a fraction of the most that the radii allow. HAMU needs one of the three.
        constraint_split: How the constraint is shared out over blocks: at the least cost for the whole model, or
            by fixed shares.
        normalise_split: Whether fixed shares are made to sum to one.
        granularity: A block per tensor, or the whole model as one.
        infeasible: What a block does whose constraint no step within the radius meets; see `StepSettings`. With
            ``"stop"`` and ``"finish"``, all gradients are 0 then.
        clip_norm: Largest total norm of each gradient, clipped before anything else; None for no clipping.

    Returns:
        The equivalent gradients, of the shapes, dtype and device of the inputs, and the step's `Decision`,
        whose weights apply to the clipped gradients.

    Raises:
        TypeError: If an option is unknown.
        ValueError: If the method or an option's value is not valid, the sequences are empty or do not match
            in shapes, dtype and device, or HAMU gets no constraint.
    """
    chosen = get_method(method)
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be a finite number above 0, found {lr}")
    if isinstance(radius, str) and radius != "lr":
        raise ValueError(f'radius must be "lr" or a number above 0, found {radius!r}')
    settings = StepSettings(
        radius=None if radius == "lr" else radius,
        constraint=constraint,
        constraint_ratio=constraint_ratio,
        constraint_fraction=constraint_fraction,
        constraint_split=constraint_split,
        normalise_split=normalise_split,
        granularity=granularity,
        infeasible=infeasible,
    )
    _check_pair(retain, forget)
    shapes = [gradient.shape for gradient in retain]
    blocks = Blocks.from_shapes(shapes, granularity)
    r, f = (torch.cat([gradient.reshape(-1) for gradient in gradients]) for gradients in (retain, forget))
    gram, scales = clip_gram(gram_matrix(r, f, blocks), clip_norm)
    decision = chosen.weighting(gram, lr, settings)
    flat = combine(decision.weights * scales, r, f, blocks)
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)], decision


def _check_pair(retain: Sequence[Tensor], forget: Sequence[Tensor]) -> None:
    if len(retain) == 0 or len(retain) != len(forget):
        raise ValueError(
            "retain and forget must hold one gradient per parameter each, at least one, "
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
