"""The command for one run: each configuration has a folder of its own, and no model is replaced unasked."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from hamu_ray.config.run import RunConfig
from hamu_ray.results.folder import MODEL_FILE, rerun_command
from hamu_ray.workers.single import folder_name, run_single
from tests.runs import small_run


def run_of(storage: Path, **sections: object) -> RunConfig:
    return RunConfig.model_validate(small_run(storage, **sections))


def test_every_configuration_has_a_folder_of_its_own(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path),
        run_of(tmp_path, optimizer={"learning_rate": 0.02}),
        run_of(tmp_path, method={"name": "gdiff", "constraint_ratio": None}),
        run_of(tmp_path, name="other"),
        run_of(tmp_path, seed=42),
    ]
    names = [folder_name(run) for run in runs]
    assert len(set(names)) == len(runs)
    assert names[0].startswith("small-hamu-q-")
    assert names[0] == folder_name(run_of(tmp_path / "elsewhere", workers={"count": 2})), "the same model"


def test_a_second_point_does_not_replace_the_first(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (run_of(storage, optimizer={"learning_rate": rate}) for rate in (0.01, 0.02))
    assert run_single(first).exit_code == 0
    model = storage / "runs" / folder_name(first) / MODEL_FILE
    content = model.read_bytes()
    assert run_single(second).exit_code == 0
    assert (storage / "runs" / folder_name(second) / MODEL_FILE).read_bytes() != content
    assert model.read_bytes() == content


def test_a_model_is_replaced_only_with_force(storage: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "run.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(small_run(storage)))

    def unlearn(*options: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "hamu_ray.unlearn", str(path), "--output", str(output), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert unlearn().returncode == 0
    before = load_file(output / MODEL_FILE)
    refused = unlearn("--set", "optimizer.learning_rate=0.02")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith(
        f"error: {output}: holds the model of a run that has ended; give --force"
    )
    assert load_file(output / MODEL_FILE).keys() == before.keys()
    (output / "outcome.json").write_text("{")
    assert unlearn().returncode == 2, "a damaged result is a result"
    assert unlearn("--set", "optimizer.learning_rate=0.02", "--force").returncode == 0
    assert any((load_file(output / MODEL_FILE)[name] != before[name]).any() for name in before)


def test_the_command_that_is_printed_gives_a_name() -> None:
    command = rerun_command("my runs/run.yaml", "digits-20260101-120000-3f9c", "0003")
    assert shlex.split(command) == [
        *("python", "-m", "hamu_ray.unlearn", "my runs/run.yaml", "--set"),
        "name=digits-20260101-120000-3f9c-0003",
    ]
    *_, name = shlex.split(rerun_command("run.yaml", "x" * 200, "0003"))
    assert len(name.removeprefix("name=")) == 100
    assert name.endswith("-0003")
