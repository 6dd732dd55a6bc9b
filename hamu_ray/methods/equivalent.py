"""The public function of this package: from two lists of gradients to the gradients for the optimizer."""

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
    """The options of `equivalent_gradients`: fields of `StepSettings`, with the same meanings and defaults.

    Options with a state between steps, the trust region and the target, are not supported.
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
    """Apply a method's weighting to two gradients; return the gradients that plain SGD turns into its step.

    ``parameter -= lr * gradient`` is the method's step. The same code as in a run: flat buffers, Gram matrices,
    the method's weighting, the combination. HAMU's guarantees per step hold only with plain SGD.

        gradients, decision = equivalent_gradients("hamu-q", retain, forget, lr=1e-3, constraint_fraction=0.25)

    The weighting is one part of a method; the other part are its losses, which are the caller's responsibility: pass
    the gradients of ``METHODS[method].retain`` and ``.forget`` on the retain and the forget set. For most methods both
    losses are the cross-entropy. ``"kl"``, ``"scrub"``, ``"npo"`` and ``"simnpo"`` use the weighting of ``"gdiff"``
    and differ from it only in their losses: with gradients of the cross-entropy they equal gdiff. ``"ft"`` uses only
    the retain gradient, ``"ga"`` only the forget gradient.

    Args:
        method: Name of the method whose weighting is applied, e.g. ``"hamu-q"``; see `METHODS`.
        retain: Gradients of ``METHODS[method].retain``, the loss on the retain set, one tensor per parameter.
        forget: Gradients of ``METHODS[method].forget``, the loss on the forget set, not negated, same shapes.
        lr: Learning rate of the step, above 0.
        clip_norm: Maximum total norm of each gradient, clipped first; None disables clipping.
        options: See `StepOptions`. HAMU needs one of ``constraint``, ``constraint_ratio`` and
            ``constraint_fraction``. Options that a method does not have (see ``Method.settings``) are checked and
            then ignored. If ``infeasible`` is ``"stop"`` or ``"finish"``, an infeasible step is all 0.

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
