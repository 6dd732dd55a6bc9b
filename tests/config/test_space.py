"""Mistakes in what a sweep varies."""

from pathlib import Path

import pytest
from mistakes import error_of

from hamu_ray.config.sweep import MAX_CELLS


@pytest.mark.parametrize("text", ["space: {}", "space:"])
def test_a_space_without_a_parameter(tmp_path: Path, text: str) -> None:
    assert error_of(tmp_path, text).startswith(
        "space: a sweep needs at least one parameter; add one, such as "
    )


def test_no_space(tmp_path: Path) -> None:
    message = error_of(tmp_path, "seed: 1")
    assert message.startswith("space: missing; name a key to vary, such as optimizer.learning_rate: ")
    assert message.endswith("or take python -m hamu_ray.unlearn for a single run")


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            "optimizer.learing_rate: {grid: [1]}",
            "space.optimizer.learing_rate: unknown key; did you mean optimizer.learning_rate?",
        ),
        (
            "learning_rate: {grid: [1]}",
            "space.learning_rate: unknown key; did you mean optimizer.learning_rate?",
        ),
        ("forget.share: {grid: [0.1]}", "space.forget.share: unknown key; known: forget.label, forget.rho"),
        (
            "duration: {grid: [1]}",
            "space.duration: is a section; vary one of its keys: duration.epochs, duration.steps",
        ),
        ("3: {grid: [1]}", "space.3: expected text, such as optimizer.learning_rate"),
        ("optimizer.momentum: 0.5", "space.optimizer.momentum: expected a section with keys"),
        (
            "optimizer.momentum: {grid: []}",
            "space.optimizer.momentum.grid: expected at least 1 value, found []",
        ),
        ("optimizer.momentum: {grid: [0, x]}", "space.optimizer.momentum: expected a number, found 'x'"),
        (
            "optimizer.momentum: {grid: [[1]]}",
            "space.optimizer.momentum.grid.0: expected true or false, a whole number, a number or text, found [1]",
        ),
        (
            "optimizer.momentum: {uniform: [1]}",
            "space.optimizer.momentum.uniform: expected 2 values, found [1]",
        ),
        (
            "optimizer.momentum: {uniform: [2, 1]}",
            "space.optimizer.momentum: the lower bound must be below the upper one, found [2.0, 1.0]",
        ),
        (
            "optimizer.momentum: {loguniform: [0, 1]}",
            "space.optimizer.momentum: loguniform needs bounds above zero, found [0.0, 1.0]",
        ),
        (
            "optimizer.momentum: {unifrom: [0, 1]}",
            "space.optimizer.momentum.unifrom: unknown key; did you mean uniform?",
        ),
        (
            "optimizer.momentum: {uniform: [0, 1], grid: [0]}",
            "space.optimizer.momentum: give exactly one of grid, choice, uniform, loguniform, int, "
            "found grid, uniform",
        ),
        ("batch.retain: {uniform: [1, 9]}", "space.batch.retain: expected a whole number, found 1.0"),
        ("batch.retain: {int: [0, 9]}", "space.batch.retain: expected a number of at least 1, found 0"),
        (
            "method.name: {grid: [ft, hamuq]}",
            "space.method.name: unknown method 'hamuq'; did you mean hamu-q?",
        ),
        (
            "method.constraint_ratio: {uniform: [0.5, 1.5]}",
            "space.method.constraint_ratio: expected a number below 1, found 1.5",
        ),
        (
            "method.constraint_ratio: {grid: [0.5]}, method.constraint: {grid: [0.1]}",
            "space: with method.constraint_ratio 0.5: method: give constraint_ratio or constraint, not both: "
            "set the other to null",
        ),
        (
            "method.name: {grid: [ft, ga]}, method.constraint_ratio: {uniform: [0, 0.5]}",
            "space.method.constraint_ratio: none of the sweep's methods (ft, ga) reads it; remove it",
        ),
    ],
)
def test_a_wrong_space(tmp_path: Path, space: str, line: str) -> None:
    assert error_of(tmp_path, f"space: {{{space}}}\n").startswith(line)


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "data.name",
        "forget.kind",
        "storage.path",
        "tracking.uri",
        "tracking.experiment",
    ],
)
def test_what_cannot_vary_within_a_sweep(tmp_path: Path, key: str) -> None:
    message = error_of(tmp_path, f"space: {{{key}: {{grid: [a]}}}}\n")
    assert message.startswith(f"space.{key}: cannot vary within a sweep, ")
    assert message.endswith("; make a sweep for each value")


def test_more_cells_than_a_sweep_can_have(tmp_path: Path) -> None:
    seeds = list(range(MAX_CELLS + 1))
    assert error_of(tmp_path, f"space: {{seed: {{grid: {seeds}}}}}").startswith(
        "space: the grids have 10,001 cells, at most 10,000 are taken; "
    )
