"""Digits for a network of two layers, which trains in a fraction of a second: class 0 is forgotten."""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from hamu_ray.api.definition import Definition
from hamu_ray.config.run import RunConfig

FORGOTTEN = 0
"""The class that is forgotten: its test images are not part of the test set, as in SalUn."""

ORIGINALS, REFERENCES, MORE = 4, 19, 4
"""Numbers of models: 19 references allow a p-value of 0.05; some more are models that are known to have forgotten."""

RECIPE: dict[str, Any] = {
    "training": {
        "epochs": 10,
        "batch_size": 128,
        "select": "last",
        "optimizer": {"name": "adamw", "learning_rate": 2e-2, "schedule": "cosine"},
    },
    "batch": {"retain": 128, "forget": 64},
    "duration": {"steps": 10},
    "evaluation": {"every_steps": 100},
    "workers": {"count": 1},
}


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def splits() -> dict[str, Dataset]:
    images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    images, is_test = images.float() / 16, torch.arange(len(labels)) % 3 == 0
    chosen = {
        "retain": ~is_test & (labels != FORGOTTEN),
        "forget": ~is_test & (labels == FORGOTTEN),
        "test": is_test & (labels != FORGOTTEN),
    }
    return {name: TensorDataset(images[rows], labels[rows].long()) for name, rows in chosen.items()}


def quick_run(storage: Path, **sections: Any) -> RunConfig:
    """Return a run on these digits, with sections changed."""
    document = {**RECIPE, **Definition(model=build, **splits()).write(storage, seed=41)}
    for name, values in sections.items():
        known = document.get(name)
        document[name] = {**known, **values} if isinstance(known, dict) else values
    return RunConfig.model_validate({"storage": {"path": str(storage)}, **document})
