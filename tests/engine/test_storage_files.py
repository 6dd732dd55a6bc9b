"""The storage may be a folder or a URL; files are written atomically in both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cheap_runs import ReportList, cheap_run, done, same_bits
from upath import UPath

from hamu_ray.config.run import StorageConfig
from hamu_ray.engine.files.tensors import load_tensors, save_tensors
from hamu_ray.engine.resident import Resident
from hamu_ray.results.durable.tensor_files import is_whole
from hamu_ray.storage import StoragePath, local_copy, local_folder, storage_path, write_atomically


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoragePath]:
    """A folder, and a bucket-like store that fsspec accesses by URL."""
    if request.param == "folder":
        yield tmp_path
        return
    root = storage_path("memory://bucket/runs")
    assert isinstance(root, UPath)
    yield root
    root.fs.rm("/bucket", recursive=True)


def test_a_file_is_replaced_and_nothing_else_is_left(place: StoragePath) -> None:
    file = place / "a" / "file.json"
    write_atomically(file, b"before")
    write_atomically(file, b"after")
    assert file.read_bytes() == b"after"
    assert [path.name for path in file.parent.iterdir()] == ["file.json"]


def test_tensors_come_back_from_any_storage(place: StoragePath) -> None:
    file = place / "model.safetensors"
    assert not is_whole(file)
    save_tensors(file, {"weight": torch.arange(6.0).view(2, 3)}, {"steps": "3"})
    assert is_whole(file)
    tensors, metadata = load_tensors(file)
    assert torch.equal(tensors["weight"], torch.arange(6.0).view(2, 3))
    assert metadata["steps"] == "3"
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_tensors(place / "other.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1])
def test_a_file_that_is_cut_off_anywhere_is_not_whole(place: StoragePath, kept: int) -> None:
    file = place / "model.safetensors"
    save_tensors(file, {"weight": torch.arange(6.0)})
    file.write_bytes(file.read_bytes()[:kept])
    assert not is_whole(file)


def test_a_local_copy_is_the_file_itself_where_it_can_be(place: StoragePath) -> None:
    write_atomically(place / "file", b"content")
    with local_copy(place / "file") as copy:
        assert copy.read_bytes() == b"content"
        assert copy.name == "file"
    assert copy.exists() == isinstance(place, Path), "what was fetched is gone afterwards"


def test_a_url_of_this_machine_is_a_folder(tmp_path: Path) -> None:
    assert storage_path(f"file://{tmp_path}/runs") == tmp_path / "runs"
    assert storage_path("~/runs") == Path.home() / "runs"


def test_a_url_that_nothing_opens_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere://bucket cannot be opened"):
        storage_path("nowhere://bucket")


def test_the_drivers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_folder(StorageConfig(path="here")) == tmp_path / "here"
    assert local_folder(StorageConfig(path="memory://bucket")) == tmp_path / "runs"
    assert local_folder(StorageConfig(path="memory://bucket", local="there")) == tmp_path / "there"


def test_a_run_resumes_from_checkpoints_behind_a_url(tmp_path: Path) -> None:
    """Base models, checkpoints and results, without a local folder."""
    run = cheap_run(duration={"steps": 6}, checkpoint={"every_steps": 2})
    root = storage_path("memory://bucket/runs")
    undisturbed = done(run, Resident(tmp_path, torch.device("cpu")), tmp_path / "run")
    with pytest.raises(ConnectionError):
        done(run, Resident(root, torch.device("cpu")), root / "run", ReportList(dies_at=6))
    assert sorted(path.name for path in root.glob("run/checkpoints/*/*")) == [
        "step-000000002.safetensors",
        "step-000000004.safetensors",
    ], "the oldest are removed, and no half-written file is left"
    resumed = done(run, Resident(root, torch.device("cpu")), root / "run")
    assert resumed.outcome.resumed_at == 4
    assert same_bits(resumed.weights, undisturbed.weights)
    assert resumed.outcome.measures == undisturbed.outcome.measures
