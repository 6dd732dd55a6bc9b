"""Models in MLflow, listed and in its registry, on a real store and through a server."""

import math
from itertools import count

import pytest

from hamu_ray.tracking.client import MlflowTracker
from hamu_ray.tracking.reader import MlflowSource
from tests.mlflow_server import clients

NUMBERS = count()


@pytest.fixture
def runs(tracking) -> list[str]:
    """Two trials of a sweep."""
    sweep = tracking.start_sweep(f"registered {next(NUMBERS)}", {})
    return [tracking.start_trial(f"r_{i}", sweep, "trial", {}) for i in range(2)]


def register(tracking, run, folder, weights=b"1", alias=None, name="forgetful"):
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    tags = {"trial": run, "forget_quality": 0.5}
    tracking.register_model(run, name, [folder / "model.safetensors"], tags, alias)


def test_models_are_versions_with_their_files(tracking, client, runs, tmp_path):
    register(tracking, runs[0], tmp_path, b"0")
    register(tracking, runs[1], tmp_path, b"1", alias="knee")
    versions = {v.run_id: v for v in client.search_model_versions("name = 'forgetful'")}
    assert {run: versions[run].tags for run in runs} == {
        run: {"trial": run, "forget_quality": "0.5"} for run in runs
    }
    knee = client.get_model_version_by_alias("forgetful", "knee")
    assert knee.run_id == runs[1]
    (file,) = client.list_artifacts(runs[1], "model")
    assert knee.source == f"runs:/{runs[1]}/model"
    with open(client.download_artifacts(runs[1], file.path), "rb") as copy:
        assert copy.read() == b"1"


def test_registering_again_adds_no_version_and_moves_the_alias(tracking, client, runs, tmp_path):
    for run in (runs[0], runs[0], runs[1]):
        register(tracking, run, tmp_path, alias="knee", name="again")
    assert len(client.search_model_versions("name = 'again'")) == 2
    assert client.get_model_version_by_alias("again", "knee").run_id == runs[1]


@pytest.mark.server
def test_a_server_registers_models(server, tmp_path):
    remote = MlflowTracker.open(server, "registered remotely", tmp_path)
    trial = remote.start_trial("t_0", remote.start_sweep("s", {}), "trial", {})
    register(remote, trial, tmp_path / "model", alias="knee", name="remote")
    knee = clients(remote).get_model_version_by_alias("remote", "knee")
    assert (knee.run_id, knee.status) == (trial, "READY")


def log(tracking, run, **tags):
    tracking.log_model(run, "digits.1-0000", 4, {"trial": run, **tags}, {"forget_quality": 0.5})


def models(tracking, client, run):
    return client.search_logged_models([tracking.experiment_id], filter_string=f"source_run_id = '{run}'")


def test_a_model_is_listed_once_with_the_metrics_of_its_run(tracking, client, runs):
    run = runs[0]
    for step, value in ((2, 0.1), (4, 0.5)):
        tracking.log_metrics(run, {"forget_quality": value, "loss": 1.0}, step)
    before = client.get_metric_history(run, "forget_quality")
    log(tracking, run, on_front="true")
    log(tracking, run, on_front="false")
    (model,) = models(tracking, client, run)
    assert (model.name, model.status, model.model_type) == ("digits_1-0000", "READY", "unlearned")
    assert model.tags.items() >= {"trial": run, "on_front": "false"}.items()
    assert [(one.key, one.value, one.step) for one in model.metrics] == [("forget_quality", 0.5, 4)]
    assert client.get_metric_history(run, "forget_quality") == before
    (output,) = client.get_run(run).outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 4)


def test_a_model_on_the_way_has_its_own_step_and_metrics(tracking, client, runs, monkeypatch):
    """Measured in full there, which changes neither the run's last values nor its curve as reports read it."""
    run = runs[0]
    for step, value in ((2, 0.1), (4, 0.5)):
        tracking.log_metrics(run, {"forget_quality": value, "retain_utility": 0.75}, step)
    measures = {"forget_quality": 0.125, "retain_utility": 0.75, "mia_confidence": math.inf}

    def log_point():
        tracking.log_model(run, "digits-0000@2", 2, {"trial": "0000@2"}, measures)

    with monkeypatch.context() as patch:
        patch.setattr(type(client), "log_outputs", broken)
        with pytest.raises(ConnectionError):
            log_point()
    log_point()
    (model,) = models(tracking, client, run)
    assert (model.name, model.tags["trial"]) == ("digits-0000@2", "0000@2")
    assert {(one.key, one.step) for one in model.metrics} == {(name, 2) for name in measures}
    assert {one.key: one.value for one in model.metrics}["forget_quality"] == 0.125
    (output,) = client.get_run(run).outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 2)
    assert client.get_run(run).data.metrics["forget_quality"] == 0.5
    history = client.get_metric_history(run, "forget_quality")
    assert sorted((one.step, one.value) for one in history) == [(2, 0.1), (2, 0.125), (4, 0.5)]
    source = MlflowSource(client, tracking.uri, {"0000": run}, "digits")
    assert source.history("0000", "forget_quality") == {2: 0.1, 4: 0.5}


def test_a_model_whose_listing_broke_off_is_listed_again(tracking, client, runs, monkeypatch):
    tracking.log_metrics(runs[0], {"forget_quality": 0.5}, 4)
    with monkeypatch.context() as patch:
        patch.setattr(type(client), "log_outputs", broken)
        with pytest.raises(ConnectionError):
            log(tracking, runs[0])
    log(tracking, runs[0])
    (model,) = models(tracking, client, runs[0])
    assert (model.status, len(model.metrics)) == ("READY", 1)


def broken(*_, **__):
    raise ConnectionError


def test_data_of_a_run_are_its_inputs_once(tracking, client, runs):
    sets = {role: {"digest": role * 20, "examples": len(role)} for role in ("retain", "forget")}
    for _ in range(2):
        tracking.log_data(runs[0], {"name": "digits"}, sets)
    inputs = client.get_run(runs[0]).inputs.dataset_inputs
    found = {one.tags[0].value: (one.dataset.name, one.dataset.profile) for one in inputs}
    assert found == {role: ("digits", '{"num_rows": 6}') for role in sets}
    assert len(inputs) == 2
