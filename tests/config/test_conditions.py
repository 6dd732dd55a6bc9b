"""Domains that apply only in some runs of a sweep."""

from pathlib import Path

import pytest
import yaml
from mistakes import error_of, load

from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of

VARIANTS = """
space:
  method.name: {grid: [hamu-q, hamu-u, gdiff]}
  method.constraint_ratio:
    - {uniform: [0.1, 0.4], when: {method.name: hamu-q}}
    - {uniform: [0.6, 0.9], when: {method.name: hamu-u}}
"""


def sampled_from(config: SweepConfig, path: str, **values: object) -> object:
    domain = config.domain(path, {key.replace("__", "."): value for key, value in values.items()})  # type: ignore[misc]
    return domain and domain.document


def test_each_method_has_its_own_domain(tmp_path: Path) -> None:
    config = load(tmp_path, VARIANTS)
    ratio = "method.constraint_ratio"
    assert sampled_from(config, ratio, method__name="hamu-q") == {
        "uniform": [0.1, 0.4],
        "when": {"method.name": "hamu-q"},
    }
    assert config.domain(ratio, {"method.name": "hamu-u"}).uniform == (0.6, 0.9)  # type: ignore[union-attr]
    assert not config.applies(ratio, {"method.name": "gdiff"})
    assert list(config.cells()) == [{"method.name": name} for name in ("hamu-q", "hamu-u", "gdiff")]
    assert config.example({"method.name": "hamu-u"})[ratio] == 0.6
    assert {tuple(point.values()) for path, point in config.points() if path == ratio} == {
        ("hamu-q", 0.1),
        ("hamu-q", 0.4),
        ("hamu-u", 0.6),
        ("hamu-u", 0.9),
    }


def test_a_sweep_with_conditions_is_written_and_read_again(tmp_path: Path) -> None:
    config = load(tmp_path, VARIANTS)
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.whole, sort_keys=False))
    assert load_sweep(again) == config
    assert config.whole["space"]["method.name"] == {"grid": ["hamu-q", "hamu-u", "gdiff"]}


def test_a_grid_is_crossed_where_it_holds(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
space:
  optimizer.learning_rate:
    - {grid: [0.001], when: {optimizer.name: adamw, forget.rho: [0.5, 1]}}
    - {grid: [0.1, 0.2], when: {optimizer.name: sgd}}
  optimizer.name: {grid: [sgd, adamw]}
  forget.rho: {grid: [0.0, 0.5]}
search: {algorithm: grid}
""",
    )
    found = {(c["optimizer.name"], c["forget.rho"], c.get("optimizer.learning_rate")) for c in config.cells()}
    assert found == {
        *(("sgd", rho, rate) for rho in (0.0, 0.5) for rate in (0.1, 0.2)),
        ("adamw", 0.0, None),
        ("adamw", 0.5, 0.001),
    }
    assert trials_of(config) == len(found)
    assert config.in_order.index("optimizer.name") < config.in_order.index("optimizer.learning_rate")
    rates = {config.resolve(cell).optimizer.learning_rate for cell in config.cells()}
    assert rates == {0.1, 0.2, 0.001, 1e-4}, "where no domain holds, the run keeps its own value"


def test_the_last_domain_may_be_for_all_other_runs(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
space:
  method.name: {grid: [hamu-q, ft, ga]}
  optimizer.learning_rate:
    - {grid: [0.5], when: {method.name: [ft, ga]}}
    - {loguniform: [0.001, 0.1]}
""",
    )
    assert [tuple(cell.values()) for cell in config.cells()] == [("hamu-q",), ("ft", 0.5), ("ga", 0.5)]
    assert config.example({"method.name": "hamu-q"})["optimizer.learning_rate"] == 0.001


def test_a_condition_on_a_key_that_is_fixed(tmp_path: Path) -> None:
    """Allows one space to serve files that extend it with other values."""
    text = (
        "optimizer: {name: %s}\nspace: {seed: {grid: [1]}, optimizer.momentum: "
        "[{uniform: [0, 0.5], when: {optimizer.name: sgd}}, {choice: [0], when: {optimizer.name: adamw}}]}"
    )
    for name, values in (("sgd", [0.0, 0.5]), ("adamw", [0])):
        domain = load(tmp_path, text % name).domain("optimizer.momentum", {"seed": 1})
        assert domain is not None
        assert domain.examples == values


