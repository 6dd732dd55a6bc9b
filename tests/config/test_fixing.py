"""`--set` on a key that a space varies."""

from io import StringIO
from pathlib import Path

import pytest

from hamu_ray.config.sources.document import ConfigError
from hamu_ray.config.sources.files import load_sweep, read_source
from hamu_ray.terminal.console import Console
from hamu_ray.tuning.preview import preview

SPACE = """name: x
space:
  method.name: {grid: [hamu-q, gdiff]}
  method.constraint_ratio: {uniform: [0.1, 0.9]}
  optimizer.learning_rate: {loguniform: [0.1, 1.0]}
  "batch.{retain,forget}": {choice: [10, 20]}
  seed: {grid: [1, 2]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(SPACE)
    return path


@pytest.mark.parametrize(
    ("overrides", "gone"),
    [
        (["optimizer.learning_rate=0.5"], ["optimizer.learning_rate"]),
        (["optimizer={name: sgd, learning_rate: 0.5}"], ["optimizer.learning_rate"]),
        (["optimizer={name: sgd}"], []),
        (["seed=7", "optimizer.learning_rate=0.5"], ["seed", "optimizer.learning_rate"]),
        (["method.name=hamu-u"], ["method.name"]),
        (["method.name=gdiff"], ["method.name", "method.constraint_ratio"]),
        (["batch={retain: 3, forget: 4}"], ["batch.{retain,forget}"]),
        (["space.seed=null"], ["seed"]),
    ],
)
def test_a_key_that_is_set_is_fixed(file: Path, overrides: list[str], gone: list[str]) -> None:
    config = load_sweep(file, overrides)
    assert set(config.space) == set(load_sweep(file).space) - set(gone)
    run = config.resolve(config.example(next(config.cells())))
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "seed":
            assert run.seed == int(value)
        if key.startswith("optimizer") and "learning_rate" in text:
            assert run.optimizer.learning_rate == 0.5
        if key == "method.name":
            assert run.method.name == value


def test_the_other_keys_of_a_domain_still_vary(file: Path) -> None:
    config = load_sweep(file, ["batch.retain=3"])
    assert "batch.forget" in config.space
    assert not [path for path in config.space if "retain" in path]
    for point in ({"batch.forget": 20}, {"batch.forget": 10}):
        run = config.resolve(config.example(point))
        assert (run.batch.retain, run.batch.forget) == (3, point["batch.forget"])


def test_the_dry_run_shows_what_is_fixed(file: Path) -> None:
    overrides = ["method.name=gdiff", "batch.retain=3"]
    printed = StringIO()
    preview(load_sweep(file, overrides), Console(printed, width=200), read_source(file, overrides).fixed)
    lines = [line.strip() for line in printed.getvalue().splitlines()]
    assert "method.name: fixed by --set method.name=gdiff" in lines
    assert "method.constraint_ratio: no longer varied by --set method.name=gdiff" in lines
    assert "batch.retain: fixed by --set batch.retain=3" in lines
    assert not [line for line in lines if line.startswith("method.name: grid")]


def test_a_space_that_is_fixed_wholly_is_no_sweep(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("space: {seed: {grid: [1, 2]}}\n")
    with pytest.raises(ConfigError, match="a sweep needs at least one key"):
        load_sweep(path, ["seed=1"])


def test_a_value_that_is_wrong_is_still_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"with --set method\.name=gdif: .*did you mean gdiff"):
        load_sweep(file, ["method.name=gdif"])
