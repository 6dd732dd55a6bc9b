"""Data created by the tests: digits in memory, and small image folders on disk."""

from pathlib import Path

import pytest
import torch
from made_images import image_of

from hamu_ray.config.task.vision import DigitsData
from hamu_ray.tasks import load_data
from hamu_ray.tasks.vision.data import VisionData


@pytest.fixture(scope="session")
def digits() -> VisionData:
    data = load_data(DigitsData(), torch.device("cpu"))
    assert isinstance(data, VisionData)
    return data


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the hub unreachable, and keep caches out of the user's home."""
    monkeypatch.setattr("hamu_ray.tasks.models.hub.hub_answers", lambda: False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")


@pytest.fixture
def image_folder(tmp_path: Path, offline: None) -> Path:
    """Two classes with four training images and one test image each, in the layout of `imagefolder`."""
    folder = tmp_path / "pets"
    for split, count in (("train", 4), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                image_of(100 * label + number).save(folder / split / name / f"{number}.png")
    return folder
