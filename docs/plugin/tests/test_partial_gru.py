"""The template's weighting: between gradient ascent and GRU."""

import pytest
import torch
from partial_gru import PARTIAL_GRU

from hamu_ray.methods import METHODS, Context


@pytest.mark.parametrize(("removed", "same"), [(0.0, "ga"), (1.0, "gru")])
def test_its_ends_are_known_methods(removed: float, same: str) -> None:
    pairs = torch.randn(5, 2, 7, dtype=torch.float64)
    gram = pairs @ pairs.mT
    other = METHODS[same]
    expected = other.weighting(gram, Context(lr=0.1, hyperparameters=other.hyperparameters()))
    context = Context(lr=0.1, hyperparameters=PARTIAL_GRU.hyperparameters(removed=removed))
    torch.testing.assert_close(PARTIAL_GRU.weighting(gram, context).weights, expected.weights)
