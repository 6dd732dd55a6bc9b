"""Partially written files are never accepted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hamu_ray.engine.files.store import ModelStore
from hamu_ray.engine.files.tensors import load_model, load_tensors, save_tensors
from hamu_ray.engine.state import changing_state
from hamu_ray.results.folder import MEASURES_FILE, MODEL_FILE
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
    added = store.add("key", changing_state(nn.Linear(2, 2)), {"retain_accuracy": float("nan")}, {"seed": 1})
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


DAMAGE = {
    "a flipped bit": lambda content: content[:-3] + bytes([content[-3] ^ 16]) + content[-2:],
    "zeros": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "another name": lambda content: content.replace(b"bias", b"bios", 1),
    "cut": lambda content: content[:-1],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_is_set_aside_and_named_once(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ModelStore(tmp_path)
    model = nn.Linear(50, 50)
    added = store.add("key", changing_state(model), {"retain_accuracy": 0.5}, {"seed": 1})
    assert store.find("key") is not None
    content = added.path.read_bytes()
    added.path.write_bytes(DAMAGE[damage](content))
    assert store.find("key") is None
    assert store.find("key") is None
    (message,) = caplog.messages
    assert str(added.path) in message
    assert "\n" not in message
    assert added.path.with_name(f"{MODEL_FILE}.damaged").read_bytes() != content
    store.add("key", changing_state(model), {"retain_accuracy": 0.5}, {"seed": 1})
    found = store.find("key")
    assert found is not None
    assert found.path.read_bytes() == content


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tensors_are_not_loaded(damage: str, tmp_path: Path) -> None:
    path = tmp_path / MODEL_FILE
    save_tensors(path, nn.Linear(50, 50).state_dict(), {"steps": "3"})
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=str(path)):
        load_tensors(path)


def test_a_file_is_read_for_its_digest_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / MODEL_FILE
    save_tensors(path, {"a": torch.ones(3)})
    reads: list[Path] = []
    whole = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *rest: reads.append(self) or whole(self, *rest))
    load_tensors(path)
    assert set(reads) == {path}
    reads.clear()
    for _ in range(2):
        load_tensors(path)
    assert not reads


EQUAL_FILES = """
import sys, torch
from pathlib import Path
from hamu_ray.engine.files.tensors import save_tensors
tensors = {f"layer.{i}": torch.arange(i + 1.0) for i in range(20)}
save_tensors(Path(sys.argv[1]), tensors, {name: name for name in "steps seconds history a b c d e".split()})
"""


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    paths = [tmp_path / str(i) for i in range(3)]
    for path in paths:
        subprocess.run([sys.executable, "-c", EQUAL_FILES, str(path)], check=True)
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], framework="pt") as file:
        assert file.metadata()["steps"] == "steps", "the library reads it"


def test_files_of_other_programs_have_no_digest(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "other")
    assert load_tensors(tmp_path / "other")[0]["a"].tolist() == [1.0, 1.0, 1.0]
