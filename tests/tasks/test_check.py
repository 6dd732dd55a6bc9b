"""Checks of data before they are loaded: without torch, and without decoding images."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from hamu_ray.config.task.vision import DigitsData, ForgetClass, ForgetConfig, ForgetRandom, ImagesData
from hamu_ray.tasks import check_data


def error_of(config: Any, *choices: ForgetConfig) -> str:
    with pytest.raises(ValueError) as caught:
        check_data(config, [(choice, 0) for choice in choices or (ForgetClass(),)])
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def broken_folder(image_folder: Path) -> Path:
    """Images that cannot be decoded, with valid labels."""
    for path in image_folder.rglob("*.png"):
        path.write_bytes(b"not an image")
    return image_folder


def test_labels_are_enough(broken_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bars = datasets.are_progress_bars_disabled()
    config = ImagesData(path=str(broken_folder), train_limit=6)
    check_data(config, [(ForgetClass(label="dog", rho=0.5), 0), (ForgetRandom(share=0.5), 1)])
    assert capfd.readouterr() == ("", "")
    assert datasets.are_progress_bars_disabled() == bars


def test_what_is_wrong_with_a_folder(broken_folder: Path) -> None:
    path = str(broken_folder)
    assert (
        error_of(ImagesData(path=f"{path}/none")) == f"data.path: {path}/none: no such folder; check the path"
    )
    assert "no column imag; did you mean image?" in error_of(ImagesData(path=path, image_column="imag"))
    assert error_of(ImagesData(path=path, test_split="dev")).startswith("data.test_split: ")
    assert error_of(ImagesData(path=path), ForgetClass(label="cow")) == (
        "forget.label: there is no class 'cow'; the classes are 0=cat, 1=dog"
    )
    assert error_of(ImagesData(path=path), ForgetClass(), ForgetRandom(share=0.01)) == (
        "forget.share: 0.01 of 8 training images is empty; raise it"
    )


def test_digits_know_their_classes_without_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamu_ray.tasks.vision.check.training_labels", lambda _: pytest.fail("loaded"))
    assert error_of(DigitsData(), ForgetClass(label=10)).startswith("forget.label: there is no class 10; ")


class Description:
    """Description of a data set on the hub, in its builder's format."""

    def __init__(self, **info: Any) -> None:
        self.info = datasets.DatasetInfo(**info)


@pytest.fixture
def on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    splits = {"train": {"name": "train"}, "test": {"name": "test"}}
    description = Description(features=features, splits=splits)
    monkeypatch.setattr("hamu_ray.tasks.models.hub.hub_answers", lambda: True)
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *_: description)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("downloaded"))


def test_a_description_is_enough_on_the_hub(on_the_hub: None) -> None:
    check_data(ImagesData(path="owner/name", train_split="train[:10]"), [(ForgetClass(label="b"), 0)])
    config = ImagesData(path="owner/name")
    assert "there is no class 2; the classes are 0=a, 1=b" in error_of(config, ForgetClass(label=2))
    assert error_of(ImagesData(path="owner/name", test_split="dev")) == (
        "data.test_split: owner/name has no split dev; it has train, test"
    )
    assert "no column img" in error_of(ImagesData(path="owner/name", image_column="img"))


def test_an_empty_description(on_the_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *_: Description())
    check_data(ImagesData(path="owner/name", test_split="dev"), [(ForgetClass(label=99), 0)])


def test_hub_out_of_reach(offline: None) -> None:
    message = error_of(ImagesData(path="nobody/nothing"))
    assert message.startswith("data.path: nobody/nothing cannot be loaded: Couldn't reach 'nobody/nothing'")


def test_checking_images_needs_no_torch(broken_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from hamu_ray.config.task.vision import *; from hamu_ray.tasks import check_data;"
        f"import datasets; datasets.config.HF_DATASETS_CACHE = {str(tmp_path / 'prepared')!r};"
        f"check_data(ImagesData(path={str(broken_folder)!r}), [(ForgetClass(), 0)]);"
        "check_data(DigitsData(), [(ForgetClass(), 0)]);"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("False", "")
