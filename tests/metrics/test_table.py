"""The table contains every number that real runs report, and nothing counts as a metric of the model by default."""

import pytest

from hamu_ray.metrics import table
from hamu_ray.metrics.table import (
    ATTACK,
    BLOCK,
    COSTS,
    MODEL,
    OF_TRIALS,
    STEP,
    SWEEP,
    is_model_metric,
    kind_of,
)
from hamu_ray.reports.analysis.details import BLOCK_METRICS, STEP_METRICS
from hamu_ray.results.outcome import Status
from hamu_ray.results.pareto.summary import summarise
from hamu_ray.tuning.finish import totals
from tests.made_records import record


@pytest.mark.parametrize("metrics", [*MODEL.values(), COSTS, STEP, BLOCK, SWEEP, ATTACK])
def test_rows_are_whole(metrics: dict[str, table.Metric]) -> None:
    kinds = {metric.kind for metric in metrics.values()}
    assert len(kinds) == 1
    for name, metric in metrics.items():
        assert metric.name == name
        assert metric.definition
        assert metric.better in ("higher", "lower", "neither")


def test_charts_take_their_titles_from_the_table() -> None:
    assert all(STEP[name].title and STEP[name].axis and STEP[name].note for name in STEP_METRICS)
    assert all(BLOCK[name].title and BLOCK[name].axis for name in BLOCK_METRICS)


def test_a_name_in_a_trials_run_has_one_kind() -> None:
    for name in {name for metrics in OF_TRIALS for name in metrics}:
        assert len({metrics[name].kind for metrics in OF_TRIALS if name in metrics}) == 1, name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("forget_quality", "model"),
        ("retain_prob", "model"),
        ("steps", "cost"),
        ("trial_seconds", "cost"),
        ("gradient_cosine", "step"),
        ("salient_share", None),
        ("system/cpu_utilization_percentage", None),
        ("hypervolume", None),
        ("lira_auc", "attack"),
    ],
)
def test_kinds(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind
    assert is_model_metric(name) == (kind == "model")


def test_the_numbers_of_a_sweep() -> None:
    assert set(table.ENDS) == set(Status)
    summary = summarise([record("a", 0.5, 0.5)], original={"retain_utility": 0.9})
    reported = {*totals(summary), "sweep_seconds", "busy_share"}
    assert {name for name in reported if not name.startswith("original.")} == set(SWEEP)


def test_the_costs_of_a_trial() -> None:
    costs = {name: 1.0 for name in COSTS}
    assert record("a", 0.5, 0.5, **{**costs, "steps": 1}).costs == costs
    assert record("a", 0.5, 0.5).costs == {}
