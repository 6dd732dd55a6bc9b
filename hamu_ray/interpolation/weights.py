"""The weights on the straight line between two models, of which one was fine-tuned from the other or both from a third.

Such models are often connected by a line without a barrier (Wortsman et al., arXiv:2109.01903; Ilharco et al.,
arXiv:2212.04089), so that what lies between them trades their properties.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

FACTOR = re.compile(r"lora_(embedding_)?A\b")
"""In the name of the first factor of an adapter's product; the second has a `B`."""
MAGNITUDE = "lora_magnitude_vector"
"""In the names of weights by which DoRA multiplies directions, which are not linear in them."""
STATISTICS = ("running_mean", "running_var")
"""Ends of the names of BatchNorm's running statistics."""

State = Mapping[str, Tensor]
"""The part of a model that a run can change, by name (`hamu_ray.engine.state.whole_state`)."""


def between(first: State, second: State, at: float) -> dict[str, Tensor]:
    """Return the state at ``(1 - at) first + at second``; ``at`` is in 0..1, and the ends are returned exactly.

    An adapter changes a weight by the product of two factors, and it is the product that is interpolated
    (`_factors`). Integers, such as a count of batches, are the second's. Computed in float32 or more.

    Raises:
        ValueError: The states have other names or shapes, or no adapter of their rank is between theirs.
    """
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (first, second)]
    if shapes[0] != shapes[1]:
        names = sorted(name for name in {**first, **second} if shapes[0].get(name) != shapes[1].get(name))
        raise ValueError(f"the models differ in the shape of {names[0]}")
    if directed := [name for name in first if MAGNITUDE in name]:
        raise ValueError(f"{directed[0]}: a DoRA adapter is not linear in its weights")
    factors: dict[str, Tensor] = {}
    for name in first:
        if FACTOR.search(name):
            factors |= _factors(first, second, name, at)
    return {
        name: factors[name] if name in factors else _lerp(first[name], second[name], at) for name in first
    }


def moves_statistics(first: State, second: State) -> bool:
    """Whether two models have other running statistics of BatchNorm, so that those between follow from neither."""
    return any(
        name.endswith(STATISTICS) and not torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def _factors(first: State, second: State, name: str, at: float) -> dict[str, Tensor]:
    """Return both factors of the product at ``(1 - at) B1 A1 + at B2 A2``, given the name of `A`.

    It has their rank if one of the products is 0, as in the original model, or if both have the same `A`.
    """
    other = FACTOR.sub(lambda found: found.group().replace("A", "B"), name)
    a1, a2, b1, b2 = first[name], second[name], first[other], second[other]
    if torch.equal(a1, a2) or not b1.any():
        kept = a2
    elif not b2.any():
        kept = a1
    else:
        raise ValueError(f"{name}: both models have an adapter, and the sum of two has a higher rank")
    return {name: kept, other: _lerp(b1, b2, at)}


def _lerp(first: Tensor, second: Tensor, at: float) -> Tensor:
    if not first.is_floating_point():
        return second
    precise = torch.promote_types(first.dtype, torch.float32)
    return torch.lerp(first.to(precise), second.to(precise), at).to(first.dtype)
