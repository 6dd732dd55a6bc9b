"""The layers of a model that are recorded, and what is recorded of them."""

import pytest
import torch
from torch import nn

from hamu_ray.tasks.layers import MOST_LAYERS, PENULTIMATE, last_linear, layers_of, pooled, recorded
from hamu_ray.tasks.vision.networks.resnet import ResNet20


def deep(count: int) -> nn.Module:
    return nn.ModuleDict(
        {"stack": nn.ModuleList(nn.Linear(3, 3) for _ in range(count)), "head": nn.Linear(3, 2)}
    )


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (ResNet20(), [f"blocks.{number}" for number in range(9)]),
        (nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU()), nn.Linear(4, 2)), ["0", "1", "2"]),
        (nn.Bilinear(2, 2, 2), [""]),
        (nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.LayerNorm(2)}), ["a", "b"]),
        (nn.Identity(), []),
        (deep(3), ["stack.0", "stack.1", "stack.2"]),
    ],
)
def test_layers_are_the_members_of_the_outermost_sequences(model: nn.Module, names: list[str]) -> None:
    assert list(layers_of(model)) == names


def test_deep_models_are_thinned_out() -> None:
    names = list(layers_of(deep(100)))
    assert len(names) == MOST_LAYERS
    assert (names[0], names[-1]) == ("stack.0", "stack.99")


def test_activations_are_those_of_the_layers() -> None:
    torch.manual_seed(0)
    model = ResNet20().eval()
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad(), recorded(model, last_linear(model), pooled) as seen:
        logits = [model(images[:3]), model(images[3:])]
    (first, second), penultimate = seen["blocks.8"], torch.cat(seen[PENULTIMATE])
    assert (first.shape, second.shape) == ((3, 64), (1, 64))
    torch.testing.assert_close(torch.cat([first, second]), penultimate)
    torch.testing.assert_close(model.head(penultimate), torch.cat(logits))
    count = len(seen["blocks.0"])
    model(images)
    assert len(seen["blocks.0"]) == count, "the hooks are removed"
    assert pooled(torch.ones(2, 5, 3)).shape == (2, 3)
    assert last_linear(nn.Identity()) is None
