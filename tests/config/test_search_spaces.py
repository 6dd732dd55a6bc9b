"""Every search space that is shipped loads, survives a round trip, and gives valid runs."""

from pathlib import Path

import pytest
import yaml

from hamu_ray.config.files import load_run, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.methods import METHOD_NAMES

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


def loaded(path: Path) -> SweepConfig:
    """Load, with placeholders for what a space leaves to the command line."""
    return load_sweep(path)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_round_trip(path: Path, tmp_path: Path) -> None:
    config = loaded(path)
    again = tmp_path / "again.yaml"
    document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    again.write_text(yaml.safe_dump(document, sort_keys=False))
    assert load_sweep(again).model_dump() == config.model_dump()


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_cell_is_a_valid_run(path: Path, tmp_path: Path) -> None:
    config = loaded(path)
    cells = list(config.cells())
    assert cells
    for cell in cells:
        run = config.resolve(config.example(cell))
        assert run.method.name in METHOD_NAMES
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(run.model_dump(mode="json", by_alias=True), sort_keys=False))
        assert load_run(file) == run


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_listed_value_and_bound_is_valid(path: Path) -> None:
    config = loaded(path)
    for key, domain in config.space.items():
        for value in domain.examples:
            config.resolve({key: value})
