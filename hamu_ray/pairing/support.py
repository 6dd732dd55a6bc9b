"""The weights that a run may change: masks of the parameters, and what they mean for a step."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from hamu_ray.pairing.flat import FlatParameters

Masks = Mapping[str, Tensor]
"""A bool tensor for each trainable parameter by its name, true where it may change."""


class Support:
    """The part of a model's flat parameters that changes.

    Both gradients are restricted to it before anything is computed from them, so that a weighting solves its problem on
    this subspace; and weights outside keep their values, whatever the optimizer does to them.
    """

    def __init__(self, flat: FlatParameters, masks: Masks) -> None:
        """Take the masks of all parameters, and the values of those that do not change."""
        self.mask = torch.zeros(flat.padded, dtype=torch.bool, device=flat.values.device)
        for name, view in zip(flat.names, flat.views(self.mask), strict=True):
            view.copy_(masks[name])
        self._values = flat.values.clone()

    def restrict(self, gradient: Tensor) -> None:
        """Set a flat gradient to 0 outside, in place; what follows the parameters in the buffer stays."""
        gradient[: len(self.mask)] *= self.mask

    @torch.no_grad()
    def restore(self, values: Tensor, segment: slice) -> None:
        """Undo changes outside of a segment's weights, such as weight decay, in place."""
        values.copy_(torch.where(self.mask[segment], values, self._values[segment]))


def named_masks(model: nn.Module, patterns: Sequence[str]) -> Masks:
    """Return masks of the parameters that one of the patterns names: by its name, or that of a module around it.

    Patterns are those of `fnmatch`, such as ``blocks.8`` or ``model.layers.[5-7].mlp.down_proj``.

    Raises:
        ValueError: A pattern names no trainable parameter.
    """
    parameters = dict(trainable(model))

    def named(name: str, pattern: str) -> bool:
        return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")

    for pattern in patterns:
        if not any(named(name, pattern) for name in parameters):
            modules = [name for name, _ in model.named_modules() if name]
            near = get_close_matches(pattern, [*modules, *parameters], n=1, cutoff=0)
            raise ValueError(
                f"support.names: {pattern!r} names no trainable parameter of the model; the nearest name is {near[0]}"
            )
    return {
        name: torch.full_like(parameter, any(named(name, p) for p in patterns), dtype=torch.bool)
        for name, parameter in parameters.items()
    }


def salient_masks(
    model: nn.Module, losses: Iterable[Tensor], fraction: float, within: Masks | None = None
) -> Masks:
    """Return masks of the weights with the largest absolute gradients of a loss, over the whole model.

    Args:
        model: The model behind the losses.
        losses: 0-d tensors that sum to the loss.
        fraction: The fraction of the weights that may change, above 0 and at most 1; rounded to whole weights, at least
            one. Of weights with equal gradients the first are taken.
        within: Masks of the weights among which they are selected; the fraction is of these.

    Source: Fan et al., "SalUn", ICLR 2024, arXiv 2310.12508, section 4, with the threshold of its code: a fraction of
    all weights.
    """
    names, parameters = zip(*trainable(model), strict=True)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for loss in losses:
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for total, gradient in zip(sums, found, strict=True):
            total += 0 if gradient is None else gradient
    sizes = torch.cat([total.abs().flatten() for total in sums])
    if within is not None:
        sizes[~torch.cat([within[name].flatten() for name in names])] = -1
    chosen = largest(sizes, max(1, round(fraction * int((sizes >= 0).sum()))))
    parts = chosen.split([parameter.numel() for parameter in parameters])
    return {n: part.view(p.shape) for n, part, p in zip(names, parts, parameters, strict=True)}


def largest(values: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest values ``(n,)``, of equal ones the first."""
    threshold = values.kthvalue(len(values) - count + 1).values
    above, equal = values > threshold, values == threshold
    return above | (equal & (equal.cumsum(0, dtype=torch.int32) <= count - above.sum()))


def trainable(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """Yield the names and parameters that require a gradient."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)