def test_variants_keep_to_the_conditions(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
space:
  workers.count:
    - {grid: [1, 2], when: {batch.retain: 8}}
    - {grid: [4], when: {batch.retain: 16}}
  batch.retain: {grid: [8, 16]}
""",
    )
    runs = [(run.batch.retain, run.workers.count) for run in config.variants("workers.")]
    assert sorted(runs) == [(8, 1), (8, 2), (16, 4)]


CHAIN = """
optimizer: {name: sgd}
space:
  method.name: {choice: [gdiff, ft]}
  optimizer.name:
    - {choice: [adamw, sgd], when: {method.name: gdiff}}
  optimizer.learning_rate:
    - {loguniform: [1.0e-5, 1.0e-4], when: {optimizer.name: adamw}}
    - {loguniform: [0.01, 0.1], when: {optimizer.name: sgd}}
  optimizer.momentum:
    - {uniform: [0.5, 0.9], when: {optimizer.name: sgd, method.name: ft}}
"""


def test_a_condition_on_a_key_that_has_conditions(tmp_path: Path) -> None:
    """Where the key does not vary, the condition is on the run's own value."""
    config = load(tmp_path, CHAIN)
    rate = "optimizer.learning_rate"
    assert config.in_order.index("optimizer.name") < config.in_order.index(rate)
    found = {}
    for method, name in (("gdiff", "adamw"), ("gdiff", "sgd"), ("ft", None)):
        values = {"method.name": method, **({"optimizer.name": name} if name else {})}
        domain = config.domain(rate, values)  # type: ignore[arg-type]
        found[method, name] = domain and domain.loguniform
    assert found == {
        ("gdiff", "adamw"): (1e-5, 1e-4),
        ("gdiff", "sgd"): (0.01, 0.1),
        ("ft", None): (0.01, 0.1),
    }
    points = [point for path, point in config.points() if path in (rate, "optimizer.momentum")]
    assert {tuple(point.get(path) for path in config.space) for point in points} == {
        ("gdiff", "adamw", 1e-5, None),
        ("gdiff", "adamw", 1e-4, None),
        ("gdiff", "sgd", 0.01, None),
        ("gdiff", "sgd", 0.1, None),
        ("ft", None, 0.01, 0.5),
        ("ft", None, 0.01, 0.9),
    }, "each domain is tried where it applies, with the keys that its conditions depend on"


def test_conditions_of_a_chain_that_contradict_each_other(tmp_path: Path) -> None:
    contradicting = CHAIN.replace(
        "optimizer.name: sgd, method.name: ft", "optimizer.name: adamw, method.name: ft"
    )
    with pytest.raises(ConfigError, match=r"space\.optimizer\.momentum: its conditions never hold"):
        load(tmp_path, contradicting)


def test_a_condition_on_the_value_that_a_key_has_where_it_does_not_vary(tmp_path: Path) -> None:
    text = """
optimizer: {name: sgd}
space:
  method.name: {choice: [gdiff, ft]}
  optimizer.name: {choice: [adamw], when: {method.name: gdiff}}
  optimizer.momentum: {uniform: [0.5, 0.9], when: {optimizer.name: sgd}}
"""
    momenta = [point for path, point in load(tmp_path, text).points() if path == "optimizer.momentum"]
    assert [point["method.name"] for point in momenta] == ["ft", "ft"]


RATIO = "method.constraint_ratio"


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (
            "seed: {grid: [1], when: {}}",
            "space.seed.when: expected at least 1 value, found {}",
        ),
        (
            "seed: {grid: [1], when: {optimizer.nam: sgd}}",
            "space.seed: when optimizer.nam: unknown key; did you mean optimizer.name?",
        ),
        (
            "seed: {grid: [1], when: {seed: 1}}",
            "space.seed: when seed: a domain cannot depend on its own key; ",
        ),
        (
            "method.name: {grid: [hamu-q]}, seed: {grid: [1], when: {method.name: hamuq}}",
            "space.seed: when method.name: unknown method 'hamuq'; did you mean hamu-q?",
        ),
        (
            "method.name: {grid: [ft]}, seed: {grid: [1], when: {method.name: ga}}",
            "space.seed: its conditions never hold in this sweep; remove it",
        ),
        (
            "optimizer.momentum: {uniform: [0, 0.5]}, seed: {choice: [1], when: {optimizer.momentum: 0.1}}",
            "space.seed: when optimizer.momentum: it is sampled from a range; use a key with a grid or a choice",
        ),
        (
            "method.name: {choice: [ft, ga]}, seed: {grid: [1], when: {method.name: ga}}",
            "space.seed: when method.name: a grid cannot depend on a sampled key; use choice instead of grid",
        ),
        (
            "seed: [{grid: [1]}, {grid: [2], when: {method.name: hamu-q}}]",
            "space.seed: domains after the one without when are never used; move it to the end",
        ),
        (
            "seed: {grid: [1, 2], when: {batch.retain: 8}}, batch.retain: {grid: [8], when: {seed: 1}}",
            "space: conditions are circular: ",
        ),
        (
            f"method.name: {{grid: [hamu-q, hamu-u]}}, {RATIO}: [{{grid: [0.1], when: {{method.name: hamu-q}}}}, "
            "{uniform: [0.5, 1.5], when: {method.name: hamu-u}}]",
            f"space.{RATIO}: expected a number below 1, found 1.5",
        ),
        (
            f"method.name: {{grid: [hamu-q]}}, {RATIO}: [{{grid: [0.1]}}, 3]",
            f"space.{RATIO}.1: expected a section with keys",
        ),
        ("seed: []", "space.seed: expected at least 1 value, found []"),
        ("seed: {when: {method.name: hamu-q}}", "space.seed: give exactly one of grid, choice, "),
    ],
)
def test_mistakes_in_conditions(tmp_path: Path, space: str, line: str) -> None:
    assert error_of(tmp_path, f"space: {{{space}}}\n").startswith(line)
