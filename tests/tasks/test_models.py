from pathlib import Path

import pytest
import torch
from torch import nn

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.tasks.vision.models import build_vision_model, logits_of
from hamu_ray.tasks.vision.networks.projection_resnet import ProjectionResNet20
from hamu_ray.tasks.vision.networks.resnet import ResNet20

CIFAR = (3, 32, 32)
TEN = tuple(str(number) for number in range(10))


def parameters_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def saved_checkpoint(folder: Path, kind: str) -> str:
    """Save a tiny transformers classifier with 4 classes, so that no test needs the hub."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    if kind == "vit":
        size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        network = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=4, **size))
    else:
        size = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
        network = ResNetForImageClassification(ResNetConfig(num_labels=4, **size))
    network.save_pretrained(folder)
    return str(folder)


def test_resnet20_is_that_of_he_et_al() -> None:
    model = ResNet20()
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 20
    widths = [(layer.out_channels, layer.stride[0]) for layer in layers if isinstance(layer, nn.Conv2d)]
    assert widths == [(16, 1)] * 7 + [(32, 2)] + [(32, 1)] * 5 + [(64, 2)] + [(64, 1)] * 5


def test_the_hamu_papers_resnet20_has_projections_where_the_shape_changes() -> None:
    model = build_vision_model(ModelConfig(name="resnet20-projection"), CIFAR, TEN, seed=1)
    parameters = dict(model.named_parameters())
    assert (sum(p.numel() for p in parameters.values()), len(parameters)) == (272_474, 65)
    shortcuts = {name: tuple(p.shape) for name, p in parameters.items() if "shortcut.convolution" in name}
    assert shortcuts == {
        "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight": (32, 16, 1, 1),
        "resnet.encoder.stages.2.layers.0.shortcut.convolution.weight": (64, 32, 1, 1),
    }
    assert parameters["resnet.embedder.embedder.convolution.weight"].shape == (16, 3, 3, 3)
    hidden = model.resnet.embedder(torch.zeros(1, *CIFAR))
    assert hidden.shape == (1, 16, 32, 32), "neither stride nor pooling before the first stage"


def test_projection_resnet20_starts_as_its_other_convolutions_do() -> None:
    """He's initialisation: a standard deviation of sqrt(2 / fan out), including the stem."""
    torch.manual_seed(0)
    weight = ProjectionResNet20().resnet.embedder.embedder.convolution.weight
    assert weight.std().item() == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.1)


def test_a_checkpoint_that_transformers_saved_fits_projection_resnet20(tmp_path: Path) -> None:
    """The model as its authors would build it: transformers' own, with another stem."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64], depths=[3, 3, 3], layer_type="basic", num_labels=10
    )
    other = ResNetForImageClassification(config)
    other.resnet.embedder.embedder.convolution = nn.Conv2d(3, 16, 3, padding=1, bias=False)
    other.resnet.embedder.pooler = nn.Identity()
    other.save_pretrained(tmp_path)
    model = build_vision_model(ModelConfig(name="resnet20-projection"), CIFAR, TEN, seed=1)
    load_model(model, tmp_path / "model.safetensors")
    images = torch.randn(4, *CIFAR)
    torch.testing.assert_close(model.eval()(images), other.eval()(images).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 7, 5)])
@pytest.mark.parametrize("kind", [ResNet20, ProjectionResNet20])
def test_resnet20_takes_any_image(
    kind: type[ResNet20 | ProjectionResNet20], shape: tuple[int, int, int]
) -> None:
    assert kind(shape[0], 7)(torch.zeros(2, *shape)).shape == (2, 7)


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
    with pytest.raises(ValueError, match=r"expects images with 3 channels, the data have 1"):
        build_vision_model(config, (1, 8, 8), TEN, seed=1)


def test_images_must_have_the_checkpoints_size(tmp_path: Path, offline: None) -> None:
    config = ModelConfig(name=saved_checkpoint(tmp_path / "vit", "vit"), new_head=True)
    with pytest.raises(ValueError, match=r"8x8 pixels, the data have 32x32: set data.image_size"):
        build_vision_model(config, CIFAR, TEN, seed=1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet2", "did you mean resnet20"),
        ("resnet20-projections", "did you mean resnet20-projection"),
        ("xyz/abc", "built-in models: resnet20, resnet20-projection"),
    ],
)
def test_unknown_name(name: str, hint: str, offline: None) -> None:
    with pytest.raises(ValueError, match=f"model.name: {name} is neither .*{hint}") as caught:
        build_vision_model(ModelConfig(name=name), CIFAR, TEN, seed=1)
    assert "\n" not in str(caught.value)
