"""Sweeps are read back from MLflow as they were written."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from hamu_ray.config.sources.key_paths import flatten, nested
from hamu_ray.results.folder import read_records
from hamu_ray.results.pareto.summary import method_of
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult, objective_curve
from hamu_ray.results.trial import Status
from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.reader import MlflowReader
from tests.made_store import (
    ORIGINAL,
    REFERENCE,
    SPACE,
    STEPS,
    as_json,
    fill,
    made_record,
    points,
    sweep_config,
    uri_of,
)


@pytest.fixture
def reader(study: SweepResult, store: Path) -> MlflowReader:
    return MlflowReader.open(uri_of(store), store)


@pytest.fixture
def sweep(study: SweepResult) -> SweepResult:
    return study


def test_records_are_those_of_the_driver(store: Path, sweep: SweepResult) -> None:
    expected = read_records(store / "sweeps" / "study")
    assert len(sweep.trials) == len(expected) == sweep.expected
    for found, record in zip(sweep.trials, expected, strict=True):
        kept = replace(record, original={}, reference={}, curve={})
        assert as_json(found) == as_json(kept)


def test_what_only_runs_say(sweep: SweepResult) -> None:
    trial, source = sweep.trials[0].trial_id, sweep.source
    assert not sweep.running
    assert sweep.began <= sweep.ended
    assert sweep.original == pytest.approx(ORIGINAL)
    assert sweep.reference == pytest.approx(REFERENCE)
    assert sweep.trials[0].costs["gradient_computations"] == 2 * STEPS
    record = source.record(trial)
    assert record is not None
    assert (record.original, record.reference) == (ORIGINAL, REFERENCE)
    assert source.history(trial, "gradient_cosine") == pytest.approx(
        {step: math.cos(step / 4) for step in range(1, STEPS + 1)}
    )
    curve = objective_curve(source, trial, sweep.objectives)
    assert list(curve) == [0, STEPS // 2, STEPS]
    assert source.file(trial, "no such file") is None


def assert_equal(one: SweepResult, other: SweepResult) -> None:
    """Compare two results field by field; NaN equals NaN."""
    for each in fields(SweepResult):
        if each.compare:
            found, expected = (as_text(getattr(sweep, each.name)) for sweep in (one, other))
            assert found == expected, each.name


def as_text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=asdict)


def test_a_folder_and_mlflow_give_the_same_result(store: Path, sweep: SweepResult) -> None:
    folder = read_sweep(store / "sweeps" / "study")
    assert_equal(replace(folder, experiment="study"), sweep)
    for trial in ("0000", "0007"):
        assert as_text(folder.source.record(trial)) == as_text(sweep.source.record(trial))
        for metric in ("gradient_cosine", "forget_quality", "mia_confidence", "no_such_metric"):
            assert folder.source.history(trial, metric) == sweep.source.history(trial, metric), metric
        assert folder.source.file(trial, "hardness.npz") == sweep.source.file(trial, "hardness.npz")
        assert folder.source.run_id(trial) == sweep.source.run_id(trial)


def test_a_folder_and_mlflow_give_the_same_result_while_the_sweep_runs(
    store: Path, reader: MlflowReader
) -> None:
    config, folder = sweep_config(tracking={"experiment": "half"}), store / "sweeps" / "half"
    records = [made_record(i, config, point, folder) for i, point in enumerate(points(config)[:3])]
    records[1] = replace(records[1], status=Status.FAILED, reason="out of memory", measures={}, steps=0)
    fill(store, config, name="half", experiment="half", records=records, running=points(config)[3:5])
    (found,) = reader.sweeps("half")
    assert [trial.running for trial in found.trials] == [False, False, False, True, True]
    from_folder = read_sweep(folder)
    # The means of base models and the end of the sweep are logged when it ends.
    known = {"original": {}, "reference": {}, "began": 0.0, "ended": 0.0}
    assert_equal(replace(from_folder, **known), replace(found, **known))


def test_the_summary_is_that_of_the_sweep(sweep: SweepResult) -> None:
    summary = sweep.summary
    assert summary.hypervolume == pytest.approx(sweep.metrics["hypervolume"])
    assert len(summary.front) == sweep.metrics["front_points"]


def test_only_hyperparameters_of_the_method_are_sampled(sweep: SweepResult) -> None:
    for record in sweep.trials:
        constrained = method_of(record).startswith("hamu")
        assert ("method.constraint_ratio" in record.parameters) == constrained


def test_a_domain_for_several_keys(store: Path, reader: MlflowReader) -> None:
    config = sweep_config({"batch.{retain,forget}": {"grid": [32, 64]}})
    fill(store, config, name="joined", experiment="joined", hardness=False)
    (sweep,) = reader.sweeps("joined")
    assert [record.parameters for record in sweep.trials] == points(config)


def test_trials_that_are_not_over(store: Path, reader: MlflowReader) -> None:
    config = sweep_config()
    fill(store, config, name="running", experiment="running", records=[], running=points(config)[:2])
    (sweep,) = reader.sweeps("running")
    assert [trial.running for trial in sweep.trials] == [True, True]
    assert {record.status for record in sweep.trials} == {Status.INTERRUPTED}
    assert sweep.running
    assert not sweep.summary.front


@pytest.mark.parametrize("conditional", [False, True])
def test_a_configuration_is_read_from_parameters_where_its_file_is_lost(
    conditional: bool, store: Path, reader: MlflowReader
) -> None:
    name = f"bare-{conditional}"
    own = [{"grid": [0.1, 0.5], "when": {"method.name": "hamu-q"}}] if conditional else None
    config = sweep_config({**SPACE, **({"method.constraint_ratio": own} if own else {})})
    document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    MlflowTracker.open(uri_of(store), name, store).start_sweep(name, document)
    (sweep,) = reader.sweeps(name=name)
    assert sweep.config == config
    assert sweep.expected == 36


def test_extra_parameters_for_the_ui_are_no_part_of_a_configuration(
    store: Path, reader: MlflowReader
) -> None:
    config = sweep_config()
    point = points(config)[0]
    run = config.resolve(point).model_dump(mode="json")
    tracking = MlflowTracker.open(uri_of(store), "short", store)
    parent = tracking.start_sweep("s", config.model_dump(mode="json", by_alias=True, exclude_none=True))
    short = {"method": "hamu-q", "rho": 0.0, "constraint_ratio": 0.1, "learning_rate": 0.003}
    trial = tracking.start_trial("0000", parent, "x", {**flatten(run), **short})
    tracking.finish(trial, Status.FINISHED)
    (sweep,) = reader.sweeps("short")
    assert sweep.trials[0].configuration == run
    assert sweep.trials[0].parameters == point


def test_runs_of_others_are_passed_over(store: Path, reader: MlflowReader) -> None:
    tracking = MlflowTracker.open(uri_of(store), "of others", store)
    MlflowClient(tracking_uri=uri_of(store)).create_run(tracking.experiment_id, run_name="somebody's")
    assert reader.sweeps("of others") == []
    assert {"Default", "of others"} <= set(reader.experiments())
    assert reader.names("of others") == reader.names("no such experiment") == []


def test_no_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no MLflow store") as error:
        MlflowReader.open(f"sqlite:///{tmp_path / 'none.db'}", tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


KEYS = st.text("abc", min_size=1, max_size=2)
VALUES = st.recursive(
    st.integers() | st.booleans() | st.none(), lambda inner: st.dictionaries(KEYS, inner, min_size=1)
)


@settings(max_examples=30)
@given(st.dictionaries(KEYS, VALUES))
def test_nesting_undoes_flattening(document: dict) -> None:
    assert nested(flatten(document)) == document
