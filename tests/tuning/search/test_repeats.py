"""Repetitions of a search in one sweep: each is the search that a sweep of its own with its seed would have been."""

from collections import defaultdict
from pathlib import Path

import pytest

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import trials_of
from hamu_ray.results.folder import trial_name, write_record
from hamu_ray.results.outcome import Status
from hamu_ray.results.trial import TrialRecord
from hamu_ray.terminal.console import Console
from hamu_ray.tuning.plan import SweepPlan, plan_sweep
from hamu_ray.tuning.preview import preview
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, PASSED, PAUSED, STATUS

SPACE = {
    "method.name": {"grid": ["hamu-q", "ft"]},
    "optimizer.learning_rate": {"loguniform": [1e-3, 0.1]},
    "method.constraint_ratio": {"uniform": [0.1, 0.9]},
    "seed": {"grid": [41, 42]},
}
SAMPLES = {"samples": 6}
BUDGET = {"budget": {"gradients": 240}}


def sweep_of(search: dict, space: dict | None = None) -> SweepConfig:
    return SweepConfig.model_validate({"space": space or SPACE, "duration": {"steps": 10}, "search": search})


def measured(parameters: dict) -> dict[str, float]:
    rate = parameters["optimizer.learning_rate"] * (parameters.get("seed", 41) - 40)
    return {"forget_quality": rate, "retain_utility": 0.5 - rate**2}


def run_all(plan: SweepPlan, restart_every: int = 0) -> dict[int | None, list[dict]]:
    """Run a sweep's trials one by one; return their hyperparameters by the seeds of their searches."""
    handed: dict[int | None, list[dict]] = defaultdict(list)
    search = UnlearningSearch(plan, lambda: 1)
    for i in range(plan.trials):
        given = search.suggest(str(i))
        assert given is not None
        number, parameters = given[NUMBER], given[PARAMETERS]
        handed[plan.search_seed(number)].append(parameters)
        search.on_trial_complete(str(i), {**measured(parameters), STATUS: Status.FINISHED})
        if restart_every and i % restart_every == restart_every - 1:
            for past in range(number + 1):
                values = handed_by(plan, past, handed)
                record = TrialRecord(trial_name(past), Status.FINISHED, values, {}, measured(values))
                write_record(plan.folder, record)
            plan = plan_sweep(plan.config, plan.folder)
            search = UnlearningSearch(plan, lambda: 1)
    return handed


def handed_by(plan: SweepPlan, number: int, handed: dict[int | None, list[dict]]) -> dict:
    """Return the hyperparameters of a trial that was handed out in the order of the numbers."""
    seed = plan.search_seed(number)
    return handed[seed][[plan.search_seed(n) for n in range(number)].count(seed)]


@pytest.mark.parametrize("size", [SAMPLES, BUDGET], ids=["samples", "budget"])
@pytest.mark.parametrize("algorithm", ["tpe", "random"])
def test_a_repetition_is_the_sweep_with_its_seed(tmp_path: Path, size: dict, algorithm: str) -> None:
    """Also of a sweep that is resumed meanwhile."""
    common = {**size, "algorithm": algorithm}
    whole = plan_sweep(sweep_of({**common, "seed": 5, "repeats": 3}), tmp_path / "whole")
    resumed = plan_sweep(whole.config, tmp_path / "resumed")
    handed = run_all(whole)
    assert list(handed) == [5, 6, 7]
    assert run_all(resumed, restart_every=7) == handed
    for seed, trials in handed.items():
        alone = plan_sweep(sweep_of({**common, "seed": seed}), tmp_path / str(seed))
        assert run_all(alone) == {seed: trials}
        assert whole.trials == 3 * alone.trials == trials_of(whole.config)
    assert handed[5] != handed[6]


def test_the_first_draws_of_a_budget_are_common_in_each_search(tmp_path: Path) -> None:
    handed = run_all(plan_sweep(sweep_of({**BUDGET, "repeats": 2}), tmp_path))
    firsts = []
    for trials in handed.values():
        first = {trial["method.name"]: trial["optimizer.learning_rate"] for trial in reversed(trials)}
        assert first["hamu-q"] == first["ft"]
        firsts.append(first)
    assert firsts[0] != firsts[1]


def test_all_searches_start_with_the_earlier_sweep(tmp_path: Path) -> None:
    """`test_warm_start.py` tests what they take of it."""
    (tmp_path / "earlier").mkdir()
    earlier = sweep_of({"samples": 3})
    (tmp_path / "earlier" / "sweep.yaml").write_text(earlier.model_dump_json(by_alias=True))
    for number, rate in enumerate((0.01, 0.02)):
        values = {"method.name": "ft", "optimizer.learning_rate": rate, "seed": 41}
        run = earlier.resolve(values).model_dump(mode="json")
        record = TrialRecord(trial_name(number), Status.FINISHED, values, run, measured(values))
        write_record(tmp_path / "earlier", record)
    config = sweep_of({"samples": 2, "repeats": 2, "warm_start": str(tmp_path / "earlier")})
    plan = plan_sweep(config, tmp_path / "sweep")
    studies = UnlearningSearch(plan, lambda: 1).studies
    known = [[trial.params for trial in studies.study(cell).trials] for cell in (0, 2, 4, 6)]
    assert known == [[], [{"optimizer.learning_rate": 0.01}, {"optimizer.learning_rate": 0.02}]] * 2


def test_trials_of_other_searches_do_not_count_at_a_rung(tmp_path: Path) -> None:
    """The best of three is continued, not one of the six of both searches."""
    search = {"samples": 3, "repeats": 2, "scheduler": {"reduction": 3, "steps": [5]}}
    space = {"optimizer.learning_rate": {"uniform": [0.01, 0.1]}}
    plan = plan_sweep(sweep_of(search, space), tmp_path)
    searcher = UnlearningSearch(plan, lambda: 6)
    given = [searcher.suggest(str(i)) for i in range(6)]
    for i, one in enumerate(given):
        assert one is not None
        quality = 0.9 - 0.1 * one[NUMBER]
        searcher.on_trial_complete(
            str(i),
            {"forget_quality": quality, "retain_utility": quality, STATUS: Status.PRUNED, PAUSED: 5},
        )
    promoted = [searcher.suggest(name) for name in ("a", "b")]
    assert [one and (one[NUMBER], one[PASSED]) for one in promoted] == [(0, 5), (1, 5)]
    assert [plan.search_seed(number) for number in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("search", "space", "message"),
    [
        ({}, {"seed": {"grid": [1, 2]}}, r"search\.repeats: 2, but no key is sampled: .* remove it"),
        (
            {"samples": 2, "pruning": {}},
            None,
            r"search\.repeats: 2, but pruning compares .* search\.scheduler",
        ),
    ],
)
def test_searches_that_cannot_be_repeated(search: dict, space: dict | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trials_of(sweep_of({**search, "repeats": 2}, space))


def test_the_dry_run_counts_the_searches(capsys: pytest.CaptureFixture[str]) -> None:
    preview(sweep_of({"samples": 6, "repeats": 3}), Console())
    assert "trials     72 (4 cells of the grids x 6 samples x 3 searches, tpe)" in capsys.readouterr().out
