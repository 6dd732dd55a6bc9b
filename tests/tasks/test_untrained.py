"""Models with newly initialised weights, as random teachers are."""

import pytest
import torch
from torch import nn

from hamu_ray.tasks.models.pretrained import untrained


@pytest.mark.parametrize(
    "make", [lambda: nn.MultiheadAttention(8, 2), lambda: nn.Transformer(8, 2, 1, 1, 16)]
)
def test_torchs_attention_is_initialised_anew(make):
    model = make()
    one, same, other = untrained(model, 1), untrained(model, 1), untrained(model, 2)
    for name, value in one.named_parameters():
        assert torch.equal(value, same.get_parameter(name))
        if value.ndim > 1:
            assert not torch.equal(value, model.get_parameter(name))
            assert not torch.equal(value, other.get_parameter(name))


def test_weights_without_an_initialisation_are_one_line():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(
        ValueError, match=r"method\.name: .* Scaled, which has 0\.scale, has no reset_parameters"
    ):
        untrained(nn.Sequential(Scaled()), 1)
