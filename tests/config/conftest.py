"""Files that extend others."""

from pathlib import Path

import pytest


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A recipe with two presets, and an experiment in a subfolder that extends one of them."""
    (tmp_path / "recipe.yaml").write_text(
        """name: recipe
optimizer: {learning_rate: 0.1, momentum: 0.5}
batch: {retain: 100, forget: 100}
duration: {epochs: 3}
space: {seed: {grid: [1, 2, 3]}, optimizer.learning_rate: {loguniform: [0.1, 1.0]}}
presets:
  small:
    batch.retain: 10
    duration: {epochs: null, steps: 4}
    space.optimizer.learning_rate: {grid: [0.5]}
  tiny:
    batch: {retain: 1, forget: 1}
"""
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "experiment.yaml").write_text(
        """extends: ../recipe.yaml
name: experiment
batch: {retain: 50, micro: 5}
duration: {epochs: 7}
space: {seed: null, method.name: {grid: [ft, ga]}}
presets:
  small: {batch.micro: 2}
"""
    )
    return tmp_path
