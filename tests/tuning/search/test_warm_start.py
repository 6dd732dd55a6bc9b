"""A search that starts with the trials of an earlier sweep."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage

from hamu_ray.config.sources.files import ConfigError
from hamu_ray.config.sweep import SweepConfig
from hamu_ray.results.folder import STUDY_FILE, SWEEP_FILE, write_record
from hamu_ray.results.outcome import Status
from hamu_ray.results.sweep_folders import make_folder
from hamu_ray.results.trial import TrialRecord
from hamu_ray.tuning.plan import plan_sweep
from hamu_ray.tuning.search.searcher import UnlearningSearch
from hamu_ray.tuning.search.study_log import StudyLog
from hamu_ray.tuning.trainable import NUMBER, PARAMETERS, STATUS

RATE = "optimizer.learning_rate"
SPACE = {
    "method.name": {"grid": ["hamu-q", "gdiff"]},
    RATE: {"loguniform": [1e-3, 0.1]},
    "method.constraint_fraction": {"uniform": [0.1, 0.9]},
    "seed": {"grid": [41, 42]},
}


def sweep_of(
    folder: Path, space: dict | None = None, search: dict | None = None, **run: object
) -> SweepConfig:
    document = {"space": space or SPACE, "search": {"samples": 4, **(search or {})}, **run}
    return SweepConfig.model_validate({**document, "storage": {"path": str(folder)}})


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An earlier sweep of 8 samples, the first of which collapsed."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    config = sweep_of(tmp_path / "other")
    (folder / SWEEP_FILE).write_text(yaml.safe_dump(config.whole))
    search = UnlearningSearch(plan_sweep(config, folder), lambda: 1)
    for i in range(16):
        given = search.suggest(str(i))
        assert given is not None
        parameters = given[PARAMETERS]
        metrics = {"forget_quality": parameters[RATE] + parameters["seed"], "retain_utility": 0.5}
        status = Status.COLLAPSED if i == 0 else Status.FINISHED
        configuration = config.resolve(parameters).model_dump(mode="json")
        record = TrialRecord(f"{i:04d}", status, parameters, configuration, metrics)
        write_record(folder, replace(record, gradient_computations=10.0 + i))
        search.on_trial_complete(str(i), {**metrics, STATUS: status})
    return folder


def studies_in(folder: Path) -> dict[str, list[optuna.trial.FrozenTrial]]:
    storage = JournalStorage(StudyLog(folder / STUDY_FILE))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage).trials for name in names}


def test_the_search_knows_the_trials_of_an_earlier_sweep(earlier: Path, tmp_path: Path) -> None:
    config = sweep_of(tmp_path, search={"warm_start": str(earlier)}, workers={"count": 2})
    folder = tmp_path / "new"
    folder.mkdir()
    plan = plan_sweep(config, folder)
    assert str(plan.warm_start) == f"16 trials of {earlier}"
    search = UnlearningSearch(plan, lambda: 1)
    first = search.suggest("0")
    assert first is not None
    assert first[NUMBER] == 0, "its own trials are numbered from 0"
    expected, found = studies_in(earlier), studies_in(folder)
    assert len(found) == 2
    for name, trials in found.items():
        own = [trial.params for trial in expected[name]]
        assert [trial.params for trial in trials[:4]] == own
        values = [[t.params[RATE] + 41.5, 0.5] if t.state.name == "COMPLETE" else None for t in trials[:4]]
        assert [t.values for t in trials[:4]] == [v and pytest.approx(v) for v in values]
    assert [t.state.name for trials in found.values() for t in trials[:4]].count("PRUNED") == 1
    search.on_trial_complete("0", {"forget_quality": 0.5, "retain_utility": 0.5, STATUS: Status.FINISHED})
    again = UnlearningSearch(plan_sweep(config, folder), lambda: 1)
    assert again.suggest("0") == first, "after a restart the study is what it was"
    (tmp_path / "cold").mkdir()
    cold = UnlearningSearch(plan_sweep(sweep_of(tmp_path), tmp_path / "cold"), lambda: 1)
    drawn = cold.suggest("0")
    assert drawn is not None
    assert drawn[PARAMETERS] != first[PARAMETERS], "the first sample already follows from the earlier ones"


def test_a_cost_that_was_no_objective_of_the_earlier_sweep_is_known(earlier: Path, tmp_path: Path) -> None:
    objectives = [
        {"metric": "forget_quality"},
        {"metric": "retain_utility"},
        {"metric": "gradient_computations", "mode": "min", "worst": 400},
    ]
    config = sweep_of(tmp_path, search={"warm_start": str(earlier), "objectives": objectives})
    folder = tmp_path / "new"
    folder.mkdir()
    UnlearningSearch(plan_sweep(config, folder), lambda: 1)
    trials = [trial for study in studies_in(folder).values() for trial in study]
    complete = [trial.values for trial in trials if trial.state.name == "COMPLETE"]
    assert len(complete) == len(trials) - 1
    assert all(10 < values[2] < 26 for values in complete)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"duration": {"steps": 7}},
            "none of the 16 trials of .* is of this problem and space: duration.epochs differs",
        ),
        ({"forget": {"kind": "class", "label": 3}}, "forget.label differs"),
        ({"space": {**SPACE, RATE: {"loguniform": [0.2, 0.3]}}}, "none of the 16 trials"),
    ],
)
def test_trials_of_another_problem_are_refused(
    earlier: Path, tmp_path: Path, change: dict, words: str
) -> None:
    config = sweep_of(tmp_path, search={"warm_start": str(earlier)}, **change)
    with pytest.raises(ConfigError, match=words):
        plan_sweep(config, tmp_path / "new")


def test_trials_outside_the_space_are_left_out(earlier: Path, tmp_path: Path) -> None:
    space = {**SPACE, "method.name": {"grid": ["hamu-q"]}}
    plan = plan_sweep(sweep_of(tmp_path, space, {"warm_start": str(earlier)}), tmp_path / "new")
    assert str(plan.warm_start) == f"8 trials of {earlier}; 8 others are not of this problem and space"


def test_a_warm_start_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"search\.warm_start: .* is not a sweep's folder"):
        plan_sweep(sweep_of(tmp_path, search={"warm_start": str(tmp_path)}), tmp_path / "new")


@pytest.mark.parametrize("algorithm", ["tpe", "nsga2", "gp"])
def test_every_algorithm_that_learns_learns_from_the_earlier_trials(
    algorithm: str, earlier: Path, tmp_path: Path
) -> None:
    """Its first sample is another one with them, however few samples it has of its own."""
    space = {key: domain for key, domain in SPACE.items() if key != "seed"}
    found = []
    for name, given in (("cold", None), ("warm", str(earlier))):
        (tmp_path / name).mkdir()
        config = sweep_of(tmp_path, space, {"algorithm": algorithm, "warm_start": given, "samples": 2})
        suggested = UnlearningSearch(plan_sweep(config, tmp_path / name), lambda: 1).suggest("0")
        assert suggested is not None
        found.append(suggested[PARAMETERS])
    assert found[0] != found[1]


@pytest.mark.parametrize("algorithm", ["random", "grid"])
def test_what_learns_from_no_trial_takes_no_warm_start(algorithm: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"warm_start: algorithm {algorithm} does not learn from trials"):
        sweep_of(tmp_path, search={"algorithm": algorithm, "warm_start": "earlier"})


@pytest.mark.parametrize("left", [0, 200])
def test_a_study_that_is_made_again_starts_with_the_earlier_trials(
    left: int, earlier: Path, tmp_path: Path
) -> None:
    """A damaged one, and one without operations: the driver was killed before it had written any."""
    config, folder = sweep_of(tmp_path, search={"warm_start": str(earlier)}), tmp_path / "new"
    make_folder(folder, config)
    first = UnlearningSearch(plan_sweep(config, folder), lambda: 1).suggest("0")
    expected = studies_in(folder)
    content = (folder / STUDY_FILE).read_bytes()
    (folder / STUDY_FILE).write_bytes(b"x" * left + content[left:] if left else b"")
    assert UnlearningSearch(plan_sweep(config, folder), lambda: 1).suggest("0") == first
    found = studies_in(folder)
    assert {name: [trial.params for trial in trials] for name, trials in found.items()} == {
        name: [trial.params for trial in trials] for name, trials in expected.items()
    }


def test_a_study_that_is_made_again_without_the_earlier_sweep_says_so(
    earlier: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, folder = sweep_of(tmp_path, search={"warm_start": str(earlier)}), tmp_path / "new"
    make_folder(folder, config)
    UnlearningSearch(plan_sweep(config, folder), lambda: 1)
    (folder / STUDY_FILE).write_bytes(b"x\n" + (folder / STUDY_FILE).read_bytes())
    earlier.rename(tmp_path / "elsewhere")
    assert UnlearningSearch(plan_sweep(config, folder), lambda: 1).suggest("0") is not None
    assert "is not a sweep's folder: it has no sweep.yaml; the studies are made again without" in caplog.text


def test_trials_with_other_training_seeds_are_of_the_same_problem(earlier: Path, tmp_path: Path) -> None:
    """Those of a sweep over the seed alone are samples of one over the training's seed, too."""
    space = {key: domain for key, domain in SPACE.items() if key != "seed"}
    space["training.seed"] = {"grid": [7, 8]}
    config = sweep_of(tmp_path, space, {"warm_start": str(earlier)})
    plan = plan_sweep(config, tmp_path / "new")
    assert str(plan.warm_start) == f"16 trials of {earlier}"
    assert plan.warm_start is not None
    samples = [sample for samples in plan.warm_start.samples.values() for sample in samples]
    assert sorted(len(sample.trials) for sample in samples) == [2] * 8, "means over the seeds"
    assert {sample.parameters["training.seed"] for sample in samples} == {7}
