"""Data, models and settings that cannot be used: one line that names the key, exit code 2, before Ray starts.

What the schema finds is in `tests/config/mistakes.py`; here is what only a look at files and at the machine shows.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import save_file

from hamu_ray import train, tune, unlearn
from hamu_ray.command import run_command
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
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
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
    "images of mixed sizes": (mixed_sizes, "data.image_size: ", "set a common size"),
    "a file that is no image": (no_image, "data.path: ", "cannot be decoded"),
    "half an image": (half_an_image, "data.path: ", "cannot be decoded"),
    "an original with other classes": (other_classes, "original.path: ", "does not fit the model"),
    "an original cut short": (cut_short, "original.path: ", "copy it again"),
    "a folder without a model": (no_checkpoint, "original.path: ", "give a checkpoint"),
    "a model that is no checkpoint": (no_pretrained_model, "model.name: ", "config.json"),
    "an experiment of 10,000 letters": (long_experiment, "tracking.experiment: ", "250 characters"),
}
"""What is given, and the key and the remedy of the line that answers."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    errors: str


Command = Callable[[str, Sections], Ended]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command of the package as a user does, but in this process, which has its imports already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(name: str, document: Sections) -> Ended:
        path = tmp_path / "given.yaml"
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setattr(sys, "argv", [name, str(path)])
        with pytest.raises(SystemExit) as ended:
            run_command({"tune": tune.main, "unlearn": unlearn.main, "train": train.main}[name])
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, capsys.readouterr().err)

    return run


def assert_one_line(ended: Ended, key: str, remedy: str) -> None:
    assert ended.code == 2, ended.errors
    lines = [text for text in ended.errors.splitlines() if text.startswith("error: ")]
    assert len(lines) == 1, ended.errors
    assert "Traceback" not in ended.errors
    assert key in lines[0]
    assert remedy in lines[0]
    assert len(lines[0]) < 1000


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_line_before_ray_starts(bad: str, tmp_path: Path, command: Command) -> None:
    """There is no cluster here: a sweep that came so far would end otherwise, and leave a folder."""
    made, key, remedy = BAD[bad]
    space = {"space": {"optimizer.learning_rate": {"grid": [0.01]}}}
    document = small_run(tmp_path / "runs", **made(tmp_path / "given"), **space)
    assert_one_line(command("tune", document), key, remedy)
    assert not list((tmp_path / "runs").glob("sweeps/*"))


@pytest.mark.parametrize("bad", ["images of mixed sizes", "an original with other classes"])
@pytest.mark.parametrize("name", ["unlearn", "train"])
def test_other_commands_find_it_too(bad: str, name: str, tmp_path: Path, command: Command) -> None:
    made, key, remedy = BAD[bad]
    assert_one_line(command(name, small_run(tmp_path / "runs", **made(tmp_path / "given"))), key, remedy)


START = """
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.workers.cluster import join_or_start
try:
    join_or_start(print)
except ConfigError as error:
    print(error)
"""


def test_a_ray_that_cannot_start(tmp_path: Path) -> None:
    """Its sockets cannot have a path of this length."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_TMPDIR": str(tmp_path / ("x" * 120)), "RAY_AUTH_MODE": "disabled"}
    ended = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    said, line = ended.stdout.splitlines()
    assert said.startswith("RAY_AUTH_MODE is disabled: ")
    assert line.startswith("Ray cannot start: ")
