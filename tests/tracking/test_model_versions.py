"""Models in MLflow's registry, on a real store and through a server."""

from itertools import count

import pytest

from hamu_ray.tracking.client import MlflowTracker
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
