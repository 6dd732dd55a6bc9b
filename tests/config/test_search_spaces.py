"""Every included search space loads, survives a round trip, and gives valid runs."""

from pathlib import Path

import pytest
import yaml

from hamu_ray.config.sources.files import load_run, load_sweep
from hamu_ray.methods import METHODS

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_sweep(path)
    again = tmp_path / "again.yaml"
    document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    again.write_text(yaml.safe_dump(document, sort_keys=False))
    assert load_sweep(again).model_dump() == config.model_dump()


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_cell_is_a_valid_run(path: Path, tmp_path: Path) -> None:
    config = load_sweep(path)
    cells = list(config.cells())
    assert cells
    for cell in cells:
        run = config.resolve(config.example(cell))
        assert run.method.name in METHODS
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True), sort_keys=False))
        assert load_run(file) == run


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_listed_value_and_bound_is_valid(path: Path) -> None:
    config = load_sweep(path)
    points = list(config.points())
    assert {path for path, _ in points} == {*config.space}
    for _, point in points:
        config.resolve(point)


def test_a_sweep_over_given_models_survives_a_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("space: {original.path: {grid: [a, b]}, forget.rho: {choice: [0, 0.5]}}")
    for _ in range(2):
        config = load_sweep(file)
        run = config.resolve({"original.path": "b", "forget.rho": 0.5})
        assert (run.original.source, run.original.path) == ("path", "b")
        document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
        file.write_text(yaml.safe_dump(document, sort_keys=False))


def test_a_key_of_a_section_that_the_file_leaves_out_can_vary(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("space: {forget.label: {grid: [1, 2]}, training.optimizer.learning_rate: {grid: [0.5]}}")
    run = load_sweep(file).resolve({"forget.label": 2, "training.optimizer.learning_rate": 0.5})
    assert (run.forget.kind, run.training.optimizer.name) == ("class", "adamw")
