"""A trial's hyperparameters: those that its method uses."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from ray import cloudpickle

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import STUDY_FILE, SWEEP_FILE, write_record
from hamu_ray.results.outcome import Status
from hamu_ray.results.trial import TrialRecord
from hamu_ray.storage import write_atomically
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.search.sampling import suggest
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.search.study_log import StudyLog
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, STATUS

SPACE = {
    "method.gamma": {"uniform": [0.0, 1.0]},
    "method.beta": {"loguniform": [0.01, 1.0]},
    "method.constraint_ratio": {"uniform": [0.1, 0.9]},
    "method.forget_objective": {"choice": [None, "npo", "simnpo"]},
    "optimizer.learning_rate": {"loguniform": [1e-3, 0.1]},
    "method.name": {"choice": ["ft", "hamu-q", "simnpo"]},
}


@pytest.mark.parametrize(
    ("given", "others"),
    [
        ({"name": "ft", "forget_objective": "npo"}, set()),
        ({"name": "hamu-q", "forget_objective": None}, {"constraint_ratio"}),
        ({"name": "hamu-q", "forget_objective": "npo"}, {"constraint_ratio", "beta"}),
        ({"name": "hamu-q", "forget_objective": "simnpo"}, {"constraint_ratio", "beta", "gamma"}),
        ({"name": "simnpo", "forget_objective": "npo"}, {"beta", "gamma"}),
    ],
)
def test_a_trial_samples_what_its_method_reads(given: dict[str, str | None], others: set[str]) -> None:
    config = SweepConfig.model_validate({"space": SPACE})
    cell = {
        f"method.{key}": value for key, value in given.items() if key == "name" or "hamu" in given["name"]
    }
    trial = optuna.create_study().ask()
    suggest(trial, config, cell)
    assert set(trial.params) == {"optimizer.learning_rate"} | {f"method.{key}" for key in others}
    assert config.resolve({**cell, **trial.params}).method.name == given["name"]


GRIDS = {
    "method.name": {"grid": ["hamu-q", "gdiff"]},
    "optimizer.learning_rate": {"loguniform": [1e-3, 0.1]},
    "method.constraint_ratio": {"uniform": [0.1, 0.9]},
    "seed": {"grid": [41, 42, 43]},
}


def sweep_of(samples: int, algorithm: str = "tpe") -> SweepConfig:
    return SweepConfig.model_validate(
        {"space": GRIDS, "search": {"samples": samples, "algorithm": algorithm}}
    )


def run_all(
    config: SweepConfig, folder: Path, value: Callable[[dict], float], stop: int = 1000
) -> list[dict]:
    """Suggest and complete up to this many trials one by one; return the parameters of each."""
    search = UnlearningSearch(plan_sweep(config, folder), lambda: 1)
    handed = []
    for i in range(min(stop, len(list(config.cells())) * config.search.samples)):
        given = search.suggest(str(i))
        assert given is not None
        assert given[NUMBER] == i
        handed.append(given[PARAMETERS])
        measured = {"forget_quality": value(given[PARAMETERS]), "retain_utility": 0.5}
        search.on_trial_complete(str(i), {**measured, STATUS: Status.FINISHED})
    return handed


def test_seeds_repeat_what_was_sampled(tmp_path: Path) -> None:
    handed = run_all(sweep_of(4), tmp_path, lambda parameters: parameters["optimizer.learning_rate"])
    assert Counter((p["method.name"], p["seed"]) for p in handed) == {
        (method, seed): 4 for method in ("hamu-q", "gdiff") for seed in (41, 42, 43)
    }
    others = Counter(tuple(v for path, v in sorted(p.items()) if path != "seed") for p in handed)
    assert set(others.values()) == {3}
    assert len(others) == 8
    assert all(("method.constraint_ratio" in p) == (p["method.name"] == "hamu-q") for p in handed)


def test_training_seeds_repeat_what_was_sampled(tmp_path: Path) -> None:
    config = SweepConfig.model_validate(
        {"space": {**GRIDS, "training.seed": {"grid": [1, 2]}}, "search": {"samples": 2, "algorithm": "tpe"}}
    )
    handed = run_all(config, tmp_path, lambda parameters: parameters["optimizer.learning_rate"])
    seeds = ("seed", "training.seed")
    others = Counter(tuple(v for path, v in sorted(p.items()) if path not in seeds) for p in handed)
    assert set(others.values()) == {6}
    assert len(others) == 4


def test_a_sample_counts_with_the_means_over_its_seeds(tmp_path: Path) -> None:
    def value(parameters: dict) -> float:
        bad = parameters["method.name"] == "gdiff" and parameters["seed"] == 42
        return math.nan if bad else parameters["seed"] / 100

    run_all(sweep_of(2), tmp_path, value)
    storage = JournalStorage(StudyLog(tmp_path / STUDY_FILE))
    trials = [
        trial
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": 2, "PRUNED": 2}
    assert all(t.values == pytest.approx([0.42, 0.5]) for t in trials if t.state.name == "COMPLETE")


@pytest.mark.parametrize("algorithm", ["random", "tpe", "gp", "nsga2"])
def test_three_objectives(algorithm: str, tmp_path: Path) -> None:
    metrics = ("forget_quality", "retain_utility", "steps")
    objectives = [{"metric": "forget_quality"}, {"metric": "retain_utility"}]
    objectives.append({"metric": "steps", "mode": "min", "worst": 100})
    config = SweepConfig.model_validate(
        {
            "space": {"optimizer.learning_rate": {"uniform": [0.1, 1.0]}},
            "search": {"samples": 6, "algorithm": algorithm, "objectives": objectives},
        }
    )
    search = UnlearningSearch(plan_sweep(config, tmp_path), lambda: 1)
    for i in range(6):
        given = search.suggest(str(i))
        assert given is not None
        rate = given[PARAMETERS]["optimizer.learning_rate"]
        values = dict(zip(metrics, (rate, 1 - rate, 20 / rate), strict=True))
        search.on_trial_complete(str(i), {**values, STATUS: Status.FINISHED})
    storage = JournalStorage(StudyLog(tmp_path / STUDY_FILE))
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MAXIMIZE", "MINIMIZE"]
    assert [len(trial.values) for trial in study.trials] == [3] * 6


def test_the_searcher_shuns_where_trials_collapse(tmp_path: Path) -> None:
    config = SweepConfig.model_validate(
        {"space": {"optimizer.learning_rate": {"uniform": [1e-6, 1.0]}}, "search": {"samples": 40}}
    )
    search = UnlearningSearch(plan_sweep(config, tmp_path), lambda: 1)
    collapsed = []
    for i in range(40):
        given = search.suggest(str(i))
        assert given is not None
        rate = given[PARAMETERS]["optimizer.learning_rate"]
        collapsed.append(rate > 0.5)
        values = (math.nan, math.nan) if collapsed[-1] else (rate, rate)
        status = Status.COLLAPSED if collapsed[-1] else Status.FINISHED
        result = dict(zip(("forget_quality", "retain_utility"), values, strict=True))
        search.on_trial_complete(str(i), {**result, STATUS: status})
    assert (
        sum(collapsed[20:]) <= 12
    )  # all but two collapse if the search does not learn from collapsed trials


CONSTRAINED = {
    "space": {"optimizer.learning_rate": {"uniform": [0.01, 1.0]}},
    "search": {"samples": 30, "constraints": {"retain_utility": {"min": 0.8}, "forget_loss": {"max": 2.0}}},
}


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "nsga2"])
def test_the_searcher_looks_for_trials_that_meet_the_constraints(tmp_path: Path, algorithm: str) -> None:
    """The objectives alone are best where the floor is missed: every rate is on the front."""
    config = SweepConfig.model_validate(
        {**CONSTRAINED, "search": {**CONSTRAINED["search"], "algorithm": algorithm, "samples": 16}}
    )
    plan = plan_sweep(config, tmp_path)
    search = UnlearningSearch(plan, lambda: 1)
    rates = []
    for i in range(plan.trials):
        given = search.suggest(str(i))
        assert given is not None
        rates.append(given[PARAMETERS]["optimizer.learning_rate"])
        utility = 1 - rates[-1]
        measured = {"forget_quality": rates[-1], "retain_utility": utility, "forget_loss": 1 + rates[-1]}
        end = {**measured, STATUS: Status.FINISHED} if i != 3 else {STATUS: Status.COLLAPSED}
        search.on_trial_complete(str(i), end)
    if algorithm != "nsga2":  # its population is larger
        assert sum(rate < 0.3 for rate in rates[10:]) >= 4, rates
    storage = JournalStorage(StudyLog(tmp_path / STUDY_FILE))
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    found = trials[0].constraints
    assert found == pytest.approx(
        {"retain_utility >= 0.8": (rates[0] - 0.2) / 0.8, "forget_loss <= 2": (rates[0] - 1) / 2}
    )
    assert trials[3].state.name == "PRUNED"
    assert trials[3].constraints == {"retain_utility >= 0.8": 1.0, "forget_loss <= 2": 1.0}


@pytest.mark.parametrize("algorithm", ["tpe", "random", "nsga2", "gp"])
def test_one_method_does_not_decide_what_another_tries(tmp_path: Path, algorithm: str) -> None:
    def gdiff_of(sign: float) -> list[dict]:
        def value(parameters: dict) -> float:
            return (
                sign * parameters["optimizer.learning_rate"] if parameters["method.name"] == "hamu-q" else 0.5
            )

        folder = tmp_path / str(sign)
        folder.mkdir()
        return [p for p in run_all(sweep_of(5, algorithm), folder, value) if p["method.name"] == "gdiff"]

    assert gdiff_of(1.0) == gdiff_of(-1.0)


def test_after_a_restart_trials_without_a_record_come_again(tmp_path: Path) -> None:
    config = sweep_of(3)
    whole = run_all(config, tmp_path, lambda _: 0.5, stop=7)
    done = [record_of(i, parameters) for i, parameters in enumerate(whole) if i not in (2, 5)]
    for record in done:
        write_record(tmp_path, record)
    search = UnlearningSearch(plan_sweep(config, tmp_path), lambda: 100)
    handed = [search.suggest(str(i)) for i in range(18 - len(done))]
    assert [given[NUMBER] for given in handed if given] == [2, 5, *range(7, 18)]
    assert [given[PARAMETERS] for given in handed[:2] if given] == [whole[2], whole[5]]


@pytest.mark.parametrize("algorithm", ["tpe", "random", "nsga2", "gp"])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_restart_changes_nothing_that_is_drawn(tmp_path: Path, algorithm: str, recorded: bool) -> None:
    """Whether the driver died while a trial ran or just after its end, before the study got its values."""
    samples = 14 if algorithm == "nsga2" else 8
    config = SweepConfig.model_validate(
        {
            "space": {
                "optimizer.learning_rate": {"loguniform": [1e-3, 0.1]},
                "method.constraint_ratio": {"uniform": [0.1, 0.9]},
            },
            "search": {"samples": samples, "algorithm": algorithm},
        }
    )

    def value(parameters: dict) -> float:
        return parameters["optimizer.learning_rate"] * parameters["method.constraint_ratio"]

    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    whole.mkdir()
    resumed.mkdir()
    expected = run_all(config, whole, value)
    search = UnlearningSearch(plan_sweep(config, resumed), lambda: 1)
    for i, parameters in enumerate(expected):
        given = search.suggest(str(i))
        assert given == {NUMBER: i, PARAMETERS: parameters}
        measures = {"forget_quality": value(parameters), "retain_utility": 0.5}
        if i % 3 == 1:
            if recorded:
                record = TrialRecord(f"{i:04d}", Status.FINISHED, parameters, {}, measures)
                write_record(resumed, record)
            else:
                search = UnlearningSearch(plan_sweep(config, resumed), lambda: 1)
                assert search.suggest(str(i)) == given
                search.on_trial_complete(str(i), {**measures, STATUS: Status.FINISHED})
                write_record(resumed, TrialRecord(f"{i:04d}", Status.FINISHED, parameters, {}, measures))
            search = UnlearningSearch(plan_sweep(config, resumed), lambda: 1)
        else:
            search.on_trial_complete(str(i), {**measures, STATUS: Status.FINISHED})
            write_record(resumed, TrialRecord(f"{i:04d}", Status.FINISHED, parameters, {}, measures))


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_study_that_is_damaged_is_made_again_from_the_trials(tmp_path: Path, place: float) -> None:
    config = sweep_of(3)
    write_atomically(tmp_path / SWEEP_FILE, yaml.safe_dump(config.whole).encode())
    whole = run_all(config, tmp_path, lambda _: 0.5, stop=7)
    for i, parameters in enumerate(whole):
        write_record(tmp_path, record_of(i, parameters))
    path = tmp_path / STUDY_FILE
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    for _ in range(2):  # the second opens what the first made
        search = UnlearningSearch(plan_sweep(config, tmp_path), lambda: 100)
        handed = [search.suggest(str(i)) for i in range(11)]
        assert [given[NUMBER] for given in handed if given] == list(range(7, 18))
    by_sample = Counter(
        tuple(v for path, v in sorted(p.items()) if path != "seed")
        for p in [*whole, *(given[PARAMETERS] for given in handed if given)]
    )
    assert set(by_sample.values()) == {3}, "seeds still share a sample"
    assert (tmp_path / f"{STUDY_FILE}.damaged").exists()


@pytest.mark.parametrize("status", [Status.PRUNED, Status.COLLAPSED])
def test_metrics_before_a_trial_ended_early_are_not_its_values(tmp_path: Path, status: Status) -> None:
    """Also where the study learns of it from the record, after a restart or when it is made again."""
    (parameters,) = run_all(sweep_of(1), tmp_path, lambda _: 0.5, stop=1)
    for number in range(6):
        early = record_of(number, parameters)
        write_record(tmp_path, replace(early, status=status if number == 0 else Status.FINISHED))
    (tmp_path / STUDY_FILE).unlink()
    UnlearningSearch(plan_sweep(sweep_of(1), tmp_path), lambda: 1)
    storage = JournalStorage(StudyLog(tmp_path / STUDY_FILE))
    names = optuna.get_all_study_names(storage)
    (trials,) = zip(
        *(optuna.load_study(study_name=name, storage=storage).trials for name in names), strict=True
    )
    assert sorted(trial.state.name for trial in trials) == ["COMPLETE", "PRUNED"]


def test_a_sample_is_drawn_whole_or_not_at_all(tmp_path: Path) -> None:
    """The log after each number of bytes, as a power loss may leave it."""
    config = sweep_of(1)
    (tmp_path / "whole").mkdir()
    (expected,) = run_all(config, tmp_path / "whole", lambda _: 0.5, stop=1)
    content = (tmp_path / "whole" / STUDY_FILE).read_bytes()
    for end in range(0, len(content), 97):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / STUDY_FILE).write_bytes(content[:end])
        search = UnlearningSearch(plan_sweep(config, folder), lambda: 1)
        assert search.suggest("0") == {NUMBER: 0, PARAMETERS: expected}


def record_of(number: int, parameters: dict) -> TrialRecord:
    measures = {"forget_quality": 0.5, "retain_utility": 0.5}
    return TrialRecord(f"{number:04d}", Status.FINISHED, parameters, {}, measures)


def test_no_more_trials_than_places(tmp_path: Path) -> None:
    search = UnlearningSearch(plan_sweep(sweep_of(1), tmp_path), lambda: 2)
    assert [search.suggest(name) is None for name in "abc"] == [False, False, True]
    search.on_trial_complete("a", error=True)
    assert search.suggest("d") is not None


RATIO = "method.constraint_ratio"
OWN_DOMAINS = {
    "method.name": {"choice": ["hamu-q", "hamu-u", "gdiff"]},
    RATIO: [
        {"uniform": [0.1, 0.4], "when": {"method.name": "hamu-q"}},
        {"loguniform": [0.6, 0.9], "when": {"method.name": "hamu-u"}},
    ],
}


@pytest.mark.parametrize("algorithm", ["tpe", "random", "nsga2"])
def test_each_domain_of_a_key_is_a_separate_parameter(tmp_path: Path, algorithm: str) -> None:
    """One search also samples the method; trials have the key regardless of its domain."""
    config = SweepConfig.model_validate(
        {"space": OWN_DOMAINS, "search": {"samples": 30, "algorithm": algorithm}}
    )
    handed = run_all(config, tmp_path, lambda parameters: parameters.get(RATIO, 0.5))
    bounds = {"hamu-q": (0.1, 0.4), "hamu-u": (0.6, 0.9)}
    assert {parameters["method.name"] for parameters in handed} == {*bounds, "gdiff"}
    for parameters in handed:
        assert (RATIO in parameters) == (parameters["method.name"] in bounds)
        if RATIO in parameters:
            low, high = bounds[parameters["method.name"]]
            assert low <= parameters[RATIO] <= high
    storage = JournalStorage(StudyLog(tmp_path / STUDY_FILE))
    study = optuna.load_study(study_name="run/0", storage=storage)
    found = {
        name: distribution for trial in study.trials for name, distribution in trial.distributions.items()
    }
    assert set(found) == {"method.name", f"{RATIO}[0]", f"{RATIO}[1]"}
    again = UnlearningSearch(plan_sweep(config, tmp_path), lambda: 1)
    assert again.suggest("0") == {NUMBER: 0, PARAMETERS: handed[0]}, "after a restart it is what it was"


def test_with_a_budget_the_first_draws_are_common(tmp_path: Path) -> None:
    config = SweepConfig.model_validate(
        {
            "duration": {"steps": 10},
            "space": {
                "method.name": {"grid": ["hamu-q", "ft", "gdiff"]},
                "optimizer.learning_rate": [
                    {"loguniform": [1e-2, 1.0], "when": {"method.name": "ft"}},
                    {"loguniform": [1e-3, 1e-1]},
                ],
                "method.constraint_ratio": {"uniform": [0.1, 0.9]},
                "batch.{retain,forget}": {"choice": [8, 16, 32, 64]},
                "optimizer.momentum": {"uniform": [0.0, 0.9]},
            },
            "search": {"budget": {"gradients": 200}},
        }
    )
    plan = plan_sweep(config, tmp_path)
    assert plan.samples == [10, 20, 10]
    search, handed = UnlearningSearch(plan, lambda: 1), {}
    for i in range(plan.trials):
        given = search.suggest(str(i))
        assert given is not None
        handed[plan.positions[given[NUMBER]]] = given[PARAMETERS]
        measured = {"forget_quality": given[PARAMETERS]["optimizer.momentum"], "retain_utility": 0.5}
        search.on_trial_complete(str(i), {**measured, STATUS: Status.FINISHED})
    assert len(handed) == 40
    for sample in range(5):
        first, second, third = (handed[sample, cell] for cell in range(3))
        for key in ("optimizer.momentum", "batch.{retain,forget}"):
            assert first[key] == second[key] == third[key]
        assert first["optimizer.learning_rate"] == third["optimizer.learning_rate"]
        assert second["optimizer.learning_rate"] == pytest.approx(10 * first["optimizer.learning_rate"])
    momenta = [handed[sample, 1]["optimizer.momentum"] for sample in range(8)]
    assert sorted(int(8 * momentum / 0.9) for momentum in momenta) == list(range(8)), "spread evenly"
    assert handed[9, 0]["optimizer.momentum"] != handed[9, 1]["optimizer.momentum"], (
        "then each searches alone"
    )


def test_no_trial_starts_after_the_time_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SweepConfig.model_validate({"space": GRIDS, "search": {"samples": 2, "time_budget": 60}})
    search = UnlearningSearch(plan_sweep(config, tmp_path), lambda: 2)
    now = time.monotonic() + 61  # workers, data and models took longer than the budget
    monkeypatch.setattr(time, "monotonic", lambda: now)
    given = search.suggest("first")
    assert isinstance(given, dict)
    assert given[NUMBER] == 0
    assert not search.is_budget_spent
    now += 61
    assert search.suggest("second") == UnlearningSearch.FINISHED
    for _ in range(2):  # Tune's call, and its repetition after a callback has failed
        search.on_trial_complete(
            "first", {"forget_quality": 0.5, "retain_utility": 0.5, STATUS: Status.FINISHED}
        )
    search.close()
    assert search.is_budget_spent


def test_a_trial_starts_once_its_draw_is_kept(tmp_path: Path) -> None:
    is_kept = False
    lock = threading.Lock()

    def keep() -> bool:
        with lock:
            return is_kept

    search = UnlearningSearch(plan_sweep(sweep_of(2), tmp_path), lambda: 1, keep)
    assert search.suggest("a") is None
    drawn = (tmp_path / STUDY_FILE).read_bytes()
    assert search.suggest("a") is None
    is_kept = True
    suggested = search.suggest("a")
    assert suggested is not None
    assert suggested[NUMBER] == 0
    assert (tmp_path / STUDY_FILE).read_bytes() == drawn, "drawn once"
    cloudpickle.dumps(search)  # as Tune does
