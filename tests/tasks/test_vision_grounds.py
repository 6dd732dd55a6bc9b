"""The data sets that the field uses, in small copies of their published layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import pytest
import torch
from made_images import image_of

from hamu_ray.config.run import RunConfig
from hamu_ray.config.task.vision import Cifar100Data, SvhnData, TinyImagenetData
from hamu_ray.tasks.vision.images.loading import load_images_data

DIGITS = [str(digit) for digit in range(10)]
FINE, COARSE = ["apple", "aquarium_fish", "baby"], ["aquatic_mammals", "fish"]


def published(
    folder: Path, splits: Sequence[str], image: str, labels: Mapping[str, Sequence[str]], side: int
) -> Path:
    """Write a row per class of the first label column into each split, with the hub's names of Parquet files."""
    folder.mkdir(parents=True)
    classes = len(next(iter(labels.values())))
    features = {image: datasets.Image()}
    features |= {column: datasets.ClassLabel(names=list(names)) for column, names in labels.items()}
    columns = {column: [row % len(names) for row in range(classes)] for column, names in labels.items()}
    columns[image] = [image_of(20 * row, (side, side)) for row in range(classes)]
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    for split in splits:
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_cifar100_has_fine_and_coarse_classes(tmp_path: Path, offline: None) -> None:
    labels = {"fine_label": FINE, "coarse_label": COARSE}
    path = published(tmp_path / "cifar100" / "cifar100", ("train", "test"), "img", labels, 32).parent
    data = load_images_data(Cifar100Data(path=str(path)), None)
    assert data.class_names == ("apple", "aquarium_fish", "baby")
    assert data.image_shape == (3, 32, 32)
    assert (data.mean, data.std) == Cifar100Data.usual
    coarse = load_images_data(Cifar100Data(path=str(path), label_column="coarse_label"), None)
    assert coarse.class_names == ("aquatic_mammals", "fish")
    assert coarse.train.labels.tolist() == [0, 1, 0]


CARD = """---
configs:
- config_name: cropped_digits
  data_files:
  - {split: train, path: cropped_digits/train-*}
  - {split: test, path: cropped_digits/test-*}
- config_name: full_numbers
  data_files:
  - {split: train, path: full_numbers/train-*}
---
"""


def test_svhn_is_its_cropped_digits(tmp_path: Path, offline: None) -> None:
    folder = tmp_path / "svhn"
    parts = published(folder / "cropped_digits", ("train", "test", "extra"), "image", {"label": DIGITS}, 32)
    published(folder / "full_numbers", ("train",), "image", {"label": DIGITS}, 20)
    (folder / "README.md").write_text(CARD)
    whole = load_images_data(SvhnData(path=str(folder)), None)
    alone = load_images_data(SvhnData(path=str(parts), subset=None), None)
    for data in (whole, alone):
        assert data.class_names == tuple(DIGITS)
        assert len(data.train) == len(data.test) == 10
        assert (data.mean, data.std) == SvhnData.usual
    with pytest.raises(ValueError, match=r"data.subset: .*cropped_digits"):
        load_images_data(SvhnData(path=str(parts)), None)


def test_tiny_imagenet_is_tested_on_its_validation_images(tmp_path: Path, offline: None) -> None:
    names = ["n01443537", "n01629819"]
    path = published(tmp_path / "tiny" / "data", ("train", "valid"), "image", {"label": names}, 64).parent
    data = load_images_data(TinyImagenetData(path=str(path)), None)
    assert data.class_names == tuple(names)
    assert data.image_shape == (3, 64, 64)
    assert len(data.test) == 2
    assert torch.equal(data.test.labels, torch.arange(2))


@pytest.mark.parametrize("name", ["cifar100", "svhn", "tiny-imagenet"])
def test_a_run_names_them(name: str) -> None:
    run = RunConfig.model_validate({"data": {"name": name}, "model": {"name": "resnet18"}})
    assert run.model.task == "vision"
