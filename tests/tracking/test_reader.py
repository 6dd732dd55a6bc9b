"""What is written to MLflow is read back as it was."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from hamu_ray.results.folder import read_records
from hamu_ray.results.summary import method_of
from hamu_ray.results.trial import Status
from hamu_ray.tracking.client import MlflowTracker, flatten
from hamu_ray.tracking.encoding import nested
from hamu_ray.tracking.reader import Archive, ArchivedSweep
from tests.made_store import ORIGINAL, REFERENCE, STEPS, as_json, fill, points, sweep_config, uri_of


@pytest.fixture
def archive(study: ArchivedSweep) -> Archive:
    return study.archive


@pytest.fixture
def sweep(study: ArchivedSweep) -> ArchivedSweep:
    return study


def test_records_are_those_of_the_driver(store: Path, sweep: ArchivedSweep) -> None:
    expected = read_records(store / "sweeps" / "study")
    assert len(sweep.records) == len(expected) == sweep.expected
    for found, record in zip(sweep.records, expected, strict=True):
        kept = replace(record, original={}, reference={}, curve={})
        assert as_json(found) == as_json(kept)


def test_what_only_runs_say(archive: Archive, sweep: ArchivedSweep) -> None:
    trial = sweep.trials[0]
    assert not sweep.running
    assert sweep.began <= sweep.ended
    assert sweep.original == pytest.approx(ORIGINAL)
    assert sweep.reference == pytest.approx(REFERENCE)
    assert trial.costs["gradient_computations"] == 2 * STEPS
    assert archive.bases(trial.run_id) == (ORIGINAL, REFERENCE)
    assert archive.history(trial.run_id, "gradient_cosine") == pytest.approx(
        {step: math.cos(step / 4) for step in range(1, STEPS + 1)}
    )
    curve = archive.curve(trial.run_id, sweep.objectives)
    assert list(curve) == [0, STEPS // 2, STEPS]
    assert archive.artifact(trial.run_id, "no such file") is None


def test_the_summary_is_that_of_the_sweep(archive: Archive, sweep: ArchivedSweep) -> None:
    summary = sweep.summary()
    assert summary.hypervolume == pytest.approx(sweep.metrics["hypervolume"])
    assert len(summary.front) == sweep.metrics["front_points"]


def test_only_parameters_that_a_method_reads_are_its_own(sweep: ArchivedSweep) -> None:
    for record in sweep.records:
        constrained = method_of(record).startswith("hamu")
        assert ("method.constraint_ratio" in record.parameters) == constrained


def test_a_domain_for_several_keys(store: Path, archive: Archive) -> None:
    config = sweep_config({"batch.{retain,forget}": {"grid": [32, 64]}})
    fill(store, config, name="joined", experiment="joined", hardness=False)
    (sweep,) = archive.sweeps("joined")
    assert [record.parameters for record in sweep.records] == points(config)


def test_trials_that_are_not_over(store: Path, archive: Archive) -> None:
    config = sweep_config()
    fill(store, config, name="running", experiment="running", records=[], running=points(config)[:2])
    (sweep,) = archive.sweeps("running")
    assert [trial.running for trial in sweep.trials] == [True, True]
    assert {record.status for record in sweep.records} == {Status.INTERRUPTED}
    assert sweep.running
    assert not sweep.summary().front


def test_a_configuration_is_read_from_parameters_where_its_file_is_lost(
    store: Path, archive: Archive
) -> None:
    config = sweep_config()
    document = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    MlflowTracker.open(uri_of(store), "bare", store).start_sweep("bare", document)
    (sweep,) = archive.sweeps(name="bare")
    assert sweep.config == config
    assert sweep.expected == 36


def test_extra_parameters_for_the_ui_are_no_part_of_a_configuration(store: Path, archive: Archive) -> None:
    config = sweep_config()
    point = points(config)[0]
    run = config.resolve(point).model_dump(mode="json")
    tracking = MlflowTracker.open(uri_of(store), "short", store)
    parent = tracking.start_sweep("s", config.model_dump(mode="json", by_alias=True, exclude_none=True))
    short = {"method": "hamu-q", "rho": 0.0, "constraint_ratio": 0.1, "learning_rate": 0.003}
    trial = tracking.start_trial("0000", parent, "x", {**flatten(run), **short})
    tracking.finish(trial, Status.FINISHED)
    (sweep,) = archive.sweeps("short")
    assert sweep.records[0].configuration == run
    assert sweep.records[0].parameters == point


def test_runs_of_others_are_passed_over(store: Path, archive: Archive) -> None:
    tracking = MlflowTracker.open(uri_of(store), "of others", store)
    MlflowClient(tracking_uri=uri_of(store)).create_run(tracking.experiment_id, run_name="somebody's")
    assert archive.sweeps("of others") == []
    assert {"Default", "of others"} <= set(archive.experiments())
    assert archive.names("of others") == archive.names("no such experiment") == []


def test_no_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no MLflow store") as error:
        Archive.open(f"sqlite:///{tmp_path / 'none.db'}", tmp_path)
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
