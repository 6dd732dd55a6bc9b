"""The public door to the mathematics: from two lists of gradients to the list for the optimizer."""

import math
from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor

from hamu_ray.methods.decision import Decision
from hamu_ray.methods.gram import Blocks, clip_gram, combine, gram_matrix
from hamu_ray.methods.registry import get_method
from hamu_ray.methods.settings import ConstraintSplit, Granularity, Infeasible, StepSettings


class StepOptions(TypedDict, total=False):
    """The options of `equivalent_gradients`: fields of `StepSettings`, which has their meanings and defaults.

    Those that a caller has to follow from step to step, the trust region and the target, are not among them.
    """

    radius: float | Literal["lr"] | None
    constraint: float | None
    constraint_ratio: float | None
    constraint_fraction: float | None
    constraint_split: ConstraintSplit
    normalise_split: bool
    granularity: Granularity
    infeasible: Infeasible
    retain_weight: float


@torch.no_grad()
def equivalent_gradients(
    method: str,
    retain: Sequence[Tensor],
    forget: Sequence[Tensor],
    *,
    lr: float,
    clip_norm: float | None = None,
    **options: Unpack[StepOptions],
) -> tuple[list[Tensor], Decision]:
    """Apply a method's weighting to two gradients: what plain SGD turns into its step is returned.

    ``parameter -= lr * gradient`` is the method's step. The same code as in a run: flat buffers, Gram matrices,
    the method's weighting, the combination. Any other optimizer than plain SGD gives up HAMU's guarantees per step.

        gradients, decision = equivalent_gradients("hamu-q", retain, forget, lr=1e-3, constraint_fraction=0.25)

    The weighting is only half of a method. The other half is what was differentiated, which nothing here can
    see: ``METHODS[method].retain`` and ``.forget`` are the losses whose gradients the caller must pass, of the
    retain and of the forget set. For most methods both are the cross-entropy. ``"kl"``, ``"scrub"``, ``"npo"``
    and ``"simnpo"`` weigh as ``"gdiff"`` does and differ from it in their losses alone: on gradients of the
    cross-entropy they are gdiff. ``"ft"`` looks at the retain gradient only, ``"ga"`` at the forget gradient.

    Args:
        method: Name of the method whose weighting is applied, e.g. ``"hamu-q"``; see `METHODS`.
        retain: Gradients of ``METHODS[method].retain``, the loss on the retain set, one tensor per parameter.
        forget: Gradients of ``METHODS[method].forget``, the loss on the forget set, not negated, same shapes.
        lr: Learning rate of the step, above 0.
        clip_norm: Largest total norm of each gradient, clipped before anything else; None for no clipping.
        options: See `StepOptions`. HAMU needs one of ``constraint``, ``constraint_ratio`` and
            ``constraint_fraction``. Options that a method does not read (see ``Method.settings``) are checked and
            then left unused. Where ``infeasible`` is ``"stop"`` or ``"finish"``, an infeasible step is all 0.

    Returns:
        The equivalent gradients, of the shapes, dtype and device of the inputs, and the step's `Decision`,
        whose weights apply to the clipped gradients.

    Raises:
        TypeError: If an option is unknown.
        ValueError: If the method or an option's value is not valid, the sequences are empty or do not match
            in shapes, dtype and device, or HAMU gets no constraint.
    """
    chosen, settings = get_method(method), _settings(lr, options)
    _check_pair(retain, forget)
    shapes = [gradient.shape for gradient in retain]
    blocks = Blocks.from_shapes(shapes, settings.granularity)
    r, f = (torch.cat([gradient.reshape(-1) for gradient in gradients]) for gradients in (retain, forget))
    gram, scales = clip_gram(gram_matrix(r, f, blocks), clip_norm)
    decision = chosen.weighting(gram, lr, settings)
    flat = combine(decision.weights * scales, r, f, blocks)
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)], decision


def _settings(lr: float, options: StepOptions) -> StepSettings:
    """Return the checked settings of a step, and check its learning rate."""
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be a finite number above 0, found {lr}")
    unknown = [name for name in options if name not in StepOptions.__annotations__]
    if unknown:
        known = ", ".join(StepOptions.__annotations__)
        raise TypeError(f"unknown option {', '.join(unknown)}: options are {known}")
    radius = options.get("radius", "lr")
    if isinstance(radius, str) and radius != "lr":
        raise ValueError(f'radius must be "lr" or a number above 0, found {radius!r}')
    values = {**options, "radius": None if radius == "lr" else radius}
    return StepSettings(**values)  # type: ignore[arg-type]


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
