import os

import pytest
import torch

from hamu_ray.config.task.vision import Cifar10Data
from hamu_ray.tasks import load_data
from hamu_ray.tasks.vision.data import VisionData

FOLDER = os.environ.get("HAMU_RAY_CIFAR10")


@pytest.mark.skipif(FOLDER is None, reason="HAMU_RAY_CIFAR10 does not name a folder with CIFAR-10")
def test_real_cifar10() -> None:
    data = load_data(Cifar10Data(path=str(FOLDER), train_limit=2000, test_limit=500), torch.device("cpu"))
    assert isinstance(data, VisionData)
    assert data.image_shape == (3, 32, 32)
    assert data.class_names[:2] == ("airplane", "automobile")
    assert data.train.labels.bincount().tolist() == [200] * 10
    assert data.test.labels.bincount().tolist() == [50] * 10
    pixels = data.train.pixels.float() / 255
    assert pixels.mean(dim=(0, 2, 3)).tolist() == pytest.approx(data.mean, abs=0.01)
