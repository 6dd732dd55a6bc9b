"""Partially written files are never accepted."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from hamu_ray.engine.store import MEASURES_FILE, ModelStore
from hamu_ray.engine.tensors import load_model, load_tensors, save_tensors
from hamu_ray.results.folder import MODEL_FILE
from hamu_ray.storage import write_atomically


def test_a_write_that_is_cut_off_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"before")

    def no_space(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_come_back_in_any_memory_order(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    save_tensors(
        tmp_path / "file", {"image": image, "same": image, "scalar": torch.tensor(3)}, {"key": "text"}
    )
    tensors, metadata = load_tensors(tmp_path / "file")
    assert torch.equal(tensors["image"], image)
    assert torch.equal(tensors["same"], image)
    assert tensors["scalar"] == 3
    assert metadata == {"key": "text", "format": "pt"}


@pytest.mark.parametrize("damage", ["model gone", "model cut", "measures gone", "measures cut"])
def test_a_stored_model_counts_only_whole(damage: str, tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    added = store.add("key", nn.Linear(2, 2), {"retain_accuracy": float("nan")}, {"seed": 1})
    found = store.find("key")
    assert found is not None
    assert found.path == added.path
    file = tmp_path / "key" / (MODEL_FILE if "model" in damage else MEASURES_FILE)
    content = file.read_bytes()
    file.unlink()
    if "cut" in damage:
        file.write_bytes(content[:-1])
    assert store.find("key") is None


def test_a_model_that_does_not_fit_is_refused_whole(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = tmp_path / MODEL_FILE
    fitting = {name: torch.ones_like(value) for name, value in before.items()}
    missing = {name: value for name, value in fitting.items() if name != "0.bias"}
    for tensors, message in (
        (missing, "does not fit the model: the file lacks 0.bias"),
        ({**fitting, "head": torch.ones(1)}, "does not fit the model: the model has no head"),
        ({**fitting, "1.weight": torch.ones(2, 3)}, r"1.weight has shape \(2, 3\), expected \(2, 2\)"),
    ):
        save_tensors(path, tensors)
        with pytest.raises(ValueError, match=message):
            load_model(model, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_model(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
