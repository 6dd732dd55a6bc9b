"""Data, models and settings that cannot be used: one line that names the key, exit code 2, before Ray starts.

What the schema finds is in `tests/config/mistakes.py`; here is what only a look at files and at the machine shows.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.runs import small_run
from tests.tasks.made_images import image_of

Sections = dict[str, Any]


def images(folder: Path, odd: Callable[[Path], None] = lambda _: None) -> Sections:
    """Write a folder of images in two classes and two splits, and let one of them be odd."""
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True)
            for i in range(8):
                image_of(i * 20, (32, 32)).save(folder / split / label / f"{i}.png")
    odd(folder / "train" / "dog" / "3.png")
    forget = {"kind": "class", "label": "cat", "rho": 0.0}
    return {"data": {"name": "images", "path": str(folder)}, "forget": forget}


def mixed_sizes(folder: Path) -> Sections:
    return images(folder, lambda path: image_of(9, (16, 40)).save(path))


def no_image(folder: Path) -> Sections:
    return images(folder, lambda path: path.write_text("no image"))


def half_an_image(folder: Path) -> Sections:
    return images(folder, lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model of the digits."""
    from hamu_ray.config.run import RunConfig
    from hamu_ray.engine.resident import Resident
    from hamu_ray.engine.state import changing_state

    run = RunConfig.model_validate(small_run(folder))
    return dict(changing_state(Resident(folder, torch.device("cpu")).task(run).build_model(run.seed)))


def original(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Sections:
    """Write the weights of an original model, changed."""
    folder.mkdir()
    tensors = weights(folder)
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return {"original": {"path": str(folder)}}


def other_classes(folder: Path) -> Sections:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = list(tensors)[-1]
        tensors[name] = torch.cat([tensors[name]] * 2)

    return original(folder, change)


def cut_short(folder: Path) -> Sections:
    sections = original(folder, lambda tensors: None)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return sections


def no_checkpoint(folder: Path) -> Sections:
    folder.mkdir()
    (folder / "notes.txt").write_text("no model here")
    return {"original": {"path": str(folder)}}


def no_pretrained_model(folder: Path) -> Sections:
    folder.mkdir()
    return {**images(folder / "images"), "model": {"name": str(folder)}}


def long_experiment(folder: Path) -> Sections:
    return {"tracking": {"experiment": "x" * 10_000}}


BAD: dict[str, tuple[Callable[[Path], Sections], str, str]] = {
    "images of mixed sizes": (mixed_sizes, "data.image_size: ", "set the size that all are to have"),
    "a file that is no image": (no_image, "data.path: ", "cannot be decoded"),
    "half an image": (half_an_image, "data.path: ", "cannot be decoded"),
    "an original with other classes": (other_classes, "original.path: ", "does not fit the model"),
    "an original cut short": (cut_short, "original.path: ", "copy it again"),
    "a folder without a model": (no_checkpoint, "original.path: ", "give a checkpoint"),
    "a model that is no checkpoint": (no_pretrained_model, "model.name: ", "config.json"),
    "an experiment of 10,000 letters": (long_experiment, "tracking.experiment: ", "250 characters"),
}
"""What is given, and the key and the remedy of the line that answers."""


def command(name: str, folder: Path, document: Sections, *options: str) -> subprocess.CompletedProcess:
    path = folder / "given.yaml"
    path.write_text(yaml.safe_dump(document))
    return subprocess.run(
        [sys.executable, "-m", f"hamu_ray.{name}", str(path), *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_one_line(ended: subprocess.CompletedProcess, key: str, remedy: str) -> None:
    assert ended.returncode == 2, ended.stderr
    line = [text for text in ended.stderr.splitlines() if text.startswith("error: ")]
    assert len(line) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert key in line[0]
    assert remedy in line[0]
    assert len(line[0]) < 1000


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_line_before_ray_starts(bad: str, tmp_path: Path) -> None:
    """There is no cluster here: a sweep that came so far would end otherwise, and leave a folder."""
    made, key, remedy = BAD[bad]
    space = {"space": {"optimizer.learning_rate": {"grid": [0.01]}}}
    document = small_run(tmp_path / "runs", **made(tmp_path / "given"), **space)
    assert_one_line(command("tune", tmp_path, document), key, remedy)
    assert not list((tmp_path / "runs").glob("sweeps/*"))


@pytest.mark.parametrize("bad", ["images of mixed sizes", "an original with other classes"])
@pytest.mark.parametrize("name", ["unlearn", "train"])
def test_other_commands_find_it_too(bad: str, name: str, tmp_path: Path) -> None:
    made, key, remedy = BAD[bad]
    assert_one_line(
        command(name, tmp_path, small_run(tmp_path / "runs", **made(tmp_path / "given"))), key, remedy
    )


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    """As where Ray cannot start: tests without the mark `ray` have the address of no cluster."""
    document = small_run(tmp_path / "runs", space={"optimizer.learning_rate": {"grid": [0.01]}})
    assert_one_line(command("tune", tmp_path, document), "Ray cannot start: ", "RAY_ADDRESS")
    assert not list((tmp_path / "runs").glob("sweeps/*")), "a start that fails leaves no sweep"
