"""Errors in search spaces."""

from pathlib import Path

import pytest
from mistakes import error_of, load

from hamu_ray.config.sweep import MAX_CELLS


@pytest.mark.parametrize("text", ["space: {}", "space:"])
def test_a_space_without_a_parameter(tmp_path: Path, text: str) -> None:
    assert error_of(tmp_path, text).startswith("space: a sweep needs at least one key; add one, such as ")


def test_no_space(tmp_path: Path) -> None:
    message = error_of(tmp_path, "seed: 1")
    assert message.startswith("space: missing; add a key to vary, such as optimizer.learning_rate: ")
    assert message.endswith("or use python -m hamu_ray.unlearn for a single run")


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
        (
            "forget.share: {grid: [0.1]}",
            "space.forget.share: unknown key; known: forget.allow_overlap, forget.label, forget.rho",
        ),
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
            "space: with method.constraint_ratio 0.5: method: give one of constraint, constraint_ratio, "
            "constraint_fraction, found constraint and "
            "constraint_ratio: set the others to null",
        ),
        (
            "method.name: {grid: [ft, ga]}, method.constraint_ratio: {uniform: [0, 0.5]}",
            "space.method.constraint_ratio: none of the sweep's methods (ft, ga) uses it; remove it",
        ),
        (
            "method.beta: {grid: [0.1, 1.0]}",
            "space.method.beta: none of the sweep's methods (hamu-q) uses it; remove it, or give hamu-q the "
            "method.forget_objective npo",
        ),
        (
            "method.name: {grid: [npo, hamu-q]}, method.gamma: {grid: [0.1]}",
            "space.method.gamma: none of the sweep's methods (hamu-q, npo) uses it; remove it",
        ),
        (
            "method.name: {grid: [ft, scrub, npo]}, method.forget_objective: {grid: [npo]}",
            "space.method.forget_objective: none of the sweep's methods (ft, scrub, npo) uses it; remove it",
        ),
        (
            "method.name: {grid: [ft, hamu-q]}, method.forget_objective: {choice: [npo, ipo]}",
            "space.method.forget_objective: expected cross_entropy, logit_margin, npo, ",
        ),
        (
            "method.name: {choice: [ft, npo]}, method.beta: {uniform: [-1, 1]}",
            "space.method.beta: expected a number above 0, found -1.0",
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
    assert message.startswith(f"space.{key}: cannot vary within a sweep: ")
    assert message.endswith("; run one sweep per value")


def test_more_cells_than_a_sweep_can_have(tmp_path: Path) -> None:
    seeds = list(range(MAX_CELLS + 1))
    assert error_of(tmp_path, f"space: {{seed: {{grid: {seeds}}}}}").startswith(
        "space: the grids have 10,001 cells, more than the limit of 10,000; "
    )


def test_a_key_is_varied_for_what_reads_it_alone(tmp_path: Path) -> None:
    """Which keys are used depends on the method and on its forget objective."""
    config = load(
        tmp_path,
        """space:
  method.name: {grid: [ft, hamu-q, npo, scrub]}
  method.forget_objective: {grid: [null, npo, simnpo]}
  method.beta: {grid: [0.1, 1.0]}
  method.gamma: {uniform: [0.0, 1.0]}
""",
    )
    cells = [tuple(cell.values()) for cell in config.cells()]
    own = [("ft",), ("hamu-q", None)]
    given = [("hamu-q", name, beta) for name in ("npo", "simnpo") for beta in (0.1, 1.0)]
    assert cells == [*own, *given, ("npo", 0.1), ("npo", 1.0), ("scrub",)]
    for cell in config.cells():
        point = config.example(cell)
        assert ("method.gamma" in point) == (cell.get("method.forget_objective") == "simnpo")
        assert config.resolve(point).method.name == cell["method.name"]


def test_a_forget_objective_for_all_is_one_that_all_take(tmp_path: Path) -> None:
    text = "method: {forget_objective: npo}\nspace: {method.name: {choice: [hamu-q, %s]}}"
    assert load(tmp_path, text % "npo").method.forget_objective == "npo"
    message = error_of(tmp_path, text % "ft")
    assert message.startswith(
        "space: with method.name 'ft': method.forget_objective: ft does not support npo; "
    )


def test_a_domain_for_several_keys(tmp_path: Path) -> None:
    """The keys have the same value in every trial; a method's key is used if one of them is."""
    config = load(tmp_path, "space:\n  batch.{retain,forget}: {grid: [8, 16]}\n  seed: {grid: [1]}\n")
    runs = [config.resolve(cell) for cell in config.cells()]
    assert [(run.batch.retain, run.batch.forget) for run in runs] == [(8, 8), (16, 16)]
    one = load(
        tmp_path, "space: {method.name: {grid: [ft, npo, simnpo]}, 'method.{beta,gamma}': {grid: [1, 2]}}"
    )
    assert [tuple(cell.values()) for cell in one.cells()] == [
        ("ft",),
        ("npo", 1),
        ("npo", 2),
        ("simnpo", 1),
        ("simnpo", 2),
    ]
    assert list(config.variants("batch."))[1].batch.forget == 16


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            "'batch.{retain,forgot}': {grid: [1]}",
            "space.batch.forgot: unknown key; did you mean batch.forget?",
        ),
        (
            "'batch.{retain,forget}': {grid: [0, 1]}",
            "space.batch.{retain,forget}: expected a number of at least 1, found 0",
        ),
        (
            "batch.retain: {grid: [1]}, 'batch.{retain,forget}': {grid: [1]}",
            "space.batch.{retain,forget}: batch.retain already varies by batch.retain; remove one of the two",
        ),
        (
            "'method.{name,beta}': {grid: [npo]}",
            "space.method.{name,beta}: method.name determines which other keys are used; give it its own domain",
        ),
        (
            "method.name: {grid: [ft]}, 'method.{beta,gamma}': {grid: [1]}",
            "space.method.{beta,gamma}: none of the sweep's methods (ft) uses it; remove it",
        ),
    ],
)
def test_mistakes_in_a_domain_for_several_keys(tmp_path: Path, space: str, line: str) -> None:
    assert error_of(tmp_path, f"space: {{{space}}}\n") == line


def test_forget_quality_needs_a_reference(tmp_path: Path) -> None:
    text = "reference: {source: none}\nspace: {seed: {grid: [1]}}\n"
    assert error_of(tmp_path, text).startswith(
        "search.objectives: forget_quality needs a reference, and there is none; use forget_accuracy_quality,"
    )
    load(
        tmp_path, text + "search: {objectives: [{metric: forget_accuracy_quality}, {metric: retain_utility}]}"
    )


def test_what_of_the_data_may_vary(tmp_path: Path) -> None:
    config = load(tmp_path, "data: {name: tofu, path: x}\nspace: {data.duplicates: {grid: [none, exact]}}")
    assert [config.resolve(cell).data.model_dump()["duplicates"] for cell in config.cells()] == [
        "none",
        "exact",
    ]
    message = error_of(tmp_path, "data: {name: tofu, path: x}\nspace: {data.path: {grid: [a, b]}}")
    assert message.startswith("space.data.path: cannot vary within a sweep: ")
