from pathlib import Path

import pytest
import torch
from torch import nn

from hamu_ray.config.model import ModelConfig
from hamu_ray.tasks.vision.models import build_vision_model, logits_of
from hamu_ray.tasks.vision.resnet import ResNet20

CIFAR = (3, 32, 32)
TEN = tuple(str(number) for number in range(10))


def parameters_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def saved_checkpoint(folder: Path, kind: str) -> str:
    """Save a tiny transformers classifier of 4 classes, so that no test needs the hub."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    if kind == "vit":
        size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        network = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=4, **size))
    else:
        size = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
        network = ResNetForImageClassification(ResNetConfig(num_labels=4, **size))
    network.save_pretrained(folder)
    return str(folder)


def test_resnet20_is_the_papers() -> None:
    model = ResNet20()
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 20
    widths = [(layer.out_channels, layer.stride[0]) for layer in layers if isinstance(layer, nn.Conv2d)]
    assert widths == [(16, 1)] * 7 + [(32, 2)] + [(32, 1)] * 5 + [(64, 2)] + [(64, 1)] * 5


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 7, 5)])
def test_resnet20_takes_any_image(shape: tuple[int, int, int]) -> None:
    assert ResNet20(shape[0], 7)(torch.zeros(2, *shape)).shape == (2, 7)


def test_memory_order_does_not_change_the_function() -> None:
    images = torch.randn(4, *CIFAR)
    plain = build_vision_model(ModelConfig(channels_last=False), CIFAR, TEN, seed=3)
    last = build_vision_model(ModelConfig(channels_last=True), CIFAR, TEN, seed=3)
    ordered = images.contiguous(memory_format=torch.channels_last)
    assert last.conv.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(plain(images), last(ordered), rtol=1e-4, atol=1e-5)


def test_the_seed_decides_the_weights_and_nothing_else_is_touched() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, again, other = (build_vision_model(ModelConfig(), CIFAR, TEN, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(parameters_of(first), parameters_of(again))
    assert not torch.equal(parameters_of(first), parameters_of(other))


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_transformers_checkpoint(kind: str, tmp_path: Path, offline: None) -> None:
    config = ModelConfig(name=saved_checkpoint(tmp_path / kind, kind), new_head=True)
    model = build_vision_model(config, (3, 8, 8), TEN, seed=1)
    assert logits_of(model, torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    again = build_vision_model(config, (3, 8, 8), TEN, seed=1)
    assert torch.equal(parameters_of(model), parameters_of(again))
    with pytest.raises(ValueError, match=r"takes images of 3 channels, the data have 1"):
        build_vision_model(config, (1, 8, 8), TEN, seed=1)


def test_images_must_have_the_checkpoints_size(tmp_path: Path, offline: None) -> None:
    config = ModelConfig(name=saved_checkpoint(tmp_path / "vit", "vit"), new_head=True)
    with pytest.raises(ValueError, match=r"8x8 pixels, the data have 32x32: set data.image_size"):
        build_vision_model(config, CIFAR, TEN, seed=1)


@pytest.mark.parametrize(
    ("name", "hint"), [("resnet2", "did you mean resnet20"), ("xyz/abc", "own models: resnet20")]
)
def test_unknown_name(name: str, hint: str, offline: None) -> None:
    with pytest.raises(ValueError, match=f"model.name: {name} is neither .*{hint}") as caught:
        build_vision_model(ModelConfig(name=name), CIFAR, TEN, seed=1)
    assert "\n" not in str(caught.value)
