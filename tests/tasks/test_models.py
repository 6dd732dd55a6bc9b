import logging
import logging.handlers
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model
from torch import nn

from hamu_ray.config.task.model import ModelConfig
from hamu_ray.engine.files.tensors import load_model
from hamu_ray.tasks.vision.data import Examples, VisionData
from hamu_ray.tasks.vision.export import loading_code
from hamu_ray.tasks.vision.models import MODELS, build_vision_model, logits_of
from hamu_ray.tasks.vision.networks.projection_resnet import ProjectionResNet20
from hamu_ray.tasks.vision.networks.resnet import ResNet20
from hamu_ray.tasks.vision.networks.resnet18 import ResNet18
from hamu_ray.tasks.vision.networks.vit import ViTTiny

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


def size_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_resnet18_is_that_of_the_field() -> None:
    """11.17 million weights are those of the usual ResNet-18 for CIFAR; tensors have torchvision's names and order."""
    from torchvision.models import resnet18

    assert [size_of(ResNet18(3, classes)) for classes in (10, 100)] == [11_173_962, 11_220_132]
    model, other = ResNet18(3, 10), resnet18(num_classes=10)
    assert list(model.state_dict()) == list(other.state_dict())
    other.conv1, other.maxpool = (
        nn.Conv2d(3, 64, 3, padding=1, bias=False),
        nn.Identity(),
    )  # as in SalUn's code
    model.load_state_dict(other.state_dict())
    images = torch.randn(2, *CIFAR)
    torch.testing.assert_close(model.eval()(images), other.eval()(images))
    assert model.conv1(images).shape == (2, 64, 32, 32)


def test_vit_tiny_is_deits() -> None:
    """DeiT-tiny has 5,717,416 weights (5.7 million in its paper); without position and patches, ours are the same."""
    assert size_of(ViTTiny(3, 1000, (224, 224), patch=16)) == 5_717_416
    small = build_vision_model(ModelConfig(name="vit-tiny"), CIFAR, TEN, seed=1)
    assert size_of(small) == 5_362_762
    assert small.vit.config.patch_size == 4
    assert build_vision_model(ModelConfig(name="vit-tiny"), (3, 64, 64), TEN, 1).vit.config.patch_size == 8
    assert logits_of(small, torch.zeros(2, *CIFAR)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(3, 32, 30), (3, 20, 20)])
def test_vit_tiny_needs_patches(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"data.image_size: vit-tiny .* have {shape[2]}x{shape[1]}; set it"):
        build_vision_model(ModelConfig(name="vit-tiny"), shape, TEN, seed=1)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_built_in_model_is_loaded_as_its_card_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(name=name)
    shape = (3, 8, 8)
    images = Examples(torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    data = VisionData(images, images, TEN, (0.5,) * 3, (0.5,) * 3)
    model = build_vision_model(config, shape, TEN, seed=1)
    save_model(model, str(tmp_path / "model.safetensors"))
    monkeypatch.chdir(tmp_path)
    found: dict[str, nn.Module] = {}
    exec(loading_code(model, data, config), found)
    assert torch.equal(parameters_of(found["model"]), parameters_of(model))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 7, 5)])
@pytest.mark.parametrize("kind", [ResNet20, ProjectionResNet20, ResNet18])
def test_resnets_take_any_image(
    kind: type[ResNet20 | ProjectionResNet20 | ResNet18], shape: tuple[int, int, int]
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


def test_a_new_head_is_no_news(tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`transformers` reports the weights of the old head, over several lines."""
    library = logging.getLogger("transformers")
    monkeypatch.setattr(library, "handlers", [handler := logging.handlers.BufferingHandler(100)])
    config = ModelConfig(name=saved_checkpoint(tmp_path / "vit", "vit"), new_head=True)
    build_vision_model(config, (3, 8, 8), TEN, seed=1)
    assert not [record.getMessage() for record in handler.buffer]
    assert library.level < logging.ERROR


def test_images_must_have_the_checkpoints_size(tmp_path: Path, offline: None) -> None:
    config = ModelConfig(name=saved_checkpoint(tmp_path / "vit", "vit"), new_head=True)
    with pytest.raises(ValueError, match=r"8x8 pixels, the data have 32x32: set data.image_size"):
        build_vision_model(config, CIFAR, TEN, seed=1)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet2", "did you mean resnet20"),
        ("resnet20-projections", "did you mean resnet20-projection"),
        ("xyz/abc", "built-in models: resnet20, resnet20-projection, resnet18, vit-tiny"),
    ],
)
def test_unknown_name(name: str, hint: str, offline: None) -> None:
    with pytest.raises(ValueError, match=f"model.name: {name} is neither .*{hint}") as caught:
        build_vision_model(ModelConfig(name=name), CIFAR, TEN, seed=1)
    assert "\n" not in str(caught.value)
